"""Any values of the parameters: a fit that predicts, or an error that names one of them."""

import os
import re
from functools import partial
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from skorch.callbacks import EpochTimer

from sklstm import StackedLSTMRegressor, load, save

# More examples are drawn at random: SKLSTM_FUZZ_EXAMPLES=5000 pytest --hypothesis-seed=7 ...
N_EXAMPLES = int(os.environ.get("SKLSTM_FUZZ_EXAMPLES", "0"))
N_SAMPLES, N_STEPS, N_FEATURES = 12, 5, 2
NAN, INF = float("nan"), float("inf")
HUGE, TOO_MUCH = 10**15, 0.99
SMALL = {"units": 3, "max_epochs": 2}

NOT_A_NUMBER_AT_ALL = (NAN, "64", "", 1j, {}, object(), np.array([[1.0]]), np.datetime64("2020"))
NOT_AN_INTEGER = (1.5, np.float64(2), INF, -INF, *NOT_A_NUMBER_AT_ALL)
NOT_A_BOOLEAN = (0, 1, 2.0, "True", None, [], NAN)
NOT_A_WORD = ("", "Last", 3, True, NAN, ["last"], b"last")


def integers(low, high):
    """Integers of several types."""
    kinds = st.sampled_from([int, np.int8, np.int64, np.uint16])
    return st.builds(lambda kind, value: kind(value), kinds, st.integers(low, high))


def per_layer(values, valid):
    """Sequences of several types, with as many values as a stack has layers, or nearly."""
    lists = st.lists(values, min_size=1, max_size=4)
    kinds = st.sampled_from([list, tuple, np.array])
    return st.one_of(values, st.builds(lambda kind, items: kind(items), kinds, lists), valid)


def words(*accepted):
    return st.sampled_from(accepted), st.sampled_from([w for w in NOT_A_WORD if w not in accepted])


def one_of(accepted, refused):
    return st.sampled_from(accepted), st.sampled_from(refused)


BOOLEANS = one_of((True, False, np.True_, np.False_), NOT_A_BOOLEAN)
RATES = st.sampled_from([0, 0.0, 0.25, 0.99, np.float32(0.5), 1e-300])
POSITIVE = (1e-300, 1e-3, 0.1, 1, np.float32(0.01), np.float64(0.5), np.int64(1), True)
NOT_POSITIVE = (0, 0.0, -1, -1e-300, -INF, *NOT_A_NUMBER_AT_ALL)

