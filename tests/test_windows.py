import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from sklstm import LagWindows, StackedLSTMRegressor

TABLE = np.random.default_rng(0).normal(size=(40, 3))


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
    windows = LagWindows(30).fit_transform(TABLE)
    base = windows
    while base.base is not None:
        base = base.base
    assert base.size == (40 + 29) * 3
    assert not windows.flags.writeable


def test_nan_padding_stands_for_rows_before_the_first():
    windows = LagWindows(4, padding="nan").fit_transform(TABLE)
    assert np.isnan(windows[1, :2]).all()
    assert np.array_equal(windows[1, 2:], TABLE[:2])
    assert not np.isnan(windows[3:]).any()


def test_error_padding_refuses_a_row_without_history():
    with pytest.raises(ValueError, match=r"Row 0 has no history for length=2"):
        LagWindows(2, padding="error").fit_transform(TABLE)
    assert LagWindows(1, padding="error").fit_transform(TABLE).shape == (40, 1, 3)


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


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE[:, 0], "1D array"),
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


@pytest.mark.parametrize("params", [{"length": 0}, {"length": 2.0}, {"padding": "zero"}])
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
