import copy
import errno
import json
import os
import pickle
import random
import re
import struct
import subprocess
import sys
from collections import deque
from enum import Enum
from pathlib import Path
from unittest.mock import Mock

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochTimer

from sklstm import (
    StackedLSTM,
    StackedLSTMRegressor,
    __version__,
    load,
    persistence,
    save,
)
from sklstm.files import container as storage
from sklstm.files import versions as formats
from sklstm.training import net

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 6, 2))
Y = X[:, -2:, 0].sum(axis=1)
TWO = np.column_stack([Y, -Y])
STEPS = X[:, :, 0].cumsum(axis=1)
RAGGED = [sequence[:length] for sequence, length in zip(X, rng.integers(2, 7, 40), strict=True)]
RAGGED_STEPS = [sequence[:, 0].cumsum() for sequence in RAGGED]
OBJECTS = np.empty(40, dtype=object)
OBJECTS[:] = RAGGED_STEPS
TABLE = pd.DataFrame(X.reshape(40, 12), columns=[f"column {i}" for i in range(12)])

MODELS = {
    "defaults": ({}, X, Y),
    "one layer": ({"n_layers": 1}, X, Y),
    "plain": ({"skip": None, "pooling": "last", "linear_steps": None}, X, Y),
    "tapering": ({"n_layers": 3, "units": (6, 4, 3), "dropout": [0.1, 0.2, 0.0]}, X, Y),
    "deep": ({"n_layers": 10, "units": 3}, X, Y),
    "both directions": ({"bidirectional": True}, X, Y),
    "hidden layers": ({"head_units": (5, 3)}, X, Y),
    "numpy sizes": ({"n_layers": np.int64(2), "units": np.array([4, 3])}, X, Y),
    "range of sizes": ({"units": range(4, 6)}, X, Y),
    "mean": ({"pooling": "mean"}, X, Y),
    "linear path": ({"linear_steps": 3}, X, Y),
    "not scaled": ({"standardize": False}, X, Y),
    "single outputs": ({}, X.astype(np.float32), Y.astype(np.float32)),
    "two outputs": ({}, X, TWO),
    "one column": ({}, X, Y[:, np.newaxis]),
    "horizon": ({}, X, X[:, -3:]),
    "missing labels": ({}, X, np.where(TWO > 1, np.nan, TWO)),
    "integers": ({}, X, np.arange(40)),
    "many to many": ({"return_sequences": True}, X, STEPS),
    "many to many, outputs": ({"return_sequences": True}, X, X[:, :, :2]),
    "ragged": ({}, RAGGED, Y),
    "ragged steps": ({"return_sequences": True}, RAGGED, RAGGED_STEPS),
    "objects": ({"return_sequences": True}, RAGGED, OBJECTS),
    "table": ({"n_timesteps": 6}, TABLE, Y),
    "univariate": ({}, X[:, :, 0], Y),
    "series": ({}, [sequence[:, 0] for sequence in RAGGED], Y),
    "absolute error": ({"loss": "absolute_error"}, X, Y),
    "quantile": ({"loss": "quantile", "quantile": 0.9}, X, Y),
    "quantiles": ({"loss": "quantile", "quantile": (0.1, 0.5, 0.9)}, X, Y),
    "early stopping": ({"early_stopping": True}, X, Y),
    "adam": ({"optimizer": "adam", "lr_schedule": "constant"}, X, Y),
    "sgd": ({"optimizer": "sgd"}, X, Y),
    "rmsprop": ({"optimizer": "rmsprop", "clip_norm": None}, X, Y),
    "double": ({"precision": "float64"}, X, Y),
    "untrained": ({"max_epochs": 0}, X, Y),
    "no seed": ({"random_state": None}, X, Y),
}


def fitted(name="defaults"):
    parameters, inputs, targets = MODELS[name]
    small = {"units": 4, "max_epochs": 2, "random_state": 0}
    return StackedLSTMRegressor(**{**small, **parameters}).fit(inputs, targets), inputs, targets


def saved_and_loaded(model, tmp_path):
    save(model, tmp_path / "model.safetensors")
    return load(tmp_path / "model.safetensors")


def same(a, b):
    if isinstance(a, list) or a.dtype == object:
        return type(a) is type(b) and all(map(np.array_equal, a, b))
    return type(a) is type(b) and a.dtype == b.dtype and np.array_equal(a, b)


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
    path = tampered(tmp_path, setting("recipe", "device", to="cuda:99"))
    with pytest.raises(ValueError, match="'cuda:99' cannot be used here"):
        load(path)
    assert same(load(path, device="cpu").predict(X), fitted()[0].predict(X))


def test_a_model_trained_in_bfloat16_predicts_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(net, "_HAS_BFLOAT16", {})
    path = tampered(tmp_path, setting("recipe", "precision", to="bfloat16"))
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
    {"lr": np.float32(0.01), "weight_decay": np.longdouble(0.1), "tol": np.float16(0.001)},
    {"lr": True, "weight_decay": True, "clip_norm": True, "tol": True, "max_epochs": 0},
    {"lr": np.array([0.01])[0], "validation_fraction": np.float64(0.25), "early_stopping": True},
    {"loss": Loss.HUBER, "pooling": np.str_("mean"), "skip": np.array(["residual"])[0]},
    {"loss": "quantile", "quantile": torch.tensor([0.25, 0.5])},
    {"loss": "quantile", "quantile": np.array([0.1, 0.9], dtype=np.float32)},
    {"loss": "quantile", "quantile": (0.5,)},
    {"quantile": np.array([0.1, 0.9])},
    {"n_iter_no_change": 10**400, "verbose": np.int64(0), "tol": 1e300},
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
    model._recipe = {**model._recipe, name: None}
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
    with pytest.raises(ValueError, match=r"model' is not written: .* Use fewer layers, or shorter"):
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
    with pytest.raises(ValueError, match=rf"model' cannot be read: {named}"):
        load(tmp_path / "model", device=device)
    assert same(
        saved_and_loaded(model.set_params(device=device), tmp_path).predict(X), model.predict(X)
    )


def test_a_device_that_fails_without_a_word_is_refused(monkeypatch):
    monkeypatch.setattr(net.torch, "zeros", Mock(side_effect=AssertionError))
    with pytest.raises(ValueError, match="device='cuda' cannot be used here: AssertionError"):
        net.resolve_device("cuda")


def test_a_device_to_load_to_has_to_be_a_device(tmp_path):
    save(fitted()[0], tmp_path / "model")
    with pytest.raises(ValueError, match="'device' parameter"):
        load(tmp_path / "model", device=0)


# Files of earlier versions


DATA = Path(__file__).parent / "stored"


def stored(name):
    content = np.load(DATA / f"{name}.npz")
    return content["X"], content["y"], load(DATA / f"{name}.safetensors")


def with_names(inputs, model):
    names = getattr(model, "feature_names_in_", None)
    return inputs if names is None else pd.DataFrame(inputs, columns=names)


STORED = sorted(path.stem for path in DATA.glob("model-*.safetensors"))


@pytest.mark.parametrize("name", STORED)
def test_a_stored_model_predicts_what_it_did_when_it_was_saved(name):
    inputs, outputs, model = stored(name)
    # Processors round differently: float32 has seven digits.
    np.testing.assert_allclose(model.predict(with_names(inputs, model)), outputs, 1e-6, 1e-6)


@pytest.mark.parametrize("name", STORED)
def test_a_stored_model_is_saved_again_and_trains_on(name, tmp_path):
    inputs, outputs, model = stored(name)
    inputs, targets = with_names(inputs, model), outputs.reshape(len(outputs), -1)[:, 0]
    again = saved_and_loaded(model, tmp_path)
    assert same(again.predict(inputs), model.predict(inputs))
    for estimator in (model, again):
        estimator.partial_fit(inputs, targets)
    assert same(again.predict(inputs), model.predict(inputs))


def test_each_name_that_came_after_0_1_0_has_what_it_meant_then():
    facts = storage._parsed_facts(metadata_of(DATA / "model-0.1.0-defaults.safetensors"))
    introduced = formats.completed({"parameters": {}, "recipe": {}}, "1")
    now = StackedLSTMRegressor(max_epochs=0).fit(X, Y)
    assert set(now.get_params()) - {"checkpoint"} == {
        *facts["parameters"],
        *introduced["parameters"],
    }
    assert set(now._recipe) == {*facts["recipe"], *introduced["recipe"]}


def metadata_of(path):
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def older(tmp_path, monkeypatch, *names, version="1"):
    """Save a model without some parameters, as a version did that did not have them."""

    def forget(facts):
        for section in ("parameters", "recipe"):
            for name in names:
                del facts[section][name]

    with monkeypatch.context() as patched:
        patched.setattr(storage, "FORMAT_VERSION", version)
        return tampered(tmp_path, forget)


def test_an_older_file_means_by_a_newer_parameter_what_its_version_did(tmp_path, monkeypatch):
    then = {"parameters": {"tol": 0.5}, "recipe": {"tol": 0.25}}
    monkeypatch.setattr(formats, "INTRODUCED", {"1": {}, "2": then})
    loaded = load(older(tmp_path, monkeypatch, "tol"))
    assert (loaded.tol, loaded._recipe["tol"]) == (0.5, 0.25)
    assert same(loaded.predict(X), fitted()[0].predict(X))


def test_a_file_means_what_the_next_version_after_it_says(tmp_path, monkeypatch):
    then = [{"parameters": {"tol": tol}, "recipe": {"tol": tol}} for tol in (0.1, 0.2, 0.3)]
    monkeypatch.setattr(formats, "INTRODUCED", dict(zip("123", then, strict=True)))
    assert load(older(tmp_path, monkeypatch, "tol", version="1")).tol == 0.2
    with monkeypatch.context() as patched:
        patched.setattr(storage, "FORMAT_VERSION", "2")
        path = tampered(tmp_path)
    assert load(path).tol == 1e-4


@pytest.mark.parametrize("version", ["1", formats.FORMAT_VERSION])
def test_a_file_without_a_parameter_that_its_version_had_is_refused(version, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="'tol'"):
        load(older(tmp_path, monkeypatch, "tol", version=version))
    with pytest.raises(ValueError, match="it lacks the parameter 'tol'"):
        load(tampered(tmp_path, lambda facts: facts["parameters"].pop("tol")))


def test_a_parameter_of_a_later_version_is_refused_with_that_version(tmp_path):
    def change(facts):
        facts["parameters"]["n_heads"] = facts["recipe"]["n_heads"] = 2
        facts["versions"]["sklstm"] = "0.9.0"

    with pytest.raises(ValueError, match=r"'n_heads'\. It was written by sklstm 0\.9\.0, this is"):
        load(tampered(tmp_path, change))


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


