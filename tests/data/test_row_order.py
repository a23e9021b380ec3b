import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    HalvingGridSearchCV,
    KFold,
    ShuffleSplit,
    TimeSeriesSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from sklstm import LagWindows
from sklstm.data.row_order import RowIndex
from sklstm.exceptions import SequenceDataWarning

HOURS = pd.date_range("2024-01-01", periods=300, freq="h")
TRADING_DAYS = pd.bdate_range("2022-01-01", "2023-12-31").drop(
    ["2022-01-17", "2022-07-04", "2022-11-24", "2022-12-26", "2023-01-02", "2023-07-04"]
)


def frame(index):
    return pd.DataFrame({"demand": np.arange(float(len(index)))}, index=index)


def trouble(index, **options):
    labels = RowIndex.of(frame(index))
    return labels and labels.trouble(**options)


def sessions(days, first, periods, freq, zone=None):
    """Bars of each day from an hour on."""
    times = pd.timedelta_range(first, periods=periods, freq=freq)
    index = pd.DatetimeIndex(np.concatenate([(day + times).to_numpy() for day in days]))
    return index.tz_localize(zone).tz_convert("UTC").tz_localize(None) if zone else index


def local_hours(freq, zone):
    utc = pd.date_range("2022-01-01", "2023-12-31", freq=freq, tz="UTC")
    return utc.tz_convert(zone).tz_localize(None)


def currency_hours():
    hours = pd.date_range("2023-01-01", "2023-03-31", freq="h")
    of_week = hours.day_of_week * 24 + hours.hour
    return hours[(of_week < 4 * 24 + 17) | (of_week >= 6 * 24 + 17)]


def of_day(hours):
    return pd.Index([hour for hour in range(2000) if hour % 24 in hours])


def without(index, row):
    """The dates, with one of them missing."""
    return index.where(np.arange(len(index)) != row)


def after(seconds):
    return pd.Timestamp("2024-01-01") + pd.to_timedelta(np.cumsum(seconds), unit="s")


def numbered(years, n_parts):
    return pd.Index([100 * year + part for year in years for part in range(1, n_parts + 1)])


def labelled(ids, labels, names=None):
    return pd.MultiIndex.from_product([ids, labels], names=names)


