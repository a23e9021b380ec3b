import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score

from sklstm import StackedLSTMRegressor, step_scorer
from sklstm.data.scaling import mean_and_scale_of_labels
from sklstm.data.sequences import Sequences
from sklstm.data.targets import n_labels

RNG = np.random.default_rng(0)
SPANS = [5, 3, 7, 1, 7, 4, 2, 6]
LISTED = [RNG.normal(size=(span, 2)) for span in SPANS]
EQUAL = RNG.normal(size=(8, 6, 2))
STEPS = [np.cumsum(x[:, 0]) for x in LISTED]
PAIRS = [np.cumsum(x, axis=0) for x in LISTED]


def fitted(X, y, **params):
    defaults = {"n_layers": 1, "units": 4, "max_epochs": 1, "random_state": 0}
    return StackedLSTMRegressor(**{**defaults, "return_sequences": True, **params}).fit(X, y)


def objects(arrays):
    container = np.empty(len(arrays), dtype=object)
    container[:] = arrays
    return container


def padded(arrays, before=False):
    """A 3-D array, NaN after the sequences or before them."""
    longest = max(map(len, arrays))
    rows = np.full((len(arrays), longest, *arrays[0].shape[1:]), np.nan)
    for row, array in zip(rows, arrays, strict=True):
        row[longest - len(array) if before else 0 :][: len(array)] = array
    return rows


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 1), (8, 6, 3)])
def test_an_array_of_targets_is_answered_with_an_array(shape):
    model = fitted(EQUAL, RNG.normal(size=shape))
    assert model.predict(EQUAL).shape == shape
    assert model.predict(EQUAL[:3, :4]).shape == (3, 4, *shape[2:])
    assert model.n_outputs_ == (*shape, 1)[2]


@pytest.mark.parametrize(("y", "tail"), [(STEPS, ()), (PAIRS, (2,))])
@pytest.mark.parametrize("container", [list, tuple, objects, pd.Series])
def test_sequences_of_targets_are_answered_with_sequences(container, y, tail):
    prediction = fitted(LISTED, container(y)).predict(LISTED)
    assert isinstance(prediction, list if container in (list, tuple) else np.ndarray)
    assert [row.shape for row in prediction] == [(span, *tail) for span in SPANS]


def test_a_list_of_equal_lengths_is_answered_with_a_list():
    prediction = fitted(EQUAL, list(EQUAL[:, :, 0])).predict(EQUAL)
    assert [row.shape for row in prediction] == [(6,)] * 8


def test_an_array_of_targets_is_answered_with_a_list_where_lengths_differ():
    prediction = fitted(EQUAL, EQUAL[:, :, 0]).predict(LISTED)
    assert [row.shape for row in prediction] == [(span,) for span in SPANS]


@pytest.mark.bits
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("y", [STEPS, PAIRS], ids=["one output", "two outputs"])
def test_padded_arrays_equal_lists_to_the_bit(y, before):
    expected = fitted(LISTED, y, max_epochs=3).predict(LISTED)
    X = padded(LISTED, before)
    prediction = fitted(X, padded(y, before), max_epochs=3).predict(X)
    assert np.array_equal(prediction, padded(expected, before), equal_nan=True)


def test_predictions_at_a_step_do_not_depend_on_later_steps():
    model = fitted(LISTED, STEPS)
    whole = model.predict(LISTED)
    for length in (1, 3):
        for early, row in zip(model.predict([x[:length] for x in LISTED]), whole, strict=True):
            assert np.array_equal(early, row[:length])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_dtype_of_predictions_follows_x_and_y(dtype):
    X = [x.astype(np.float32) for x in LISTED]
    prediction = fitted(X, [y.astype(dtype) for y in STEPS]).predict(X)
    assert {row.dtype for row in prediction} == {
        np.dtype("float32" if dtype == "float32" else "float64")
    }


def test_steps_without_a_label_carry_no_loss():
    X, y = EQUAL, EQUAL[:, :, 0].copy()
    y[:, 2:4] = np.nan
    y[3] = np.nan
    params = {"max_epochs": 3, "batch_size": 8, "precision": "float64"}
    model = fitted(X, y, **params)
    wild = y.copy()
    assert np.isfinite(model.predict(X)).all()
    labels = np.isfinite(wild)
    loss = np.square((model.predict(X)[labels] - y[labels]) / np.std(y[labels])).mean()
    after = fitted(X, y, **{**params, "max_epochs": 4}, lr_schedule="constant", lr=1e-12)
    fresh = fitted(X, y, **{**params, "max_epochs": 0})
    untrained = np.square((fresh.predict(X)[labels] - y[labels]) / np.std(y[labels])).mean()
    assert after.loss_curve_[-1] == pytest.approx(untrained, rel=1e-6)
    assert loss < untrained