# Written whole or not at all


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model, _, _ = fitted()
    save(model, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*what was there is unchanged.*model"):
        save(fitted("deep")[0], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import pathlib, resource, sys
import numpy as np
from sklstm import StackedLSTMRegressor, save
path = pathlib.Path(sys.argv[1])
model = StackedLSTMRegressor(units=4, max_epochs=1).fit(np.ones((9, 3, 1)), np.arange(9.0))
save(model, path)
before = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    save(model, path)
except OSError as error:
    print(error)
print(path.read_bytes() == before, [file.name for file in path.parent.iterdir()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits on the size of files")
def test_a_system_that_refuses_to_write_on_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(path)]
    message, state = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "File too large; what was there is unchanged" in message
    assert state == "True ['model.safetensors']"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/model\.safetensors"):
        save(fitted()[0], tmp_path / "no" / "model.safetensors")


def test_links_and_permissions_stay(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path, link = tmp_path / "elsewhere" / "model.safetensors", tmp_path / "link"
    path.write_text("")
    path.chmod(0o640)
    link.symlink_to(path)
    save(fitted()[0], link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert same(load(path).predict(X), fitted()[0].predict(X))


# Files that are something else


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="Not a regular file, and left as it is"):
            save(fitted()[0], path)
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match="is not a file"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is not a file"):
        load(tmp_path / "pipe")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 100,
        b"\xff" * 100,
        pickle.dumps(Bomb()),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 20) + b"[" * 20,
        struct.pack("<Q", 400_000) + b"[" * 400_000,
        struct.pack("<Q", 30) + b'{"__metadata__": {"format": 1}}',
        b"PK\x03\x04" + bytes(1000),
    ],
    ids=range(11),
)
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors' cannot be read: it "):
        load(path)


def with_version(version):
    """Return a `safetensors.torch.save` that says another version, of any type."""
    write = storage.safetensors.torch.save

    def save(tensors, metadata):
        content = write(tensors, metadata)
        n_header = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + n_header])
        header["__metadata__"]["version"] = version
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + n_header :]

    return save


def test_files_of_other_use_or_version_are_refused(tmp_path, monkeypatch):
    model, _, _ = fitted()
    path = tmp_path / "file"
    storage.write(path, "checkpoint", {}, {})
    with pytest.raises(ValueError, match="it is a 'checkpoint', not a 'model'"):
        load(path)
    with monkeypatch.context() as patched:
        patched.setattr(storage, "FORMAT_VERSION", "99")
        patched.setattr(persistence, "versions", lambda: {"sklstm": "9.0"})
        save(model, path)
    with pytest.raises(
        ValueError,
        match=r"it has version '99' of the format, this sklstm reads versions up to '\d+'\. "
        rf"It was written by sklstm 9\.0, this is {re.escape(__version__)}: upgrade it",
    ):
        load(path)
    for version in (None, 2, ["2"], {}, "", "0"):
        with monkeypatch.context() as patched:
            patched.setattr(storage.safetensors.torch, "save", with_version(version))
            save(model, path)
        with pytest.raises(ValueError, match=r"it has version .* of the format"):
            load(path)


# Damage


def test_any_truncation_is_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    lengths = [*range(0, len(content), 97), *range(len(content) - 20, len(content))]
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cannot be read"):
            load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="cannot be read"):
        load(path)


def test_any_flipped_bit_is_found_or_means_nothing(tmp_path):
    path = tmp_path / "model.safetensors"
    model, _, _ = fitted()
    save(model, path)
    content, expected = path.read_bytes(), model.predict(X)
    draw = random.Random(0)
    n_found = n_right = 0
    for _ in range(500):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            predictions = load(path).predict(X)
        except ValueError as error:
            n_found += "cannot be read" in str(error)
        else:
            n_right += same(predictions, expected)
    assert n_found + n_right == 500
    assert n_found > 450


def test_a_changed_fact_is_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    assert b'tol\\": 0.0001' in content
    path.write_bytes(content.replace(b'tol\\": 0.0001', b'tol\\": 0.0002'))
    with pytest.raises(ValueError, match="does not have its checksum"):
        load(path)


def test_tensors_that_changed_places_are_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    one, other = b'"module.layers.0.bias_ih_l0"', b'"module.layers.0.bias_hh_l0"'
    assert content.count(one) == content.count(other) == 1
    path.write_bytes(
        content.replace(one, b"?" * len(one)).replace(other, one).replace(b"?" * len(one), other)
    )
    with pytest.raises(ValueError, match="does not have its checksum"):
        load(path)


# Files that somebody made up, with a checksum that fits


def tampered(tmp_path, change_facts=None, change_tensors=None, name="defaults"):
    path = tmp_path / "model.safetensors"
    save(fitted(name)[0], path)
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + n_header])["__metadata__"]["facts"])
    tensors = storage.safetensors.torch.load(content)
    (change_facts or (lambda _: None))(facts)
    (change_tensors or (lambda _: None))(tensors)
    storage.write(path, "model", facts, tensors)
    return path


