"""The width of layers for a number of weights: to compare stacks of several depths fairly."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import isqrt
from numbers import Integral

import torch

from .nn.stack import StackedLSTM


def units_for_budget(
    n_parameters: int,
    n_layers: int,
    n_features: int,
    *,
    n_outputs: int | None = 1,
    bidirectional: bool = False,
    pooling: str = "last",
    head_units: Sequence[int] = (),
) -> int:
    """Find the largest number of units per layer with which a stack has at most so many weights.

    A deeper stack with the same units has more weights, so a comparison of depths is one of sizes,
    too. With an equal number of weights it is not [1]_. Skip connections between layers of equal
    units have no weights.

    Parameters
    ----------
    n_parameters : int
        Largest number of weights of the whole model.

    n_layers : int
        Number of LSTM layers, all with the same units.

    n_features : int
        Features at each time step.

    n_outputs : int or None, default=1
        Outputs of the Dense head, times the number of quantiles if there are several.
        `None` is a model without a head.

    bidirectional : bool, default=False
        Whether every layer reads in both directions; units are those of one direction.

    pooling : str, default="last"
        As in :class:`StackedLSTM`; "last" if it predicts at each step.

    head_units : sequence of int, default=()
        Sizes of hidden Dense layers.

    Returns
    -------
    int
        Units for each layer.

    Raises
    ------
    ValueError
        If an argument is out of range, or `n_parameters` is too small for one unit per layer.

    References
    ----------
    .. [1] A. Graves, A.-r. Mohamed and G. Hinton, "Speech recognition with deep recurrent
       neural networks", ICASSP 2013.

    Examples
    --------
    >>> from sklstm import units_for_budget
    >>> [units_for_budget(50_000, n_layers, n_features=8) for n_layers in (1, 2, 4, 8)]
    [106, 62, 41, 28]
    """
    if not isinstance(n_parameters, Integral) or n_parameters < 1:
        raise ValueError(f"n_parameters must be an integer of at least 1, got {n_parameters!r}.")

    def n_weights(units: int) -> int:
        with torch.device("meta"):
            module = StackedLSTM(
                n_features,
                n_outputs,
                n_layers=n_layers,
                units=units,
                bidirectional=bidirectional,
                pooling=pooling,
                head_units=head_units,
            )
        return sum(weights.numel() for weights in module.parameters())

    least = n_weights(1)
    if n_parameters < least:
        raise ValueError(
            f"n_parameters={n_parameters} are too few: n_layers={n_layers} of one unit each have "
            f"{least} weights."
        )
    at_most = isqrt(int(n_parameters) // 4)
    return bisect_right(range(1, at_most + 1), n_parameters, key=n_weights)