def test_a_sequence_without_a_label_is_as_if_left_out():
    unlabelled = [*STEPS[:2], np.full(7, np.nan), *STEPS[3:]]
    rest = [i for i in range(8) if i != 2]
    model = fitted(LISTED, unlabelled, max_epochs=3)
    other = fitted([LISTED[i] for i in rest], [STEPS[i] for i in rest], max_epochs=3)
    assert all(map(np.array_equal, model.predict(LISTED), other.predict(LISTED)))


def test_each_label_counts_the_same_in_whatever_batch_it_is():
    y = [np.full(span, float(i)) for i, span in enumerate(SPANS)]
    labels = np.concatenate(y)
    untrained = fitted(LISTED, y, max_epochs=0, precision="float64")
    errors = (np.concatenate(untrained.predict(LISTED)) - labels) / labels.std()
    for batch_size in (3, 8):
        model = fitted(
            LISTED,
            y,
            precision="float64",
            batch_size=batch_size,
            lr=1e-12,
            lr_schedule="constant",
        )
        assert model.loss_curve_[0] == pytest.approx(np.square(errors).mean(), rel=1e-6)


def test_a_missing_label_is_none_also_where_all_sequences_have_as_many_as_the_first_has_steps():
    X = [np.ones((1, 2)), np.array([[1.0, 2.0], [3.0, 4.0]])]
    y = [np.array([5.0]), np.array([np.nan, 4.0])]
    params = {"precision": "float64", "batch_size": 2}
    prediction = fitted(X, y, max_epochs=0, **params).predict(X)
    expected = np.mean([(prediction[0][0] - 5) ** 2, (prediction[1][1] - 4) ** 2]) / 0.5**2
    model = fitted(X, y, lr=1e-12, lr_schedule="constant", **params)
    assert model.loss_curve_[0] == pytest.approx(expected, rel=1e-6)


def test_labels_are_counted_over_present_steps():
    y = Sequences.joined([np.array([[1, np.nan], [2, 3]]), np.array([[np.nan, np.nan]])])
    assert n_labels(y).tolist() == [3, 0]


def test_score_is_r2_over_all_labelled_steps():
    y = [row.copy() for row in PAIRS]
    y[0][2, 0] = np.nan
    model = fitted(LISTED, y, max_epochs=3)
    truth, prediction = np.concatenate(y), np.concatenate(model.predict(LISTED))
    weight = np.arange(1.0, 9.0)
    at_steps = np.repeat(weight, SPANS)
    expected = []
    for output in (0, 1):
        known = ~np.isnan(truth[:, output])
        pair = truth[known, output], prediction[known, output]
        expected.append([r2_score(*pair), r2_score(*pair, sample_weight=at_steps[known])])
    scores = [model.score(LISTED, y), model.score(LISTED, y, sample_weight=weight)]
    assert scores == pytest.approx(np.mean(expected, axis=0).tolist(), rel=1e-12)


def test_score_takes_any_form_of_the_same_targets():
    model = fitted(LISTED, STEPS)
    X, y = padded(LISTED), padded(STEPS)
    expected = model.score(LISTED, STEPS)
    assert model.score(X, y) == expected
    assert model.score(X, y[:, :, np.newaxis]) == expected
    assert model.score(LISTED, objects(STEPS)) == expected


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (EQUAL, np.zeros(8), r"A target at each step.*y with return_sequences=True has \(8,\)"),
        (EQUAL, np.zeros((8, 6, 2, 1)), r"A target at each step.*has \(8, 6, 2, 1\)"),
        (EQUAL, np.zeros((8, 5)), "y has 5 steps at sample 0, X has 6"),
        (EQUAL, np.zeros((7, 6)), r"inconsistent numbers of samples: \[8, 7\]"),
        (EQUAL, np.zeros((8, 6, 0)), r"y has shape \(8, 6, 0\)"),
        (EQUAL, np.full((8, 6), np.nan), "y has no label"),
        (EQUAL, np.full((8, 6), "a"), "y must hold numbers"),
        (EQUAL, None, "requires y to be passed"),
        (LISTED, [*STEPS[:3], np.zeros(2), *STEPS[4:]], "y has 2 steps at sample 3, X has 1"),
        (LISTED, STEPS[:7], r"inconsistent numbers of samples: \[8, 7\]"),
        (LISTED, [*STEPS[:7], np.zeros((6, 2))], r"y\[7\] has 2 values at each step, y\[0\] has 1"),
        (LISTED, [*STEPS[:7], np.array(["a"] * 6)], r"y\[7\] has dtype <U1"),
        (LISTED, [*STEPS[:7], np.zeros((6, 1, 1))], r"y\[7\] has shape \(6, 1, 1\)"),
        (
            LISTED,
            [*STEPS[:2], np.array([0, 0, np.inf, 0, 0, 0, 0]), *STEPS[3:]],
            "y contains inf at sample 2, step 2, output 0",
        ),
        (
            LISTED,
            [*PAIRS[:1], PAIRS[1] + [0, 1e300], *PAIRS[2:]],
            r"y contains 1e\+300 at sample 1, step 0, output 1",
        ),
        (padded(LISTED), padded(STEPS, before=True), "y has a label at sample 0 where X has no"),
        (EQUAL, np.stack([EQUAL[:, :, 0], EQUAL[:, :, 0] * np.nan], axis=2), "label.* output 1"),
    ],
)
def test_bad_targets_at_steps_are_refused_with_their_place(X, y, message):
    with pytest.raises(ValueError, match=message):
        fitted(X, y)


