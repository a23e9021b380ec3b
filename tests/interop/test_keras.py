import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import pickle
import subprocess
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

from sklstm import StackedLSTMRegressor, load, save
from sklstm.interop import from_keras, to_keras

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
        "n_layers": 2,
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


def test_float64_weights_stay_float64():
    X64 = X.astype(np.float64)
    estimator = Plain(precision="float64").fit(X64, X64[:, -1, :2])
    model = to_keras(estimator)
    assert {str(weights.dtype) for weights in model.get_weights()} == {"float64"}
    assert_same(estimator, model)
    again = from_keras(model)
    assert again.precision == "float64"
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


def test_neither_way_shares_weights():
    estimator = Plain().fit(X, X[:, -1, 0])
    model = to_keras(estimator)
    again = from_keras(model)
    y = estimator.predict(X)
    model.set_weights([0 * weights for weights in model.get_weights()])
    np.testing.assert_array_equal(estimator.predict(X), y)
    np.testing.assert_allclose(again.predict(X)[:, 0], y, rtol=0, atol=1e-5)


def test_a_skip_connection_needs_a_second_layer():
    estimator = Plain(n_layers=1, skip="residual").fit(X, X[:, -1, 0])
    np.testing.assert_allclose(
        predicted(to_keras(estimator))[:, 0], estimator.predict(X), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"skip": "residual"}, "skip='residual', .* Fit it with skip=None."),
        ({"pooling": "mean"}, "pooling='mean', .* Fit it with pooling='last'."),
        ({"linear_steps": 4}, "linear_steps=4, .* Fit it with linear_steps=None."),
        (
            {"loss": "quantile", "quantile": (0.1, 0.9)},
            "quantile=.*0.1, 0.9.* a number as quantile",
        ),
        ({"skip": "residual", "pooling": "concat"}, "Fit it with skip=None, pooling='last'."),
    ],
)
def test_parameters_without_a_counterpart_are_refused_by_name(params, named):
    estimator = Plain(**params).fit(X, X[:, -1, 0])
    with pytest.raises(ValueError, match=f"estimator was fitted with .*{named}"):
        to_keras(estimator)


def test_what_counts_is_what_was_fitted():
    estimator = Plain().fit(X, X[:, -1, 0]).set_params(skip="residual", pooling="mean")
    assert to_keras(estimator).output_shape == (None, 1)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"activation": "relu"}, "activation=relu; expected 'tanh'"),
        ({"activation": None}, "activation=linear; expected 'tanh'"),
        ({"activation": lambda x: x}, "activation=<lambda>"),
        ({"recurrent_activation": "hard_sigmoid"}, "recurrent_activation=hard_sigmoid"),
        ({"go_backwards": True}, "go_backwards=True; expected False"),
        ({"return_state": True}, "return_state=True"),
        ({"dropout": 0.1}, "dropout=0.1; expected 0.0"),
        ({"recurrent_dropout": 0.1}, "recurrent_dropout=0.1"),
        ({"kernel_regularizer": "l2"}, "kernel_regularizer=L2; expected None"),
        ({"recurrent_regularizer": "l1"}, "recurrent_regularizer=L1"),
        ({"activity_regularizer": "l2"}, "activity_regularizer=L2"),
        ({"bias_constraint": "non_neg"}, "bias_constraint=NonNeg"),
        ({"trainable": False}, "trainable=False"),
        ({"dtype": "mixed_float16"}, "dtype='mixed_float16'"),
    ],
)
def test_options_of_a_layer_are_refused_by_name(option, named):
    model = sequential(LSTM(2, name="culprit", **option))
    with pytest.raises(ValueError, match=f"LSTM layer 'culprit' has {named}"):
        from_keras(model)


@pytest.mark.parametrize(
    "layers",
    [
        [Bidirectional(LSTM(2), activity_regularizer="l2")],
        [LSTM(2), Dropout(0.2, activity_regularizer="l2")],
        [LSTM(2, return_sequences=True), TimeDistributed(Dense(1), activity_regularizer="l2")],
        [LSTM(2, return_sequences=True), TimeDistributed(Dense(1, activity_regularizer="l2"))],
    ],
)
def test_regularizers_of_activity_are_refused_wherever_they_are(layers):
    with pytest.raises(ValueError, match="activity_regularizer=L2; expected None"):
        from_keras(sequential(*layers))


