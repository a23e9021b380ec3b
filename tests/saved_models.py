"""Fitted models of all kinds, and their files, for the tests."""

import json

import numpy as np
import pandas as pd

from sklstm import StackedLSTMRegressor, load, save
from sklstm.files import container as storage

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
    "linear shortcut": ({"linear_steps": 3}, X, Y),
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


def content_of(path):
    """Return the metadata and the tensors of a file."""
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_header])["__metadata__"]
    return json.loads(header["metadata"]), storage.safetensors.torch.load(content)


def tampered(tmp_path, change_metadata=None, change_tensors=None, name="defaults"):
    """Save a model, change what its file says, and make the checksum fit."""
    path = tmp_path / "model.safetensors"
    save(fitted(name)[0], path)
    metadata, tensors = content_of(path)
    (change_metadata or (lambda _: None))(metadata)
    (change_tensors or (lambda _: None))(tensors)
    storage.write(path, "model", metadata, tensors)
    return path


def setting(*keys, to):
    """Return a function that sets a value in the metadata, as deep as there are keys."""

    def change(metadata):
        for key in keys[:-1]:
            metadata = metadata[key]
        metadata[keys[-1]] = to

    return change