def test_sequences_of_targets_need_return_sequences():
    with pytest.raises(ValueError, match=r"unequal.*return_sequences=True"):
        fitted(LISTED, STEPS, return_sequences=False)


def test_targets_of_three_axes_are_a_horizon_without_return_sequences():
    y = RNG.normal(size=(8, 3, 2))
    params = {"return_sequences": False, "max_epochs": 3}
    model = fitted(EQUAL, y, **params)
    flat = fitted(EQUAL, y.reshape(8, 6), **params)
    assert model.n_outputs_ == 6
    assert model.predict(EQUAL).shape == (8, 3, 2)
    assert np.array_equal(model.predict(EQUAL).reshape(8, 6), flat.predict(EQUAL))
    assert model.score(EQUAL, y) == flat.score(EQUAL, y.reshape(8, 6))
    assert fitted(EQUAL, list(y), **params).predict(EQUAL).shape == (8, 3, 2)
    assert fitted(LISTED, y[:, :, :1], **params).predict(LISTED).shape == (8, 3, 1)


def test_quantiles_of_a_horizon_are_its_last_axis():
    params = {"return_sequences": False, "loss": "quantile", "quantile": (0.1, 0.5, 0.9)}
    y = RNG.normal(size=(8, 3, 2))
    prediction = fitted(EQUAL, y, **params).predict(EQUAL)
    assert prediction.shape == (8, 3, 2, 3)
    flat = fitted(EQUAL, y.reshape(8, 6), **params).predict(EQUAL)
    assert np.array_equal(prediction.reshape(8, 6, 3), flat)


def test_predictions_of_a_horizon_are_float32_where_x_and_y_are():
    y = RNG.normal(size=(8, 3, 2)).astype(np.float32)
    model = fitted(EQUAL.astype(np.float32), y, return_sequences=False)
    assert model.predict(EQUAL.astype(np.float32)).dtype == np.float32


def test_searches_take_a_horizon():
    y = RNG.normal(size=(8, 3, 2))
    model = fitted(EQUAL, y, return_sequences=False)
    assert np.isfinite(cross_val_score(model, EQUAL, y, cv=2)).all()
    assert np.isfinite(step_scorer("neg_mean_absolute_error")(model, EQUAL, y))


MISSING = np.array([[1.0, 2], [np.nan, 3], [4, np.nan], [np.nan, np.nan], [5, 6], [7, 8]])
ONE = {"return_sequences": False}


@pytest.mark.parametrize("weighted", [False, True])
def test_samples_without_a_label_are_as_if_left_out(weighted):
    y = EQUAL[:, -1, 0].copy()
    y[[2, 5]] = np.nan
    kept = ~np.isnan(y)
    weight = np.arange(8.0) if weighted else None
    model = StackedLSTMRegressor(1, 4, max_epochs=3, random_state=0)
    model.fit(EQUAL, y, sample_weight=weight)
    other = clone(model).fit(EQUAL[kept], y[kept], sample_weight=weight[kept] if weighted else None)
    assert np.array_equal(model.predict(EQUAL), other.predict(EQUAL))


def test_missing_labels_at_weight_zero_change_nothing():
    y = EQUAL[:, -1, 0].copy()
    y[[2, 5]] = np.nan
    weight = (~np.isnan(y)).astype(float)
    model = StackedLSTMRegressor(1, 4, max_epochs=2, random_state=0)
    expected = clone(model).fit(EQUAL, y).predict(EQUAL)
    np.testing.assert_allclose(model.fit(EQUAL, y, weight).predict(EQUAL), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"loss": "huber"},
        {"loss": "quantile", "quantile": (0.1, 0.9)},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"standardize": False},
        {"linear_steps": 2},
        {"precision": "float64"},
    ],
    ids=str,
)
def test_predictions_are_finite_where_labels_are_missing(params):
    X = RNG.normal(size=(30, 5, 2))
    y = np.tile(MISSING, (5, 1))
    model = fitted(X, y, **ONE, **params)
    assert model.predict(X).shape[:2] == (30, 2)
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.score(X, y))
    assert np.isfinite(model.loss_curve_).all()