RNG = np.random.default_rng(0)
# There is no usual step, so none is a hole.
IRREGULAR = {
    "one to three hours": after(RNG.uniform(3600, 10800, 300)),
    "one to three whole hours": after(3600 * RNG.integers(1, 4, 300)),
    "events at random": after(RNG.exponential(600, 1000)),
    "visits": after(86400 * RNG.integers(3, 31, 300)),
    "minutes, ten seconds more or less": after(RNG.normal(60, 10, 300)),
    "minutes, at most ten seconds more or less": after(RNG.uniform(50, 70, 300)),
}
IN_ORDER = {
    "hours": HOURS,
    "days in a time zone": pd.date_range("2024", periods=300, freq="D", tz="Europe/Berlin"),
    "hours in a time zone": pd.date_range("2024", periods=9000, freq="h", tz="Europe/Berlin"),
    "local hours, clock set twice a year": local_hours("h", "Europe/Berlin"),
    "local half-hours in the south": local_hours("30min", "Australia/Melbourne"),
    "weeks": pd.date_range("2010", periods=300, freq="W"),
    "half months": pd.date_range("2010", periods=100, freq="SMS"),
    "months": pd.date_range("2000", periods=60, freq="MS"),
    "ends of months": pd.date_range("2000-01-01", periods=60, freq="MS") + pd.offsets.MonthEnd(),
    "last trading days of months": pd.date_range("2000-01-01", periods=60, freq="MS")
    + pd.offsets.BMonthEnd(),
    "quarters": pd.date_range("1980", periods=60, freq="QS"),
    "years": pd.date_range("1900", periods=60, freq="YS"),
    "months as periods": pd.period_range("2000", periods=60, freq="M"),
    "business days": pd.bdate_range("2022", periods=300),
    "business days in Tokyo": pd.bdate_range("2022", periods=300, tz="Asia/Tokyo"),
    "a few business days": pd.bdate_range("2022", periods=8),
    "trading days": TRADING_DAYS,
    "trading days with a week off": pd.bdate_range("2020", "2023").drop(
        [day for year in (2020, 2021, 2022) for day in pd.bdate_range(f"{year}-10-01", periods=5)]
    ),
    "minutes of sessions": sessions(TRADING_DAYS[:60], "9h30min", 78, "5min"),
    "sessions in UTC": sessions(TRADING_DAYS, "9h30min", 7, "1h", "America/New_York"),
    "sessions of two days": sessions(TRADING_DAYS[:2], "9h30min", 78, "5min"),
    "sessions with a lunch break": sessions(TRADING_DAYS[:60], "9h30min", 24, "5min").union(
        sessions(TRADING_DAYS[:60], "13h", 24, "5min")
    ),
    "five days a week, day and night": currency_hours(),
    "a single week end": currency_hours()[:200],
    "uneven by seconds": HOURS + pd.to_timedelta(np.arange(300) * 37 % 61, unit="s"),
    "dates as objects": pd.Index([datetime.date(2024, 1, day) for day in range(1, 29)]),
    "counted rows": pd.RangeIndex(300),
    "counted rows, three left out": pd.RangeIndex(300).delete([4, 70, 71]),
    "counted rows from nine to five": of_day(range(9, 18)),
    "years as numbers": pd.Index(np.repeat(np.arange(1949, 1961), 12)),
    "numbers of anything": pd.Index(np.cumsum(np.random.default_rng(0).integers(1, 90, 300))),
    "words": pd.Index(list("cab")),
    "parts of a second": pd.Index([0.3, 0.1, 0.2]),
    "a date is missing": pd.DatetimeIndex(["2024-01-02", None, "2024-01-01"]),
    "a date is missing among hours": without(HOURS, 7),
    "a date is missing among trading days": without(TRADING_DAYS, 7),
    "many dates are missing": HOURS.where(np.arange(300) % 3 > 0),
    "parts of a second in order": pd.Index(np.arange(300) / 4),
    "times since a start": pd.timedelta_range("0h", periods=300, freq="h"),
    "dates as text": HOURS.astype(str),
    "dates as text, with offsets": pd.Index(
        map(str, pd.date_range("2024-03-01", periods=900, freq="h", tz="Europe/Berlin"))
    ),
    "dates as text that is not ISO": HOURS[::-1].strftime("%d/%m/%Y"),
    "text with a dash": pd.Index(["unit-3", "unit-1", "unit-2"]),
    "codes with a dash": pd.Index(["code-3", "code-1", "code-2"]),
    "five years of months as numbers": numbered(range(2015, 2020), 12),
    "two years of months as numbers": numbered(range(2015, 2017), 12),
    "five years of weeks as numbers": numbered(range(2015, 2020), 52),
    "years and months": labelled(range(2015, 2020), range(1, 13)),
    "weeks and days": labelled(range(1, 9), range(7), names=["week", "day"]),
    "one series of cycles": labelled([1], range(1, 50)),
    "quarters as numbers": pd.Index([10 * y + q for y in range(2015, 2018) for q in range(1, 5)]),
    "numbers in steps of one to three": pd.Index(np.cumsum(RNG.integers(1, 4, 300))),
    **IRREGULAR,
    "a single row": HOURS[:1],
    "no row": HOURS[:0],
}


@pytest.mark.parametrize("index", IN_ORDER.values(), ids=IN_ORDER)
def test_nothing_is_said_of_rows_in_order(index):
    assert trouble(index) is None


@pytest.mark.parametrize("index", IN_ORDER.values(), ids=IN_ORDER)
def test_nothing_is_said_of_training_parts_that_grow(index):
    if len(index) > 3:
        parts = [index[train] for train, _ in TimeSeriesSplit(3).split(index)]
        assert [trouble(part) for part in parts] == [None] * 3


def test_two_breaks_are_a_rhythm_if_as_many_rows_lie_around_them_as_between():
    hours = of_day(range(9, 18))[:27]
    assert trouble(hours) is None
    assert trouble(hours.delete(range(9, 13))) is not None


def test_newest_rows_first_are_told_with_both_ends_and_the_remedy():
    message = trouble(HOURS[::-1])
    assert message.startswith("The index of X falls from 2024-01-13 11:00:00 to 2024-01-01")
    assert "sees the future" in message
    assert "X.sort_index()" in message


