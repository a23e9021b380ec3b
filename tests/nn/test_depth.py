"""Stacks of many layers learn."""

import numpy as np
import pytest

from sklstm import StackedLSTMRegressor


def adding_problem(n_samples, n_timesteps, seed):
    """Two numbers of a sequence are marked: add them. Answering 1 has an error of 1/6."""
    rng = np.random.default_rng(seed)
    rows, half = np.arange(n_samples), n_timesteps // 2
    values = rng.random((n_samples, n_timesteps))
    marks = np.zeros_like(values)
    marks[rows, rng.integers(0, half, n_samples)] = 1
    marks[rows, rng.integers(half, n_timesteps, n_samples)] = 1
    return np.stack([values, marks], axis=-1), (values * marks).sum(axis=1)


def validation_error(**params):
    X, y = adding_problem(2500, 20, seed=0)
    model = StackedLSTMRegressor(units=16, max_epochs=5, random_state=0, **params)
    model.fit(X[:2000], y[:2000])
    return np.mean((model.predict(X[2000:]) - y[2000:]) ** 2)


def test_thirty_layers_learn():
    assert validation_error(n_layers=30) < 0.01


def test_thirty_plain_layers_do_not_learn():
    assert validation_error(n_layers=30, skip=None) == pytest.approx(1 / 6, abs=0.03)
