"""A loaded model is the saved one; what cannot be saved is refused."""

import copy
import pickle
from collections import deque
from enum import Enum
from unittest.mock import Mock

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from saved_models import MODELS, X, Y, fitted, same, saved_and_loaded, setting, tampered
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochTimer

from sklstm import StackedLSTMRegressor, load, save
from sklstm.files import container as storage
from sklstm.training import runtime
from sklstm.training.plan import OPTIMIZERS
from sklstm.training.state_file import OPTIMIZER_KEYS


def without_batches(history):
    return [{name: value for name, value in row.items() if name != "batches"} for row in history]


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_is_the_saved_one(name, tmp_path):
    model, inputs, targets = fitted(name)
    loaded = saved_and_loaded(model, tmp_path)

    assert same(loaded.predict(inputs), model.predict(inputs))
    assert loaded.score(inputs, targets) == model.score(inputs, targets)
    assert without_batches(loaded.history_) == without_batches(model.history_)
    for attribute in ("n_features_in_", "n_outputs_", "n_iter_", "best_epoch_", "n_parameters_"):
        assert getattr(loaded, attribute) == getattr(model, attribute)
    assert list(getattr(loaded, "feature_names_in_", [])) == list(
        getattr(model, "feature_names_in_", [])
    )
    for parameter, value in model.get_params().items():
        assert np.array_equal(loaded.get_params()[parameter], value)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_trains_on_as_the_saved_one(name, tmp_path):
    model, inputs, targets = fitted(name)
    loaded = saved_and_loaded(model, tmp_path)
    for estimator in (model, loaded):
        estimator.partial_fit(inputs, targets)
    assert same(loaded.predict(inputs), model.predict(inputs))


def test_a_loaded_model_grows_as_the_saved_one(tmp_path):
    model, _, _ = fitted()
    loaded = saved_and_loaded(model, tmp_path)
    for estimator in (model, loaded):
        estimator.set_params(n_layers=3, warm_start=True).fit(X, Y)
    assert same(loaded.predict(X), model.predict(X))


def test_parameters_set_after_the_fit_are_saved_and_do_not_change_the_model(tmp_path):
    model, _, _ = fitted()
    before = model.predict(X)
    model.set_params(n_layers=7, units=(1, 2), pooling="max", loss="quantile", lr=0.5)
    loaded = saved_and_loaded(model, tmp_path)
    assert same(loaded.predict(X), before)
    assert loaded.get_params() == model.get_params()


def test_tuples_stay_tuples(tmp_path):
    model, _, _ = fitted("tapering")
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.units == (6, 4, 3)
    assert loaded.dropout == [0.1, 0.2, 0.0]


def test_a_loaded_model_can_be_saved_again(tmp_path):
    model, _, _ = fitted()
    again = saved_and_loaded(saved_and_loaded(model, tmp_path), tmp_path)
    assert same(again.predict(X), model.predict(X))


