"""The rules for "auto": each is documented, and gives what a fit can be made by."""

import re
from inspect import signature

import numpy as np
import pytest
import torch
from small_models import ragged, small

from sklstm import StackedLSTMRegressor
from sklstm.training.auto import AUTO_RULES, Decision, batch_size, lr, max_epochs
from sklstm.training.batches import SequenceDataset

CONSTRAINTS = StackedLSTMRegressor._parameter_constraints


def documented(parameter):
    """Return what the docstring says of a parameter."""
    text = re.split(r"\n    (?=\w+ : )", StackedLSTMRegressor.__doc__)
    return next(part for part in text if part.startswith(f"{parameter} :"))


def takes_auto(parameter):
    return any("'auto'" in str(constraint) for constraint in CONSTRAINTS[parameter])


def test_there_is_a_rule_for_each_parameter_that_takes_auto():
    # Which device there is does not depend on the data.
    assert {name for name in CONSTRAINTS if takes_auto(name)} == set(AUTO_RULES)


@pytest.mark.parametrize("name", AUTO_RULES)
def test_auto_is_documented(name):
    assert documented(name).count('"auto"') >= 2


@pytest.mark.parametrize("name", AUTO_RULES)
@pytest.mark.parametrize("steps", [False, True])
def test_auto_gives_a_value_that_can_be_given(name, steps, sequences):
    X, y = sequences
    y = np.cumsum(X[:, :, 0], axis=1) if steps else y
    others = {"n_layers": 1, "lr": 0.01, "batch_size": 32, "max_epochs": 1, "linear_steps": None}
    others |= {"weight_decay": 0.0, name: "auto"}
    decided = getattr(small(return_sequences=steps, **others).fit(X, y)._plan, name)
    assert not isinstance(decided, str)
    given = {**others, name: decided or None if name == "linear_steps" else decided}
    assert getattr(small(return_sequences=steps, **given).fit(X, y)._plan, name) == decided


def test_auto_is_the_default_and_is_never_written_into_the_parameters(sequences):
    model = StackedLSTMRegressor(units=4, max_epochs=1, random_state=0)
    before = model.get_params()
    model.fit(*sequences)
    assert model.get_params() == before
    defaults = signature(StackedLSTMRegressor).parameters
    assert {name for name in AUTO_RULES if defaults[name].default == "auto"} == set(AUTO_RULES)


def of_samples(n_samples, n_labels=None):
    """Return what the rules are told of so many samples, with so many labels each."""
    X = np.zeros((n_samples, n_labels or 1, 1), dtype=np.float32)
    if n_labels is None:
        data = SequenceDataset(X, np.zeros(n_samples))
    else:
        data = SequenceDataset(X, np.zeros((n_samples, n_labels)), has_steps=True)
    return Decision({}, data, 0)


@pytest.mark.parametrize(
    ("n_samples", "expected"), [(1, 0.03), (444, 0.03), (1000, 0.02), (4000, 0.01), (9000, 0.01)]
)
def test_few_samples_have_a_higher_rate(n_samples, expected):
    assert lr(of_samples(n_samples)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(("n_samples", "expected"), [(10, 32), (1024, 32), (1600, 50), (5000, 64)])
def test_a_batch_is_a_32nd_of_the_samples_within_limits(n_samples, expected):
    assert batch_size(of_samples(n_samples)) == expected


@pytest.mark.parametrize(
    ("n_samples", "batch", "expected"),
    [(100, 32, 28), (3000, 64, 28), (5000, 64, 21), (50000, 64, 10)],
)
def test_epochs_make_1700_steps_within_limits(n_samples, batch, expected):
    decision = of_samples(n_samples)
    decision.values["batch_size"] = batch
    assert max_epochs(decision) == expected


@pytest.mark.parametrize("decay", ["adamw", torch.optim.AdamW])
def test_only_decoupled_weight_decay_is_on_by_itself(decay, sequences):
    assert small(optimizer=decay, max_epochs=0).fit(*sequences)._plan.weight_decay == 0.08
    assert small(optimizer="adam", max_epochs=0).fit(*sequences)._plan.weight_decay == 0


def test_unequal_lengths_count_by_their_mean():
    X = ragged(30)
    y = [x[:, 0] for x in X]
    assert small(return_sequences=True, max_epochs=0).fit(X, y).batch_size_ <= 32
