import ast
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse

from sklstm import LagWindows, StackedLSTMRegressor
from sklstm.data.inputs import read_inputs

MODEL = StackedLSTMRegressor(n_layers=1, units=4, max_epochs=1, random_state=0)


def fitted(X, y, **params):
    return StackedLSTMRegressor(**{**MODEL.get_params(), **params}).fit(X, y)


def with_value(X, place, value):
    X = X.copy()
    X[place] = value
    return X


def test_rows_of_2d_x_are_univariate_sequences(sequences):
    X, y = sequences
    rows = X[:, :, 0]
    expected = fitted(rows[:, :, np.newaxis], y).predict(rows[:, :, np.newaxis])
    model = fitted(rows, y)
    assert model.n_features_in_ == 7
    assert model.module_.layers[0].input_size == 1
    assert np.array_equal(model.predict(rows), expected)


def test_n_timesteps_reads_all_features_of_the_first_step_first(sequences):
    X, y = sequences
    expected = fitted(X, y).predict(X)
    model = fitted(X.reshape(60, 21), y, n_timesteps=7)
    assert model.n_features_in_ == 21
    assert np.array_equal(model.predict(X.reshape(60, 21)), expected)


def test_n_features_in_counts_features_of_a_step_of_3d_x(sequences):
    assert fitted(*sequences).n_features_in_ == 3


def test_length_of_3d_sequences_may_differ_in_predict(sequences):
    X, y = sequences
    assert fitted(X, y).predict(X[:, :4]).shape == (60,)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_data_frames_are_read_as_arrays(frame, sequences):
    X, y = sequences
    rows = X[:, :, 0]
    table = frame({f"lag{i}": rows[:, i] for i in range(7)})
    model = fitted(table, y)
    assert list(model.feature_names_in_) == list(table.columns)
    assert np.array_equal(model.predict(table), fitted(rows, y).predict(rows))


@pytest.mark.parametrize(
    "form",
    [
        lambda X: X.tolist(),
        np.asfortranarray,
        lambda X: X[::-1][::-1],
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X.astype(">f8"),
        lambda X: X.astype(object),
        lambda X: np.lib.stride_tricks.as_strided(X, X.shape, X.strides, writeable=False),
    ],
    ids=["list", "fortran", "negative strides", "strided", "big-endian", "object", "read-only"],
)
def test_memory_layout_does_not_matter(form, sequences):
    X, y = sequences
    model = fitted(form(X), y)
    assert np.array_equal(model.predict(form(X)), fitted(X, y).predict(X))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "int64", "uint16", "bool"])
def test_numeric_dtypes_are_accepted(dtype):
    X = (np.arange(60).reshape(10, 3, 2) % 7 > 2).astype(dtype)
    prediction = fitted(X, np.arange(10.0)).predict(X)
    assert prediction.dtype == np.float64
    assert np.isfinite(prediction).all()


def test_input_arrays_are_not_changed(sequences):
    X, y = sequences
    before = X.copy(), y.copy()
    fitted(X, y, standardize=False).predict(X)
    assert np.array_equal(X, before[0])
    assert np.array_equal(y, before[1])


