"""The gradient that reaches each layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import Bunch
from torch import Tensor

from sklstm.nn.stack import StackedLSTM
from sklstm.pipelines import final_regressor, reaching, targets_reaching
from sklstm.training.batches import PREDICT_ROWS, Batches, SequenceDataset
from sklstm.training.net import StackedLSTMNet
from sklstm.training.threads import own_torch

from .stacks import (
    fitted_clone,
    n_longer,
    present_steps,
    run_recorded,
    training_data,
    without_dropout,
)


def gradient_flow(estimator: Any, X: Any, y: Any) -> Bunch:
    """Measure the gradient of the loss that reaches each layer and each step.

    A fitted estimator is measured at its weights, another one at those that `fit` would
    start with, which shows gradients that vanish [1]_ before a fit is wasted on them.

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
            Euclidean norm of the gradient of a sequence's loss with respect to each
            layer's own output at each step, the mean over the sequences that have the
            step. Sequences are aligned at their ends: the last column is the last step
            of every one, the first column the first step of the longest. It is the
            gradient of what a layer hands up: the top layer has none but at the steps
            that `pooling` reads.

    Raises
    ------
    TypeError
        If the estimator is of another kind.
    ValueError
        If X and y are not as for `fit`, or not as they were in the fit.

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
    regressor = final_regressor(estimator)
    data = training_data(regressor, reaching(estimator, X), targets_reaching(estimator, y))
    with own_torch():
        return _gradient_norms(regressor.net_, data)


def _gradient_norms(net: StackedLSTMNet, data: SequenceDataset) -> Bunch:
    module = without_dropout(net.module_)
    lengths = data.X.lengths
    longest = int(lengths[-1])
    weights: list[Any] = [0.0 for _ in module.layers]
    outputs = np.zeros((len(weights), longest))
    for batch, y in Batches(data, min(net.batch_size, PREDICT_ROWS)):
        present = present_steps(batch)
        first = longest - present.shape[1]
        for i, (of_weights, of_output) in enumerate(_gradients(net, module, batch, y)):
            weights[i] += of_weights
            norms = torch.linalg.vector_norm(of_output.double(), dim=2).cpu().numpy()
            outputs[i, first:] += _aligned_at_end(norms, present).sum(axis=0)
    return Bunch(
        weights=np.array([float(total.norm()) for total in weights]) / len(lengths),
        outputs=outputs / n_longer(lengths, np.arange(longest)[::-1]),
    )


def _gradients(
    net: StackedLSTMNet, module: StackedLSTM, batch: dict[str, Tensor], y: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """Gradients of the sum of a batch's losses: of each layer's weights, and of its output."""
    y_pred, outputs = run_recorded(module, list(module.layers), batch)
    loss = net.get_loss(y_pred, y, X=batch) * len(y)
    gradients = iter(torch.autograd.grad(loss, [*module.layers.parameters(), *outputs]))
    of_weights = [
        torch.cat([next(gradients).double().flatten() for _ in layer.parameters()])
        for layer in module.layers
    ]
    return list(zip(of_weights, gradients, strict=True))


def _aligned_at_end(values: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[Any]:
    """Shift the present values of each row to its end, after zeros."""
    aligned = np.zeros_like(values)
    aligned[present[:, ::-1]] = values[present]
    return aligned
