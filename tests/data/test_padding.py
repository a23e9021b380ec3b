import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sklstm import LagWindows, StackedLSTMRegressor
from sklstm.data.padding import Padding, find_padding
from sklstm.data.sequences import Sequences
from sklstm.exceptions import SequenceDataWarning

MODEL = StackedLSTMRegressor(1, 4, max_epochs=1, linear_steps=None, random_state=0)
N, T = 60, 12
LENGTHS = np.random.default_rng(1).integers(2, T + 1, size=N)
Y = np.arange(float(N))


def draw(n_features=1, seed=0):
    return np.random.default_rng(seed).normal(size=(N, T, n_features))


def padded(X, value, *, at_end=True):
    """Put the value after `LENGTHS` steps of each sequence, or before as many."""
    missing = np.arange(X.shape[1]) >= LENGTHS[:, np.newaxis]
    X = X.astype(float)
    X[missing if at_end else missing[:, ::-1]] = value
    return X


DATA = {
    "noise": draw(),
    "several features": draw(3),
    "walks": draw(2).cumsum(axis=1),
    "waves": np.sin(draw() + np.arange(T)[:, np.newaxis] / 3),
    "prices": 100 * np.exp(0.02 * draw().cumsum(axis=1)),
    "scaled to 0..1": np.random.default_rng(0).random((N, T, 2)),
    "falling": 5 + 5 * np.exp(-np.arange(T)[:, np.newaxis] / T) + np.abs(draw()[:, :1]),
    "float32": draw().astype(np.float32),
}


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize("value", [0, -1, -10, -999, 999, -1e9])
@pytest.mark.parametrize("name", DATA)
def test_padding_with_a_value_is_found(name, value, at_end):
    X = Sequences.equal(padded(DATA[name], value, at_end=at_end))
    found = find_padding(X)
    assert found == Padding(value, int((LENGTHS < T).sum()), N, at_end)


@pytest.mark.parametrize("value", [-1, -999])
def test_padding_of_integers_is_found(value):
    counts = np.random.default_rng(0).poisson(3, size=(N, T, 1))
    assert find_padding(Sequences.equal(padded(counts, value))).value == value


def test_padding_is_found_where_some_sequences_are_nothing_else():
    X = padded(draw(2), -999)
    X[5] = -999
    assert find_padding(Sequences.equal(X)).n_padded == (np.delete(LENGTHS, 5) < T).sum()


def test_padding_is_found_in_sequences_of_unequal_length_and_beside_missing_steps():
    listed = [x[: T - i % 3] for i, x in enumerate(padded(draw(2), -10))]
    assert find_padding(Sequences.joined(listed)).value == -10


def test_few_sequences_of_many_are_looked_at(monkeypatch):
    monkeypatch.setattr("sklstm.data.padding.MOST_NUMBERS", 20 * T)
    found = find_padding(Sequences.equal(padded(draw(), -999)))
    assert found.n_seen == 20
    assert found.value == -999
    monkeypatch.setattr("sklstm.data.padding.MOST_NUMBERS", 4 * T)
    assert find_padding(Sequences.equal(padded(draw(), -999))) is None


# data


def rng():
    return np.random.default_rng(0)


STEPS = np.arange(T)[:, np.newaxis]
AFTER = LENGTHS[:, np.newaxis, np.newaxis] <= STEPS
WALKS = draw().cumsum(axis=1)
ONE_HOT = np.eye(4)[rng().integers(0, 4, size=(N, T))]
DAMPED = np.exp(-STEPS / rng().uniform(1, 5, (N, 1, 1))) * np.cos(STEPS)
CURVES = np.round(1 / (1 + np.exp(2 * (3.5 + draw()[:, :1] - STEPS))), 6)
NOT_PADDED = {
    "noise": draw(),
    "constants": np.zeros((N, T, 2)),
    "rare events": (rng().random((N, T, 1)) < 0.02).astype(float),
    "few counts": rng().poisson(0.3, size=(N, T, 1)),
    "counts": rng().poisson(3, size=(N, T, 2)),
    "many counts": rng().poisson(8, size=(N, T, 1)),
    "counts of what was launched": np.where(AFTER[:, ::-1], 0, 1 + rng().poisson(5, (N, T, 1))),
    "counts of what was discontinued": np.where(AFTER, 0, 1 + rng().poisson(5, (N, T, 1))),
    "rain": (rng().random((N, T, 1)) < 0.3) * rng().gamma(1, 5, size=(N, T, 1)),
    "a storm between dry hours": np.where(AFTER | AFTER[:, ::-1], 0, rng().gamma(2, 5, (N, T, 1))),
    "one-hot features": ONE_HOT,
    "one-hot features that end in zeros": np.where(AFTER, 0, ONE_HOT),
    "flags": rng().random((N, T, 1)) < 0.5,
    "a switch": AFTER.astype(float),
    "a step from 5 to 15": 5 + 10 * AFTER,
    "states that end in 0": np.where(AFTER, 0, rng().integers(1, 4, (N, T, 1))),
    "states that end in 4": np.where(AFTER, 4, rng().integers(1, 4, (N, T, 1))),
    "digits": rng().integers(0, 10, size=(N, T, 1)),
    "short integers": rng().integers(-3, 4, size=(N, 4, 1)),
    "ratings": rng().integers(1, 6, size=(N, 3, 1)),
    "a sensor that saturates above": np.minimum(WALKS, 2),
    "a sensor that saturates below": np.maximum(WALKS, -1),
    "a sensor that rises to its limit": np.minimum(100, 15 * STEPS + 2 * draw()),
    "a plateau": 1 - np.exp(-np.minimum(STEPS, LENGTHS[:, np.newaxis, np.newaxis]) / 3),
    "falling to zero": np.maximum(0, 100 - rng().uniform(5, 60, (N, 1, 1)) * STEPS),
    "stock that is used up": np.maximum(0, 50 - rng().poisson(6, (N, T, 1)).cumsum(axis=1)),
    "stock that is used up, in parts": np.maximum(0, 50 - rng().gamma(2, 5, (N, T, 1)).cumsum(1)),
    "cooling down to -10": np.maximum(-10, 20 - rng().uniform(1, 10, (N, 1, 1)) * STEPS),
    "remaining life, at most 125": np.minimum(125, rng().integers(60, 200, (N, 1, 1)) - STEPS),
    "an oscillation that dies out": np.where(np.abs(DAMPED) < 0.05, 0, DAMPED),
    "changes of a curve to a plateau": np.diff(CURVES, axis=1),
    "sums from zero on": np.where(AFTER, 0, 1)[:, ::-1].cumsum(axis=1) * 1.5,
    "changes since the start": WALKS - WALKS[:, :1],
    "rounded": np.round(draw(), 1),
    "signs": np.sign(draw()),
    "a single last value": np.where((STEPS == T - 1) & (draw()[:, :1] > 0), -1, np.abs(draw())),
    "a few sequences": padded(draw(), -999)[:4],
    "one length": np.where(STEPS >= 8, -999, draw()),
}


@pytest.mark.parametrize("name", NOT_PADDED)
def test_data_are_no_padding(name):
    X = np.asarray(NOT_PADDED[name])
    assert find_padding(Sequences.equal(X)) is None
    assert find_padding(Sequences.equal(X[:, ::-1])) is None


SERIES = {
    "noise from zero on": np.r_[0, draw()[:, 0, 0]],
    "a walk from zero on": np.r_[0, draw()[:, 0, 0].cumsum()],
    "a wave from zero on": np.sin(np.arange(60) / 5),
    "prices after a gap": np.r_[0, 100 + draw()[:, 0, 0]],
    "a first value far away": np.r_[-999, draw()[:, 0, 0]],
    "counts": rng().poisson(5, size=60),
    "a trend": np.arange(60.0),
}


@pytest.mark.filterwarnings("ignore:.* begin before the table")
@pytest.mark.parametrize("length", [3, 6, 24])
@pytest.mark.parametrize("name", SERIES)
def test_the_first_row_repeated_before_a_series_is_no_padding(name, length):
    windows = LagWindows(length).fit_transform(SERIES[name].reshape(-1, 1))
    assert find_padding(Sequences.equal(windows)) is None


@pytest.mark.filterwarnings("ignore:.* begin before the table")
def test_the_first_rows_of_many_series_repeated_are_no_padding():
    series = (np.r_[0, row.cumsum()].reshape(-1, 1) for row in draw()[:, :, 0])
    windows = np.concatenate([LagWindows(6).fit_transform(rows) for rows in series])
    assert find_padding(Sequences.equal(windows)) is None


# the warning


def test_fit_warns_with_the_value_the_number_and_the_line_that_mends_it():
    X = padded(draw(2), -999)
    n_padded = (LENGTHS < T).sum()
    message = (
        rf"padded with -999: {n_padded} of 60 sequences .*X = np.where\(X == -999, np.nan, X\),"
    )
    with pytest.warns(SequenceDataWarning, match=message) as caught:
        MODEL.fit(X, Y)
    assert caught[0].filename == __file__
    mended = np.where(X == -999, np.nan, X)
    listed = [x[:length] for x, length in zip(X, LENGTHS, strict=True)]
    assert np.array_equal(
        clone(MODEL).fit(mended, Y).predict(mended), clone(MODEL).fit(listed, Y).predict(listed)
    )


@pytest.mark.parametrize("n_timesteps", [None, T // 2])
def test_the_line_for_rows_of_a_table_makes_three_dimensions(n_timesteps):
    X = padded(draw(), -1)[:, :, 0]
    if n_timesteps:
        X[(X.reshape(N, -1, 2) == -1).any(axis=2).repeat(2, axis=1)] = -1
    model = clone(MODEL).set_params(n_timesteps=n_timesteps)
    with pytest.warns(SequenceDataWarning, match="X looks padded with -1") as caught:
        model.fit(X, Y)
    line = str(caught[0].message).split("missing: X = ")[1].split(", or leave")[0]
    mended = eval(line)
    assert mended.shape == (N, n_timesteps or T, 2 if n_timesteps else 1)
    assert np.isfinite(clone(MODEL).fit(mended, Y).predict(mended)).all()


def test_a_list_of_padded_sequences_is_warned_of():
    with pytest.warns(SequenceDataWarning, match="or leave them out of a list of sequences"):
        MODEL.fit(list(padded(draw(2), -10)), Y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_it_is_said_once_and_in_fit_alone(method):
    X = padded(draw(2), -999)
    model = clone(MODEL).set_params(warm_start=True)
    with pytest.warns(SequenceDataWarning):
        getattr(model, method)(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(X)
        model.score(X, Y)
        getattr(model, method)(X, Y)


def test_missing_steps_are_no_padding():
    X = padded(draw(2), np.nan)
    pipeline = make_pipeline(FunctionTransformer(), MODEL)
    assert np.isfinite(pipeline.fit(X, Y).predict(X)).all()
