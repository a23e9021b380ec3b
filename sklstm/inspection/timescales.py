"""How long each layer remembers."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sklstm.nn.layers import Bidirectional
from sklstm.nn.stack import StackedLSTM
from sklstm.pipelines import final_regressor
from sklstm.training.batches import PREDICT_ROWS, Batches, SequenceDataset
from sklstm.training.runtime import own_torch

from .stacks import dataset, n_longer, present_steps, run_recorded, without_dropout


def layer_timescales(
    estimator: Any, X: Any, *, step: int | None = None, size: float = 1.0
) -> Bunch:
    """Measure how long each layer remembers a change of one step.

    All features of one step are changed, and the difference that this makes to the output of each
    layer is measured from there on [1]_. It is the output of the LSTM layer itself, before a
    residual skip connection adds its input: the sum would mix the time scales of all lower layers.

    Parameters
    ----------
    estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
        Fitted; a pipeline ends in a `StackedLSTMRegressor`.

    X : array-like or list of array-like
        Sequences, as for `predict`.

    step : int, default=None
        The step to change, counted from the first one of each sequence, 0. `None` is a
        tenth of the length of the shortest sequence.

    size : float, default=1.0
        Change of each feature, in its standard deviations; in its own units if the estimator does
        not standardize.

    Returns
    -------
    sklearn.utils.Bunch
        With these attributes:

        half_life : ndarray of shape (n_layers,)
            Steps from the largest difference to half of it, interpolated between steps. A layer
            above the first may have its largest difference some steps after the change. Infinite
            if the difference stays above the half, NaN if there is none.
        difference : ndarray of shape (n_layers, n_steps)
            Root mean square of the difference over the units and the sequences that have the step,
            divided by the largest one; from the changed step to the end of the longest sequence.
        step : int
            The step that was changed.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    TypeError
        If the estimator is of another kind.
    ValueError
        If X is not as for `predict`, `step` is not a step with another one after it in
        every sequence, or `size` is not a finite number other than 0.

    Notes
    -----
    The outputs that an upper layer reads already change slowly, so upper layers tend to be slower
    even before training: compare with the same estimator fitted with ``max_epochs=0``. A layer may
    respond to a change at once and then keep a part of it for long, so look at `difference` as well
    as at the half-life.

    In bidirectional layers, only the direction that reads forwards is measured: after the change,
    the other direction sees it only through the layers below.

    References
    ----------
    .. [1] M. Hermans and B. Schrauwen, "Training and analysing deep recurrent neural
       networks", NIPS 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm.inspection import layer_timescales
    >>> X = np.random.default_rng(0).normal(size=(100, 20, 1))
    >>> model = StackedLSTMRegressor(n_layers=3, units=8, max_epochs=2, random_state=0)
    >>> layer_timescales(model.fit(X, X[:, -5, 0]), X).difference.shape
    (3, 18)
    """
    regressor = final_regressor(estimator)
    check_is_fitted(regressor)
    if not isinstance(size, Real) or not math.isfinite(size) or size == 0:
        raise ValueError(f"size must be a finite number other than 0, got {size!r}.")
    data = dataset(estimator, X)
    shortest = int(data.X.lengths[0])
    if shortest < 2:
        raise ValueError(
            "X has a sequence of 1 step; a change can be measured in sequences of 2 or more."
        )
    if step is None:
        step = shortest // 10
    if not isinstance(step, Integral) or not 0 <= step <= shortest - 2:
        raise ValueError(
            f"step must be an integer from 0 to {shortest - 2}, as the shortest sequence has "
            f"{shortest} steps, got {step!r}."
        )
    with own_torch():
        squares = _squared_differences(regressor.module_, data, int(step), float(size))
    difference = np.sqrt(squares)
    peaks = difference.max(axis=1, keepdims=True)
    difference = np.divide(difference, peaks, out=np.zeros_like(difference), where=peaks > 0)
    half_life = np.array([_half_life(curve) for curve in difference])
    return Bunch(half_life=half_life, difference=difference, step=int(step))


def _half_life(curve: NDArray[np.float64]) -> float:
    peak = int(curve.argmax())
    if curve[peak] == 0:
        return math.nan
    below = np.flatnonzero(curve[peak:] <= 0.5)
    if len(below) == 0:
        return math.inf
    after = int(below[0])
    higher, lower = curve[peak + after - 1], curve[peak + after]
    return float(after - (0.5 - lower) / (higher - lower))


def _squared_differences(
    module: StackedLSTM, data: SequenceDataset, step: int, size: float
) -> NDArray[np.float64]:
    """Return mean squares of the differences that a change makes, for each layer and step."""
    module = without_dropout(module)
    layers = [
        layer.forward_layer if isinstance(layer, Bidirectional) else layer
        for layer in module.layers
    ]

    def change(_layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = args[0].clone()
        changed[:, step] += size
        return (changed, *args[1:])

    lengths = data.X.lengths
    steps = np.arange(step, lengths[-1])
    sums = np.zeros((len(layers), len(steps)))
    for batch, _ in Batches(data, PREDICT_ROWS):
        present = present_steps(batch)[:, step:]
        with torch.no_grad():
            _, before = run_recorded(module, layers, batch)
            hook = module.layers[0].register_forward_pre_hook(change)
            _, after = run_recorded(module, layers, batch)
            hook.remove()
        for total, b, a in zip(sums, before, after, strict=True):
            squares = (a - b)[:, step:].double().square().mean(dim=2).cpu().numpy()
            total[: present.shape[1]] += (squares * present).sum(axis=0)
    return sums / n_longer(lengths, steps)
