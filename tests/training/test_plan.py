"""The plan of a fit: plain values, checked, and all of them."""

import json
from dataclasses import fields, replace
from inspect import signature

import numpy as np
import pytest
import torch
from small_models import small

from sklstm import StackedLSTMRegressor
from sklstm.regressor import NOT_IN_A_FIT
from sklstm.training.plan import FitPlan

# Fields that are no parameters, and parameters that are in a field of another name.
OTHER_FIELDS, OTHER_PARAMETERS = {"loss_params", "scaled_steps", "seed"}, {"quantile"}


@pytest.fixture(scope="module")
def plan():
    X = np.random.default_rng(0).normal(size=(60, 7, 3))
    model = small(loss="quantile", quantile=[0.1, 0.9], units=[4, np.int64(3)], max_epochs=0)
    return model.fit(X, X[:, -1, 0])._plan


def test_the_fields_are_the_parameters_that_decide_a_fit():
    parameters = set(signature(StackedLSTMRegressor).parameters) - set(NOT_IN_A_FIT)
    names = {field.name for field in fields(FitPlan)}
    assert names - OTHER_FIELDS == parameters - OTHER_PARAMETERS


def test_a_plan_goes_through_json(plan):
    assert FitPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_plan_holds_plain_values(plan):
    assert plan.units == (4, 3)
    assert type(plan.units[1]) is int
    assert plan.loss_params == {"quantile": (0.1, 0.9)}
    assert plan.n_quantiles == 2


def test_a_plan_cannot_be_changed(plan):
    with pytest.raises(AttributeError):
        plan.lr = 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_layers", "2"),
        ("bidirectional", 1),
        ("linear_steps", -1),
        ("linear_steps", None),
        ("scaled_steps", 2.5),
        ("pooling", "median"),
        ("pooling", ["last"]),
        ("loss", "cubed"),
        ("loss", ["huber"]),
        ("loss_params", {}),
        ("loss_params", {"quantile": 0.5, "delta": 1.0}),
        ("loss_params", {"quantile": 2.0}),
        ("lr", "auto"),
        ("lr", float("nan")),
        ("batch_size", 0),
        ("max_epochs", True),
        ("optimizer", "lbfgs"),
        ("weight_decay", -1.0),
        ("clip_norm", "none"),
        ("lr_schedule", "cosine"),
        ("validation_fraction", "a tenth"),
        ("n_iter_no_change", 0),
        ("precision", "float16"),
        ("device", 0),
        ("seed", -1),
        ("seed", "7"),
    ],
)
def test_a_value_that_no_fit_has_is_refused_by_name(plan, name, value):
    with pytest.raises(ValueError, match=name if name != "loss_params" else "loss_params|quantile"):
        replace(plan, **{name: value})
    with pytest.raises(ValueError, match=name if name != "loss_params" else "loss_params|quantile"):
        FitPlan.from_dict({**plan.to_dict(), name: value})


@pytest.mark.parametrize("change", [{"lr": None}, {"depth": 3}])
def test_missing_and_unknown_values_are_refused_by_name(plan, change):
    values = {**plan.to_dict(), **change}
    for name, value in change.items():
        if value is None:
            del values[name]
    with pytest.raises(ValueError, match=f"'{next(iter(change))}' is missing, or not known"):
        FitPlan.from_dict(values)


def test_a_class_as_optimizer_cannot_be_stored(plan):
    with pytest.raises(ValueError, match=r"optimizer=.*Adam.* cannot be saved"):
        replace(plan, optimizer=torch.optim.Adam).to_dict()


@pytest.mark.parametrize(
    "params", [{"units": 10**7}, {"n_layers": 10**9}, {"head_units": [10**12]}]
)
def test_a_model_larger_than_the_memory_is_refused_by_its_sizes(params, sequences):
    with pytest.raises(ValueError, match=next(iter(params)) + ".*GiB of memory or more"):
        small(**params).fit(*sequences)


def test_a_plan_is_the_same_where_the_system_does_not_tell_its_memory(monkeypatch, sequences):
    monkeypatch.delattr("os.sysconf")
    predicted = small().fit(*sequences).predict(sequences[0])
    monkeypatch.undo()
    assert np.array_equal(small().fit(*sequences).predict(sequences[0]), predicted)
