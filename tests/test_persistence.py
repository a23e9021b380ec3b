import errno
import json
import os
import pickle
import random
import struct
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import EpochTimer

from sklstm import StackedLSTMRegressor, load, net, save, storage

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
    with pytest.raises(TypeError, match="got Own"):
        save(Own(units=2, max_epochs=1).fit(X, Y), tmp_path / "model")


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


def test_files_of_other_use_or_version_are_refused(tmp_path, monkeypatch):
    model, _, _ = fitted()
    path = tmp_path / "file"
    storage.write(path, "checkpoint", {}, {})
    with pytest.raises(ValueError, match="it is a 'checkpoint', not a 'model'"):
        load(path)
    with monkeypatch.context() as patched:
        patched.setattr(storage, "VERSION", "2")
        save(model, path)
    with pytest.raises(ValueError, match="it has version '2' of the format, this sklstm reads"):
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
