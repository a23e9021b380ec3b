import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sklstm import LagWindows, StackedLSTMRegressor
from sklstm.exceptions import SequenceDataWarning

TABLE = np.random.default_rng(0).normal(size=(40, 3))


# Tables shorter than three windows give a warning.
@pytest.mark.filterwarnings("ignore::sklstm.exceptions.SequenceDataWarning")
@pytest.mark.parametrize("length", [1, 2, 7, 40, 60])
def test_a_window_ends_with_its_row(length):
    windows = LagWindows(length).fit_transform(TABLE)
    assert windows.shape == (40, length, 3)
    for row in range(40):
        steps = np.arange(row - length + 1, row + 1)
        assert np.array_equal(windows[row], TABLE[np.maximum(steps, 0)])


def test_a_window_never_sees_a_later_row():
    changed = TABLE.copy()
    changed[25:] += 100
    before, after = (LagWindows(6).fit_transform(table) for table in (TABLE, changed))
    assert np.array_equal(before[:25], after[:25])


def test_windows_are_views_over_one_padded_copy():
    windows = LagWindows(12).fit_transform(TABLE)
    base = windows
    while base.base is not None:
        base = base.base
    assert base.size == (40 + 11) * 3
    assert not windows.flags.writeable


def test_nan_padding_stands_for_rows_before_the_first():
    windows = LagWindows(4, padding="nan").fit_transform(TABLE)
    assert np.isnan(windows[1, :2]).all()
    assert np.array_equal(windows[1, 2:], TABLE[:2])
    assert not np.isnan(windows[3:]).any()


@pytest.mark.parametrize("method", ["fit", "fit_transform", "transform"])
def test_error_padding_refuses_a_table_without_a_complete_window(method):
    windows = LagWindows(5, padding="error")
    with pytest.raises(ValueError, match=r"X has 4 rows, fewer than length=5"):
        getattr(windows, method)(TABLE[:4])
    assert windows.transform(TABLE[:5]).shape == (5, 5, 3)


def test_error_padding_is_edge_padding_where_there_is_a_complete_window():
    strict, edge = LagWindows(5, padding="error"), LagWindows(5)
    assert np.array_equal(strict.fit_transform(TABLE), edge.fit_transform(TABLE))
    assert np.array_equal(strict.transform(TABLE[:6]), edge.transform(TABLE[:6]))


def series_of_the_past():
    """The target of a row is the value two rows before it."""
    series = np.random.default_rng(0).normal(size=(120, 1))
    return series, np.r_[0, 0, series[:-2, 0]]


def test_a_pipeline_with_error_padding_is_fitted_and_refuses_the_newest_row_alone():
    series, target = series_of_the_past()
    model = StackedLSTMRegressor(1, 4, max_epochs=3, random_state=0)
    pipeline = make_pipeline(LagWindows(3, padding="error"), model).fit(series[:100], target[:100])
    with pytest.raises(ValueError, match=r"the last 3, and take the last prediction"):
        pipeline.predict(series[-1:])
    (forecast,) = pipeline.predict(series[-3:])[2:]
    assert forecast == pytest.approx(target[-1], abs=0.2)


def test_the_newest_row_alone_warns_that_its_past_is_unknown():
    series, target = series_of_the_past()
    model = StackedLSTMRegressor(1, 4, max_epochs=3, random_state=0)
    pipeline = make_pipeline(LagWindows(3), model).fit(series[:100], target[:100])
    with pytest.warns(SequenceDataWarning) as caught:
        pipeline.predict(series[-1:])
    (warning,) = caught
    assert str(warning.message).startswith("X has 1 row, and length=3: even the last window has 2 ")
    assert "pass the last 3 rows and take the last prediction" in str(warning.message)
    assert warning.filename == __file__
    pipeline.predict(series[-3:])


def test_short_sequences_that_were_asked_for_warn_of_nothing():
    windows = LagWindows(12, padding="nan").fit(TABLE[:20])
    assert windows.transform(TABLE[:1]).shape == (1, 12, 3)


@pytest.mark.parametrize("padding", ["edge", "error"])
@pytest.mark.parametrize("n_rows", [23, 36])
def test_a_fit_to_more_than_three_padded_windows_in_ten_warns(n_rows, padding):
    with pytest.warns(SequenceDataWarning, match=f"11 of {n_rows} windows of length=12 begin"):
        LagWindows(12, padding=padding).fit(TABLE[:n_rows])
    LagWindows(12, padding=padding).fit(TABLE[:37])


def test_a_fit_to_nothing_but_padded_windows_warns_once():
    with pytest.warns(SequenceDataWarning, match="20 of 20 windows of length=24") as caught:
        LagWindows().fit_transform(TABLE[:20])
    assert len(caught) == 1


def test_history_passed_along_gives_the_windows_of_the_whole_table():
    whole = LagWindows(5).fit_transform(TABLE)
    assert np.array_equal(LagWindows(5).fit_transform(TABLE[20 - 4 :])[4:], whole[20:])


