import ast
import inspect
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_estimator,
    check_param_validation,
)
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EpochTimer

from sklstm import DepthSearchCV, LagWindows, StackedLSTM, StackedLSTMRegressor

CONFIGURATIONS = [
    {},
    {"n_layers": 1},
    {"n_layers": 3, "units": 32},
    {"bidirectional": True, "units": 32},
    {"head_units": (8,)},
    {"early_stopping": True, "pooling": "concat"},
]
# One batch an epoch: many epochs, at a high rate, for the R2 that check_regressors_train asks.
DOUBLE = {
    "units": 16,
    "linear_steps": None,
    "lr": 0.2,
    "max_epochs": 40,
    "precision": "float64",
    "batch_size": 256,
}
ROUNDING = {
    "check_sample_weight_equivalence_on_dense_data": (
        "repeated rows fall into other mini-batches and float32 sums round differently "
        "than weighted ones; exact with precision='float64' and one batch"
    )
}
HISTORY = {
    "check_methods_sample_order_invariance": "a window depends on the rows before it",
    "check_methods_subset_invariance": "a window depends on the rows before it",
}
NEEDS_AN_ENVIRONMENT_VARIABLE = {"check_array_api_input"}

SMALL = {"units": 4, "max_epochs": 1, "random_state": 0}
OTHER_VALUES = {
    "n_layers": 3,
    "units": (8, 4, 2),
    "dropout": [0.1, 0.0, 0.2],
    "linear_steps": 2,
    "bidirectional": True,
    "skip": None,
    "pooling": "max",
    "head_units": [8, 4],
    "return_sequences": True,
    "n_timesteps": 2,
    "standardize": False,
    "loss": "huber",
    "quantile": (0.1, 0.9),
    "lr": 0.5,
    "batch_size": 7,
    "max_epochs": 3,
    "optimizer": "sgd",
    "weight_decay": 0.25,
    "clip_norm": None,
    "lr_schedule": "constant",
    "early_stopping": True,
    "validation_fraction": 0.5,
    "n_iter_no_change": 4,
    "warm_start": True,
    "precision": "float64",
    "device": "auto",
    "checkpoint": "fit.safetensors",
    "callbacks": [],
    "random_state": 5,
    "verbose": 2,
}

SEARCH_VALUES = {
    "estimator": "passthrough",
    "depths": (1, 2),
    "cv": 3,
    "scoring": "r2",
    "n_jobs": 2,
    "refit": False,
    "select": "one_standard_error",
    "n_repeats": 2,
    "error_score": 0.0,
    "verbose": 1,
}


def problems(estimator, expected):
    """Return what check_estimator found beyond `expected`, and check that it looked at all."""
    results = check_estimator(
        estimator, expected_failed_checks=expected, on_fail=None, on_skip=None
    )
    assert len(results) > 40
    return [
        (result["check_name"], result["status"], repr(result["exception"]))
        for result in results
        if result["status"] not in ("passed", "xfail")
        and not (
            result["status"] == "skipped" and result["check_name"] in NEEDS_AN_ENVIRONMENT_VARIABLE
        )
    ]


@pytest.mark.parametrize("parameters", CONFIGURATIONS, ids=str)
def test_scikit_learn_finds_no_fault_but_rounding_of_sample_weights(parameters):
    assert problems(StackedLSTMRegressor(**parameters), ROUNDING) == []


def test_scikit_learn_finds_no_fault_at_all_in_double_precision_and_full_batches():
    assert problems(StackedLSTMRegressor(**DOUBLE), {}) == []


# The tables of scikit-learn's checks are shorter than a window.
@pytest.mark.filterwarnings("ignore::sklstm.exceptions.SequenceDataWarning")
@pytest.mark.parametrize("parameters", [{}, {"length": 3, "padding": "nan"}], ids=str)
def test_scikit_learn_finds_no_fault_with_lag_windows_but_that_they_look_back(parameters):
    assert problems(LagWindows(**parameters), HISTORY) == []