def test_device_can_be_another_one(tmp_path):
    model, _, _ = fitted()
    model.set_params(device="cuda")
    save(model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors", device="cpu")
    assert loaded.device == "cpu"
    assert same(loaded.predict(X), model.predict(X))


def test_a_model_of_a_device_that_is_not_here_can_be_loaded_to_another(tmp_path):
    path = tampered(tmp_path, setting("plan", "device", to="cuda:99"))
    with pytest.raises(ValueError, match="'cuda:99' cannot be used here"):
        load(path)
    assert same(load(path, device="cpu").predict(X), fitted()[0].predict(X))


def test_a_model_trained_in_bfloat16_predicts_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    path = tampered(tmp_path, setting("plan", "precision", to="bfloat16"))
    loaded = load(path)
    assert same(loaded.predict(X), fitted()[0].predict(X))
    save(loaded, path)
    assert same(load(path).predict(X), loaded.predict(X))


def test_any_safetensors_reader_reads_the_weights(tmp_path):
    from safetensors.torch import load_file

    model, _, _ = fitted()
    save(model, tmp_path / "model.safetensors")
    stored = load_file(tmp_path / "model.safetensors")
    for name, values in model.module_.state_dict().items():
        assert torch.equal(stored[f"module.{name}"], values)


def test_loading_leaves_torchs_generator_alone(tmp_path):
    model, _, _ = fitted()
    before = torch.get_rng_state()
    saved_and_loaded(model, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_it_is_known_what_each_optimizer_keeps():
    assert set(OPTIMIZER_KEYS) == set(OPTIMIZERS)


# Forms of parameters


class Loss(str, Enum):
    HUBER = "huber"


ODD = [
    {"callbacks": ()},
    {"callbacks": []},
    {"n_layers": True, "units": True, "batch_size": True},
    {"linear_steps": True},
    {"linear_steps": np.uint8(2), "max_epochs": np.int8(1), "n_iter_no_change": True},
    {"max_epochs": False, "random_state": np.int64(3)},
    {"units": range(3, 5), "dropout": (0, np.float32(0.5))},
    {"units": np.array([3, 4], dtype=object), "head_units": range(1, 3)},
    {"units": deque([3, 4]), "head_units": deque()},
    {"units": pd.Series([3, 4]), "dropout": pd.Series([0.1, 0.2]), "head_units": np.array([2])},
    {"units": (np.int64(3), 4), "head_units": [np.uint8(2)], "dropout": False},
    {"bidirectional": np.True_, "early_stopping": np.bool_(True), "standardize": np.False_},
    {"lr": np.float32(0.01), "weight_decay": np.longdouble(0.1), "clip_norm": np.float16(0.5)},
    {"lr": True, "weight_decay": True, "clip_norm": True, "max_epochs": 0},
    {"lr": np.array([0.01])[0], "validation_fraction": np.float64(0.25), "early_stopping": True},
    {"loss": Loss.HUBER, "pooling": np.str_("mean"), "skip": np.array(["residual"])[0]},
    {"loss": "quantile", "quantile": torch.tensor([0.25, 0.5])},
    {"loss": "quantile", "quantile": np.array([0.1, 0.9], dtype=np.float32)},
    {"loss": "quantile", "quantile": (0.5,)},
    {"quantile": np.array([0.1, 0.9])},
    {"n_iter_no_change": 10**400, "verbose": np.int64(0), "clip_norm": 1e300},
    {"warm_start": np.True_, "n_timesteps": np.int16(7)},
    {"device": torch.device("cpu")},
    {"device": torch.device("cpu", 0), "precision": "float64"},
    {"device": "cpu:0"},
    {"device": "auto"},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_what_fit_accepts_and_save_writes_is_loaded(odd, tmp_path):
    small = {"units": 3, "max_epochs": 1, "random_state": 0}
    model = StackedLSTMRegressor(**{**small, **odd}).fit(X, Y)
    loaded = saved_and_loaded(model, tmp_path)
    assert same(loaded.predict(X), model.predict(X))
    for parameter, value in model.get_params().items():
        value = str(value) if isinstance(value, torch.device) else value
        found = loaded.get_params()[parameter]
        assert np.array_equal(found, np.asarray(value)) or found == value
    assert same(saved_and_loaded(loaded, tmp_path).predict(X), model.predict(X))


@pytest.mark.parametrize("name", ["lr", "seed", "units", "loss"])
def test_a_file_that_could_not_be_read_is_not_written(name, tmp_path):
    model, _, _ = fitted()
    object.__setattr__(model._plan, name, None)
    with pytest.raises(ValueError, match="model' is not written, as it could not be read: "):
        save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_names_of_any_columns_are_saved(tmp_path):
    names = [f"{i}: " + 'a long name, with signs: " \\ \n \0 é 名 \ud800' * 40 for i in range(1000)]
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(10, 1000)), columns=names)
    model = StackedLSTMRegressor(1, 1, n_timesteps=1, max_epochs=1, linear_steps=None)
    model.fit(table, Y[:10])
    loaded = saved_and_loaded(model, tmp_path)
    header = (tmp_path / "model.safetensors").read_bytes()[:8]
    assert int.from_bytes(header, "little") > 2**21
    assert list(loaded.feature_names_in_) == names
    assert same(loaded.predict(table), model.predict(table))


def test_names_that_no_safetensors_file_holds_are_refused_and_nothing_is_written(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(storage, "MOST_HEADER", 12_000)
    save(fitted()[0], tmp_path / "short")
    with pytest.raises(ValueError, match=r"model' is not written: .* Use fewer layers or shorter"):
        save(fitted("deep")[0], tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["short"]


# Devices


@pytest.mark.parametrize("device", ["cpu:0", "cpu:3", torch.device("cpu"), torch.device("cpu", 0)])
def test_a_model_of_any_name_of_the_cpu_is_copied_by_all_ways(device, tmp_path):
    expected = fitted()[0].predict(X)
    model = clone(fitted()[0].set_params(device=device)).fit(X, Y)
    joblib.dump(model, tmp_path / "joblib")
    copies = [
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        joblib.load(tmp_path / "joblib"),
        saved_and_loaded(model, tmp_path),
        load(tmp_path / "model.safetensors", device=device),
    ]
    for copied in copies:
        assert same(copied.predict(X), expected)
        assert same(copied.partial_fit(X, Y).predict(X), fitted()[0].partial_fit(X, Y).predict(X))
    assert copies[-1].device == device


@pytest.mark.parametrize("device", ["hpu", "meta", "xla", "cuda:99", "../x", ""])
def test_a_device_that_cannot_be_used_is_refused_by_name(device, tmp_path):
    named = rf"device={device!r} cannot be used here: \w"
    model, _, _ = fitted()
    with pytest.raises(ValueError, match=named):
        clone(model).set_params(device=device).fit(X, Y)
    save(model, tmp_path / "model")
    with pytest.raises(ValueError, match=f"^{named}"):
        load(tmp_path / "model", device=device)
    assert same(
        saved_and_loaded(model.set_params(device=device), tmp_path).predict(X), model.predict(X)
    )


def test_a_device_that_fails_without_a_message_is_refused(monkeypatch):
    monkeypatch.setattr(runtime.torch, "zeros", Mock(side_effect=AssertionError))
    with pytest.raises(ValueError, match="device='cuda' cannot be used here: AssertionError"):
        runtime.resolve_device("cuda")


def test_a_device_to_load_to_has_to_be_a_device(tmp_path):
    save(fitted()[0], tmp_path / "model")
    with pytest.raises(ValueError, match="'device' parameter"):
        load(tmp_path / "model", device=0)


# What cannot be saved


def test_what_is_no_fitted_regressor_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(NotFittedError):
        save(StackedLSTMRegressor(), path)
    with pytest.raises(TypeError, match=r"got Pipeline. Of a pipeline, save the last step"):
        save(make_pipeline(StandardScaler(), fitted()[0]), path)
    with pytest.raises(TypeError, match="got type"):
        save(StackedLSTMRegressor, path)
    assert list(tmp_path.iterdir()) == []


class Own(StackedLSTMRegressor):
    pass


def test_a_subclass_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"got Own, a subclass of it.*code of a subclass cannot"):
        save(Own(units=2, max_epochs=1).fit(X, Y), tmp_path / "model")


@pytest.mark.parametrize(
    "around",
    [
        GridSearchCV(StackedLSTMRegressor(), {"units": [2]}),
        TransformedTargetRegressor(StackedLSTMRegressor()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_around_a_regressor_is_refused_with_what_to_save(around, tmp_path):
    kind = type(around).__name__
    message = (
        f"got {kind}.*of a search, best_estimator_; of a TransformedTargetRegressor, regressor_"
    )
    with pytest.raises(TypeError, match=message):
        save(around, tmp_path / "model")


@pytest.mark.parametrize("path", [b"model", 3, None])
def test_what_is_no_path_is_refused_without_a_word_of_what_is_refused_too(path):
    for call in (lambda: save(fitted()[0], path), lambda: load(path)):
        with pytest.raises(TypeError, match=f"path is {path!r}, expected a str") as caught:
            call()
        assert "expected str, bytes" not in str(caught.value)
    if path == b"model":
        assert "os.fsdecode(path)" in str(caught.value)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("callbacks", [EpochTimer()]),
        ("optimizer", torch.optim.NAdam),
        ("random_state", np.random.RandomState(0)),
    ],
)
def test_objects_are_refused_by_name_and_nothing_is_written(parameter, value, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("mine")
    model = StackedLSTMRegressor(units=2, max_epochs=1, **{parameter: value}).fit(X, Y)
    with pytest.raises(ValueError, match=f"{parameter}=.* cannot be saved"):
        save(model, path)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_parameters_out_of_range_are_refused_by_name(tmp_path):
    model, _, _ = fitted()
    with pytest.raises(ValueError, match="'n_layers' parameter"):
        save(model.set_params(n_layers=0), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_what_a_callback_left_in_the_history_is_refused_by_name(tmp_path):
    model, _, _ = fitted()
    model.history_.record("picture", object())
    with pytest.raises(ValueError, match="history_ has picture=<object"):
        save(model, tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []
