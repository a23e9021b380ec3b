"""What the regressor learns, with default parameters and others."""

import numpy as np
import pytest
import torch
from small_models import ragged, small

from sklstm import StackedLSTMRegressor


def test_it_learns(sequences):
    X, y = sequences
    model = small(max_epochs=60, lr=0.02).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.loss_curve_[-1] < 0.1 < model.loss_curve_[0]


def test_outliers_neither_flatten_the_rest_nor_reach_the_layers(sequences):
    X, y = sequences
    wild = X.copy()
    wild[::9, 2, 1] = 1e6
    params = {"max_epochs": 60, "lr": 0.02}
    model = small(**params).fit(wild, y)
    assert model.score(X, y) > 0.9
    assert model.score(wild, y) > 0.9
    wild[0, -1, 0] = -1e30
    assert np.abs(model.predict(wild)).max() < 2 * np.abs(y).max()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_the_target_does_not_matter(scale, sequences):
    X, y = sequences
    expected = scale * StackedLSTMRegressor(units=8, random_state=0).fit(X, y).predict(X)
    model = StackedLSTMRegressor(units=8, random_state=0).fit(X, scale * y)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-3, atol=1e-3 * scale)


def test_default_parameters_answer_sensibly_when_there_is_little_to_learn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 5, 2))
    model = StackedLSTMRegressor(units=8, random_state=0)
    assert np.allclose(model.fit(X, np.full(30, 7.0)).predict(X), 7.0)
    noise = rng.normal(size=30)
    flat = np.ones((30, 5, 2))
    assert np.allclose(model.fit(flat, noise).predict(flat), noise.mean(), atol=0.2)
    assert np.abs(model.fit(X[:1], noise[:1]).predict(X) - noise[0]).max() < 1
    assert np.abs(model.fit(X[:2], noise[:2]).predict(X)).max() < 2 * np.abs(noise[:2]).max()


@pytest.mark.parametrize("shape", [(40, 1, 2), (12, 2000, 1), (40, 6, 500)])
def test_default_parameters_take_one_step_many_steps_and_many_features(shape):
    X = np.random.default_rng(0).normal(size=shape)
    y = X[:, -1, 0]
    model = StackedLSTMRegressor(units=8, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8


def test_scaling_of_features_and_target_does_not_matter_when_standardizing(sequences):
    X, y = sequences
    model = small(max_epochs=5).fit(X, y)
    other = small(max_epochs=5).fit(X * [1, 1e3, 1e-3] + 5, y * 1e6 - 3)
    np.testing.assert_allclose(
        (other.predict(X * [1, 1e3, 1e-3] + 5) + 3) / 1e6, model.predict(X), atol=1e-5
    )


def test_without_standardization_nothing_is_scaled(sequences):
    X, y = sequences
    model = small(standardize=False).fit(X, y)
    assert model.module_.input_scaler is None
    expected = model.module_.eval()(torch.from_numpy(X)).detach().numpy().ravel()
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-7)


def test_columns_of_a_table_that_differ_have_scales_of_their_own():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(500, 4))
    y = np.sin(2 * Z[:, 0]) + Z[:, 1] * Z[:, 2]
    model = StackedLSTMRegressor(units=16, random_state=0)
    X = Z * [1, 1, 5, 1] + [0, 10, 0, 1000]
    assert model.fit(X[:400], y[:400]).score(X[400:], y[400:]) > 0.9
    assert model.module_.input_scaler.mean.shape == (4, 1)
    np.testing.assert_allclose(model.module_.input_scaler.mean[:, 0], X[:400].mean(axis=0))


def test_lags_of_one_series_share_their_scale():
    walk = np.random.default_rng(0).normal(size=200).cumsum() + np.arange(200)
    X = np.lib.stride_tricks.sliding_window_view(walk, 12)[:-1]
    assert small().fit(X, walk[12:]).module_.input_scaler.mean.shape == (1,)


@pytest.mark.parametrize("y", [np.zeros(20), np.full(20, 1e12), np.full(20, 1e-12)])
def test_a_constant_target_is_predicted(y):
    X = np.random.default_rng(0).normal(size=(20, 3, 2))
    np.testing.assert_allclose(small().fit(X, y).predict(X), y, rtol=1e-6, atol=1)


@pytest.mark.bits
def test_a_list_of_equal_lengths_fits_to_the_bits_of_the_array(sequences):
    X, y = sequences
    assert np.array_equal(small().fit(list(X), y).predict(X), small().fit(X, y).predict(X))


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_it_learns_from_sequences_of_unequal_length(pooling, bidirectional):
    X = ragged(400, longest=12)
    y = np.array([x[-1, 0] + x[:, 1].mean() + x[:, 2].max() for x in X])
    model = small(pooling=pooling, bidirectional=bidirectional, max_epochs=40, lr=0.03)
    assert model.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.6


def test_it_learns_a_target_at_each_step():
    X = ragged(200, longest=12)
    y = [np.cumsum(x[:, 0]) for x in X]
    model = small(return_sequences=True, max_epochs=30, lr=0.03).fit(X[:150], y[:150])
    assert model.score(X[150:], y[150:]) > 0.9