def test_scikit_learn_finds_no_fault_with_a_depth_search_but_that_an_epoch_is_short():
    search = DepthSearchCV(StackedLSTMRegressor(**SMALL), (1, 2), cv=2)
    assert problems(search, {"check_regressors_train": "one epoch teaches too little"}) == []


@pytest.mark.parametrize("parameters", CONFIGURATIONS, ids=str)
def test_regressor_does_not_claim_to_be_non_deterministic(parameters):
    assert get_tags(StackedLSTMRegressor(**parameters)).non_deterministic is False


def test_tags_announce_three_dimensional_x_and_several_targets():
    tags = get_tags(StackedLSTMRegressor())
    assert tags.estimator_type == "regressor"
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required
    assert tags.target_tags.multi_output
    assert not tags.regressor_tags.poor_score


def test_lag_windows_are_deterministic_and_need_no_fit():
    tags = get_tags(LagWindows())
    assert tags.non_deterministic is False
    assert tags.requires_fit is False


@pytest.mark.parametrize(
    "estimator", [StackedLSTMRegressor(**SMALL), LagWindows()], ids=lambda e: type(e).__name__
)
def test_column_names_of_data_frames_must_be_those_of_fit(estimator):
    check_dataframe_column_names_consistency(type(estimator).__name__, estimator)


@pytest.mark.parametrize(
    "estimator", [StackedLSTMRegressor(), LagWindows()], ids=lambda e: type(e).__name__
)
def test_every_parameter_is_validated_with_a_message_that_names_it(estimator):
    check_param_validation(type(estimator).__name__, estimator)


def test_other_values_differ_from_the_defaults_for_every_parameter():
    defaults = StackedLSTMRegressor().get_params()
    assert OTHER_VALUES.keys() == defaults.keys()
    assert all(OTHER_VALUES[name] != defaults[name] for name in defaults)


@pytest.mark.parametrize(
    ("default", "others"),
    [
        (StackedLSTMRegressor(), OTHER_VALUES),
        (LagWindows(), {"length": 3, "padding": "nan"}),
        (DepthSearchCV(StackedLSTMRegressor()), SEARCH_VALUES),
    ],
    ids=["StackedLSTMRegressor", "LagWindows", "DepthSearchCV"],
)
def test_parameters_survive_set_params_get_params_and_clone(default, others):
    estimator = clone(default)
    assert estimator.set_params(**others) is estimator
    assert estimator.get_params() == others
    assert clone(estimator).get_params() == others
    assert type(default)(**others).get_params() == others


def test_set_params_refuses_an_unknown_parameter():
    with pytest.raises(ValueError, match="Invalid parameter 'n_layer' for estimator"):
        StackedLSTMRegressor().set_params(n_layer=2)


def test_clone_copies_callbacks():
    original = StackedLSTMRegressor(callbacks=[EpochTimer()])
    (copied,) = clone(original).callbacks
    assert isinstance(copied, EpochTimer)
    assert copied is not original.callbacks[0]


def test_clone_of_a_fitted_regressor_is_unfitted():
    model = StackedLSTMRegressor(**SMALL).fit(np.arange(12.0).reshape(4, 3), np.arange(4.0))
    copied = clone(model)
    assert vars(copied) == copied.get_params()
    assert copied.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(copied)
    with pytest.raises(NotFittedError):
        copied.predict(np.zeros((1, 3)))
    check_is_fitted(model)


def test_repr_names_only_what_was_changed_and_evaluates_to_an_equal_estimator():
    model = StackedLSTMRegressor(n_layers=3, units=(8, 4, 2), head_units=[4], lr=0.5)
    assert (
        repr(model) == "StackedLSTMRegressor(head_units=[4], lr=0.5, n_layers=3, units=(8, 4, 2))"
    )
    assert eval(repr(model)).get_params() == model.get_params()
    assert repr(StackedLSTMRegressor()) == "StackedLSTMRegressor()"
    assert repr(LagWindows(3)) == "LagWindows(length=3)"


