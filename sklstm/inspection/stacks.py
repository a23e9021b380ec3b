"""Shared by the measurements: a fitted clone, the data as a fit prepares them, recorded outputs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn

from sklstm.data.targets import drop_unused
from sklstm.nn.stack import StackedLSTM
from sklstm.pipelines import final_regressor, transform_X, transform_y
from sklstm.training.batches import SequenceDataset


def fitted_clone(estimator: Any, X: Any, y: Any, **params: Any) -> Any:
    """Fit a clone whose regressor has other parameters."""
    fresh = clone(estimator)
    final_regressor(fresh).set_params(**params)
    return fresh.fit(X, y)


def dataset(estimator: Any, X: Any, y: Any = None) -> SequenceDataset:
    """Check X, and y if it is given, as the fitted regressor does, and sort them by length.

    X and y are those of a pipeline that may stand around the regressor.
    """
    regressor = final_regressor(estimator)
    sequences, targets = regressor._check_inputs(transform_X(estimator, X)), None
    if y is not None:
        targets = regressor._check_targets(sequences, transform_y(estimator, y))
        sequences, targets, _ = drop_unused(sequences, targets, None)
    order = np.argsort(sequences.lengths, kind="stable")
    if targets is not None:
        targets = targets[order]
    return SequenceDataset(sequences[order], targets, has_steps=regressor.module_.return_sequences)


def without_dropout(module: StackedLSTM) -> StackedLSTM:
    """Copy a module in evaluation mode, but for its LSTMs.

    cuDNN computes gradients of LSTMs in training mode only.
    """
    module = copy.deepcopy(module).eval()
    for part in module.modules():
        if isinstance(part, nn.LSTM):
            part.train().flatten_parameters()
    return module


def run_recorded(
    module: StackedLSTM, layers: list[nn.Module], batch: dict[str, Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the predictions for a batch, in standardized units, and the outputs of layers."""
    outputs: list[Tensor] = []

    def record(_layer: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(output if isinstance(output, Tensor) else output[0])

    device = next(module.parameters()).device
    inputs = {name: batch[name].to(device) for name in ("x", "lengths") if name in batch}
    hooks = [layer.register_forward_hook(record) for layer in layers]
    y = module(**inputs, scaled=True)
    for hook in hooks:
        hook.remove()
    return y, outputs


def present_steps(batch: dict[str, Tensor]) -> NDArray[np.bool_]:
    """Return which steps of a padded batch exist, shape (n_samples, n_timesteps)."""
    n_samples, n_steps = batch["x"].shape[:2]
    if "lengths" not in batch:
        return np.ones((n_samples, n_steps), dtype=bool)
    return np.arange(n_steps) < batch["lengths"].numpy()[:, np.newaxis]


def n_longer(lengths: NDArray[np.intp], steps: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count, for each step, the sequences that have it; the lengths are in rising order."""
    return len(lengths) - np.searchsorted(lengths, steps, side="right")