def test_each_label_of_a_sample_counts_the_same():
    X, y = EQUAL[:6], MISSING
    untrained = fitted(X, y, **ONE, max_epochs=0, precision="float64")
    errors = (untrained.predict(X) - y) / np.nanstd(y, axis=0)
    for batch_size in (2, 6):
        model = fitted(
            X,
            y,
            **ONE,
            precision="float64",
            batch_size=batch_size,
            lr=1e-12,
            lr_schedule="constant",
        )
        assert model.loss_curve_[0] == pytest.approx(np.nanmean(np.square(errors)), rel=1e-6)


def test_statistics_of_targets_are_those_of_labels():
    scaler = fitted(EQUAL[:6], MISSING, **ONE).module_.output_scaler
    np.testing.assert_allclose(scaler.mean, np.nanmean(MISSING, axis=0))
    np.testing.assert_allclose(scaler.scale, np.nanstd(MISSING, axis=0))


def test_score_of_one_a_sample_is_over_labels():
    X, weight = EQUAL[:6], np.arange(1.0, 7.0)
    model = fitted(X, MISSING, **ONE)
    prediction, expected = model.predict(X), []
    for output in (0, 1):
        known = ~np.isnan(MISSING[:, output])
        pair = MISSING[known, output], prediction[known, output]
        expected.append([r2_score(*pair), r2_score(*pair, sample_weight=weight[known])])
    scores = [model.score(X, MISSING), model.score(X, MISSING, sample_weight=weight)]
    assert scores == pytest.approx(np.mean(expected, axis=0).tolist(), rel=1e-12)


def test_several_horizons_of_one_column_by_shift():
    series = pd.Series(np.sin(np.arange(60) / 5))
    y = pd.DataFrame({f"in {h}": series.shift(-h) for h in (1, 2, 5)})
    X = np.lib.stride_tricks.sliding_window_view(series, 6)[:, :, np.newaxis]
    model = fitted(X, y[5:], **ONE)
    assert model.predict(X).shape == (55, 3)
    assert np.isfinite(model.predict(X)).all()


def test_missing_labels_of_an_output_alone_are_named():
    with pytest.raises(ValueError, match="y has no label for output 1"):
        fitted(EQUAL[:6], MISSING * [1, np.nan], **ONE)


@pytest.mark.parametrize("none", [None, float("nan"), pd.NA])
def test_none_is_a_missing_label(none):
    y = [1.0, 2, none, 4, 5, 6, 7, 8]
    expected = fitted(EQUAL, [1.0, 2, np.nan, 4, 5, 6, 7, 8], **ONE).predict(EQUAL)
    series = pd.Series(y, dtype="Float64")
    assert np.array_equal(fitted(EQUAL, series, **ONE).predict(EQUAL), expected)
    if none is not pd.NA:
        assert np.array_equal(fitted(EQUAL, y, **ONE).predict(EQUAL), expected)


def test_an_object_array_of_equal_rows_is_as_good_as_a_list():
    rows = [np.array([float(i), -i]) for i in range(8)]
    model = fitted(LISTED, objects(rows), return_sequences=False)
    expected = fitted(LISTED, rows, return_sequences=False).predict(LISTED)
    assert np.array_equal(model.predict(LISTED), expected)


def test_score_is_that_of_the_fitted_model_whatever_is_set_since():
    model = fitted(LISTED, STEPS)
    expected = model.score(LISTED, STEPS)
    assert model.set_params(return_sequences=False).score(LISTED, STEPS) == expected


def test_score_refuses_another_number_of_outputs():
    with pytest.raises(ValueError, match=r"y has 2 outputs, but .* was fitted with 1"):
        fitted(LISTED, STEPS).score(LISTED, PAIRS)


def test_targets_are_not_changed():
    before = [row.copy() for row in STEPS]
    fitted(LISTED, STEPS)
    assert all(map(np.array_equal, STEPS, before))


def test_an_output_may_have_its_labels_late_in_the_data(monkeypatch):
    y = np.stack([EQUAL[:, :, 0], EQUAL[:, :, 1]], axis=2)
    y[:5, :, 1] = np.nan
    expected = np.nanmean(y, axis=(0, 1)), np.nanstd(y, axis=(0, 1))
    monkeypatch.setattr("sklstm.data.sequences.BLOCK_BYTES", 6 * 2 * 8)
    np.testing.assert_allclose(mean_and_scale_of_labels(Sequences.equal(y), None), expected)


def test_an_output_without_a_label_has_no_score():
    model = fitted(LISTED, PAIRS)
    with pytest.raises(ValueError, match="y has no label for output 1"):
        model.score(LISTED, [row * [1, np.nan] for row in PAIRS])
