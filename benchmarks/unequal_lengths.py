"""What sequences of unequal length cost in training.

Compares the time of `fit` on sequences of 10 to 100 steps (uniform) with that of `fit` on as many
sequences of equal length with as many steps in total, and with that of the same estimator whose
layers read packed sequences. Prints the medians of the ratios of paired runs, after one run that
does not count, and the largest difference between the predictions of the padded and the packed
model.

    python benchmarks/unequal_lengths.py
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from how_deep.variants import stack_class
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from sklstm import StackedLSTM, StackedLSTMRegressor

N_SAMPLES, N_FEATURES = 2000, 4


class PackedLSTM(StackedLSTM):
    """The same stack; each layer reads a packed sequence."""

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        scaled: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict as the parent does, one layer after the other."""
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[1])
        sequence = pack_padded_sequence(
            self.scale_inputs(x), lengths, batch_first=True, enforce_sorted=False
        )
        for layer in self.layers:
            sequence, (final, _) = layer(sequence)
        y = self.head(final[-1])
        return y if scaled else self.unscale(y)


def make_data() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Make sequences of unequal length, and of equal length with as many steps in total."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 101, size=N_SAMPLES)
    steps = rng.normal(size=(lengths.sum(), N_FEATURES)).astype(np.float32)
    unequal = np.split(steps, np.cumsum(lengths)[:-1])
    return unequal, np.array_split(steps[: N_SAMPLES * (len(steps) // N_SAMPLES)], N_SAMPLES)


def seconds(model: StackedLSTMRegressor, X: list[np.ndarray], y: np.ndarray) -> float:
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    unequal, equal = make_data()
    y = np.array([x[-5:, 0].mean() for x in unequal], dtype=np.float32)
    print(f"{arguments.threads} thread(s), {N_SAMPLES} sequences, batches of 64, 5 epochs")
    print("layers  units   seconds   unequal : equal   packed : unequal   difference")
    for n_layers, units in [(1, 16), (2, 16), (1, 64), (2, 64), (2, 128)]:
        model = StackedLSTMRegressor(
            n_layers,
            units,
            skip=None,
            pooling="last",
            linear_steps=None,
            batch_size=64,
            max_epochs=5,
            random_state=0,
        )
        times = []
        for _ in range(arguments.repeats + 1):
            run = [seconds(model, equal, y), seconds(model, unequal, y)]
            padded = model.predict(unequal[:200])
            with stack_class(PackedLSTM):
                run.append(seconds(model, unequal, y))
                packed = model.predict(unequal[:200])
            times.append(run)
        ratios = [(own / same, packs / own) for same, own, packs in times[1:]]
        to_equal, to_packed = (median(column) for column in zip(*ratios, strict=True))
        own = median(run[1] for run in times[1:])
        difference = np.abs(packed - padded).max()
        print(
            f"{n_layers:6}{units:7}{own:10.2f}{to_equal:18.2f}{to_packed:19.2f}{difference:13.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
