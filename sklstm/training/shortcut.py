"""The linear path of a module: how many steps it reads, and its weights by ridge regression."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sklstm.data.mapped import SCATTERED
from sklstm.nn.layers import FAR, LinearPath
from sklstm.nn.stack import StackedLSTM

from .batches import Batches, SequenceDataset
from .ridge import ridge_by_leave_one_out

MOST_COLUMNS = 512
MOST_NUMBERS = 2**21
ENOUGH_SAMPLES = 1024
# Labels that an output needs for a path: leaving out the only one leaves nothing to fit.
FEWEST_ROWS = 2
SMALLEST_SCALE = 1e-3
ALPHAS = np.logspace(-4, 2, 13)
Array = NDArray[np.float64]


def steps_to_read(data: SequenceDataset) -> int:
    """Return the steps of the longest sequence, or as many last ones as there is room for.

    With a target at each step, only that step.
    """
    n_steps = 1 if data.has_steps else int(data.X.lengths.max())
    return min(n_steps, MOST_COLUMNS // data.X.n_features)


def fit_linear_path(module: StackedLSTM, data: SequenceDataset, robust: bool = False) -> None:
    """Set the linear path of a module, where it has one, by ridge regression.

    The penalty of each output is chosen by leaving out one row at a time, and so is the
    scale of what is left to the stack. Of many samples, some drawn at random are enough.
    An output with fewer than `FEWEST_ROWS` labels has a path of zeros.

    Parameters
    ----------
    module : StackedLSTM
        With its statistics.

    data : SequenceDataset
        What to fit.

    robust : bool
        Whether targets far out are cut off, as the loss does not follow them either.
    """
    linear = module.linear
    if linear is None:
        return
    windows, targets, weight = _rows(module, linear, _some(data, linear.weight.shape[1]))
    if robust:
        targets = targets.clip(-FAR, FAR)
    labelled = ~np.isnan(targets)
    for outputs in _labelled_alike(labelled):
        rows = labelled[:, outputs[0]]
        if rows.sum() >= FEWEST_ROWS:
            _fit_outputs(
                linear, outputs, windows[rows], targets[np.ix_(rows, outputs)], weight[rows]
            )


def _labelled_alike(labelled: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """Group outputs that have labels in the same rows: one regression serves them all."""
    _, group = np.unique(labelled, axis=1, return_inverse=True)
    group = group.ravel()
    return [np.flatnonzero(group == number) for number in range(group.max() + 1)]


def _fit_outputs(
    linear: LinearPath, outputs: NDArray[np.intp], windows: Array, targets: Array, weight: Array
) -> None:
    weight = weight / weight.mean()
    spread = float(windows.var(axis=0).mean()) or 1.0
    penalties = ALPHAS * len(windows) * spread
    numbers = (torch.from_numpy(values) for values in (windows, targets, weight, penalties))
    coefficients, constants, errors = ridge_by_leave_one_out(*numbers)
    for buffer, values in (
        (linear.weight, coefficients),
        (linear.bias, constants),
        (linear.residual_scale, errors.sqrt().clamp(SMALLEST_SCALE, 1)),
    ):
        buffer[torch.from_numpy(outputs)] = values.to(buffer)


def _some(data: SequenceDataset, n_columns: int) -> SequenceDataset:
    rows_each = data.X.lengths.mean() if data.has_steps else 1
    n_samples = max(ENOUGH_SAMPLES, int(MOST_NUMBERS / (n_columns * rows_each)))
    if len(data) <= n_samples:
        return data
    drawn = np.random.default_rng(0).choice(len(data), n_samples, replace=False)
    return data.part(np.sort(drawn))


@torch.no_grad()
def _rows(
    module: StackedLSTM, linear: LinearPath, data: SequenceDataset
) -> tuple[Array, Array, Array]:
    """Collect what the path reads, scaled targets and weights, a row a labelled target."""
    parts = []
    for inputs, y in Batches(data, SCATTERED):
        x = module.scale_inputs(inputs["x"].to(linear.weight.device))
        windows = module.linear_windows(linear, x, inputs.get("lengths"))
        weight = inputs.get("label_weight", torch.ones(len(x), dtype=torch.float64))
        targets = module.scale(y.to(x.device))
        if data.has_steps:
            weight = weight.unsqueeze(1).expand(targets.shape[:2])
        labelled = ~targets.isnan().all(dim=-1)
        part = windows[labelled], targets[labelled], weight[labelled.cpu()]
        parts.append([values.cpu().double().numpy() for values in part])
    features, labels, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    return features, labels, weights
