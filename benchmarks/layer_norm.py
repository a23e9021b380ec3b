"""Whether a LayerNorm in front of each layer above the first should be the default.

Fits stacks with residual skip connections, with and without the LayerNorm, with the defaults: the
depth sets (`depth_sets.py`) with 2 and 4 layers of 32 units, and those of the accuracy benchmark
(`sets.py`) that are quickly fitted with 2 layers of 64. Prints the error on new data with the
LayerNorm over the error without, the geometric mean over the seeds, in how many of the seeds it is
lower, and the ratio of the processor seconds.

    python benchmarks/layer_norm.py
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np
import sets as accuracy_sets
import torch
from depth_sets import SETS
from how_deep.variants import Norm, stack_class
from numpy.typing import NDArray
from torch import nn

from sklstm import StackedLSTM, StackedLSTMRegressor

QUICK = (
    *("products-small", "threshold-small", "gas-small", "pedestrians-small"),
    *("early-pulse", "frequency", "narma", "retail-12"),
)


class Normed(StackedLSTM):
    """x + f(LayerNorm(x)) for every layer above the first."""

    def __init__(self, *args: Any, **parameters: Any) -> None:
        super().__init__(*args, **parameters)
        for n, layer in enumerate(self.layers[1:]):  # in the place of a dropout of 0
            self.dropouts[n] = Norm(layer.input_size, dtype=self.dtype)

    def reset_parameters(self, generator: torch.Generator | None = None) -> StackedLSTM:
        """Draw fresh weights; a LayerNorm begins as the identity."""
        super().reset_parameters(generator)
        for part in self.dropouts:
            if isinstance(part, nn.LayerNorm):
                part.reset_parameters()
        return self


def error_and_seconds(
    variant: type[StackedLSTM], task: Any, n_layers: int, units: int, seed: int
) -> tuple[float, float]:
    start = time.process_time()
    with stack_class(variant), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = StackedLSTMRegressor(n_layers, units, random_state=seed).fit(task.X, task.y)
    seconds = time.process_time() - start
    return float(np.sqrt(np.mean((model.predict(task.X_test) - task.y_test) ** 2))), seconds


def row(name: str, tasks: list[Any], n_layers: int, units: int) -> NDArray[np.float64]:
    """Print a set, and return the mean logarithms of the ratios of errors and of seconds."""
    ratios = []
    for seed, task in enumerate(tasks):
        normed = error_and_seconds(Normed, task, n_layers, units, seed)
        ratios.append(
            np.divide(normed, error_and_seconds(StackedLSTM, task, n_layers, units, seed))
        )
    lower = sum(error < 1 for error, _ in ratios)
    logs = np.log(ratios).mean(axis=0)
    error, seconds = np.exp(logs)
    print(f"{name:20}{n_layers:7}{error:14.3f}{lower:7} of {len(tasks)}{seconds:9.2f}", flush=True)
    return logs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--sets", nargs="+", default=[*SETS, *QUICK])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("set                  layers   error ratio  lower in   time")
    means: dict[str, list[NDArray[np.float64]]] = {"depth sets": [], "accuracy sets": []}
    for name in arguments.sets:
        if name in SETS:
            tasks = [SETS[name].make(seed) for seed in range(arguments.seeds)]
            means["depth sets"] += [row(name, tasks, n_layers, 32) for n_layers in (2, 4)]
        else:
            tasks = [accuracy_sets.SETS[name](seed) for seed in range(arguments.seeds)]
            means["accuracy sets"].append(row(name, tasks, 2, 64))
    for kind, logs in means.items():
        if logs:
            error, seconds = np.exp(np.mean(logs, axis=0))
            print(f"{kind:20}{'':7}{error:14.3f}{'':12}{seconds:9.2f}")


if __name__ == "__main__":
    main()