@pytest.mark.parametrize(
    "index",
    [
        HOURS[::-1],
        HOURS.tz_localize("UTC")[::-1],
        IN_ORDER["months as periods"][::-1],
        pd.timedelta_range("0h", periods=50, freq="h")[::-1],
        pd.Index(np.arange(50) / 4)[::-1],
        HOURS.astype(str)[::-1],
        HOURS.strftime("%Y-%m-%dT%H:%M:%SZ")[::-1],
        IN_ORDER["months"].strftime("%Y-%m")[::-1],
        without(HOURS[::-1], 7),
    ],
    ids=[
        "dates",
        "dates in a time zone",
        "periods",
        "times since a start",
        "floats",
        "text",
        "text with an offset",
        "months as text",
        "a date is missing",
    ],
)
@pytest.mark.parametrize("method", ["fit", "fit_transform", "transform"])
def test_falling_dates_warn_in_fit_and_in_transform(method, index):
    with pytest.warns(SequenceDataWarning, match="The index of X falls") as caught:
        getattr(LagWindows(3), method)(frame(index))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_series_with_falling_dates_warns_too():
    with pytest.warns(SequenceDataWarning, match="The index of X falls"):
        LagWindows(3).fit(frame(HOURS[::-1])["demand"])


@pytest.mark.parametrize("index", [HOURS, pd.RangeIndex(300), IN_ORDER["dates as objects"]])
def test_shuffled_rows_are_told_with_the_place(index):
    message = trouble(index[[0, 1, 2, 7, 5, 4, 6]])
    assert "row 4 (" in message
    assert "comes after row 3 (" in message
    assert "TimeSeriesSplit" in message


@pytest.mark.parametrize(
    "index",
    [without(HOURS, 30), pd.Index(np.arange(300) / 4), HOURS.astype(str)],
    ids=["a date is missing", "floats", "text"],
)
def test_a_shuffled_split_is_told(index):
    assert "is not in order" in trouble(train_test_split(index, random_state=0)[0])


def test_rows_are_counted_with_those_that_have_no_date():
    message = trouble(without(HOURS, 7).delete(range(100, 124)))
    assert message.startswith("1 of 274 steps")
    assert "row 100 (2024-01-06 04:00:00) comes after row 99 (2024-01-05 03:00:00)" in message
    assert "0 days 01:00:00 is usual" in message
    assert "row 5 (2024-01-01 04:00:00) comes after row 4" in trouble(
        without(HOURS[[0, 1, 2, 3, 7, 4, 5, 6]], 1)
    )


