"""Parameters of the regressor: what is refused, and by which name."""

import re

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from skorch.callbacks import EpochScoring
from small_models import small

from sklstm import StackedLSTMRegressor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_layers", 0),
        ("n_layers", 1.5),
        ("units", 0),
        ("units", (8, 0)),
        ("units", (8, 8, 8)),
        ("units", "8"),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", (0.1,)),
        ("dropout", (0.1, 2.0)),
        ("bidirectional", "yes"),
        ("pooling", "sum"),
        ("head_units", 8),
        ("head_units", (0,)),
        ("return_sequences", "yes"),
        ("n_timesteps", 0),
        ("standardize", None),
        ("loss", "poisson"),
        ("quantile", 1.0),
        ("quantile", "median"),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("batch_size", 0),
        ("batch_size", "many"),
        ("max_epochs", -1),
        ("optimizer", "lbfgs"),
        ("weight_decay", -1.0),
        ("clip_norm", 0.0),
        ("lr_schedule", "step"),
        ("early_stopping", 3),
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
        ("n_iter_no_change", 0),
        ("warm_start", "no"),
        ("precision", "float16"),
        ("device", "tpu9"),
        ("device", "meta"),
        ("device", 3),
        ("callbacks", 3),
        ("callbacks", [print]),
        ("optimizer", torch.optim.LBFGS),
        ("random_state", "seed"),
        ("verbose", -1),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(name, value, sequences):
    with pytest.raises((ValueError, TypeError), match=f"{name}.*{_shown(value)}"):
        small(**{name: value}).fit(*sequences)


def _shown(value):
    bad = (
        next((entry for entry in value if entry in (0, 2.0)), None)
        if isinstance(value, tuple)
        else None
    )
    if value == [print]:
        return "built-in function print"
    return str(value if bad is None else bad).replace("(", r"\(").replace(")", r"\)")


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": int},
        {"optimizer": lambda lr, weight_decay: None},
        {"optimizer": torch.optim.Optimizer},
        {"callbacks": [()]},
        {"callbacks": [(3, EpochScoring("r2"))]},
        {"callbacks": [("best_epoch", EpochScoring("r2"))]},
        {"quantile": (0.9, 0.1), "loss": "huber"},
        {"weight_decay": 1e300, "lr_schedule": "constant"},
        {"units": 10**15},
        {"n_layers": 10**15},
        {"head_units": (10**15,)},
        {"linear_steps": 10**15},
        {"units": np.array(4)},
        {"dropout": np.array(0.1)},
        {"head_units": np.array(4)},
        {"units": 10**400},
        {"units": (4, 10**400)},
        {"n_layers": 10**400},
        {"head_units": (10**400,)},
        {"linear_steps": 10**400},
        {"max_epochs": 10**400},
        {"lr": 10**400},
        {"weight_decay": 10**400},
        {"clip_norm": 10**400},
    ],
    ids=lambda params: next(iter(params)),
)
def test_an_error_names_the_parameter_it_comes_from(params, sequences):
    with pytest.raises((ValueError, TypeError), match=next(iter(params))):
        small(**params).fit(*sequences)


@pytest.mark.parametrize("wrong", [{"clip_norm": -1}, {"lr": "high"}, {"batch_size": 0}])
def test_partial_fit_checks_parameters_in_further_calls_too(wrong, sequences):
    model = small().partial_fit(*sequences).set_params(**wrong)
    with pytest.raises(ValueError, match=f"'{next(iter(wrong))}'"):
        model.partial_fit(*sequences)


@pytest.mark.parametrize(
    "quantile",
    [(0.9, 0.1), (0.5, 0.5), (), (0.0, 0.5), (0.5, np.nan), ("a",), (0.1, None), [[0.1, 0.9]]],
)
def test_bad_quantiles_are_refused(quantile, sequences):
    with pytest.raises(ValueError, match=re.escape(f"quantile={quantile!r}")):
        small(loss="quantile", quantile=quantile).fit(*sequences)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.zeros(60), "zero"),
        (np.full(60, -1.0), "Negative values"),
        (np.full(60, np.nan), "NaN"),
        (np.ones(59), "sample_weight.shape"),
    ],
)
def test_bad_weights_are_refused(weight, message, sequences):
    X, y = sequences
    with pytest.raises(ValueError, match=message):
        small().fit(X, y, sample_weight=weight)


def test_another_n_timesteps_after_fit_is_refused(sequences):
    X, y = sequences
    model = small(n_timesteps=7).fit(X.reshape(60, 21), y)
    with pytest.raises(ValueError, match=r"n_timesteps=3 makes 7 features.*fitted with 3"):
        model.set_params(n_timesteps=3).predict(X.reshape(60, 21))


def test_a_warm_start_that_reads_rows_otherwise_is_refused_by_name(sequences):
    X, y = sequences
    rows = X[:, :6, 0]
    model = small(n_timesteps=3, warm_start=True).fit(rows, y)
    with pytest.raises(ValueError, match="n_timesteps=2 makes 3 features at each step"):
        model.set_params(n_timesteps=2).fit(rows, y)


@pytest.mark.parametrize(
    ("params", "n_inputs"),
    [
        ({}, 12),
        ({"bidirectional": True}, 24),
        ({"pooling": "last"}, 4),
        ({"return_sequences": True}, 4),
    ],
    ids=str,
)
def test_the_first_hidden_layer_is_counted_with_all_that_it_reads(params, n_inputs, monkeypatch):
    X = np.zeros((8, 5, 1))
    y = np.zeros((8, 5)) if params.get("return_sequences") else np.zeros(8)
    n_weights = n_inputs * 1000
    sizes = {"n_layers": 1, "units": 4, "head_units": (1000,), "max_epochs": 0}
    model = StackedLSTMRegressor(linear_steps=None, **sizes, **params)
    monkeypatch.setattr("sklstm.training.plan._memory", lambda: 4 * n_weights)
    with pytest.raises(ValueError, match=r"head_units=\(1000,\)"):
        model.fit(X, y)
    monkeypatch.setattr("sklstm.training.plan._memory", lambda: 4 * (n_weights + 1200))
    model.fit(X, y)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16])
def test_numpy_integers_are_integers(kind, sequences):
    X, y = sequences
    numbers = {"n_layers": 2, "units": 8, "linear_steps": 3, "batch_size": 7, "max_epochs": 20}
    models = [
        small(**{name: as_type(number) for name, number in numbers.items()}).fit(X, y)
        for as_type in (int, kind)
    ]
    assert np.array_equal(models[0].predict(X), models[1].predict(X))


def test_cuda_is_refused_where_there_is_none(monkeypatch, sequences):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert small(device="auto").fit(*sequences).net_.device == "cpu"
    if not torch.backends.cuda.is_built():
        with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
            small(device="cuda").fit(*sequences)


def test_predict_before_fit_is_refused(sequences):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        small().predict(sequences[0])
