"""What the index of a DataFrame tells about the order of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# All in microseconds.
HOUR = 3_600 * 10**6
DAY = 24 * HOUR
# Three days and a holiday, and an hour for the clock change.
LONGEST_WEEKEND = 4 * DAY + HOUR
# A single break of less is a hole rather than a night.
SHORTEST_NIGHT = 6 * HOUR
# A step is uneven from here on, in usual steps. Months are 28 to 31 days long.
UNEVEN = 1.5
# Fewer long steps than this do not show whether they come at equal distances.
FEWEST_FOR_A_RHYTHM = 5
# Share of the distances between long steps that the two most frequent distances must have. It is
# 0.85 to 1 on trading days with their holidays, and 0.5 to 0.7 after a shuffled split of them.
IN_RHYTHM = 0.7
# Closures for holidays, in usual breaks: eleven days against a weekend of three are 3.7.
LONGEST_CLOSURE = 4.0
# Share of the labels of an integer index that must be missing before it counts as a hole.
MISSING_LABELS = 0.05
DATES = ("datetime64", "datetime", "date", "period")
SUNDAY, SATURDAY = 6, 5
Steps = NDArray[np.int64]


@dataclass(frozen=True)
class RowIndex:
    """Labels of the rows of a table that say something about their order.

    Parameters
    ----------
    index : pandas.Index
        The labels.

    values : ndarray of shape (n_rows,)
        The labels as integers; dates in microseconds.

    are_dates : bool
        Whether the labels are dates. Otherwise they are integers, or times since a start.
    """

    index: Any
    values: NDArray[np.int64]
    are_dates: bool

    @classmethod
    def of(cls, X: Any) -> RowIndex | None:
        """Read the index of a pandas object; `None` if there is none, or nothing to learn."""
        index: Any = getattr(X, "index", None)
        if not hasattr(index, "inferred_type"):
            return None
        if index.nlevels > 1:
            levels = [index.get_level_values(i) for i in range(index.nlevels)]
            index = next((level for level in levels if level.inferred_type in DATES), None)
        if index is None or len(index) < 2 or index.hasnans:
            return None
        if index.inferred_type == "integer":
            return cls(index, np.asarray(index).astype(np.int64), are_dates=False)
        if index.inferred_type == "timedelta64":
            return cls(index, np.asarray(index).astype(np.int64), are_dates=False)
        if index.inferred_type not in DATES:
            return None
        try:
            dates = index.to_timestamp() if index.inferred_type == "period" else index
            values = np.asarray(dates, dtype="datetime64[us]").astype(np.int64)
        except (AttributeError, TypeError, ValueError):
            return None
        return cls(dates, values, are_dates=True)

    def steps(self) -> Steps:
        """Differences of the labels, without what setting the clock adds or takes away."""
        steps = np.diff(self.values)
        if self.are_dates and getattr(self.index, "tz", None) is None and (steps > 0).any():
            usual = _usual(steps[steps > 0])
            is_sunday = _weekday(self.values[1:]) == SUNDAY
            at_night = self.values[1:] % DAY <= 4 * HOUR
            is_set = (np.abs(steps - usual) == HOUR) & is_sunday & at_night
            steps[is_set & (usual <= HOUR)] = usual
        return steps

    def trouble(self, *, longest_step: int | None = None) -> str | None:
        """Say what is wrong with the order of the rows, what it means and what to do.

        Parameters
        ----------
        longest_step : int or None
            The longest step between the dates of an earlier table, by which holes are told
            from weekends and nights. `None` tells them by the table itself.

        Returns
        -------
        str or None
            The message, or `None` if nothing is wrong.
        """
        steps = self.steps()
        if (steps < 0).any():
            return self._out_of_order(steps)
        if not self.are_dates:
            return self._missing_labels(steps)
        if (steps == 0).any():
            return self._repeated(steps)
        if longest_step is None:
            holes = _holes(self.values, steps)
        else:
            holes = steps > LONGEST_CLOSURE * longest_step
        return self._hole(steps, holes) if holes.any() else None

    def _out_of_order(self, steps: Steps) -> str:
        excuse = (
            ""
            if self.are_dates
            else " If the rows are in the order of time, X.reset_index(drop=True) says so."
        )
        if (steps < 0).all():
            return (
                f"The index of X falls from {self._label(0)} to {self._label(-1)}, as if the "
                "newest row came first. Each window then holds rows that lie after its own, so the "
                f"model sees the future. Put the oldest row first: X.sort_index().{excuse}"
            )
        return (
            f"The index of X is not in order: {self._places(int(np.argmax(steps < 0)))}. Windows "
            "then hold rows from before and after their own, so the model may see the future. "
            "Split without shuffling (TimeSeriesSplit, or train_test_split with shuffle=False), "
            "sort the table (X.sort_index()), and make windows of one series at a time if the "
            f"table holds several.{excuse}"
        )

    def _repeated(self, steps: Steps) -> str:
        return (
            f"Dates repeat in the index of X: {self._places(int(np.argmax(steps == 0)))}. If the "
            "table holds several series, windows run from one into the other: make windows of one "
            "series at a time. If rows were drawn more than once, do not draw rows of a series. "
            "If all rows are one series in the order of time, X.reset_index(drop=True) says so."
        )

    def _missing_labels(self, steps: Steps) -> str | None:
        """Look for holes where most labels count the rows by one, as a RangeIndex does."""
        if len(steps) == 0 or np.median(steps) != 1:
            return None
        n_missing = self.values[-1] - self.values[0] - len(steps)
        is_long = steps > 1
        if n_missing <= MISSING_LABELS * len(self.values) or _in_rhythm(is_long):
            return None
        return self._hole(steps, is_long)

    def _hole(self, steps: Steps, holes: NDArray[np.bool_]) -> str:
        n_holes = int(holes.sum())
        place = int(np.argmax(np.where(holes, steps, 0)))
        usual = int(np.argmax(steps == _usual(steps)))
        return (
            f"{n_holes} of {len(steps)} steps in the index of X are longer than the others. The "
            f"longest: {self._places(place)}, where {self.index[usual + 1] - self.index[usual]} is "
            "usual. Windows run across such a hole as if there were none. KFold and shuffled "
            "splits leave holes in the training rows, TimeSeriesSplit does not. If rows are "
            "missing, put them back (X.asfreq) and fill them, or make windows of one stretch at a "
            "time. If none is missing, X.reset_index(drop=True) says so."
        )

    def _places(self, row: int) -> str:
        after = f"row {row + 1} ({self._label(row + 1)})"
        return f"{after} comes after row {row} ({self._label(row)})"

    def _label(self, row: int) -> str:
        return str(self.index[row]).removesuffix(" 00:00:00")


def _usual(steps: Steps) -> int:
    """Return the step of an even index, also where a third of the rows were taken out."""
    return int(np.quantile(steps, 0.25, method="lower"))


def _weekday(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count days from Monday; the first of January 1970 was a Thursday."""
    return (values // DAY + 3) % 7


def _holes(values: NDArray[np.int64], steps: Steps) -> NDArray[np.bool_]:
    """Find the steps that are longer than the others, but for nights, weekends and holidays.

    Where those are many, they come after nearly equal numbers of rows. Otherwise a weekend is a
    step across a Saturday in a table without Saturdays, and a few breaks of at most a day in a
    table that is never without one for a day are nights.
    """
    usual = _usual(steps)
    is_long = steps > UNEVEN * usual
    if usual > DAY + HOUR or not is_long.any():
        return is_long
    if _in_rhythm(is_long):
        return steps > LONGEST_CLOSURE * np.quantile(steps[is_long], 0.9)
    breaks = np.flatnonzero(is_long)
    firsts, lasts = np.r_[0, breaks + 1], np.r_[breaks, len(values) - 1]
    if len(breaks) < FEWEST_FOR_A_RHYTHM and (values[lasts] - values[firsts]).max() < DAY:
        is_long &= (steps > DAY) | ((steps < SHORTEST_NIGHT) & (len(breaks) == 1))
    if not (_weekday(values) == SATURDAY).any():
        saturdays = (values // DAY + 3 - SATURDAY) // 7
        is_long &= (np.diff(saturdays) == 0) | (steps > LONGEST_WEEKEND)
    return is_long


def _in_rhythm(is_long: NDArray[np.bool_]) -> bool:
    """Whether long steps come after nearly equal numbers of rows, as closing times do."""
    distances = np.diff(np.flatnonzero(is_long))
    if len(distances) < FEWEST_FOR_A_RHYTHM - 1 or is_long.mean() > 0.5:
        return False
    counts = np.sort(np.unique(distances, return_counts=True)[1])
    return bool(counts[-2:].sum() >= IN_RHYTHM * len(distances))
