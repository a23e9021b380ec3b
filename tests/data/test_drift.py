"""Warnings of X and y that are far from those of the first fit."""

import numpy as np
import pandas as pd
import pytest
from small_models import small

from sklstm.exceptions import SequenceDataWarning


@pytest.mark.parametrize("call", ["predict", "score", "partial_fit"])
def test_data_far_from_the_first_fit_are_told(call, sequences):
    X, y = sequences
    model = small().fit(X, y)
    targets = () if call == "predict" else (y,)
    far = X + np.array([0, 30, 0])
    with pytest.warns(SequenceDataWarning, match="feature 1 .* units of the first fit"):
        getattr(model, call)(far, *targets)


@pytest.mark.parametrize("going_on", ["fit", "partial_fit"])
def test_targets_far_from_the_first_fit_are_told(going_on, sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    with pytest.warns(SequenceDataWarning, match="100% of the values of output 0 .* median is 99"):
        getattr(model, going_on)(X, y + 100)


def test_a_sequence_of_the_training_set_is_not_told():
    X = np.random.default_rng(0).normal(size=(500, 5, 2))
    X[:, :, 1] = 0
    X[7, :, 1] = 1  # a rare event
    model = small().fit(X, X[:, 0, 0])
    model.predict(X[7:8])
    with pytest.warns(SequenceDataWarning, match="more than 100 standard deviations"):
        model.predict(1000 * X[7:8])


def test_a_feature_that_was_constant_is_told_so():
    X = np.random.default_rng(0).normal(size=(60, 5, 2))
    X[:, :, 1] = 2023
    model = small().fit(X, X[:, 0, 0])
    X[:, :, 1] = 2060
    with pytest.warns(SequenceDataWarning, match="median is 2.06e[+]03 now, .*, constant"):
        model.predict(X)


def test_a_few_values_far_out_are_not_told(sequences):
    X, y = sequences
    model = small().fit(X, y)
    far = X.copy()
    far[:25] += 100
    model.predict(far)


def test_columns_far_from_the_first_fit_are_told_by_name():
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=["a", "b", "c"])
    model = small(n_timesteps=1).fit(table, table["a"])
    with pytest.warns(SequenceDataWarning, match="of 'b' are more than 10"):
        model.predict(table.assign(b=table["b"] * 1e4))


def test_the_share_is_that_of_the_labels(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    moved = np.where(np.arange(len(y)) < 40, np.nan, y + 1e6)
    with pytest.warns(SequenceDataWarning, match="100% of the values of output 0"):
        model.fit(X, moved)


def test_a_long_first_sequence_hides_no_others():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 1)) for n in (2000, *[10] * 800)]
    model = small(max_epochs=0, linear_steps=None).fit(X, np.arange(801.0))
    with pytest.warns(SequenceDataWarning, match="80% of the values of feature 0"):
        model.predict([X[0], *(x + 1e6 for x in X[1:])])