# For each parameter: values that are accepted alone, and values that never are.
VALUES = {
    "n_layers": (
        st.one_of(integers(1, 4), st.integers(5, 12), st.sampled_from([True, "auto"])),
        st.sampled_from([0, -3, False, HUGE, [2], None, *NOT_AN_INTEGER]),
    ),
    "units": (
        per_layer(integers(1, 4), st.sampled_from([range(1, 3), range(2, 3), True])),
        st.sampled_from(
            [0, -1, HUGE, None, [], (), [0, 4], (4, 2.5), [[4], [4]], [NAN], *NOT_AN_INTEGER]
        ),
    ),
    "dropout": (
        per_layer(RATES, RATES),
        st.sampled_from(
            [1, -0.1, INF, None, [], (), [1], [0.5, NAN], ["0.5"], [[0.5]], *NOT_A_NUMBER_AT_ALL]
        ),
    ),
    "bidirectional": BOOLEANS,
    "skip": words("residual", None),
    "pooling": words("last", "mean", "max", "concat"),
    "head_units": (
        st.sampled_from([(), [], (3,), [2, 3], np.array([4]), np.array([], int), range(1, 3)]),
        st.sampled_from([4, None, "8", [0], (4, -1), [2.5], [NAN], [[4]], [None], [HUGE], NAN, 1j]),
    ),
    "linear_steps": (
        st.one_of(integers(1, 9), st.sampled_from(["auto", None, True])),
        st.sampled_from([0, -1, HUGE, "all", [3], *NOT_AN_INTEGER]),
    ),
    "return_sequences": BOOLEANS,
    "n_timesteps": (
        st.one_of(integers(1, 10), st.sampled_from([None, HUGE])),
        st.sampled_from([0, -5, "auto", [5], *NOT_AN_INTEGER]),
    ),
    "standardize": BOOLEANS,
    "loss": words("squared_error", "absolute_error", "huber", "quantile"),
    "quantile": (
        st.sampled_from(
            [0.5, 1e-9, np.float32(0.9), (0.1,), [0.1, 0.5, 0.9], np.array([0.2, 0.8]), (0.5, 0.99)]
        ),
        st.sampled_from(
            [
                *(0, 1, 0.0, 1.0, -0.1, None, [], (), [0.9, 0.1], [0.5, 0.5], (0.5, NAN), (0.1, 1)),
                *([[0.1, 0.9]], ["0.5"], [None], (0, 0.5), *NOT_A_NUMBER_AT_ALL),
            ]
        ),
    ),
    "lr": one_of((*POSITIVE, 1e30, "auto"), (*NOT_POSITIVE, INF, "fast", None, [0.1])),
    "batch_size": (
        st.one_of(integers(1, 20), st.sampled_from([HUGE, "auto", True])),
        st.sampled_from([0, -1, None, "all", [4], *NOT_AN_INTEGER]),
    ),
    "max_epochs": (
        st.one_of(integers(0, 3), st.sampled_from([True, False])),
        st.sampled_from([-1, None, "all", [4], *NOT_AN_INTEGER]),
    ),
    "optimizer": one_of(
        (
            *("adam", "adamw", "sgd", "rmsprop", torch.optim.Adam, torch.optim.SGD),
            *(torch.optim.NAdam, torch.optim.Adagrad, partial(torch.optim.SGD, momentum=0.9)),
        ),
        (
            *("Adam", 3, None, NAN, [], {}, int, dict, print, torch.optim.Rprop, torch.optim.LBFGS),
            *(torch.optim.Optimizer, torch.nn.Linear, EpochTimer(), lambda lr, weight_decay: None),
        ),
    ),
    "weight_decay": one_of(
        (*POSITIVE, 0, 0.0, "auto", 1e30), (-1, -1e-300, INF, "none", None, [0.1], NAN, 1j)
    ),
    "clip_norm": one_of((*POSITIVE, 1e30, None), (*NOT_POSITIVE, INF, "auto", [1.0])),
    "lr_schedule": words("one_cycle", "constant"),
    "early_stopping": BOOLEANS,
    "validation_fraction": one_of(
        (1e-300, 0.1, 0.5, TOO_MUCH, np.float32(0.25), 1, np.int64(3), HUGE, True),
        (*NOT_POSITIVE, 1.0, 1.5, INF, None, "auto"),
    ),
    "n_iter_no_change": (
        st.one_of(integers(1, 3), st.sampled_from([HUGE, True])),
        st.sampled_from([0, -1, None, "auto", [3], *NOT_AN_INTEGER]),
    ),
    "warm_start": BOOLEANS,
    "precision": words("float32", "float64"),
    "device": one_of(
        ("cpu", "auto", "cpu:0", torch.device("cpu")),
        ("", "gpu", "hpu", "meta", "cpu:x", "cuda:99", torch.device("meta"), None, 0, ["cpu"]),
    ),
    "checkpoint": (st.none(), st.sampled_from([3, 1.5, True, [], NAN, 1j])),
    "callbacks": (
        st.sampled_from([None, [], (), [EpochTimer()], (EpochTimer(),), [("mine", EpochTimer())]]),
        st.sampled_from(
            [
                *(3, "auto", {}, EpochTimer(), [3], [None], ["early"], [()], [("mine", 3)]),
                *([("mine", EpochTimer(), 3)], [("best_epoch", EpochTimer())], [(3, EpochTimer())]),
                [("mine", EpochTimer()), ("mine", EpochTimer())],
            ]
        ),
    ),
    "random_state": one_of(
        (None, 0, 2**32 - 1, np.int64(7), np.uint8(7), np.random.RandomState(0)),
        (-1, 2**32, 1.5, "0", [0], NAN, np.random.default_rng(0)),
    ),
    "verbose": one_of((0, 1, 2, True, np.int64(1)), (-1, 1.5, None, "1", NAN, [1])),
}


@st.composite
def cases(draw):
    """Draw parameters, and the names of those whose values are never accepted."""
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=8))
    refused = draw(st.lists(st.sampled_from(names), unique=True, max_size=2)) if names else []
    return {name: draw(VALUES[name][name in refused]) for name in names}, set(refused)


def length_of(value):
    return len(value) if np.ndim(value) == 1 else None