def test_single_precision_is_kept():
    assert LagWindows(3).fit_transform(TABLE.astype("float32")).dtype == np.float32


def test_data_frames_give_their_names():
    table = pd.DataFrame(TABLE, columns=["a", "b", "c"])
    windows = LagWindows(3).fit(table)
    assert list(windows.feature_names_in_) == ["a", "b", "c"]
    assert np.array_equal(windows.transform(table), LagWindows(3).fit_transform(TABLE))


def test_it_needs_no_fit():
    assert LagWindows(3).transform(TABLE).shape == (40, 3, 3)
    assert LagWindows(3).transform(pd.DataFrame(TABLE, columns=["a", "b", "c"])).shape == (40, 3, 3)


@pytest.mark.parametrize("series", [pd.Series, lambda name, data: pl.Series(name, data)])
def test_a_series_is_a_table_of_one_column_with_its_name(series):
    sales = series(name="Sales", data=TABLE[:, 0])
    windows = LagWindows(3)
    assert np.array_equal(windows.fit_transform(sales), LagWindows(3).fit_transform(TABLE[:, :1]))
    assert windows.feature_names_in_.tolist() == ["Sales"]
    assert np.array_equal(windows.transform(sales), windows.transform(sales.to_frame()))
    pipeline = make_pipeline(LagWindows(3), StackedLSTMRegressor(1, 4, max_epochs=1))
    assert pipeline.fit(sales, TABLE[:, 1]).predict(sales).shape == (40,)


def test_a_series_without_a_name_gives_none():
    windows = LagWindows(3).fit(pd.Series(TABLE[:, 0]))
    assert not hasattr(windows, "feature_names_in_")


# Names and output


@pytest.mark.parametrize("output", ["pandas", "polars", "default"])
def test_windows_stay_an_array_in_a_pipeline_that_gives_data_frames(output):
    table = pd.DataFrame(TABLE, columns=["a", "b", "c"])
    model = StackedLSTMRegressor(1, 4, max_epochs=1, random_state=0)
    pipeline = make_pipeline(StandardScaler(), LagWindows(3), model)
    expected = clone(pipeline).fit(TABLE, TABLE[:, 0]).predict(TABLE)
    pipeline.set_output(transform=output).fit(table, TABLE[:, 0])
    assert np.array_equal(pipeline.predict(table), expected)
    assert type(pipeline[:-1].transform(table)) is np.ndarray


def test_names_are_those_of_the_columns():
    table = pd.DataFrame(TABLE, columns=["a", "b", "c"])
    pipeline = make_pipeline(StandardScaler(), LagWindows(3), StackedLSTMRegressor(1, 4))
    pipeline[:-1].fit(table)
    assert pipeline[:-1].get_feature_names_out().tolist() == ["a", "b", "c"]
    assert LagWindows(3).fit(TABLE).get_feature_names_out().tolist() == ["x0", "x1", "x2"]


# Flat windows, for what knows rows alone


def flat(windows):
    return windows.reshape(len(windows), -1)


def test_flat_windows_are_the_same_model_and_take_a_row_of_zeros():
    model = StackedLSTMRegressor(1, 4, max_epochs=2, random_state=0)
    deep = make_pipeline(LagWindows(4), model)
    wide = make_pipeline(
        LagWindows(4), FunctionTransformer(flat), clone(model).set_params(n_timesteps=4)
    )
    for pipeline in (deep, wide):
        pipeline.fit(TABLE, TABLE[:, 0])
    assert np.array_equal(deep.predict(TABLE), wide.predict(TABLE))
    assert wide[-1].predict(np.zeros((1, wide[-1].n_features_in_))).shape == (1,)
    with pytest.raises(ValueError, match="X is 2-D, but the model was fitted with X"):
        deep[-1].predict(np.zeros((1, deep[-1].n_features_in_)))


# What is refused


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE[:, 0], r"1D array of shape \(40,\).*X.reshape\(-1, 1\) is the table of one series"),
        (np.ma.masked_greater(TABLE, 1), "X has masked entries.*Fill them first"),
        (TABLE.astype("datetime64[s]"), r"X holds dates or durations \(dtype datetime64"),
        (np.array([["2024-01-01"], ["NaT"]], dtype="datetime64[D]"), "X holds dates"),
        ([[np.datetime64("NaT")], [np.timedelta64(1, "s")]], "X holds dates"),
        ([[10**400], [1]], "too large for float64"),
        (
            np.where(np.arange(40)[:, None] < [40, 9, 40], TABLE, np.nan),
            "NaN at sample 9, column 1",
        ),
        (TABLE[:0], "0 sample"),
        (np.zeros((4, 2, 2)), "dim 3"),
    ],
)
def test_a_bad_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        LagWindows(3).fit(table)


def test_a_masked_array_without_masked_entries_is_a_table():
    windows = LagWindows(3).fit_transform(np.ma.masked_array(TABLE))
    assert np.array_equal(windows, LagWindows(3).fit_transform(TABLE))