@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 3)])
@pytest.mark.parametrize(
    ("x_dtype", "y_dtype", "dtype"),
    [
        ("float64", "float64", "float64"),
        ("float32", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
        ("float32", "int64", "float64"),
    ],
)
def test_predictions_take_the_form_of_y(shape, x_dtype, y_dtype, dtype, sequences):
    X, _ = sequences
    y = np.arange(np.prod(shape)).reshape(shape).astype(y_dtype)
    prediction = fitted(X.astype(x_dtype), y).predict(X.astype(x_dtype))
    assert prediction.shape == shape
    assert prediction.dtype == dtype


def test_a_single_column_in_a_frame_is_a_column_in_the_predictions(sequences):
    X, y = sequences
    assert fitted(X, pd.DataFrame({"y": y})).predict(X).shape == (60, 1)
    assert fitted(X, pd.Series(y)).predict(X).shape == (60,)


def test_predictions_keep_the_digits_of_targets_with_a_large_offset(sequences):
    X, y = sequences
    plain = fitted(X, y).predict(X)
    np.testing.assert_allclose(fitted(X, y + 1e9).predict(X) - 1e9, plain, atol=1e-4)


GOOD = np.random.default_rng(0).normal(size=(6, 5, 2))
TARGET = np.arange(6.0)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (GOOD[:, 0, 0], "1D array"),
        (GOOD[..., np.newaxis], "4 dimensions"),
        (np.float64(3.0), "scalar"),
        (GOOD[:0], "0 sample"),
        (GOOD[:, :0], r"\(6, 0, 2\)"),
        (GOOD[:, :, :0], r"\(6, 5, 0\)"),
        (np.empty((6, 0)), "0 feature"),
        (with_value(GOOD, (3, 4, 1), np.nan), "X contains NaN at sample 3, step 4, feature 1"),
        (
            with_value(GOOD, (0, 0, 0), -np.inf),
            "X contains infinity at sample 0, step 0, feature 0",
        ),
        (with_value(GOOD[:, :, 0], (2, 3), np.nan), "X contains NaN at sample 2, column 3"),
        (with_value(GOOD, (1, 2, 0), 1e300), "X contains a value.*1e.300.*sample 1, step 2"),
        (np.full((6, 5), "a"), "X must hold numbers"),
        (GOOD.astype(complex), "Complex data"),
        (GOOD.astype("M8[s]"), r"X has dtype datetime64\[s\]"),
        ([["1", "b"]] * 6, "X must hold numbers"),
    ],
)
def test_bad_x_is_refused_with_its_place(X, message):
    with pytest.raises(ValueError, match=message):
        MODEL.fit(X, TARGET)


def test_bad_x_is_refused_in_predict_with_its_place():
    model = fitted(GOOD, TARGET)
    with pytest.raises(ValueError, match="NaN at sample 5, step 0, feature 1"):
        model.predict(with_value(GOOD, (5, 0, 1), np.nan))


def test_the_place_of_a_bad_value_is_right_in_large_data():
    X = np.zeros((40_000, 100), dtype=np.float32)
    X[39_999, 99] = np.nan
    with pytest.raises(ValueError, match="NaN at sample 39999, column 99"):
        MODEL.fit(X, np.zeros(40_000))


def test_sparse_x_is_refused():
    with pytest.raises(TypeError, match="Sparse data"):
        MODEL.fit(sparse.csr_array(GOOD[:, :, 0]), TARGET)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (TARGET[:5], r"inconsistent numbers of samples: \[6, 5\]"),
        (np.zeros((6, 2, 2, 1)), r"y should be a 1d array.*\(6, 2, 2, 1\)"),
        (np.zeros((6, 0)), r"\(6, 0\)"),
        (np.float64(1.0), "y should be a 1d array"),
        (TARGET * np.nan, "y has no label: it is NaN throughout"),
        (with_value(np.zeros((6, 2)), (3, 1), np.inf), "y contains infinity at sample 3, column 1"),
        (
            with_value(np.zeros((6, 2, 3)), (3, 1, 2), -np.inf),
            "y contains infinity at sample 3, step 1, column 2",
        ),
        (np.array(list("abcdef")), "y must hold numbers"),
        (np.array(list("abcdef"), dtype=object), "y must hold numbers.*could not convert"),
        (TARGET.astype(complex), "Complex data"),
        (TARGET.astype("m8[s]"), r"y has dtype timedelta64\[s\]"),
    ],
)
def test_bad_y_is_refused_with_its_place(y, message):
    with pytest.raises(ValueError, match=message):
        MODEL.fit(GOOD, y)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (GOOD[:, :, :1], "X has 1 features at each step.*fitted with 2 features"),
        (GOOD[:, :, 0], "X is 2-D, but .* fitted with X that is 3-D"),
        (GOOD[:, :0], r"\(6, 0, 2\)"),
    ],
)
def test_predict_refuses_what_fit_did_not_see(X, message):
    model = fitted(GOOD, TARGET)
    with pytest.raises(ValueError, match=message):
        model.predict(X)