def setting(*keys, to):
    def change(facts):
        for key in keys[:-1]:
            facts = facts[key]
        facts[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("recipe", "units"), 10**8, "parameters need"),
        (("recipe", "units"), 2**62, "there is no such model"),
        (("recipe", "units"), 2**70, "there is no such model"),
        (("recipe", "units"), "many", "'units' parameter"),
        (("recipe", "units"), [4, "x"], "units"),
        (("recipe", "units"), [4, 10**4000], "there is no such model"),
        (("recipe", "device"), "hpu", "device='hpu' cannot be used here"),
        (("recipe", "units"), {"code": "x"}, "is no parameter"),
        (("recipe", "n_layers"), 10**12, "n_layers and head_units need more than the"),
        (("recipe", "n_layers"), -1, "'n_layers' parameter"),
        (("recipe", "head_units"), [1] * 10**5, "n_layers and head_units need more"),
        (("recipe", "linear_steps"), 10**15, "parameters need"),
        (("recipe", "linear_steps"), "auto", "linear_steps is 'auto', not a number"),
        (("recipe", "lr"), None, "lr is None, not a number"),
        (("recipe", "quantile"), [0.1, 0.2], "quantile does not go with loss"),
        (("recipe", "seed"), -1, "seed is not a number"),
        (("recipe", "loss"), "__import__('os')", "'loss' parameter"),
        (("recipe", "optimizer"), "os.system", "'optimizer' parameter"),
        (("recipe", "precision"), "float16", "'precision' parameter"),
        (("recipe", "device"), "cuda:99", "cannot be used here"),
        (("recipe", "device"), "../x", "cannot be used here"),
        (("recipe", "hidden"), 1, "'hidden' is missing, or not known"),
        (("recipe",), None, "recipe is no mapping"),
        (("parameters", "n_heads"), 1, "a parameter that this sklstm does not know: 'n_heads'"),
        (("parameters", "checkpoint"), "/etc/passwd", "does not know: 'checkpoint'"),
        (("parameters", "callbacks"), ["x"], "callbacks are in no file"),
        (("parameters", "units"), {"tuple": {}}, "is no parameter"),
        (("parameters", "random_state"), "x", "'random_state' parameter"),
        (("form", "n_features"), 10**9, "parameters need"),
        (("form", "n_features"), "2", "n_features is '2'"),
        (("form", "n_outputs"), 0, "y has one target and 0"),
        (("form", "n_outputs"), 3, "y has one target and 3"),
        (("form", "n_features_in"), -2, "n_features_in is -2"),
        (("form", "feature_names_in"), [1], "feature_names_in is not a list of names"),
        (("form", "X"), "pickle", "forms of X and y"),
        (("form", "y", "dtype"), "O", "forms of X and y"),
        (("form", "y", "dtype"), ["f8"], "forms of X and y"),
        (("form", "y", "has_steps"), True, "return_sequences"),
        (("form", "y", "container"), "set", "form of y"),
        (("form", "y", "more"), 1, "form of y"),
        (("form", "y"), [], "y is no mapping"),
        (("best_epoch",), "x", "best_epoch is 'x'"),
        (("state", "n_epochs"), 10**12, "parameters need"),
        (("state", "columns"), [], "a history of n_epochs=2 has no columns"),
        (("state", "n_epochs"), 2.0, "n_epochs is 2.0"),
        (("form", "n_features_in"), True, "n_features_in is True"),
        (("form", "y", "has_outputs"), 1, "form of y"),
        (("form", "y", "horizon"), "x", "horizon is 'x'"),
        (("form", "y", "horizon"), 1, "y has a horizon of 1 steps and 1 targets"),
        (("state", "moments"), ["head.0.bias"] * 2, "moments has a weight twice"),
        (("state", "columns"), [["dur", "eval"]] * 7, "no column of a history"),
        (("state", "columns"), [["dur", ["float"]]] * 7, "no column of a history"),
        (("state", "moments"), ["head.weight.x"], "moments is not a list of weights"),
        (("state", "moments"), [["x"]], "moments is not a list of weights"),
        (("state", "moments"), [], "does not go with its parameters"),
    ],
)
def test_facts_that_somebody_made_up_are_refused(keys, value, message, tmp_path):
    path = tampered(tmp_path, setting(*keys, to=value))
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize("horizon", [0, 4, 7])
def test_a_horizon_that_does_not_divide_the_outputs_is_refused(horizon, tmp_path):
    path = tampered(tmp_path, setting("form", "y", "horizon", to=horizon), name="horizon")
    with pytest.raises(ValueError, match=f"y has a horizon of {horizon} steps and 6 targets"):
        load(path)