@pytest.mark.parametrize("freeze", [lambda m: m.layers[0].cell, lambda m: m.layers[1].kernel])
def test_frozen_weights_are_refused(freeze):
    model = sequential(LSTM(2), Dense(1))
    freeze(model).trainable = False
    with pytest.raises(ValueError, match="has trainable=False; expected True for all of it"):
        from_keras(model)


def test_a_layer_that_is_there_twice_is_refused():
    dense = Dense(2, activation="relu")
    with pytest.raises(ValueError, match=r"Dense layer .* is in the model twice"):
        from_keras(sequential(LSTM(2, return_sequences=True), dense, TimeDistributed(dense)))


def test_a_stateful_layer_is_refused():
    model = keras.Sequential([keras.Input((3, 1), batch_size=1), LSTM(2, stateful=True)])
    with pytest.raises(ValueError, match="stateful=True"):
        from_keras(model)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([keras.layers.GRU(2)], "GRU layer"),
        ([keras.layers.RNN(keras.layers.LSTMCell(2))], "RNN layer"),
        ([keras.layers.Masking(), LSTM(2)], "Masking layer"),
        ([LSTM(2), keras.layers.Activation("relu")], "Activation layer"),
        ([keras.Sequential([keras.Input((None, 3)), LSTM(2)])], "Sequential layer"),
        ([type("OwnLSTM", (LSTM,), {})(2)], "OwnLSTM layer"),
        ([Bidirectional(keras.layers.GRU(2))], "GRU layer .* in Bidirectional layer"),
        ([LSTM(2, return_sequences=True), TimeDistributed(Dropout(0.1))], "Dropout layer .* in"),
    ],
)
def test_other_layers_are_refused_by_name(layers, named):
    model = sequential(*layers)
    with pytest.raises(ValueError, match=f"^{named} .* is refused"):
        from_keras(model)


@pytest.mark.parametrize(
    ("layers", "named"),
    [
        ([Dropout(0.1, name="culprit"), LSTM(2)], "Dropout layer"),
        ([LSTM(2), Dropout(0.1), Dropout(0.1, name="culprit")], "Dropout layer"),
        ([LSTM(2), Dense(1), Dropout(0.1, name="culprit")], "Dropout layer"),
        ([LSTM(2), Dropout(1.0, name="culprit")], "Dropout layer 'culprit' has rate=1.0"),
        ([LSTM(2), Dropout(0.1, noise_shape=(1, 2), name="culprit")], "Dropout .*noise_shape"),
        ([Dense(2, name="culprit"), LSTM(2)], "Dense layer 'culprit' has no LSTM layer below"),
        (
            [LSTM(2, return_sequences=True), Dense(2, activation="relu"), LSTM(2, name="culprit")],
            "LSTM layer",
        ),
        ([LSTM(2), Dense(2, name="culprit"), Dense(1)], "Dense .* activation=linear; .* 'relu'"),
        ([LSTM(2), Dense(1, activation="sigmoid", name="culprit")], "Dense .*sigmoid"),
        ([LSTM(2), Dense(1, kernel_regularizer="l2", name="culprit")], "kernel_regularizer=L2"),
        ([Bidirectional(LSTM(2), merge_mode="sum", name="culprit")], "merge_mode='sum'"),
        ([Bidirectional(LSTM(2, dropout=0.1), name="culprit")], "'forward_lstm.* dropout=0.1"),
        (
            [Bidirectional(LSTM(2), backward_layer=LSTM(3, go_backwards=True), name="culprit")],
            "units=2 forwards and units=3 backwards",
        ),
        (
            [Bidirectional(LSTM(2, go_backwards=True), backward_layer=LSTM(2), name="culprit")],
            "go_backwards=True",
        ),
        ([LSTM(2, return_sequences=True), Bidirectional(LSTM(2), name="culprit")], "only"),
        ([LSTM(2, dtype="float64"), Dense(1, dtype="float32")], "dtypes .*float32.*float64"),
    ],
)
def test_other_stacks_are_refused_by_name(layers, named):
    model = sequential(*layers)
    with pytest.raises(ValueError, match=named):
        from_keras(model)