def test_predict_refuses_another_number_of_columns():
    model = fitted(GOOD[:, :, 0], TARGET)
    with pytest.raises(ValueError, match=r"X has 4 features, but .* is expecting 5 features"):
        model.predict(GOOD[:, :4, 0])
    with pytest.raises(
        ValueError, match=r"X is 3-D or a list of 2-D arrays, but .* fitted with X that is 2-D"
    ):
        model.predict(GOOD)


@pytest.mark.parametrize(
    ("n_features", "X", "message"),
    [
        (1, [70.0, 80, 90], r"X has shape \(3,\), but .*\(n_samples, n_timesteps, 1\).*"
         r"One sequence is np.reshape\(X, \(1, 3, 1\)\)"),
        (2, np.arange(6), r"X has shape \(6,\).* np.reshape\(X, \(1, 3, 2\)\)"),
        (2, np.arange(3), r"X has shape \(3,\), but .*, or a list of sequences\.$"),
        (1, [[70.0], [80], [90]], r"X is 2-D, .* has shape \(3, 1\). One .*\(1, 3, 1\)\)"),
        (2, np.ones((7, 2)), r"X is 2-D, .* has shape \(7, 2\). One sequence is .*\(1, 7, 2\)\)"),
        (2, np.ones((7, 6)), r"X is 2-D, .*7 sequences are np.reshape\(X, \(7, 3, 2\)\)"),
        (2, np.ones((7, 5)), r"X is 2-D, .*2-D arrays. X has shape \(7, 5\)\.$"),
    ],
)  # fmt: skip
def test_predict_says_how_a_single_sequence_is_passed(n_features, X, message):
    model = fitted(GOOD[:, :, :n_features], TARGET)
    with pytest.raises(ValueError, match=message):
        model.predict(X)
    reshape = re.search(r"np.reshape\(X, (.*)\)\.", message.replace("\\", ""))
    if reshape:
        assert model.predict(np.reshape(X, ast.literal_eval(reshape[1]))).ndim == 1


def test_a_single_sequence_after_a_fit_to_a_list_of_series():
    model = fitted(SERIES, EIGHT)
    with pytest.raises(ValueError, match=r"One sequence is np.reshape\(X, \(1, 5, 1\)\)"):
        model.predict(SERIES[0])
    assert model.predict(np.reshape(SERIES[0], (1, 5, 1))) == model.predict(SERIES[:1])


def test_a_series_in_fit_is_refused_with_both_ways_on():
    with pytest.raises(ValueError, match=r"1D array.*\(6,\).*\(1, 6, 1\).*LagWindows"):
        MODEL.fit(GOOD[:, 0, 0], TARGET)


def test_columns_must_be_divisible_by_n_timesteps():
    with pytest.raises(ValueError, match=re.escape("5 columns, which n_timesteps=2")):
        fitted(GOOD[:, :, 0], TARGET, n_timesteps=2)


SPANS = [5, 3, 7, 1, 7, 4, 2, 6]
LISTED = [np.random.default_rng(span).normal(size=(span, 2)) for span in SPANS]
SERIES = [sequence[:, 0] for sequence in LISTED]
EIGHT = np.arange(8.0)


def objects(arrays):
    container = np.empty(len(arrays), dtype=object)
    container[:] = arrays
    return container