DAYS = [datetime.date(2024, 1, day) for day in range(1, 11)]
NOT_NUMBERS = {
    "dates": DAYS,
    "times": [datetime.datetime(2024, 1, day) for day in range(1, 11)],
    "durations": [datetime.timedelta(day) for day in range(10)],
    "text": [*"012345678", "A"],
    "lists": [[1, 2]] * 10,
}


NO_NUMBERS = "X has a column 'when' .*(holds dates or dur|does not hold numbers|cells hold seq)"


@pytest.mark.parametrize("data_frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_a_column_that_holds_no_numbers_is_refused_by_name(data_frame, kind):
    table = data_frame({"load": np.arange(10.0), "when": NOT_NUMBERS[kind]})
    with pytest.raises(ValueError, match=NO_NUMBERS):
        LagWindows(3).fit(table)
    with pytest.raises(ValueError, match=NO_NUMBERS):
        LagWindows(3).fit(table["when"])


def test_the_message_about_dates_says_what_to_do():
    table = pd.DataFrame({"load": np.arange(10.0), "date": pd.to_datetime(DAYS).tz_localize("UTC")})
    with pytest.raises(ValueError, match=r"holds dates.*X.set_index\('date'\) keeps dates"):
        LagWindows(3).fit(table)
    LagWindows(3).fit(table.set_index("date"))


def test_the_message_about_text_shows_the_first_word():
    table = pl.DataFrame({"load": [1.0, 2.0], "city": ["Bern", "Oslo"]})
    with pytest.raises(
        ValueError, match=r"column 'city' .*not hold numbers .*'Bern'.*make_column_transformer"
    ):
        LagWindows(2).fit(table)


def test_columns_of_other_numbers_are_taken():
    table = pd.DataFrame(
        {
            "yes": np.arange(6) % 2 == 0,
            "whole": pd.array(range(6), dtype="Int64"),
            "code": pd.Categorical([1, 2, 3, 1, 2, 3]),
            "object": np.arange(6.0).astype(object),
        }
    )
    assert LagWindows(2).fit_transform(table)[5, 1].tolist() == [0, 5, 3, 5]
    assert LagWindows(2).fit_transform(pl.DataFrame({"yes": [True, False, True, True]})).sum() == 6


@pytest.mark.parametrize(
    "params", [{"length": 0}, {"length": 2.0}, {"length": True}, {"padding": "zero"}]
)
def test_a_bad_parameter_is_refused_by_name(params):
    (name,) = params
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        LagWindows(**params).fit(TABLE)
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        LagWindows(**params).transform(TABLE)


def test_another_number_of_columns_is_refused():
    with pytest.raises(ValueError, match="X has 2 features, but LagWindows is expecting 3"):
        LagWindows(3).fit(TABLE).transform(TABLE[:, :2])


def test_a_pipeline_learns_from_the_rows_before():
    series = np.random.default_rng(0).normal(size=(300, 1))
    target = np.r_[0, 0, series[:-2, 0]]
    model = StackedLSTMRegressor(n_layers=1, units=8, lr=0.03, random_state=0)
    pipeline = make_pipeline(LagWindows(3), model).fit(series[:200], target[:200])
    assert pipeline.score(series[200:], target[200:]) > 0.9


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.DataFrame(TABLE).lazy(), r"X is a LazyFrame.*call \.collect\(\) first"),
        ({"a": TABLE[:, 0]}, r"X is a dict with the keys 'a'; .*pd\.DataFrame\(X\)"),
        ((row for row in TABLE), r"X is a generator; .*list\(X\)"),
        (pd.DataFrame(TABLE).to_records(), r"X has named fields, .*pd\.DataFrame\(X\)"),
        (np.array([[pd.NaT], [1.0]], dtype=object), "X holds dates or durations"),
        (np.array([[pd.NA], [1.0]], dtype=object), "NaN at sample 0, column 0"),
        (pd.DataFrame({"a": [pd.NA, 1.0]}, dtype=object), "NaN at sample 0, column 0"),
        (np.array([["A", 1.0]] * 30, dtype=object), "X must hold numbers: .*'A'"),
        ([[1.0], [1.0, 2.0]], "X must hold numbers"),
        (pd.DataFrame({"a": [TABLE[0]] * 9}), "column 'a' .*hold sequences.*Make a list"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("method", ["fit", "fit_transform", "transform"])
def test_what_is_no_table_of_numbers_is_refused_by_name(table, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(LagWindows(2), method)(table)


def test_an_object_in_a_table_is_refused_with_the_name_of_the_table():
    with pytest.raises(TypeError, match=r"X is not an array of real numbers: .*'dict'"):
        LagWindows(2).fit(np.full((9, 2), {}, dtype=object))


def test_a_tensor_of_bfloat16_is_a_table():
    table = torch.tensor(TABLE).bfloat16()
    expected = LagWindows(2).fit_transform(table.float().numpy())
    assert np.array_equal(LagWindows(2).fit_transform(table), expected)
