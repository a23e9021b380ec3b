"""What training costs at each depth."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from torch import Tensor

from sklstm.growing import check_depths
from sklstm.pipelines import final_regressor, reaching, targets_reaching
from sklstm.training.batches import SequenceDataset
from sklstm.training.net import StackedLSTMNet
from sklstm.training.randomness import FitGenerators
from sklstm.training.threads import own_torch

from .stacks import (
    fitted_clone,
    training_data,
)


def depth_cost(
    estimator: Any,
    X: Any,
    y: Any,
    depths: Iterable[int] = (1, 2, 4, 8),
    *,
    n_epochs: int = 3,
) -> Bunch:
    """Measure the time and the memory that training takes at several depths.

    A clone of the estimator is trained at each depth for one epoch to warm up and a few
    to time, without early stopping and callbacks.

    Parameters
    ----------
    estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
        What to train; a pipeline ends in a `StackedLSTMRegressor`.

    X : array-like or list of array-like
        Sequences, as for `fit`.

    y : array-like or list of array-like
        Targets, as for `fit`.

    depths : iterable of int, default=(1, 2, 4, 8)
        Numbers of layers, in rising order.

    n_epochs : int, default=3
        Epochs to time.

    Returns
    -------
    sklearn.utils.Bunch
        With these attributes:

        depths : ndarray of shape (n_depths,)
            Numbers of layers.
        seconds_per_epoch : ndarray of shape (n_depths,)
            Median over the timed epochs.
        memory : ndarray of shape (n_depths,)
            Bytes of the weights, their gradients, the state of the optimizer, and what is
            kept of the mini-batch of the longest sequences for going backwards. It is not
            all that training takes: torch itself, the data and temporary results come on
            top.
        n_parameters : ndarray of shape (n_depths,)
            Numbers of weights.

    Raises
    ------
    TypeError
        If the estimator is of another kind.
    ValueError
        If `depths` are not rising integers of at least 1, `n_epochs` is not one, or the
        estimator cannot be fitted at one of the depths, as when `units` are given layer
        by layer.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm.inspection import depth_cost
    >>> X = np.random.default_rng(0).normal(size=(100, 20, 1))
    >>> model = StackedLSTMRegressor(units=8, random_state=0)
    >>> depth_cost(model, X, X[:, -1, 0], depths=(1, 2), n_epochs=1).n_parameters
    array([377, 953])
    """
    final_regressor(estimator)
    n_layers = check_depths(depths)
    if not isinstance(n_epochs, Integral) or n_epochs < 1:
        raise ValueError(f"n_epochs must be an integer of at least 1, got {n_epochs!r}.")
    seconds, memory, n_parameters = [], [], []
    for depth in n_layers:
        fitted = fitted_clone(
            estimator,
            X,
            y,
            n_layers=depth,
            max_epochs=1 + int(n_epochs),
            early_stopping=False,
            callbacks=None,
            verbose=0,
        )
        regressor = final_regressor(fitted)
        data = training_data(regressor, reaching(fitted, X), targets_reaching(fitted, y))
        seconds.append(np.median([row["dur"] for row in regressor.net_.history[1:]]))
        memory.append(_bytes_in_training(regressor.net_, data))
        n_parameters.append(regressor.n_parameters_)
    return Bunch(
        depths=np.array(n_layers),
        seconds_per_epoch=np.array(seconds),
        memory=np.array(memory),
        n_parameters=np.array(n_parameters),
    )


def _bytes_in_training(net: StackedLSTMNet, data: SequenceDataset) -> int:
    """Bytes of weights, gradients, optimizer state, and what is kept of one mini-batch."""
    weights = sum(tensor.nbytes for tensor in net.module_.parameters())
    states = (value for state in net.optimizer_.state.values() for value in state.values())
    state = sum(value.nbytes for value in states if isinstance(value, Tensor))
    longest_sequences = data[slice(-net.batch_size, None)]
    return 2 * weights + state + _bytes_kept_for_backward(net, *longest_sequences)


def _bytes_kept_for_backward(net: StackedLSTMNet, batch: dict[str, Tensor], y: Tensor) -> int:
    """Bytes that autograd keeps of a mini-batch, but for the weights; each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    net.module_.train()
    generator = FitGenerators(net.seed, net.device).dropout(0)
    with (
        own_torch(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        loss = net.get_loss(net.infer(batch, generator=generator), y, X=batch, training=True)
    for weights in net.module_.parameters():
        kept.pop(weights.untyped_storage().data_ptr(), None)
    del loss
    return sum(kept.values())