def test_weights_that_are_not_finite_are_refused():
    model = sequential(LSTM(2), Dense(1))
    model.set_weights([np.nan * weights for weights in model.get_weights()])
    with pytest.raises(ValueError, match=rf"{model.name}' has weights that are not finite"):
        from_keras(model)


def test_an_unbuilt_model_is_refused_until_it_is_called():
    model = keras.Sequential([LSTM(2), Dense(1)])
    with pytest.raises(ValueError, match=r"no weights yet: let it begin with keras\.Input"):
        from_keras(model)
    model(X)
    assert_same(from_keras(model), model)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("model.keras", "str"),
        (keras.Sequential, "type"),
        (keras.Model(inputs := keras.Input((3, 1)), LSTM(2)(inputs)), "Functional"),
        (Plain(), "StackedLSTMRegressor"),
    ],
)
def test_what_is_not_a_sequential_is_refused(model, kind):
    with pytest.raises(TypeError, match=rf"must be a keras\.Sequential, got .*\.{kind}\."):
        from_keras(model)


@pytest.mark.parametrize(
    ("estimator", "error", "named"),
    [
        (Plain(), NotFittedError, "not fitted"),
        (make_pipeline(Plain()), TypeError, "got Pipeline"),
        (StackedLSTMRegressor, TypeError, "got type"),
        ("model", TypeError, "got str"),
    ],
)
def test_what_is_not_a_fitted_estimator_is_refused(estimator, error, named):
    with pytest.raises(error, match=named):
        to_keras(estimator)


def test_a_loaded_keras_model_is_the_model_that_was_saved(tmp_path):
    model = sequential(*stack(2, wrap=Bidirectional), Dropout(0.1), Dense(1))
    model.save(tmp_path / "model.keras")
    assert_same(from_keras(keras.saving.load_model(tmp_path / "model.keras")), model)


def test_an_estimator_from_keras_goes_on_training():
    estimator = from_keras(sequential(*stack(2), Dense(1)))
    y = X[:, -1, :1]
    before = estimator.score(X, y)
    estimator.set_params(warm_start=True).fit(X, y)
    assert estimator.n_iter_ > 0
    assert estimator.score(X, y) > before
    fitted = from_keras(sequential(*stack(2), Dense(1))).partial_fit(X, y)
    assert fitted.n_iter_ == 1


def test_an_estimator_from_keras_is_one_like_any_other():
    estimator = from_keras(sequential(*stack(2), Dense(1)))
    copied = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(copied.predict(X), estimator.predict(X))
    assert clone(estimator).get_params() == estimator.get_params()
    ragged = [X[0], X[1, :4]]
    alone = np.concatenate([estimator.predict(each[np.newaxis]) for each in ragged])
    np.testing.assert_allclose(estimator.predict(ragged), alone, rtol=0, atol=1e-6)
    assert estimator.predict(X).dtype == np.float32
    assert estimator.predict(X.astype(np.float64)).dtype == np.float64


def test_from_keras_leaves_the_random_generators_alone():
    model = sequential(LSTM(2), Dense(1))
    numpy_state, torch_state = pickle.dumps(np.random.get_state()), torch.get_rng_state()
    from_keras(model)
    assert pickle.dumps(np.random.get_state()) == numpy_state
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_to_go_on_training_gives_the_same_bits_each_time():
    model = sequential(*stack(2), Dropout(0.2), Dense(1))
    first, second = (
        from_keras(model).set_params(warm_start=True, max_epochs=2).fit(X, X[:, -1, :1])
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.predict(X), second.predict(X))


def test_an_estimator_from_keras_can_be_saved(tmp_path):
    estimator = from_keras(sequential(*stack(2), Dense(1)))
    save(estimator, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        load(tmp_path / "model.safetensors").predict(X), estimator.predict(X)
    )


@pytest.mark.parametrize("function", [from_keras, to_keras])
def test_without_keras_the_error_says_what_to_install(function, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r"keras.*sklstm\[keras\].*KERAS_BACKEND=torch"):
        function(None)


def test_keras_2_is_refused(monkeypatch):
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(ImportError, match=r"Keras 3 is needed, got 2\.15\.0"):
        from_keras(None)


def test_importing_the_module_does_not_import_keras():
    code = "import sys, sklstm.interop.keras; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