def test_a_file_from_before_there_were_horizons_is_read(tmp_path):
    path = tampered(tmp_path, lambda facts: facts["form"]["y"].pop("horizon"))
    assert np.array_equal(load(path).predict(X), fitted("defaults")[0].predict(X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("module.head.0.bias"), "it lacks 'module.head.0.bias'"),
        (lambda t: t.update(more=torch.zeros(3)), "it holds 'more', which does not go"),
        (lambda t: t.update({"../../x": torch.zeros(3)}), r"it holds '\.\./\.\./x'"),
        (
            lambda t: t.update({"module.head.0.bias": torch.zeros(2)}),
            r"'module.head.0.bias' is not F32 of shape \(1,\)",
        ),
        (
            lambda t: t.update({"module.head.0.bias": torch.zeros(1, dtype=torch.float64)}),
            "is not F32",
        ),
        (
            lambda t: t.update({"optimizer.head.0.bias.exp_avg": torch.zeros(1000)}),
            "is not F32",
        ),
        (
            lambda t: t.update({"history.values": t["history.values"] * torch.nan}),
            "model.safetensors' cannot be read: cannot convert float NaN",
        ),
    ],
)
def test_tensors_that_somebody_made_up_are_refused(change, message, tmp_path):
    path = tampered(tmp_path, change_tensors=change)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_names_without_tensors_are_not_counted(tmp_path):
    path = tampered(tmp_path, setting("recipe", "n_layers", to=20_000))
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_header]) | {str(i): 0 for i in range(80_000)}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n_header :])
    with pytest.raises(ValueError, match="n_layers and head_units need more"):
        load(path)


NO_ENTRY = {"dtype": 0, "shape": 0, "data_offsets": 0}
OTHER_SIZE = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize("entry", [NO_ENTRY, OTHER_SIZE])
@pytest.mark.parametrize("n_names", [4, 8])
def test_thousands_of_layers_that_are_not_there_are_refused_before_any_is_made(
    entry, n_names, tmp_path, monkeypatch
):
    def change(facts):
        facts["recipe"] |= {"n_layers": 1000, "units": [1, 2] * 500, "bidirectional": True}
        facts["state"]["moments"] = []

    path = tampered(tmp_path, change)
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_header])
    header |= {f"module.layers.{i}.": entry for i in range(n_names * 1000)}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n_header :])
    monkeypatch.setattr(StackedLSTM, "__init__", lambda *args, **kwargs: pytest.fail("made"))
    with pytest.raises(ValueError, match=r"need more than|parameters need|it lacks"):
        load(path)


def test_a_file_that_is_shorter_than_it_says_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((10**8).to_bytes(8, "little") + b'{"x":')
    with pytest.raises(ValueError, match="it is damaged, or no safetensors file"):
        load(path)


def test_swapped_weights_are_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    other = StackedLSTMRegressor(units=4, max_epochs=2, random_state=1).fit(X, Y)
    save(other, path)
    n_header = 8 + int.from_bytes(content[:8], "little")
    path.write_bytes(content[:n_header] + path.read_bytes()[-(len(content) - n_header) :])
    with pytest.raises(ValueError, match="does not have its checksum"):
        load(path)