def test_a_hole_between_dates_as_text_is_told():
    assert "0 days 01:00:00 is usual" in trouble(HOURS.astype(str).delete(range(100, 150)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "index",
    [HOURS, pd.bdate_range("2022", periods=300), pd.RangeIndex(300)],
    ids=["dates", "business days", "integers"],
)
def test_half_of_the_rows_taken_out_is_told(index, seed):
    for train, _ in KFold(2, shuffle=True, random_state=seed).split(index):
        assert trouble(index[train]) is not None


def test_a_hole_in_numbered_months_is_told():
    months = IN_ORDER["five years of months as numbers"]
    message = trouble(months.delete(range(20, 32)))
    assert message.startswith("1 of 47 steps")
    assert "row 20 (201709) comes after row 19 (201608)" in message


@pytest.mark.parametrize(
    "index",
    [
        labelled([1, 2, 3], range(1, 50), names=["id", "cycle"]),
        labelled([1, 2, 3], range(1990, 2020), names=["id", "year"]),
        labelled(["a", "b"], range(30)),
        labelled([1, 2], np.arange(30) / 4),
        labelled([1, 2], pd.timedelta_range("0h", periods=30, freq="h")),
        labelled(["a", "b"], HOURS.astype(str)),
    ],
    ids=["cycles", "years", "of words", "floats", "times since a start", "dates as text"],
)
def test_series_below_each_other_are_told_where_the_next_one_begins(index):
    n_rows = len(index.levels[1])
    assert f"row {n_rows} (" in trouble(index)
    with pytest.warns(SequenceDataWarning, match="several"):
        LagWindows(3).fit(frame(index))


def test_integers_that_fall_are_told_with_the_way_out():
    assert "X.reset_index(drop=True)" in trouble(pd.RangeIndex(300)[::-1])
    assert trouble(frame(pd.RangeIndex(300)[::-1]).reset_index(drop=True).index) is None


def test_integers_say_nothing_in_transform_where_new_rows_are_put_after_old_ones():
    old, new = frame(pd.RangeIndex(300)), frame(pd.RangeIndex(1))
    LagWindows(3).fit(old).transform(pd.concat([old.tail(5), new]))


def test_stacked_series_are_told():
    stacked = pd.concat([frame(HOURS), frame(HOURS)])
    assert "2024-01-01) comes after row 299 (2024-01-13 11:00:00)" in trouble(stacked.index)
    assert "several" in trouble(stacked.sort_index().index)
    assert "row 1 (2024-01-01) comes after row 0 (2024-01-01)" in trouble(
        stacked.sort_index().index
    )
    assert "several" in trouble(pd.concat([frame(HOURS), frame(HOURS)], keys=["a", "b"]).index)


@pytest.mark.parametrize(
    "name",
    [
        "hours",
        "days in a time zone",
        "weeks",
        "months",
        "months as periods",
        "years",
        "trading days",
        "sessions in UTC",
        "five days a week, day and night",
        "counted rows",
    ],
)
@pytest.mark.parametrize(
    "split",
    [
        KFold(5),
        KFold(10),
        KFold(5, shuffle=True, random_state=0),
        ShuffleSplit(5, random_state=0),
        KFold(3, shuffle=True, random_state=0),
    ],
    ids=["folds", "ten folds", "shuffled folds", "shuffled", "three shuffled folds"],
)
def test_training_rows_with_holes_are_told(name, split):
    index = IN_ORDER[name]
    train, _ = list(split.split(index))[1]
    assert trouble(index[train]) is not None


def test_a_hole_is_told_with_its_place_and_the_usual_step():
    message = trouble(HOURS.delete(range(100, 124)))
    assert message.startswith("1 of 275 steps in the index of X are longer than the others.")
    assert "row 100 (2024-01-06 04:00:00) comes after row 99 (2024-01-05 03:00:00)" in message
    assert "0 days 01:00:00 is usual" in message
    assert "X.asfreq" in message


@pytest.mark.parametrize("index", IRREGULAR.values(), ids=IRREGULAR)
def test_irregular_dates_are_looked_at_for_their_order(index):
    assert "falls" in trouble(index[::-1])
    assert "not in order" in trouble(train_test_split(index, random_state=0)[0])


def test_transform_tells_holes_by_the_longest_step_of_fit():
    windows = LagWindows(4).fit(frame(TRADING_DAYS))
    windows.transform(frame(TRADING_DAYS[100:106]))
    with pytest.warns(SequenceDataWarning, match=r"1 of 13 steps .* are longer"):
        windows.transform(frame(TRADING_DAYS[100:134].delete(range(5, 25))))


# What people do with pandas


def tree(step):
    return make_pipeline(
        step, FunctionTransformer(lambda X: X.reshape(len(X), -1)), DecisionTreeRegressor()
    )


@pytest.mark.parametrize("index", [HOURS, pd.RangeIndex(300)], ids=["dates", "integers"])
def test_a_split_that_takes_rows_out_or_mixes_them_warns(index):
    table = frame(index)
    y = table["demand"]
    with pytest.warns(SequenceDataWarning, match="not in order"):
        LagWindows(3).fit(train_test_split(table, random_state=0)[0])
    LagWindows(3).fit(train_test_split(table, shuffle=False)[0])
    for split in (ShuffleSplit(1, random_state=0), KFold(3), KFold(3, shuffle=True)):
        with pytest.warns(SequenceDataWarning):
            cross_val_score(tree(LagWindows(3)), table, y, cv=split)
    cross_val_score(tree(LagWindows(3)), table, y, cv=TimeSeriesSplit(3))


@pytest.mark.parametrize("index", [HOURS, pd.RangeIndex(300)], ids=["dates", "integers"])
def test_a_halving_search_that_draws_rows_warns(index):
    table = frame(index)
    grid = {"decisiontreeregressor__max_depth": [1, 2, 3]}
    search = HalvingGridSearchCV(tree(LagWindows(3)), grid, cv=TimeSeriesSplit(2), random_state=0)
    with pytest.warns(SequenceDataWarning, match="not in order"):
        search.fit(table, table["demand"])


@pytest.mark.parametrize("table", [frame(HOURS[::-1]).to_numpy(), pl.DataFrame({"a": [3.0, 1, 2]})])
def test_arrays_and_polars_tell_nothing(table):
    assert RowIndex.of(table) is None
    LagWindows(2, padding="nan").fit_transform(table)
