import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import builtins
import copy
import pickle
import sys
from functools import partial

import keras
import numpy as np
import pytest
import torch
from keras.layers import LSTM, Bidirectional, Dense, Dropout, TimeDistributed
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from sklstm import StackedLSTMRegressor
from sklstm.interop.keras import from_keras, to_keras

# Keras's torch backend turns tensors into arrays in the way of NumPy 1.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

X = np.random.default_rng(0).normal(size=(6, 9, 3)).astype(np.float32)
Plain = partial(
    StackedLSTMRegressor,
    units=5,
    skip=None,
    pooling="last",
    linear_steps=None,
    max_epochs=2,
    random_state=0,
)


def sequential(*layers, n_features=3):
    """A model with weights that are not small, biases included."""
    model = keras.Sequential([keras.Input((None, n_features)), *layers])
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(-0.8, 0.8, weights.shape) for weights in model.get_weights()])
    return model


def stack(n_layers, *, wrap=lambda layer: layer, return_sequences=False):
    answers = [*[True] * (n_layers - 1), return_sequences]
    return [wrap(LSTM(4 + place, return_sequences=each)) for place, each in enumerate(answers)]


def predicted(model, X=X):
    return model.predict(X, verbose=0)


def assert_same(estimator, model, X=X):
    y = predicted(model, X)
    assert estimator.predict(X).shape == y.shape
    np.testing.assert_allclose(estimator.predict(X), y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("wrap", [lambda layer: layer, Bidirectional])
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_a_keras_stack_and_the_estimator_made_of_it_predict_the_same(
    n_layers, wrap, return_sequences
):
    layers = stack(n_layers, wrap=wrap, return_sequences=return_sequences)
    model = sequential(*layers, Dense(2))
    estimator = from_keras(model)
    assert estimator.n_layers == n_layers
    assert_same(estimator, model)
    assert_same(estimator, model, X[:, :2])


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
def test_an_estimator_and_the_keras_model_made_of_it_predict_the_same(
    n_layers, bidirectional, return_sequences, standardize
):
    y = np.stack([X[:, :, 0], X.mean(axis=2)], axis=-1)
    estimator = Plain(
        n_layers=n_layers,
        bidirectional=bidirectional,
        return_sequences=return_sequences,
        standardize=standardize,
    ).fit(X, y if return_sequences else y[:, -1])
    model = to_keras(estimator)
    assert_same(estimator, model)
    assert_same(estimator, model, X[:, :2])
    again = from_keras(model)
    np.testing.assert_allclose(again.predict(X), estimator.predict(X), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        [LSTM(3)],
        [LSTM(3, return_sequences=True)],
        [Bidirectional(LSTM(3))],
        [LSTM(3), Dropout(0.5)],
        [LSTM(3), Dense(4, activation="relu"), Dense(3, activation="relu"), Dense(2)],
        [LSTM(3, use_bias=False), Dense(2, use_bias=False)],
        [LSTM(3, return_sequences=True), TimeDistributed(Dense(2))],
        [LSTM(3, implementation=1, unit_forget_bias=False, seed=0), Dense(1)],
        [Bidirectional(LSTM(3), backward_layer=LSTM(3, go_backwards=True)), Dense(1)],
        [Dropout(0.0), LSTM(3), Dropout(0.0), Dense(1), Dropout(0.0)],
    ],
)
def test_layers_and_options_that_have_a_counterpart(layers):
    model = sequential(*layers)
    assert_same(from_keras(model), model)


def test_sizes_and_dropout_become_parameters():
    estimator = from_keras(
        sequential(
            LSTM(8, return_sequences=True),
            Dropout(0.2),
            LSTM(4),
            Dropout(0.1),
            Dense(6, activation="relu"),
            Dense(2),
        )
    )
    assert estimator.get_params() == {
        **StackedLSTMRegressor().get_params(),
        "units": (8, 4),
        "dropout": (0.2, 0.1),
        "head_units": (6,),
        "skip": None,
        "pooling": "last",
        "linear_steps": None,
        "standardize": False,
    }
    assert [part.p for part in estimator.module_.dropouts] == [0.2, 0.1]
    assert (estimator.n_features_in_, estimator.n_outputs_) == (3, 2)


def test_parameters_become_layers():
    estimator = Plain(n_layers=2, units=(8, 4), dropout=(0.2, 0.0), head_units=(6,))
    model = to_keras(estimator.fit(X, X[:, -1, 0]))
    assert [type(layer) for layer in model.layers] == [LSTM, Dropout, LSTM, Dense, Dense]
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [8, 4, 6, 1]
    assert model.layers[1].rate == 0.2
    assert model.input_shape == (None, None, 3)
    assert from_keras(model).get_params() == {
        **estimator.get_params(),
        "random_state": None,
        "standardize": False,
        "max_epochs": "auto",
    }


def test_scaling_is_folded_into_weights():
    X_far, y = 40 + 7 * X, 1000 + 300 * X[:, -1, 0]
    estimator = Plain(bidirectional=True).fit(X_far, y)
    y_pred = predicted(to_keras(estimator), X_far)[:, 0]
    np.testing.assert_allclose(y_pred, estimator.predict(X_far), rtol=1e-6)


def test_scaling_that_the_weights_cannot_hold_is_refused():
    estimator = Plain().fit(X.astype(np.float64) * 1e-60, X[:, -1, 0])
    with pytest.raises(ValueError, match="not finite in float32"):
        to_keras(estimator)


def test_float64_stays_float64():
    estimator = Plain(precision="float64").fit(X.astype(np.float64), X[:, -1, :2])
    model = to_keras(estimator)
    assert {str(each.dtype) for each in model.get_weights()} == {"float64"}
    again = from_keras(model)
    assert again.precision == "float64"
    X64 = X.astype(np.float64)
    np.testing.assert_allclose(predicted(model, X64), estimator.predict(X64), rtol=0, atol=1e-12)
    np.testing.assert_allclose(again.predict(X64), estimator.predict(X64), rtol=0, atol=1e-12)


def test_the_type_of_a_model_does_not_depend_on_keras_s_global_policy():
    estimator = Plain().fit(X, X[:, -1, 0])
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = to_keras(estimator)
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(predicted(model)[:, 0], estimator.predict(X), rtol=0, atol=1e-5)


@pytest.mark.parametrize("weights_of", [to_keras, lambda estimator: estimator.module_.state_dict()])
def test_neither_way_changes_or_shares_what_it_is_given(weights_of):
    estimator = Plain(n_layers=1).fit(X, X[:, -1, 0])
    before = copy.deepcopy(estimator.module_.state_dict())
    model = to_keras(estimator)
    weights = model.get_weights()
    model.set_weights([each + 1 for each in weights])
    assert all(torch.equal(each, before[name]) for name, each in estimator.module_.state_dict().items())