def padded(arrays, before=0):
    """A 3-D array, NaN around the sequences."""
    longest = max(map(len, arrays))
    rows = np.full((len(arrays), longest, arrays[0].shape[1]), np.nan)
    for row, array in zip(rows, arrays, strict=True):
        row[before * (longest - len(array)) // 2 :][: len(array)] = array
    return rows


@pytest.mark.bits
@pytest.mark.parametrize(
    "form",
    [
        tuple,
        objects,
        lambda X: pd.Series(X),
        lambda X: [x.tolist() for x in X],
        lambda X: [pd.DataFrame(x) for x in X],
        lambda X: [np.asfortranarray(x) for x in X],
        lambda X: [x[::-1][::-1] for x in X],
        lambda X: [x.astype(object) for x in X],
        lambda X: [np.vstack([x, np.full((2, 2), np.nan)]) for x in X],
        padded,
        lambda X: padded(X, before=1),
        lambda X: padded(X, before=2),
        lambda X: np.concatenate([np.full((8, 3, 2), np.nan), padded(X)], axis=1),
    ],
    ids=[
        "tuple",
        "object array",
        "Series",
        "nested lists",
        "DataFrames",
        "fortran",
        "negative strides",
        "objects",
        "NaN at ends",
        "NaN after",
        "NaN around",
        "NaN before",
        "NaN everywhere at first",
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_form_of_the_same_sequences_gives_the_same_bits(form, weighted):
    params = {"max_epochs": 3, "batch_size": 3}
    weight = np.arange(8.0) if weighted else None
    model, other = (StackedLSTMRegressor(**{**MODEL.get_params(), **params}) for _ in range(2))
    expected = model.fit(LISTED, EIGHT, sample_weight=weight).predict(LISTED)
    assert np.array_equal(
        other.fit(form(LISTED), EIGHT, sample_weight=weight).predict(LISTED), expected
    )
    assert np.array_equal(model.predict(form(LISTED)), expected)
    assert other.n_features_in_ == 2


@pytest.mark.parametrize("form", [list, objects, lambda X: [x.tolist() for x in X]])
def test_one_dimensional_sequences_are_univariate(form):
    model = fitted(form(SERIES), EIGHT)
    assert model.n_features_in_ == 1
    expected = fitted([x[:, np.newaxis] for x in SERIES], EIGHT).predict(
        [x[:, np.newaxis] for x in SERIES]
    )
    assert np.array_equal(model.predict(form(SERIES)), expected)
    assert np.array_equal(model.predict([x[:, np.newaxis] for x in SERIES]), expected)
    assert np.array_equal(model.predict(form(SERIES[:1])), expected[:1])


def test_a_list_of_equal_lengths_is_as_good_as_an_array(sequences):
    X, y = sequences
    assert np.array_equal(fitted(list(X), y).predict(list(X)), fitted(X, y).predict(X))
    rows = X[:, :, 0]
    expected = fitted(rows, y).predict(rows)
    model = fitted(list(rows), y)
    assert model.n_features_in_ == 1
    for again in (list(rows), rows, rows.tolist(), rows[:, :, np.newaxis]):
        assert np.array_equal(model.predict(again), expected)
    assert np.array_equal(fitted(rows, y).predict(list(rows)), expected)


def test_a_list_of_rows_is_a_table_for_n_timesteps(sequences):
    X, y = sequences
    model = fitted(list(X.reshape(60, 21)), y, n_timesteps=7)
    assert model.n_features_in_ == 21
    assert np.array_equal(model.predict(X.reshape(60, 21)), fitted(X, y).predict(X))


def test_fit_and_predict_may_see_different_forms_of_sequences():
    model = fitted(LISTED, EIGHT)
    equal = np.random.default_rng(0).normal(size=(4, 9, 2))
    expected = model.predict(equal)
    assert np.array_equal(model.predict(list(equal)), expected)
    assert np.array_equal(fitted(padded(LISTED), EIGHT).predict(equal), expected)


def test_statistics_are_those_of_present_steps():
    steps = np.concatenate(LISTED)
    for X in (LISTED, padded(LISTED, before=1)):
        scaler = fitted(X, EIGHT).module_.input_scaler
        np.testing.assert_allclose(scaler.mean, steps.mean(axis=0))
        np.testing.assert_allclose(scaler.scale, steps.std(axis=0))


def test_a_refit_on_a_list_forgets_the_names_of_columns(sequences):
    X, y = sequences
    table = pd.DataFrame(X[:, :, 0], columns=list("abcdefg"))
    for listed in (list(X), list(X[:, :, 0])):
        model = fitted(table, y).fit(listed, y)
        assert not hasattr(model, "feature_names_in_")


def test_windows_of_missing_rows_are_shorter_sequences():
    table = np.random.default_rng(0).normal(size=(30, 2))
    windows = LagWindows(5, padding="nan").fit_transform(table)
    listed = [table[max(0, end - 4) : end + 1] for end in range(30)]
    y = np.arange(30.0)
    model = fitted(windows, y, max_epochs=3)
    assert np.array_equal(model.predict(windows), fitted(listed, y, max_epochs=3).predict(listed))


def test_padded_arrays_are_not_copied():
    windows = LagWindows(50, padding="nan").fit_transform(np.zeros((1000, 1)))
    sequences, _ = read_inputs(windows)
    assert np.shares_memory(sequences.values, windows)
    assert sequences.lengths[:51].tolist() == [*range(1, 51), 50]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([*LISTED[:7], np.zeros((6, 3))], r"X\[7\] has 3 values at each step, X\[0\] has 2"),
        ([*LISTED[:7], np.zeros(6)], r"X\[7\] has 1 values at each step"),
        ([*LISTED[:7], np.zeros((0, 2))], r"X\[7\] has shape \(0, 2\)"),
        ([*LISTED[:7], np.zeros((6, 2, 1))], r"X\[7\] has shape \(6, 2, 1\)"),
        ([*LISTED[:7], 3.0], r"X\[7\] has shape \(\)"),
        ([*LISTED[:7], None], r"X\[7\] has shape \(\)|X\[7\] is not an array of real numbers"),
        ([*LISTED[:7], np.full((6, 2), "a")], r"X\[7\] has dtype <U1"),
        ([*LISTED[:7], np.zeros((6, 2), dtype=complex)], r"X\[7\] has dtype complex128"),
        (
            [*LISTED[:7], torch.zeros(6, 2, requires_grad=True)],
            r"X\[7\] is not an array of real numbers: .*requires grad",
        ),
        (torch.zeros(8, 6, 2, requires_grad=True), "X is not an array.*requires grad"),
        ([*LISTED[:7], np.ma.masked_equal(np.eye(2), 0)], r"X\[7\] has masked entries"),
        (np.ma.masked_equal(np.ones((8, 6, 2)), 1), "X has masked entries"),
        (dict.fromkeys(range(8)), r"X is a dict with the keys '0', '1', '2', .*side by side"),
        ((x for x in LISTED), r"X is a generator; .*list\(X\)"),
        (iter(LISTED), r"X is a list_iterator; .*list\(X\)"),
        ([*LISTED[:7], {"a": 1}], r"X\[7\] is not an array of real numbers"),
        ([*LISTED[:7], [[1, 2], [3]]], r"X\[7\] is not an array of real numbers"),
        (
            [*LISTED[:7], with_value(LISTED[7], (2, 1), np.nan)],
            "X contains NaN at sample 7, step 2, feature 1",
        ),
        (
            [*LISTED[:7], with_value(LISTED[7], 2, np.nan)],
            "X contains NaN at sample 7, step 2, feature 0",
        ),
        ([*LISTED[:7], with_value(LISTED[7], (0, 0), np.inf)], "infinity at sample 7, step 0"),
        ([*LISTED[:7], np.full((6, 2), np.nan)], "X is NaN at all 6 steps of sample 7"),
        (with_value(padded(LISTED), 4, np.nan), "X is NaN at all 7 steps of sample 4"),
        (with_value(padded(LISTED), (0, 1), np.nan), "NaN at sample 0, step 1, feature 0"),
        (with_value(padded(LISTED), (0, 0, 1), np.nan), "NaN at sample 0, step 0, feature 1"),
        (with_value(padded(LISTED), (2, 6, 1), np.inf), "infinity at sample 2, step 6, feature 1"),
    ],
)
def test_bad_sequences_are_refused_with_their_place(X, message):
    with pytest.raises(ValueError, match=message):
        MODEL.fit(X, EIGHT)


def test_bad_sequences_are_refused_in_predict():
    model = fitted(LISTED, EIGHT)
    with pytest.raises(ValueError, match=r"X has 1 features at each step.*fitted with 2 features"):
        model.predict(SERIES)
    with pytest.raises(ValueError, match=r"X is 2-D, but .* fitted with X that is 3-D"):
        model.predict(np.zeros((8, 2)))
    rows = fitted(np.zeros((8, 5)), EIGHT)
    with pytest.raises(ValueError, match=r"X\[1\] has 3 columns, X\[0\] has 5"):
        rows.predict(SERIES)
    with pytest.raises(
        ValueError, match=r"X is 3-D or a list of 2-D arrays, but .* fitted with X that is 2-D"
    ):
        rows.predict(LISTED)


def test_no_sequences_are_refused():
    with pytest.raises(ValueError, match="Expected 2D array"):
        MODEL.fit([], [])
