"""The linear shortcut of a stack: ridge regression from the last steps to the target."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklstm.data.sequences import SCATTERED
from sklstm.nn.layers import FAR, LinearShortcut
from sklstm.nn.stack import StackedLSTM

from .batches import Batches, SequenceDataset

# Most numbers of a sample that a shortcut reads: the regression takes the cube of it in time.
MOST_COLUMNS = 512
# Of many samples, a random part is enough for the regression: this many at least, and more as long
# as they are this many numbers (16 MiB) in all.
ENOUGH_SAMPLES, ENOUGH_NUMBERS = 1024, 2**21
# Labels that an output needs for a shortcut: leaving out the only one would leave nothing to fit.
FEWEST_ROWS = 2
# Penalties to choose from, as parts of the mean variance of a column times the number of rows.
PENALTIES = np.logspace(-4, 2, 13)
# Least scale of the stack's output, in scaled units: below, the correction is smaller than the
# rounding of the regression in float32.
SMALLEST_SCALE = 1e-3
# Relative difference of two errors that is no more than rounding.
ROUNDING = 1e-9
Array = NDArray[np.float64]


def most_steps(data: SequenceDataset) -> int:
    """Return the steps of the longest sequence, or as many as are `MOST_COLUMNS` numbers.

    With a target at each step, a shortcut reads that step alone.
    """
    n_steps = 1 if data.has_steps else int(data.X.lengths.max())
    return min(n_steps, MOST_COLUMNS // data.X.n_features)


def fit_shortcut(module: StackedLSTM, data: SequenceDataset, robust: bool) -> None:
    """Set the weights of a module's linear shortcut, and the scale of the stack's correction.

    The module has its statistics already. An output with fewer than `FEWEST_ROWS` labels keeps a
    shortcut of zeros. With `robust`, targets far out are cut off, as the loss does not follow them.
    """
    linear = module.linear
    if linear is None:
        return
    windows, targets, weight = _labelled_rows(module, linear, data)
    if robust:
        targets = targets.clip(-FAR, FAR)
    labelled = ~np.isnan(targets)
    # Outputs that have labels in the same rows share one regression.
    _, group = np.unique(labelled, axis=1, return_inverse=True)
    for number in range(group.max() + 1):
        outputs = np.flatnonzero(group.ravel() == number)
        rows = labelled[:, outputs[0]]
        if rows.sum() < FEWEST_ROWS:
            continue
        x, y, row_weight = windows[rows], targets[np.ix_(rows, outputs)], weight[rows]
        spread = float(x.var(axis=0).mean()) or 1.0
        arrays = x, y, row_weight / row_weight.mean(), PENALTIES * len(x) * spread
        coefficients, constants, errors = ridge_by_leave_one_out(*map(torch.from_numpy, arrays))
        places = torch.from_numpy(outputs)
        linear.weight[places] = coefficients.to(linear.weight)
        linear.bias[places] = constants.to(linear.weight)
        # The stack learns what the regression does not explain, in units of its error.
        linear.residual_scale[places] = errors.sqrt().clamp(SMALLEST_SCALE, 1).to(linear.weight)


@torch.no_grad()
def _labelled_rows(
    module: StackedLSTM, linear: LinearShortcut, data: SequenceDataset
) -> tuple[Array, Array, Array]:
    """Return what the shortcut reads, scaled targets and weights: one row for each target."""
    rows_each = data.X.lengths.mean() if data.has_steps else 1
    n_outputs, n_columns = linear.weight.shape
    # The regression holds the errors of each row for all penalties at once.
    n_numbers = max(n_columns, n_outputs * len(PENALTIES)) * rows_each
    n_enough = max(ENOUGH_SAMPLES, int(ENOUGH_NUMBERS / n_numbers))
    if len(data) > n_enough:
        drawn = np.random.default_rng(0).choice(len(data), n_enough, replace=False)
        data = data.part(np.sort(drawn))
    parts = []
    for inputs, y in Batches(data, SCATTERED):
        x = module.scale_inputs(inputs["x"].to(linear.weight.device))
        windows = linear.windows(x, inputs.get("lengths"))
        weight = inputs.get("label_weight", torch.ones(len(x), dtype=torch.float64))
        targets = module.scale(y.to(x.device))
        if data.has_steps:
            weight = weight.unsqueeze(1).expand(targets.shape[:2])
        labelled = ~targets.isnan().all(dim=-1)
        part = windows[labelled], targets[labelled], weight[labelled.cpu()]
        parts.append([values.cpu().double().numpy() for values in part])
    rows, labels, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rows, labels, weights


def ridge_by_leave_one_out(
    x: Tensor, y: Tensor, weight: Tensor, penalties: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a ridge regression with a constant to each output.

    The penalty of each output is the one with the least error for rows that are left out, one at a
    time. With the eigenvectors of the smaller product of x with itself, the fit and the leverage
    of each row are sums for any penalty (R. M. Rifkin and R. A. Lippert, "Notes on regularized
    least squares", MIT-CSAIL-TR-2007-025, 2007).

    It does what `sklearn.linear_model.RidgeCV` does with ``alpha_per_target=True``. But the linear
    algebra of numpy and scipy has one number of threads for the whole process: a fit would have to
    change it for everybody, and a fork in that moment can block the parent for ever.

    Parameters
    ----------
    x : torch.Tensor of shape (n_rows, n_columns)
        Float64, at least two rows.

    y : torch.Tensor of shape (n_rows, n_outputs)
        Targets.

    weight : torch.Tensor of shape (n_rows,)
        Weights of the rows, with a mean of 1.

    penalties : torch.Tensor of shape (n_penalties,)
        Penalties to choose from, rising, the least of them well above the rounding of the largest
        eigenvalue. Of those with the same error, the smallest is taken.

    Returns
    -------
    coefficients : torch.Tensor of shape (n_outputs, n_columns)

    constants : torch.Tensor of shape (n_outputs,)

    errors : torch.Tensor of shape (n_outputs,)
        Mean squared errors for the rows that were left out.
    """
    root = weight.sqrt().unsqueeze(1)
    share = (weight / weight.sum()).unsqueeze(1)
    x_mean, y_mean = (share * x).sum(dim=0), (share * y).sum(dim=0)
    x, y = root * (x - x_mean), root * (y - y_mean)
    tall = x.shape[0] > x.shape[1]
    eigenvalues, vectors = torch.linalg.eigh(x.T @ x if tall else x @ x.T)
    shrunk = 1 / (eigenvalues.clamp(min=0) + penalties.unsqueeze(1))
    # Rows in the coordinates in which every penalty only scales.
    rows = x @ vectors if tall else vectors * eigenvalues.clamp(min=0).sqrt()
    projected = rows.T @ y
    fitted = rows @ (shrunk.unsqueeze(2) * projected)
    leverage = share.T + shrunk @ rows.square().T
    left_out = (y - fitted) / (1 - leverage).clamp(min=torch.finfo(x.dtype).eps).unsqueeze(2)
    errors = left_out.square().sum(dim=1) / weight.sum()
    best = (errors <= (1 + ROUNDING) * errors.amin(dim=0)).int().argmax(dim=0)
    if tall:
        coefficients = (vectors @ (shrunk[best].T * projected)).T
    else:
        coefficients = (x.T @ (vectors @ (shrunk[best].T * (vectors.T @ y)))).T
    errors = errors.gather(0, best.unsqueeze(0))[0]
    return coefficients, y_mean - coefficients @ x_mean, errors
