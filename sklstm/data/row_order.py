"""What the index of a DataFrame tells about the order of its rows."""

from __future__ import annotations

import re
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
# With more long steps than this share, one distance must have `IN_RHYTHM` alone: where half of the
# rows were taken out at random, distances of one and two rows are 0.75 of all.
MANY_LONG = 0.35
# Closures for holidays, in usual breaks: eleven days against a weekend of three are 3.7.
LONGEST_CLOSURE = 4.0
# Share of the labels of an integer index that must be missing before it counts as a hole.
MISSING_LABELS = 0.05
# Share of the steps that must be within `NEARLY` of the usual one; otherwise there is none to tell
# holes by. It is 0.5 where every other row was taken out at random, and 0.1 to 0.35 for steps of
# one to three hours, exponential ones, and those of 60 s with a standard deviation of 10 s.
EVEN = 0.4
NEARLY = 0.08
# Or the usual step is this many times as frequent as any other, and has at least this share: it is
# 2.7 times and 0.4 on business days half of which were taken out, and once for one to three whole
# hours.
MORE_FREQUENT = 1.5
FREQUENT = 0.25
# Floats, and labels some of which are missing, tell nothing if they are fewer: chance alone puts
# five labels in falling order once in 120 times.
FEWEST_LABELS = 5
# Names of the levels of a MultiIndex that make one date together.
PARTS_OF_A_DATE = {"year", "quarter", "month", "week", "day", "hour", "minute", "second"}
# Integers that are years, and the largest number of a part of a year, its last day.
YEARS = (1000, 2999)
DAYS_IN_A_YEAR = 366
# Numbers of the last quarter, month and week of a year, as in 20154, 201512 and 201553, by the
# factor of the year.
LAST_OF_A_YEAR = {10: (4,), 100: (12, 52, 53)}
# What text may have after an ISO date with a time: "Z", "+01:00" or "-0500".
OFFSET = re.compile(r"(?<=\d)(Z|[+-]\d\d:?\d\d)$")
# What pandas says that an index of dates holds, and numbers of weekdays.
DATES = ("datetime64", "datetime", "date")
SUNDAY, SATURDAY = 6, 5
Steps = NDArray[np.int64]


@dataclass(frozen=True)
class RowIndex:
    """Labels of the rows of a table that say something about their order.

    `values` are the labels of `index` as integers: dates in microseconds, and the ranks of floats.
    `rows` are their rows; rows whose label is missing are left out. Labels that are neither dates
    nor counts, floats and times since a start, are looked at for their order only.
    """

    index: Any  # pandas.Index
    values: NDArray[np.int64]
    rows: NDArray[np.intp]
    are_dates: bool = False
    are_counts: bool = False

    @classmethod
    def of(cls, X: Any) -> RowIndex | None:
        """Read the index of a pandas object; `None` if there is none, or nothing to learn."""
        index: Any = getattr(X, "index", None)
        if not hasattr(index, "inferred_type"):
            return None
        if index.nlevels == 1:
            return cls._of_labels(index)
        levels = [cls._of_labels(index.get_level_values(i)) for i in range(index.nlevels)]
        told = [level for level in levels if level is not None]
        dates = next((level for level in told if level.are_dates), None)
        if dates is not None or not told or _make_a_date(told):
            return dates
        return told[-1]

    @classmethod
    def _of_labels(cls, index: Any) -> RowIndex | None:
        rows = np.arange(len(index))
        if index.hasnans:
            rows = np.flatnonzero(index.notna())
            index = index[rows]
        kind = index.inferred_type
        is_sure = len(rows) == 0 or (rows[-1] + 1 == len(rows) and kind != "floating")
        if len(index) < (2 if is_sure else FEWEST_LABELS):
            return None
        if kind in ("integer", "timedelta64"):
            labels = np.asarray(index)
            if kind == "integer" and (labels > np.iinfo(np.int64).max).any():
                return None  # hashes, not counts
            counts = kind == "integer"
            return cls(index, labels.astype(np.int64), rows, are_counts=counts)
        if kind == "floating":
            labels = np.asarray(index, dtype=np.float64)
            ranks = np.unique(labels, return_inverse=True)[1]
            return cls(index, ranks.astype(np.int64), rows)
        try:
            if kind == "period":
                index = index.to_timestamp()
            elif kind == "string" and all(label[4:5] == "-" for label in index):
                from pandas import DatetimeIndex  # type: ignore[import-untyped]

                texts = [OFFSET.sub("", label) for label in index]
                index = DatetimeIndex(np.array(texts, dtype="datetime64[us]"))
            elif kind not in DATES:
                return None
            values = np.asarray(index, dtype="datetime64[us]").astype(np.int64)
        except (AttributeError, TypeError, ValueError):
            return None
        return cls(index, values, rows, are_dates=True)

    def steps(self) -> Steps:
        """Differences of the labels, without what setting the clock adds or takes away.

        A step over rows without a label counts as a usual one: how many it stands for is unknown.
        """
        steps = np.diff(self.values)
        if not (steps > 0).any():
            return steps
        usual = _usual(steps[steps > 0])
        if self.are_dates and getattr(self.index, "tz", None) is None:
            is_sunday = _weekday(self.values[1:]) == SUNDAY
            at_night = self.values[1:] % DAY <= 4 * HOUR
            is_set = (np.abs(steps - usual) == HOUR) & is_sunday & at_night
            steps[is_set & (usual <= HOUR)] = usual
        steps[(np.diff(self.rows) > 1) & (steps > 0)] = usual
        return steps

    def trouble(self, *, longest_step: int | None = None) -> str | None:
        """Say what is wrong with the order of the rows, what it means and what to do, or `None`.

        `longest_step` is the longest step between the dates of an earlier table, by which holes are
        told from weekends and nights. Without it, the table itself tells them.
        """
        steps = self.steps()
        sure = " If the rows are in the order of time, X.reset_index(drop=True) says so."
        if (steps < 0).all():
            return (
                f"The index of X falls from {self._label(0)} to {self._label(-1)}, as if the "
                "newest row came first. Each window then holds rows that lie after its own, so the "
                "model sees the future. Put the oldest row first: X.sort_index()."
                f"{'' if self.are_dates else sure}"
            )
        if (steps < 0).any():
            return (
                f"The index of X is not in order: {self._places(int(np.argmax(steps < 0)))}. "
                "Windows then hold rows from before and after their own, so the model may see the "
                "future. Split without shuffling (TimeSeriesSplit, or train_test_split with "
                "shuffle=False), sort the table (X.sort_index()), and make windows of one series "
                f"at a time if the table holds several.{'' if self.are_dates else sure}"
            )
        if self.are_dates and (steps == 0).any():
            return (
                f"Dates repeat in the index of X: {self._places(int(np.argmax(steps == 0)))}. If "
                "the table holds several series, windows run from one into the other: make windows "
                "of one series at a time. If rows were drawn more than once, do not draw rows of a "
                "series. If all rows are one series in the order of time, "
                "X.reset_index(drop=True) says so."
            )
        if self.are_counts:
            steps = np.where(_is_new_year(self.values), 1, steps)
            holes = _missing_labels(steps)
        elif not self.are_dates:
            return None
        elif longest_step is None:
            holes = _holes(self.values, steps)
        else:
            holes = steps > LONGEST_CLOSURE * longest_step
        if not holes.any():
            return None
        place = int(np.argmax(np.where(holes, steps, 0)))
        usual = int(np.argmax((steps == _usual(steps)) & (np.diff(self.rows) == 1)))
        return (
            f"{holes.sum()} of {len(steps)} steps in the index of X are longer than the others. "
            f"The longest: {self._places(place)}, where "
            f"{self.index[usual + 1] - self.index[usual]} is usual. Windows run across such a hole "
            "as if there were none. KFold and shuffled splits leave holes in the training rows, "
            "TimeSeriesSplit does not. If rows are missing, put them back (X.asfreq) and fill "
            "them, or make windows of one stretch at a time. If none is missing, "
            "X.reset_index(drop=True) says so."
        )

    def _places(self, row: int) -> str:
        after = f"row {self.rows[row + 1]} ({self._label(row + 1)})"
        return f"{after} comes after row {self.rows[row]} ({self._label(row)})"

    def _label(self, row: int) -> str:
        return str(self.index[row]).removesuffix(" 00:00:00")


