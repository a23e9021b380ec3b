"""What each default of `StackedLSTMRegressor` is worth: change one of them at a time.

Prints for each set the root mean squared error with one change, divided by the error with the
defaults: the geometric mean over the seeds (three for the small sets, one for the others). Above 1
the default is better. The last columns are the geometric mean over the sets, and the processor time
of all fits divided by that with the defaults.

Every result is stored in a file. Results that are in the file are not computed again.

    python benchmarks/ablation.py
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accuracy import Results, column, fit_and_score, run
from how_deep.variants import Norm, stack_class
from sets import SETS, Task
from torch import nn

from sklstm import StackedLSTM, StackedLSTMRegressor
from sklstm.training.auto import Decision, batch_size, max_epochs
from sklstm.training.batches import SequenceDataset

SMALL = ["products-small", "threshold-small", "gas-small", "pedestrians-small"]
LARGE = ["storms", "frequency", "narma", "retail-12", "pedestrians-24"]
LARGE += [name for name in ("bike", "fd001") if name in SETS]
DEFAULT, ALL = "defaults", "all"


class Initialized(StackedLSTM):
    """A stack whose LSTM layers have other initial weights."""

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> StackedLSTM:
        """Draw the weights as usual, and then set those of the LSTM layers."""
        super().reset_parameters(generator)
        for layer in self.layers:
            self.initialize(layer, generator)
        return self

    def initialize(self, layer: nn.LSTM, generator: torch.Generator | None) -> None:
        """Set the weights of a layer."""
        raise NotImplementedError


class ForgetBias(Initialized):
    """Forget gates that start open (R. Jozefowicz et al., ICML 2015)."""

    def initialize(self, layer: nn.LSTM, generator: torch.Generator | None) -> None:
        """Set the bias of the forget gate to 1, all others to 0."""
        layer.bias_hh_l0.zero_()
        layer.bias_ih_l0.zero_().chunk(4)[1].fill_(1.0)


class Chrono(Initialized):
    """Gates whose time scales are spread over the sequence (C. Tallec and Y. Ollivier, 2018)."""

    n_timesteps = 0

    def initialize(self, layer: nn.LSTM, generator: torch.Generator | None) -> None:
        """Draw the biases of the forget gate; those of the input gate are their negatives."""
        layer.bias_hh_l0.zero_()
        entry, forget, *_ = layer.bias_ih_l0.zero_().chunk(4)
        forget.uniform_(1, max(2, self.n_timesteps - 1), generator=generator).log_()
        entry.copy_(-forget)


class Orthogonal(Initialized):
    """Recurrent weights that keep lengths (A. M. Saxe et al., 2014)."""

    def initialize(self, layer: nn.LSTM, generator: torch.Generator | None) -> None:
        """Draw an orthogonal matrix for each gate."""
        for gate in layer.weight_hh_l0.chunk(4):
            nn.init.orthogonal_(gate, generator=generator)


class Normed(StackedLSTM):
    """A stack with LayerNorm in front of each layer above the first."""

    def __init__(self, *args: Any, **parameters: Any) -> None:
        super().__init__(*args, **parameters)
        for n, layer in enumerate(self.layers[1:]):
            self.dropouts[n] = Norm(layer.input_size)

    def reset_parameters(self, generator: torch.Generator | None = None) -> StackedLSTM:
        """Draw the weights as usual, and set those of the LayerNorm."""
        super().reset_parameters(generator)
        for norm in self.dropouts[:-1]:
            norm.reset_parameters()
        return self


USUAL = {
    "skip": None,
    "pooling": "last",
    "linear_steps": None,
    "lr": 1e-3,
    "lr_schedule": "constant",
    "max_epochs": 50,
    "batch_size": 128,
    "optimizer": "adam",
    "clip_norm": None,
}

CHANGES: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "the usual choices": USUAL,
    "linear_steps=None": {"linear_steps": None},
    "the shortcut always": {"linear_steps": ALL},
    "pooling='last'": {"pooling": "last"},
    "pooling='max'": {"pooling": "max"},
    "skip=None": {"skip": None},
    "n_layers=1": {"n_layers": 1},
    "n_layers=3": {"n_layers": 3},
    "units=32": {"units": 32},
    "dropout=0.2": {"dropout": 0.2},
    "weight_decay=0": {"weight_decay": 0.0},
    "weight_decay=0.3": {"weight_decay": 0.3},
    "lr=0.003": {"lr": 0.003},
    "lr=0.03": {"lr": 0.03},
    "constant lr 0.003": {"lr": 0.003, "lr_schedule": "constant"},
    "to 0, no average": {},
    "half the epochs": {"max_epochs": 0.5},
    "twice the epochs": {"max_epochs": 2.0},
    "batch_size=16": {"batch_size": 16},
    "batch_size=128": {"batch_size": 128},
    "clip_norm=None": {"clip_norm": None},
    "early_stopping": {"early_stopping": True},
    "standardize=False": {"standardize": False},
    "bfloat16": {"precision": "bfloat16"},
    "forget bias 1": {},
    "chrono biases": {},
    "orthogonal": {},
    "LayerNorm": {},
}
MODULES = {
    "forget bias 1": ForgetBias,
    "chrono biases": Chrono,
    "orthogonal": Orthogonal,
    "LayerNorm": Normed,
}


def evaluate(change: str, seed: int, task: Task) -> dict[str, float]:
    """Fit and score an estimator with one change."""
    n_samples, n_timesteps, n_features = task.X.shape
    model = StackedLSTMRegressor(random_state=seed, **CHANGES[change])
    if model.linear_steps == ALL:
        model.linear_steps = min(n_timesteps, 512 // n_features)
    if isinstance(model.max_epochs, float):
        decision = Decision({}, SequenceDataset(task.X, np.zeros(n_samples)), seed)
        decision.values["batch_size"] = batch_size(decision)
        model.max_epochs = round(model.max_epochs * max_epochs(decision))
    Chrono.n_timesteps = n_timesteps
    schedule = {"END_PART": 1e-5, "AVERAGED_PART": 0} if change == "to 0, no average" else {}
    with (
        stack_class(MODULES.get(change, StackedLSTM)),
        patch.multiple("sklstm.training.callbacks", **schedule) if schedule else nullcontext(),
    ):
        return fit_and_score(model, task)


def ratios(results: Results, name: str, change: str) -> float:
    """Geometric mean of the errors over those of the defaults."""
    errors, defaults = (column(results, name, model, "rmse") for model in (change, DEFAULT))
    return float(np.exp(np.mean(np.log(errors / defaults))))


def print_table(results: Results, changes: list[str], names: list[str]) -> None:
    print(f"{'':20}" + "".join(f"{name[:9]:>11}" for name in [*names, "mean", "seconds"]))
    for change in changes:
        worth = [ratios(results, name, change) for name in names]
        seconds = [
            sum(column(results, name, model, "seconds").sum() for name in names)
            for model in (change, DEFAULT)
        ]
        row = [*worth, float(np.exp(np.mean(np.log(worth)))), seconds[0] / seconds[1]]
        print(f"{change:20}" + "".join(f"{value:11.2f}" for value in row))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--results", type=Path, default=Path("ablation.jsonl"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    jobs = [(name, seed) for name in SMALL for seed in (0, 1, 2)] + [(name, 0) for name in LARGE]
    results = run(arguments.changes, jobs, arguments.results, evaluate)
    if DEFAULT in arguments.changes:
        print_table(results, arguments.changes[1:], [*SMALL, *LARGE])


if __name__ == "__main__":
    main()
