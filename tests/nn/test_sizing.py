"""Equal budgets at every depth, and the check of depths."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sklstm import StackedLSTM, StackedLSTMRegressor
from sklstm.search import check_depths
from sklstm.sizing import units_for_budget


def n_weights(**params):
    return sum(weights.numel() for weights in StackedLSTM(**params).parameters())


def test_one_layer_of_622_cells_has_the_budget_of_three_of_250():
    # The pair that A. Graves, A.-r. Mohamed and G. Hinton (2013) compare, bidirectional, here
    # with 123 features and 62 outputs: u cells have 8u^2 + 1124u + 62 weights in one layer,
    # 56u^2 + 1156u + 62 in three.
    sizes = {"n_features": 123, "n_outputs": 62, "bidirectional": True}
    budget = n_weights(n_layers=1, units=622, **sizes)
    assert budget == 8 * 622**2 + 1124 * 622 + 62
    assert units_for_budget(budget, 3, **sizes) == 250
    assert units_for_budget(budget, 1, **sizes) == 622


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    extra=st.integers(0, 5000),
    n_layers=st.integers(1, 4),
    n_features=st.integers(1, 9),
    n_outputs=st.integers(1, 3),
    bidirectional=st.booleans(),
    pooling=st.sampled_from(["last", "concat"]),
    head_units=st.sampled_from([(), (5,), (7, 3)]),
)
def test_the_units_keep_to_the_budget_and_one_more_does_not(extra, **sizes):
    budget = n_weights(units=1, **sizes) + extra
    units = units_for_budget(budget, **sizes)
    assert n_weights(units=units, **sizes) <= budget < n_weights(units=units + 1, **sizes)


def test_a_budget_that_is_used_up_exactly_is_kept_to():
    for units in (1, 2, 17):
        budget = n_weights(n_features=3, n_layers=2, units=units)
        assert units_for_budget(budget, 2, 3) == units


def test_a_budget_is_that_of_the_estimator(sequences):
    X, y = sequences
    units = units_for_budget(3000, 3, X.shape[2])
    model = StackedLSTMRegressor(n_layers=3, units=units, max_epochs=0).fit(X, y)
    larger = StackedLSTMRegressor(n_layers=3, units=units + 1, max_epochs=0).fit(X, y)
    assert model.n_parameters_ <= 3000 < larger.n_parameters_


def test_a_model_without_a_head_has_a_budget():
    units = units_for_budget(1000, 2, 3, n_outputs=None)
    sizes = {"n_features": 3, "n_outputs": None, "n_layers": 2}
    assert n_weights(units=units, **sizes) <= 1000 < n_weights(units=units + 1, **sizes)


def test_finding_units_draws_no_random_number_and_takes_no_memory():
    before = torch.get_rng_state()
    assert units_for_budget(10**13, 2, 3) > 10**5
    assert torch.equal(torch.get_rng_state(), before)


def test_a_budget_too_small_says_what_one_unit_takes():
    least = n_weights(n_features=3, n_layers=2, units=1)
    assert units_for_budget(least, 2, 3) == 1
    with pytest.raises(ValueError, match=rf"n_parameters={least - 1} .* {least} weights"):
        units_for_budget(least - 1, 2, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_parameters", 0),
        ("n_parameters", 3.8e6),
        ("n_parameters", "1000"),
        ("n_layers", 0),
        ("n_layers", 1.5),
        ("n_features", 0),
        ("n_outputs", 0),
        ("head_units", (0,)),
        ("pooling", "first"),
    ],
)
def test_bad_sizes_are_named(name, value):
    sizes = {"n_parameters": 1000, "n_layers": 2, "n_features": 3, name: value}
    shown = value[0] if isinstance(value, tuple) else value
    with pytest.raises(ValueError, match=rf"{name} must be .*got {shown!r}"):
        units_for_budget(**sizes)


@pytest.mark.parametrize("depths", [(1, 2, 4), [3], range(1, 4), np.array([1, 5]), iter([2, 3])])
def test_rising_depths_are_a_list_of_int(depths):
    checked = check_depths(depths)
    assert checked
    assert all(type(depth) is int for depth in checked)


@pytest.mark.parametrize(
    "depths", [(), (0, 1), (-1,), (2, 1), (1, 1), (1, 2.0), (1.5,), ("1",), 3, None, "123"]
)
def test_bad_depths_are_named(depths):
    with pytest.raises(
        ValueError,
        match="depths must be integers of at least 1 in increasing order, got",
    ) as e:
        check_depths(depths)
    assert repr(depths) in str(e.value)
