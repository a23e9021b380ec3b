"""Ridge regression whose penalty is chosen by leaving out one row at a time.

It does what `sklearn.linear_model.RidgeCV` does with ``alpha_per_target=True``, in torch. The
linear algebra of numpy and scipy has one number of threads for the whole process: to have one
thread, a fit would have to change it for everybody, and a fork in that moment can stop the parent
for ever.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Relative difference of two errors that is no more than rounding.
ROUNDING = 1e-9


def ridge_by_leave_one_out(
    x: Tensor, y: Tensor, weight: Tensor, penalties: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a ridge regression with a constant to each output.

    Parameters
    ----------
    x : torch.Tensor of shape (n_rows, n_columns)
        Float64, at least two rows.

    y : torch.Tensor of shape (n_rows, n_outputs)
        Targets.

    weight : torch.Tensor of shape (n_rows,)
        Weights of the rows, with a mean of 1.

    penalties : torch.Tensor of shape (n_penalties,)
        Penalties to choose from, rising. Of those with the same error, the smallest is taken.

    Returns
    -------
    coefficients : torch.Tensor of shape (n_outputs, n_columns)
        Coefficients.

    constants : torch.Tensor of shape (n_outputs,)
        Constants.

    errors : torch.Tensor of shape (n_outputs,)
        Mean squared errors for the rows left out.

    Notes
    -----
    With the eigenvectors of the smaller one of the two products of x with itself, the fit and the
    leverage of each row are sums for any penalty [1]_. The least penalty must be well above the
    rounding of the largest eigenvalue, some 1e-16 of it.

    References
    ----------
    .. [1] R. M. Rifkin and R. A. Lippert, "Notes on regularized least squares",
       MIT-CSAIL-TR-2007-025, 2007.
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
