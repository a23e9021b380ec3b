"""Sequences that were padded with a value: the model would read it as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklstm.exceptions import SequenceDataWarning, warn

from .sequences import Sequences, ranges

# Numbers that are looked at: enough to tell, and a few hundredths of a second.
MOST_NUMBERS = 2**18
# Steps among which different numbers are counted: sorting more takes longer than all the rest.
MOST_TO_SORT = 2**12
# The same value at the end of few sequences is chance, and padding differs in length.
FEWEST_PADDED, SMALLEST_SHARE, FEWEST_LENGTHS = 5, 0.1, 3
# Different numbers among the data. Where they are fewer, as in states and codes, one more may be
# data, too; a negative one beside numbers of things less so.
FEWEST_NUMBERS, FEWEST_NUMBERS_FOR_NEGATIVE = 10, 3
# Distance of the value from all data, in ranges of the middle 98 % of the data, from which on it is
# none of them. People pad with zero and negative numbers; others must stand out more.
FAR, VERY_FAR = 0.5, 3.0
# Near the data, a value is padding if data do not lead up to it, as to a plateau: the steps next
# to it are at least half as far from it as others, and in at most three quarters of the
# sequences nearer than the step before.
NEXT_TO_OTHERS, LEADING_UP = 0.5, 0.75
# In windows over one series the first row of which was repeated, the steps next to it are the same
# ones again and again. After padding they differ in most sequences, or there are many of them.
MOST_NEXT, LARGEST_SHARE_ALIKE, MANY_DIFFERENT = 8, 0.5, 100


@dataclass(frozen=True)
class Padding:
    """A value at one end of sequences: at the end, or else at the start.

    `n_padded` of the `n_seen` sequences that were looked at have it there.
    """

    value: float
    n_padded: int
    n_seen: int
    at_end: bool


def warn_of_padding(X: Sequences, *, in_rows: bool) -> None:
    """Warn where sequences, without missing steps, look as if they were padded with a value.

    Whether X was 2-D, `in_rows`, decides the line of code that makes the steps missing.
    """
    found = find_padding(X)
    if found is None:
        return
    value, end = repr(found.value).removesuffix(".0"), "last" if found.at_end else "first"
    drawn = f" {found.n_seen:,} drawn at random from" if found.n_seen < len(X) else ""
    to_3d = f".reshape(len(X), -1, {X.n_features})" if in_rows else ""
    warn(
        f"X looks padded with {value}: {found.n_padded:,} of{drawn} {len(X):,} sequences have it "
        f"at all features of their {end} steps, unequally many, and nowhere else. "
        "The model reads these steps as data. If they are padding, make them missing: "
        f"X = np.where(X == {value}, np.nan, X){to_3d}, or leave them out of a list of sequences.",
        SequenceDataWarning,
    )


def find_padding(X: Sequences) -> Padding | None:
    """Find a value with which sequences look padded, or return `None`.

    It stands at all features of the last steps, or of the first ones, of a good share of the
    sequences; these runs differ in length; it is nowhere else; and data do not lead up to it.
    Some sequences, drawn at random, are looked at: at most `MOST_NUMBERS` numbers.
    """
    n_samples = min(len(X), int(MOST_NUMBERS / (X.lengths.mean() * X.n_features)))
    too_few = n_samples < FEWEST_PADDED or X.lengths.max() < FEWEST_LENGTHS
    if too_few or X.dtype.kind == "b":
        return None
    _, steps, lengths = X.draw(n_samples, np.random.default_rng(0))
    for at_end in (True, False):
        found = _find_at_end(steps, lengths) if at_end else _find_at_end(steps[::-1], lengths[::-1])
        if found is not None:
            value, n_padded = found
            return Padding(value, n_padded, len(lengths), at_end)
    return None


def _find_at_end(steps: NDArray[Any], lengths: NDArray[np.intp]) -> tuple[float, int] | None:
    """Return the value at the ends of sequences and their number, if it looks like padding."""
    enough = max(FEWEST_PADDED, math.ceil(SMALLEST_SHARE * len(lengths)))
    ends = np.cumsum(lengths)
    # The most common value among last steps that are one value at all features.
    last = steps[ends - 1]
    different, counts = np.unique(last[(last == last[:, :1]).all(axis=1), 0], return_counts=True)
    if counts.max(initial=0) < enough:
        return None
    value = float(different[counts.argmax()])
    # Steps at the end of each sequence that are the value.
    others = np.where((steps == value).all(axis=1), -1, np.arange(len(steps)))
    last_other = np.maximum(np.maximum.reduceat(others, ends - lengths), ends - lengths - 1)
    n_values = ends - 1 - last_other
    # A sequence that is the value throughout says nothing.
    padded = (n_values > 0) & (n_values < lengths)
    n_padded = int(padded.sum())
    if n_padded < enough or len(np.unique(n_values[padded])) < FEWEST_LENGTHS:
        return None
    data = np.delete(steps, ranges(ends - n_values, n_values), axis=0).astype(np.float64)
    if (data == value).any():
        return None
    firsts, n_data = (ends - n_values)[padded], (lengths - n_values)[padded]
    # Whether the data next to the values are mostly the same ones.
    n_next = max(1, min(MOST_NEXT, int(np.median(n_data))))
    rows = firsts[n_data >= n_next]
    next_to = steps[rows[:, np.newaxis] - np.arange(1, n_next + 1)].reshape(len(rows), -1)
    n_different = len(np.unique(next_to, axis=0))
    if n_different < MANY_DIFFERENT and n_different <= LARGEST_SHARE_ALIKE * len(rows):
        return None
    return (value, n_padded) if _stands_out(value, data, steps, firsts, n_data) else None


def _stands_out(
    value: float,
    data: NDArray[np.float64],
    steps: NDArray[Any],
    firsts: NDArray[np.intp],
    n_data: NDArray[np.intp],
) -> bool:
    """Whether data neither reach the value nor lead up to it."""
    n_numbers = len(np.unique(data[:: math.ceil(len(data) / MOST_TO_SORT)]))
    if n_numbers < (FEWEST_NUMBERS_FOR_NEGATIVE if value < 0 else FEWEST_NUMBERS):
        return False
    low, high = np.quantile(data, [0.01, 0.99])
    gap = max(data.min() - value, value - data.max())
    if gap > 0 and gap >= (FAR if value <= 0 else VERY_FAR) * (high - low):
        return True
    # Counts that are positive for a while are data, whatever comes before or after.
    counts = value == 0 and gap > 0 and bool((data == np.round(data)).all())
    if value > 0 or value != round(value) or counts:
        return False
    last = np.abs(steps[firsts - 1].astype(np.float64) - value)
    others = np.median(np.abs(data - value), axis=0)
    next_to_others = np.median(np.median(last, axis=0) / others)
    before = np.abs(steps[(firsts - 2)[n_data > 1]].astype(np.float64) - value)
    leading_up = np.mean(last[n_data > 1] < before) if len(before) else 0.0
    return bool(next_to_others >= NEXT_TO_OTHERS and leading_up <= LEADING_UP)