def _make_a_date(levels: list[RowIndex]) -> bool:
    """Whether levels of integers, such as year and month, count the time of one series."""
    counts = [level for level in levels if level.are_counts]
    if len(counts) < 2:
        return False
    names = {str(level.index.name).lower() for level in counts}
    years, parts = counts[-2].values, counts[-1].values
    are_years = years.min() >= YEARS[0] and years.max() <= YEARS[1]
    are_parts = parts.min() >= 0 and parts.max() <= DAYS_IN_A_YEAR
    return names <= PARTS_OF_A_DATE or bool(are_years and are_parts)


def _missing_labels(steps: Steps) -> NDArray[np.bool_]:
    """Find the holes where most labels count the rows by one, as a RangeIndex does."""
    is_long, none = steps > 1, np.zeros(len(steps), dtype=bool)
    n_missing = steps.sum() - len(steps)
    if _usual(steps) != 1 or not _is_even(steps) or _in_rhythm(is_long):
        return none
    if n_missing <= MISSING_LABELS * (len(steps) + 1):
        return none
    # A few equal long steps at equal distances, with no more rows at the ends, are closing times.
    breaks = np.flatnonzero(is_long)
    if len(breaks) > 1 and np.ptp(steps[breaks]) == np.ptp(np.diff(breaks)) == 0:
        ends = max(breaks[0] + 1, len(steps) - breaks[-1])
        return none if ends <= breaks[1] - breaks[0] else is_long
    return is_long


def _is_new_year(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Find the steps from 201512 to 201601, in months, weeks or quarters."""
    is_new_year = np.zeros(len(values) - 1, dtype=bool)
    for factor, lasts in LAST_OF_A_YEAR.items():
        years, parts = np.divmod(values, factor)
        is_next = (np.diff(years) == 1) & (years[:-1] >= YEARS[0]) & (years[1:] <= YEARS[1])
        is_new_year |= is_next & (parts[1:] == 1) & np.isin(parts[:-1], lasts)
    return is_new_year


def _usual(steps: Steps) -> int:
    """Return the step of an even index, also where half of the rows were taken out."""
    return int(np.quantile(steps, 0.25, method="lower"))


def _is_even(steps: Steps) -> bool:
    """Whether there is a usual step."""
    usual = _usual(steps)
    if (np.abs(steps - usual) <= NEARLY * usual).mean() >= EVEN:
        return True
    is_usual = steps == usual
    n_other = np.unique(steps[~is_usual], return_counts=True)[1].max()
    return bool(is_usual.mean() >= FREQUENT and is_usual.sum() >= MORE_FREQUENT * n_other)


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
    if not _is_even(steps):
        return np.zeros_like(is_long)
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
    most = counts[-1:] if is_long.mean() > MANY_LONG else counts[-2:]
    return bool(most.sum() >= IN_RHYTHM * len(distances))
