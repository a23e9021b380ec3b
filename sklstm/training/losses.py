"""The losses, in one registry: criterion, score, and what the target's scale has to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import d2_pinball_score, r2_score
from torch import Tensor, nn

# Called with labels, predictions and `sample_weight`, all of one output.
Score = Callable[..., float]


@dataclass(frozen=True)
class Loss:
    """One entry of the registry.

    Attributes
    ----------
    criterion : type of torch.nn.Module
        Called with the predicted and the true target, both scaled; returns the loss of each label.
        A loss of torch is made with ``reduction="none"``, another one with its `params`.

    score : callable
        ``score(y_true, y_pred, sample_weight=, **params)``: what `score` of the estimator
        computes for each output.

    is_robust : bool
        Whether the loss grows no faster than large errors do. Then large targets must not move
        the scale of the target and the linear shortcut either.

    params : dict of str to callable
        Parameters of the estimator that the criterion takes, each with a function that checks
        its value and returns it as numbers of Python.
    """

    criterion: type[nn.Module]
    score: Score
    is_robust: bool = True
    params: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)


class PinballLoss(nn.Module):
    """Pinball loss of one quantile, or the mean of those of quantiles on a last axis.

    R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46(1), 1978.

    Parameters
    ----------
    quantile : float or sequence of float
        One quantile, or one for each column of the predictions' last axis.
    """

    quantile: Tensor

    def __init__(self, quantile: float | Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("quantile", torch.tensor(quantile, dtype=torch.float64))

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        """Return the loss of each label, in the shape of `y_true`."""
        several = self.quantile.ndim > 0
        error = (y_true.unsqueeze(-1) if several else y_true) - y_pred
        quantile = self.quantile.to(error)
        loss = torch.maximum(quantile * error, (quantile - 1) * error)
        return loss.mean(dim=-1) if several else loss


def checked_quantile(quantile: Any) -> float | tuple[float, ...]:
    """Return one quantile, or several in rising order, all in (0, 1)."""
    if isinstance(quantile, Real) and 0 < float(quantile) < 1:
        return float(quantile)
    values = np.asarray(quantile)
    are_real = values.ndim == 1 and values.dtype.kind in "iuf" and len(values)
    if not are_real or not (np.diff([0.0, *values, 1.0]) > 0).all():
        raise ValueError(
            f"quantile={quantile!r} must be a float in (0, 1), or several in rising order."
        )
    return tuple(float(value) for value in values)


def mean_d2_pinball_score(
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    *,
    sample_weight: NDArray[Any] | None,
    quantile: float | Sequence[float],
) -> float:
    """Return the part of a constant's pinball loss that is explained, mean over the quantiles."""
    columns = zip(np.ravel(quantile), y_pred.reshape(len(y_true), -1).T, strict=True)
    scores = [
        d2_pinball_score(y_true, column, alpha=alpha, sample_weight=sample_weight)
        for alpha, column in columns
    ]
    return float(np.mean(scores))


# The values of the parameter `loss`. The tests run over this registry: a new entry is all that a
# loss needs; a parameter of its own is one of the estimator's, too.
LOSSES: dict[str, Loss] = {
    "squared_error": Loss(nn.MSELoss, r2_score, is_robust=False),
    "absolute_error": Loss(nn.L1Loss, r2_score),
    "huber": Loss(nn.HuberLoss, r2_score),
    "quantile": Loss(PinballLoss, mean_d2_pinball_score, params={"quantile": checked_quantile}),
}
