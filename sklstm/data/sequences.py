"""`Sequences`: sequences of any lengths over one array, which is neither copied nor loaded."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

# Bytes, as float64, that are read at a time. Blocks of 0.25 to 128 MiB were measured to be equally
# fast, and this one fits the cache of most processors.
BLOCK_BYTES = 2 * 2**20
# Sequences at random places of a file that are read before its pages go back to the system. Linux
# may map 2 MB with each of them, so these are 128 MB at most.
SCATTERED = 64
# Modes of a memory map in which all that was written to it is in the file.
SHARED = {"r", "r+", "w+"}
Indices = NDArray[np.intp]
Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Sequences:
    """Sequences of any lengths, over an array that is not copied.

    Sequence ``i`` is `spans[i]` steps of ``values[rows[i]]``, from step `firsts[i]` on:
    `leading[i]` missing ones, `lengths[i]` present ones, and missing ones again.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_steps, n_features)
        Any dtype, strides and storage: only what a batch needs is ever read.

    rows, firsts, spans, leading, lengths : ndarray of shape (n_samples,)
        Where the sequences are.
    """

    values: NDArray[Any]
    rows: Indices
    firsts: Indices
    spans: Indices
    leading: Indices
    lengths: Indices

    @classmethod
    def equal(cls, values: NDArray[Any]) -> Sequences:
        """Take the rows of a 3-D array as sequences of equal length."""
        n_samples, n_steps, _ = values.shape
        # One number each that is seen n_samples times.
        zeros, steps = (np.broadcast_to(np.intp(n), n_samples) for n in (0, n_steps))
        return cls(values, np.arange(n_samples), zeros, steps, zeros, steps)

    @classmethod
    def joined(cls, arrays: Sequence[NDArray[Any]]) -> Sequences:
        """Take 2-D arrays as a sequence each, joined along time."""
        spans = np.array([len(array) for array in arrays])
        values = np.concatenate(arrays)
        if (spans == spans[0]).all():
            return cls.equal(values.reshape(len(spans), spans[0], -1))
        zeros = np.broadcast_to(np.intp(0), len(spans))
        return cls(values[np.newaxis], zeros, np.cumsum(spans) - spans, spans, zeros, spans)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Sequences:
        return Sequences(
            self.values,
            self.rows[index],
            self.firsts[index],
            self.spans[index],
            self.leading[index],
            self.lengths[index],
        )

    @property
    def n_features(self) -> int:
        return int(self.values.shape[2])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def are_equal(self) -> bool:
        """Whether all have the same length."""
        return bool((self.lengths == self.lengths[0]).all())

    @cached_property
    def are_rows(self) -> bool:
        """Whether each is a whole row of the values."""
        return bool((self.lengths == self.values.shape[1]).all())

    def batch(self, index: Any) -> tuple[NDArray[Any], Indices | None]:
        """Copy some of them, padded, and return their lengths unless these are equal.

        The array has shape (n_samples, longest, n_features). The last step of a shorter sequence
        is repeated.
        """
        if self.are_rows:
            return self.values[self.rows[index]], None
        part = self[index]
        longest = np.arange(part.lengths.max())
        steps = np.minimum(longest, part.lengths[:, np.newaxis] - 1)
        starts = part.firsts + part.leading
        padded = part._at(part.rows[:, np.newaxis], starts[:, np.newaxis] + steps)
        return padded, None if part.are_equal else part.lengths

    def steps(self) -> NDArray[Any]:
        """Copy the present steps of one sequence after the other, shape (n_steps, n_features)."""
        if self.are_rows:
            return self.values[self.rows].reshape(-1, self.n_features)
        rows = np.repeat(self.rows, self.lengths)
        return self._at(rows, ranges(self.firsts + self.leading, self.lengths))

    def draw(
        self, n_samples: int, rng: np.random.Generator
    ) -> tuple[Indices, NDArray[Any], Indices]:
        """Draw some at random: their numbers in rising order, their `steps` and their lengths."""
        drawn = np.sort(rng.choice(len(self), n_samples, replace=False))
        parts = np.split(drawn, range(SCATTERED, n_samples, SCATTERED))
        steps = [self[part].steps() for part in releasing(self.values, parts)]
        return drawn, np.concatenate(steps), self.lengths[drawn]

    def blocks(self) -> Iterator[slice]:
        """Slices of the sequences that hold `BLOCK_BYTES`, or one sequence.

        Pages of a memory map are given back after each of them.
        """
        step_bytes = 8 * max(1, self.n_features)
        if self.are_rows:
            size = BLOCK_BYTES // (step_bytes * self.values.shape[1])
            return releasing(self.values, slices(len(self), size))
        ends = np.cumsum(self.lengths) * step_bytes
        parts, first = [], 0
        while first < len(self):
            before = ends[first - 1] if first else 0
            last = int(np.searchsorted(ends, before + BLOCK_BYTES, side="right"))
            last = max(first + 1, last)
            parts.append(slice(first, last))
            first = last
        return releasing(self.values, parts)

    def _at(self, rows: Indices, steps: Indices) -> NDArray[Any]:
        if not self.values.flags.c_contiguous:
            return self.values[rows, steps]
        _, n_steps, n_features = self.values.shape
        return self.values.reshape(-1, n_features).take(rows * n_steps + steps, axis=0)


def ranges(starts: Indices, lengths: Indices) -> Indices:
    """Join ``arange(start, start + length)`` for each start and length."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1])


def slices(n: int, size: int) -> Iterator[slice]:
    """Cut `n` samples into slices of `size`, or of one sample."""
    size = max(1, size)
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def releasing(values: Any, parts: Iterable[Part], every: int = 1) -> Iterator[Part]:
    """Yield the parts, and give pages of a memory map back after each, or after `every` of them.

    Pages of a file that was read count as memory of the process until the system needs them:
    after one pass over a file of 1 GB, 1 GB. What watches processes, such as dask, ends them for
    that. Without a memory map below `values`, nothing is done but to yield the parts.
    """
    pages = _pages(values)
    for n_read, part in enumerate(parts, start=1):
        yield part
        if pages is not None and n_read % every == 0:
            with suppress(OSError):  # locked pages stay
                pages.madvise(mmap.MADV_DONTNEED)


def _pages(values: Any) -> mmap.mmap | None:
    """Return the memory map below an array, if what was written to it is in the file."""
    while isinstance(values, np.ndarray):
        if isinstance(values, np.memmap):
            shared = values.mode in SHARED and hasattr(mmap, "MADV_DONTNEED")
            return values._mmap if shared else None  # type: ignore[attr-defined]
        values = values.base
    return None
