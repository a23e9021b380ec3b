"""Copies of a model: pickles, deep copies and clones."""

import copy
import io
import pickle

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import EpochScoring
from skorch.exceptions import DeviceWarning
from small_models import small


@pytest.mark.bits
@pytest.mark.parametrize(
    "through",
    [
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: cloudpickle.loads(cloudpickle.dumps(model)),
        lambda model: joblib.load(dumped(model)),
        copy.deepcopy,
    ],
    ids=["pickle", "cloudpickle", "joblib", "deepcopy"],
)
def test_copies_predict_and_go_on_with_the_same_bits(through, sequences):
    X, y = sequences
    model = small(dropout=0.2, early_stopping=True, callbacks=[EpochScoring("r2")]).fit(X, y)
    copied = through(model)
    assert np.array_equal(copied.predict(X), model.predict(X))
    assert copied.loss_curve_ == model.loss_curve_
    assert np.array_equal(copied.partial_fit(X, y).predict(X), model.partial_fit(X, y).predict(X))
    assert repr(through(small())) == repr(small())


def dumped(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return file


def test_a_clone_is_unfitted_and_fits_to_the_same_bits(sequences):
    X, y = sequences
    model = small().fit(X, y)
    cloned = clone(model)
    with pytest.raises(NotFittedError):
        cloned.predict(X)
    assert np.array_equal(cloned.fit(X, y).predict(X), model.predict(X))


def test_a_fitted_model_does_not_hold_the_data(sequences):
    X, y = sequences
    size = len(pickle.dumps(small(early_stopping=True).fit(X, y)))
    many = np.repeat(X, 50, axis=0), np.repeat(y, 50)
    assert len(pickle.dumps(small(early_stopping=True).fit(*many))) < size + 50_000


def test_a_model_trained_on_cuda_unpickles_without_it(monkeypatch, sequences):
    X, y = sequences
    model = small().fit(X, y)
    expected = model.predict(X)
    model.net_.device = "cuda"
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        pickled = pickle.dumps(model)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert b"cuda:0" in pickled
    with pytest.warns(DeviceWarning):
        restored = pickle.loads(pickled)
    assert torch.device(restored.net_.device).type == "cpu"
    assert np.array_equal(restored.predict(X), expected)
