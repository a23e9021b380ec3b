"""Fitted stacks, the data that reach them, and what their layers put out."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor, nn

from sklstm.data.targets import drop_unused
from sklstm.nn.stack import StackedLSTM
from sklstm.pipelines import final_regressor
from sklstm.regressor import StackedLSTMRegressor
from sklstm.training.batches import SequenceDataset


def fitted_clone(estimator: Any, X: Any, y: Any, **params: Any) -> Any:
    """Fit a clone whose regressor has other parameters."""
    fresh = clone(estimator)
    final_regressor(fresh).set_params(**params)
    return fresh.fit(X, y)


def training_data(regressor: StackedLSTMRegressor, X: Any, y: Any) -> SequenceDataset:
    """Prepare data as `fit` does, and sort them by length."""
    has_steps = regressor.module_.return_sequences
    sequences = regressor._check_predict_input(X)
    targets = regressor._check_scored(sequences, y)
    sequences, targets, _ = drop_unused(sequences, targets, None)
    order = np.argsort(sequences.lengths, kind="stable")
    sequences, targets = sequences[order], targets[order]
    return SequenceDataset(sequences, targets, has_steps=has_steps)


def without_dropout(module: StackedLSTM) -> StackedLSTM:
    """Copy a module for inspection; cuDNN goes backwards through LSTMs in training alone."""
    module = copy.deepcopy(module).eval()
    for part in module.modules():
        if isinstance(part, nn.LSTM):
            part.train().flatten_parameters()
    return module


def run_recorded(
    module: StackedLSTM, layers: list[nn.Module], batch: dict[str, Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Predict a batch, in standardized units, and answer with the layers' outputs, too."""
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
    """Which steps of a padded batch are there, shape (n_samples, n_timesteps)."""
    n_samples, n_steps = batch["x"].shape[:2]
    if "lengths" not in batch:
        return np.ones((n_samples, n_steps), dtype=bool)
    return np.arange(n_steps) < batch["lengths"].numpy()[:, np.newaxis]


def n_longer(lengths: NDArray[np.intp], steps: NDArray[np.intp]) -> NDArray[np.intp]:
    """Count, for each step, the sequences that have it; lengths are in rising order."""
    return len(lengths) - np.searchsorted(lengths, steps, side="right")
