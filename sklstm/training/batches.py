"""Mini-batches of sequences, read a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sklstm.data.sequences import SCATTERED, Sequences, releasing
from sklstm.data.targets import is_full, n_labels

# Most numbers in a batch that is read in order, 32 MiB in float64.
MOST_NUMBERS = 2**22
# Mini-batches in a pool of sequences that are sorted by length: enough to waste little on padding,
# and few enough to leave the order random.
POOL = 32
# Samples in a batch of the validation loss.
PREDICT_ROWS = 256

# Rows of a batch to predict are filled up to a multiple of the first number, and beyond `FEW_ROWS`
# to a multiple of the second: then oneDNN rounds each sequence alike whatever is beside it. It
# treats one row alone differently from two, and, on processors with AVX but without AVX2, 98 to
# 126 rows differently from others (benchmarks/batch_bits.py).
ROWS, FEW_ROWS, MANY_ROWS = 2, 96, 32
# Rows of a block to predict: its layers' outputs are at most this many numbers (2 MiB in float32),
# which stay in the cache of a core; but not fewer and not more rows than these.
IN_CACHE, FEWEST_BLOCK_ROWS, MOST_BLOCK_ROWS = 2**19, 128, 1024
# Above this product of rows and units, oneDNN uses another matrix product with AVX.
ROWS_TIMES_UNITS = 2**16
# 30 / 79 of 79 samples is 30 + 4e-15: relative rounding that must not hold out one more.
ROUNDING = 1e-12


class SequenceDataset(Dataset[Any]):
    """Sequences, targets and weights, indexed a batch at a time.

    Parameters
    ----------
    X : Sequences or ndarray of shape (n_samples, n_timesteps, n_features)
        Inputs.

    y : Sequences or ndarray of shape (n_samples,) or (n_samples, n_outputs), default=None
        Targets, unscaled; NaN is no label.

    sample_weight : ndarray of shape (n_samples,), default=None
        Weights; only their ratios matter.

    has_steps : bool, default=False
        Whether y has targets for each step of X, rather than for each sample.

    is_table : bool, default=False
        Whether X was 2-D: then its steps are columns, which may be different quantities.

    Attributes
    ----------
    validation : SequenceDataset or None
        What to measure the validation loss on, where that is no part of these samples.
    """

    def __init__(
        self,
        X: Sequences | NDArray[Any],
        y: Sequences | NDArray[Any] | None = None,
        sample_weight: NDArray[np.float64] | None = None,
        has_steps: bool = False,
        is_table: bool = False,
    ) -> None:
        self.validation: SequenceDataset | None = None
        self.X = X if isinstance(X, Sequences) else Sequences.equal(X)
        self.has_steps = has_steps
        self.is_table = is_table
        self.y = y if isinstance(y, Sequences) else _single_steps(y, len(X))
        self.sample_weight = sample_weight
        self.label_weight = None if y is None else _label_weight(self.y, sample_weight)

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, index: Any) -> tuple[dict[str, Tensor], Tensor]:
        inputs = inputs_of(self.X, index)
        if self.label_weight is not None:
            inputs["label_weight"] = _tensor(self.label_weight[index])
        y, lengths = self.y.batch(index)
        return inputs, _targets(y, lengths) if self.has_steps else _tensor(y[:, 0])

    def split(self, n_head: int) -> tuple[SequenceDataset, SequenceDataset]:
        """Return the first `n_head` samples, and the rest in the order of their lengths."""
        rest = n_head + np.argsort(self.X.lengths[n_head:], kind="stable")
        return self.part(slice(None, n_head)), self.part(rest)

    def part(self, part: Any) -> SequenceDataset:
        """Return some of the samples."""
        weight = None if self.sample_weight is None else self.sample_weight[part]
        return SequenceDataset(self.X[part], self.y[part], weight, self.has_steps, self.is_table)


def inputs_of(X: Sequences, index: Any) -> dict[str, Tensor]:
    """Gather some sequences for the module: `x`, and `lengths` where they differ."""
    x, lengths = X.batch(index)
    if lengths is None:
        return {"x": _tensor(x)}
    return {"x": _tensor(x), "lengths": torch.from_numpy(lengths)}


def rows_in_block(n_steps: int, n_units: int) -> int:
    """Return the rows of a block to predict; `n_units` are those of the widest layer."""
    n_rows = max(FEWEST_BLOCK_ROWS, IN_CACHE // (n_steps * n_units))
    n_rows = min(n_rows, MOST_BLOCK_ROWS, max(1, ROWS_TIMES_UNITS // n_units))
    multiple = ROWS if n_rows <= FEW_ROWS else MANY_ROWS
    return max(ROWS, n_rows // multiple * multiple)


def filled_up(values: Tensor) -> Tensor:
    """Fill a batch up with its first row, to a number of rows that changes no bit of the others."""
    n_rows = len(values)
    n_missing = -n_rows % (ROWS if n_rows <= FEW_ROWS else MANY_ROWS)
    if not n_missing:
        return values
    return torch.cat([values, values[:1].expand(n_missing, *values.shape[1:])])


def blocks_in_order(X: Sequences, n_rows: int) -> Iterator[slice]:
    """Yield slices of `n_rows` sequences, or fewer that have at most `MOST_NUMBERS` numbers."""
    return releasing(X.values, _blocks_in_order(X, n_rows))


def _blocks_in_order(X: Sequences, n_rows: int) -> Iterator[slice]:
    for start in range(0, len(X), n_rows):
        stop = min(start + n_rows, len(X))
        row = int(X.lengths[start:stop].max()) * X.n_features
        n_fit = max(ROWS, MOST_NUMBERS // row // ROWS * ROWS)
        for first in range(start, stop, n_fit):
            yield slice(first, min(first + n_fit, stop))


def _single_steps(y: NDArray[Any] | None, n_samples: int) -> Sequences:
    targets = np.empty((n_samples, 0)) if y is None else y.reshape(n_samples, -1)
    return Sequences.equal(targets[:, np.newaxis])


def _label_weight(
    y: Sequences, sample_weight: NDArray[np.float64] | None
) -> NDArray[np.float64] | None:
    """Weigh samples such that a batch's loss is their mean and each label counts the same.

    `None` where a plain mean over the labels of a batch is that already.
    """
    if sample_weight is None and is_full(y):
        return None
    counts = n_labels(y)
    if sample_weight is None:
        return np.full(len(y), 1 / counts.mean())
    return sample_weight / (sample_weight * counts).mean()


def _targets(padded: NDArray[Any], lengths: NDArray[np.intp] | None) -> Tensor:
    y = _tensor(padded)
    if lengths is None:
        return y
    missing = np.arange(padded.shape[1]) >= lengths[:, np.newaxis]
    return y.masked_fill(torch.from_numpy(missing).unsqueeze(2), torch.nan)


def _tensor(values: NDArray[Any]) -> Tensor:
    single = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    return torch.from_numpy(np.ascontiguousarray(values, np.float32 if single else np.float64))


class Batches:
    """Iterate over a dataset in its order, or at random as a generator draws.

    At random, sequences of unequal length share a batch with others of like length. In
    order, batches are smaller where the sequences are long: at most `MOST_NUMBERS` numbers.
    """

    def __init__(self, dataset: SequenceDataset, batch_size: int, shuffle: bool = False) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator: torch.Generator | None = None

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        for batch in self._shuffled() if self.shuffle else self._in_order():
            yield self.dataset[batch]

    def _in_order(self) -> Iterator[slice]:
        return blocks_in_order(self.dataset.X, self.batch_size)

    def _shuffled(self) -> Iterator[NDArray[np.intp]]:
        every = max(1, SCATTERED // self.batch_size)
        return releasing(self.dataset.X.values, self._at_random(), every)

    def _at_random(self) -> list[NDArray[np.intp]]:
        lengths = self.dataset.X.lengths
        order = torch.randperm(len(lengths), generator=self.generator).numpy()
        if self.dataset.X.are_equal:
            return np.split(order, range(self.batch_size, len(order), self.batch_size))
        return _batches_of_like_length(order, lengths, self.batch_size, self.generator)


def _batches_of_like_length(
    order: NDArray[np.intp],
    lengths: NDArray[np.intp],
    batch_size: int,
    generator: torch.Generator | None,
) -> list[NDArray[np.intp]]:
    """Sort pools of an order by length, and cut them into batches, in an order of their own.

    Which of the batches is the one that is not full is drawn, too.
    """
    pools = np.split(order, range(POOL * batch_size, len(order), POOL * batch_size))
    order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    n_batches = math.ceil(len(order) / batch_size)
    sizes = np.full(n_batches, batch_size)
    not_full = int(torch.randint(n_batches, (1,), generator=generator))
    sizes[not_full] -= n_batches * batch_size - len(order)
    batches = np.split(order, np.cumsum(sizes)[:-1])
    return [batches[i] for i in torch.randperm(n_batches, generator=generator).tolist()]


class TailSplit:
    """Hold out the last part of the data: overlapping windows leak into a random split.

    Parameters
    ----------
    held_out : float, int or None
        Fraction of the samples, rounded up, or their number; `None` holds out none. Data that
        come with validation data of their own are left whole.
    """

    def __init__(self, held_out: float | None) -> None:
        self.held_out = held_out

    def __call__(
        self, dataset: SequenceDataset, y: Any = None
    ) -> tuple[SequenceDataset, SequenceDataset | None]:
        if dataset.validation is not None:
            by_length = np.argsort(dataset.validation.X.lengths, kind="stable")
            return dataset, dataset.validation.part(by_length)
        if self.held_out is None:
            return dataset, None
        n_samples, held_out = len(dataset), self.held_out
        if isinstance(held_out, Integral):
            n_tail = int(held_out)
        elif 0 < held_out < 1:
            n_tail = math.ceil(held_out * n_samples * (1 - ROUNDING))
        else:
            raise ValueError(
                f"validation_fraction={held_out!r} must be in (0, 1), or an int of samples."
            )
        if n_tail >= n_samples:
            raise ValueError(
                f"early_stopping with validation_fraction={held_out} leaves nothing to "
                f"train on: n_samples={n_samples}."
            )
        return dataset.split(n_samples - n_tail)
