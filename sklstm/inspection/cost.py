"""What training costs at each depth."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from torch import Tensor

from sklstm.pipelines import final_regressor
from sklstm.search import check_depths
from sklstm.training.batches import SequenceDataset
from sklstm.training.net import StackedLSTMNet
from sklstm.training.runtime import own_torch

from .stacks import dataset, fitted_clone


def depth_cost(
    estimator: Any,
    X: Any,
    y: Any,
    depths: Iterable[int] = (1, 2, 4, 8),
    *,
    n_epochs: int = 3,
) -> Bunch:
    """Measure the time and the memory that training takes at several depths.

    A clone of the estimator is trained at each depth: one epoch to warm up, and then the epochs
    that are timed. It has neither early stopping nor callbacks.

    Parameters
    ----------
    estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
        The estimator to train; a pipeline ends in a `StackedLSTMRegressor`.

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
            Bytes of the weights, their gradients, the optimizer state, and the values that
            backpropagation keeps of the mini-batch of the longest sequences. Training takes more
            than that: torch itself, the data and temporary results.
        n_parameters : ndarray of shape (n_depths,)
            Numbers of weights.

    Raises
    ------
    TypeError
        If the estimator is of another kind.
    ValueError
        If `depths` are not rising integers of at least 1, `n_epochs` is not an integer of at
        least 1, or the estimator cannot be fitted at one of the depths, for example because
        `units` has a number for each layer.

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
    final_regressor(estimator)  # raises for other estimators
    n_layers = check_depths(depths)
    if not isinstance(n_epochs, Integral) or n_epochs < 1:
        raise ValueError(f"n_epochs must be an integer of at least 1, got {n_epochs!r}.")
    alone = {"early_stopping": False, "callbacks": None, "verbose": 0}
    seconds, memory, n_parameters = [], [], []
    for depth in n_layers:
        fitted = fitted_clone(
            estimator, X, y, n_layers=depth, max_epochs=1 + int(n_epochs), **alone
        )
        regressor = final_regressor(fitted)
        seconds.append(np.median([row["dur"] for row in regressor.history_[1:]]))
        memory.append(_bytes_in_training(regressor.net_, dataset(fitted, X, y)))
        n_parameters.append(regressor.n_parameters_)
    return Bunch(
        depths=np.array(n_layers),
        seconds_per_epoch=np.array(seconds),
        memory=np.array(memory),
        n_parameters=np.array(n_parameters),
    )


def _bytes_in_training(net: StackedLSTMNet, data: SequenceDataset) -> int:
    """Count the bytes of weights, gradients, optimizer state and one step of backpropagation."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # several tensors may share one
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    batch, y = data[slice(-net.batch_size, None)]  # data are in order of length
    net.module_.train()
    generator = torch.Generator(net.device)  # for dropout, so that torch's global one stays as is
    with own_torch(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y_pred = net.infer(batch, generator=generator)
        net.get_loss(y_pred, y, X=batch, training=True)
    weights = list(net.module_.parameters())
    for values in weights:
        kept.pop(values.untyped_storage().data_ptr(), None)
    states = (value for state in net.optimizer_.state.values() for value in state.values())
    in_optimizer = sum(value.nbytes for value in states if isinstance(value, Tensor))
    return 2 * sum(values.nbytes for values in weights) + in_optimizer + sum(kept.values())
