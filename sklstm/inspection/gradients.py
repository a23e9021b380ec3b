"""The gradient that reaches each layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch

from sklstm.pipelines import final_regressor
from sklstm.training.batches import PREDICT_ROWS, Batches, SequenceDataset
from sklstm.training.net import StackedLSTMNet
from sklstm.training.runtime import own_torch

from .stacks import dataset, fitted_clone, n_longer, present_steps, run_recorded, without_dropout


def gradient_flow(estimator: Any, X: Any, y: Any) -> Bunch:
    """Measure the gradient of the loss that reaches each layer and each step.

    A fitted estimator is measured at its weights. Another one is measured at the weights that `fit`
    starts with, which shows vanishing gradients [1]_ before time is spent on a fit.

    Parameters
    ----------
    estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
        Fitted or not; a pipeline ends in a `StackedLSTMRegressor`.

    X : array-like or list of array-like
        Sequences, as for `fit`.

    y : array-like or list of array-like
        Targets, as for `fit`.

    Returns
    -------
    sklearn.utils.Bunch
        With these attributes:

        weights : ndarray of shape (n_layers,)
            Euclidean norm of the gradient of the loss with respect to the weights and
            biases of each LSTM layer. The loss is the training loss over all samples, on
            the standardized target, without dropout.
        outputs : ndarray of shape (n_layers, n_steps)
            Euclidean norm of the gradient of a sequence's loss with respect to the output of each
            LSTM layer at each step: the mean over the sequences that have the step. Sequences are
            aligned at their ends: the last column is the last step of every one, the first column
            the first step of the longest. The top layer has a gradient only at the steps that
            `pooling` reads.

    Raises
    ------
    TypeError
        If the estimator is of another kind.
    ValueError
        If X and y are not as for `fit`, or unlike those of the fit.

    References
    ----------
    .. [1] Y. Bengio, P. Simard and P. Frasconi, "Learning long-term dependencies with
       gradient descent is difficult", IEEE Transactions on Neural Networks 5(2), 1994.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm.inspection import gradient_flow
    >>> X = np.random.default_rng(0).normal(size=(100, 20, 1))
    >>> plain = StackedLSTMRegressor(n_layers=8, units=8, skip=None, random_state=0)
    >>> flow = gradient_flow(plain, X, X[:, -1, 0])
    >>> bool(flow.weights[0] < 0.01 * flow.weights[-1])
    True
    """
    if not hasattr(final_regressor(estimator), "net_"):
        estimator = fitted_clone(estimator, X, y, max_epochs=0, callbacks=None, verbose=0)
    net = final_regressor(estimator).net_
    data = dataset(estimator, X, y)
    with own_torch():
        return _gradient_norms(net, data)


def _gradient_norms(net: StackedLSTMNet, data: SequenceDataset) -> Bunch:
    module = without_dropout(net.module_)
    lengths = data.X.lengths
    longest = int(lengths[-1])
    weights: list[Any] = [0.0 for _ in module.layers]
    outputs = np.zeros((len(weights), longest))
    for batch, y in Batches(data, min(net.batch_size, PREDICT_ROWS)):
        present = present_steps(batch)
        first = longest - present.shape[1]
        y_pred, sequences = run_recorded(module, list(module.layers), batch)
        loss = net.get_loss(y_pred, y, X=batch) * len(y)  # the sum over the sequences
        gradients = iter(torch.autograd.grad(loss, [*module.layers.parameters(), *sequences]))
        for i, layer in enumerate(module.layers):
            parts = [next(gradients).double().flatten() for _ in layer.parameters()]
            weights[i] += torch.cat(parts)
        for i, gradient in enumerate(gradients):
            norms = torch.linalg.vector_norm(gradient.double(), dim=2).cpu().numpy()
            aligned = np.zeros_like(norms)  # at the ends of the sequences, after zeros
            aligned[present[:, ::-1]] = norms[present]
            outputs[i, first:] += aligned.sum(axis=0)
    return Bunch(
        weights=np.array([float(total.norm()) for total in weights]) / len(lengths),
        outputs=outputs / n_longer(lengths, np.arange(longest)[::-1]),
    )