def test_html_repr_shows_the_estimator_and_whether_it_is_fitted():
    model = StackedLSTMRegressor(**SMALL, n_iter_no_change=4)
    unfitted = model._repr_html_()
    fitted = model.fit(np.arange(12.0).reshape(4, 3), np.arange(4.0))._repr_html_()
    for html in (unfitted, fitted):
        assert "StackedLSTMRegressor" in html
        assert "n_iter_no_change" in html
    assert "<span>Not fitted</span>" in unfitted
    assert "<span>Fitted</span>" in fitted
    assert "LagWindows" in LagWindows()._repr_html_()


@pytest.mark.parametrize("data_frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@pytest.mark.parametrize(
    "estimator", [StackedLSTMRegressor(**SMALL), LagWindows(2)], ids=lambda e: type(e).__name__
)
def test_feature_names_of_a_data_frame_are_kept(estimator, data_frame):
    X = np.random.default_rng(0).normal(size=(6, 3))
    table = data_frame(dict(zip("abc", X.T, strict=True)))
    estimator = clone(estimator).fit(table, X[:, 0])
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]
    assert estimator.feature_names_in_.dtype == object
    assert estimator.n_features_in_ == 3


@pytest.mark.parametrize("data_frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_data_frames_give_the_bits_of_the_array_they_hold(data_frame):
    X = np.random.default_rng(0).normal(size=(20, 3))
    table = data_frame(dict(zip("abc", X.T, strict=True)))
    model = StackedLSTMRegressor(**SMALL)
    expected = clone(model).fit(X, X[:, 0]).predict(X)
    np.testing.assert_array_equal(clone(model).fit(table, table["a"]).predict(table), expected)
    windows = LagWindows(2).fit_transform(table)
    np.testing.assert_array_equal(windows, LagWindows(2).fit_transform(X))


@pytest.mark.parametrize(
    "estimator", [StackedLSTMRegressor(**SMALL), LagWindows(2)], ids=lambda e: type(e).__name__
)
def test_arrays_and_refits_on_arrays_leave_no_feature_names(estimator):
    X = np.random.default_rng(0).normal(size=(6, 3))
    estimator = clone(estimator).fit(pd.DataFrame(X, columns=list("abc")), X[:, 0])
    estimator.fit(X, X[:, 0])
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.n_features_in_ == 3


def documented(obj, section):
    """Return name and type of each entry in a section of a docstring, in order."""
    doc = inspect.getdoc(obj)
    text = re.search(rf"^{section}\n-+\n(.*?)(?=^[^\n]+\n-{{3,}}$|\Z)", doc, flags=re.M | re.S)[1]
    entries = re.findall(r"^(\w+(?:, \w+)*) : (.+)$", text, flags=re.M)
    return [(name, kind) for names, kind in entries for name in names.split(", ")]


@pytest.mark.parametrize(
    "obj",
    [
        DepthSearchCV,
        StackedLSTMRegressor,
        StackedLSTMRegressor.fit,
        StackedLSTMRegressor.partial_fit,
        StackedLSTMRegressor.predict,
        LagWindows,
        LagWindows.fit,
        LagWindows.transform,
        StackedLSTM,
        StackedLSTM.forward,
    ],
    ids=lambda obj: obj.__qualname__,
)
def test_docstring_lists_the_parameters_of_the_signature_in_order(obj):
    parameters = {
        name: parameter.default
        for name, parameter in inspect.signature(obj).parameters.items()
        if name != "self"
    }
    entries = documented(obj, "Parameters")
    assert [name for name, _ in entries] == list(parameters)
    for name, kind in entries:
        default = re.search(r"default=(.+)$", kind)
        if default is not None:
            assert repr(parameters[name]) == repr(
                np.nan if default[1] == "nan" else ast.literal_eval(default[1])
            ), name
        else:
            assert parameters[name] is inspect.Parameter.empty or kind == "None", name


def test_every_documented_attribute_exists_after_fit():
    X = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc"))
    model = StackedLSTMRegressor(**SMALL)
    for estimator in (model, LagWindows(2), DepthSearchCV(model, cv=2)):
        estimator.fit(X, np.arange(4.0))
        names = [name for name, _ in documented(estimator, "Attributes")]
        assert "feature_names_in_" in names
        assert [name for name in names if not hasattr(estimator, name)] == []