def contradicting(parameters, X):
    """Names of parameters that cannot be met together, or with so little data."""
    params = {**StackedLSTMRegressor().get_params(), **parameters}
    names, n_steps = set(), params["n_timesteps"]
    n_layers = params["n_layers"]
    if n_layers == "auto":
        n_layers = length_of(params["units"]) or length_of(params["dropout"])
    for name in ("units", "dropout"):
        if length_of(params[name]) not in (None, n_layers):
            names |= {name, "n_layers"}
    if X.ndim == 2 and isinstance(n_steps, Integral) and X.shape[1] % (n_steps or 1):
        names.add("n_timesteps")
    if is_true(params["early_stopping"]) and params["validation_fraction"] in (TOO_MUCH, HUGE):
        names |= {"early_stopping", "validation_fraction"}
    return names


def diverging(parameters):
    """Names of parameters so large that training may diverge."""
    limits = {"lr": 0.05, "weight_decay": 1}
    return {
        name
        for name, most in limits.items()
        if isinstance(parameters.get(name), (float, int, np.number)) and parameters[name] > most
    }


def names_one(message, names):
    return any(re.search(rf"\b{name}\b", message) for name in names)


def is_true(value):
    return isinstance(value, (bool, np.bool_)) and bool(value)


def steps_in(X, parameters):
    n_steps = parameters.get("n_timesteps")
    reads_rows = X.ndim == 2 and isinstance(n_steps, Integral) and 1 <= n_steps <= X.shape[1]
    return int(n_steps) if reads_rows else X.shape[1]


def data_for(parameters, two_dimensional, n_outputs):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_SAMPLES, N_STEPS, N_FEATURES))
    X = X.reshape(N_SAMPLES, -1) if two_dimensional else X
    steps = (steps_in(X, parameters),) if is_true(parameters.get("return_sequences")) else ()
    return X, rng.normal(size=(N_SAMPLES, *steps, *n_outputs))


def outcome(call):
    """Return what a call returns, and what its error says."""
    try:
        return call(), None
    except (ValueError, TypeError) as error:
        return None, str(error)


def fuzz(test):
    """Run a test on many parameters, and on data of several shapes."""
    decorators = [
        given(
            case=cases(),
            two_dimensional=st.booleans(),
            n_outputs=st.sampled_from([(), (1,), (2,)]),
        ),
        settings(
            derandomize=not N_EXAMPLES,
            deadline=None,
            max_examples=N_EXAMPLES or 100,
            database=None,
        ),
        pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    ]
    for decorate in decorators:
        test = decorate(test)
    return test


@fuzz
def test_any_parameters_make_a_model_or_an_error_that_names_one(case, two_dimensional, n_outputs):
    parameters, refused = case
    X, y = data_for(parameters, two_dimensional, n_outputs)
    model = StackedLSTMRegressor(**{**SMALL, **parameters})
    suspects = refused | contradicting(parameters, X) | diverging(parameters)
    for fit in (model.fit, clone(model).partial_fit):
        y_pred, error = outcome(lambda fit=fit: fit(X, y).predict(X))
        if error:
            assert names_one(error, suspects), (error, suspects)
        else:
            assert not refused
            assert np.isfinite(y_pred).all()
            assert y_pred.shape[: y.ndim] == y.shape


@fuzz
def test_a_warm_start_with_any_parameters_goes_on_or_changes_nothing(
    case, two_dimensional, n_outputs
):
    parameters, refused = case
    X, y = data_for({}, two_dimensional, n_outputs)
    model = StackedLSTMRegressor(**SMALL, random_state=0).fit(X, y)
    before, fitted = model.predict(X), model.get_params()
    model.set_params(**{**parameters, "warm_start": True})
    _, error = outcome(lambda: model.fit(*data_for(parameters, two_dimensional, n_outputs)))
    if error:
        assert names_one(error, parameters.keys() - {"warm_start"}), (error, parameters)
        np.testing.assert_array_equal(model.set_params(**fitted).predict(X), before)
    else:
        assert refused <= {"warm_start"}
        assert model.n_iter_ >= SMALL["max_epochs"]


@fuzz
def test_any_model_that_is_saved_is_loaded(case, two_dimensional, n_outputs):
    parameters, _ = case
    X, y = data_for(parameters, two_dimensional, n_outputs)
    model, error = outcome(lambda: StackedLSTMRegressor(**{**SMALL, **parameters}).fit(X, y))
    if error:
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "model")
        _, error = outcome(lambda: save(model, path))
        if error:
            assert re.match(r"(callbacks|optimizer|random_state)=.* cannot be saved", error)
        else:
            np.testing.assert_array_equal(load(path).predict(X), model.predict(X))


def test_every_parameter_is_in_the_fuzz():
    assert VALUES.keys() == StackedLSTMRegressor().get_params().keys()
