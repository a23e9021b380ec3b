import subprocess
import sys
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklstm import StackedLSTMRegressor, __version__
from sklstm.interop import to_onnx

CONFIGURATIONS = {
    "defaults": {},
    "plain": {"skip": None, "pooling": "last", "linear_steps": None},
    "mean": {"pooling": "mean", "linear_steps": None},
    "max": {"pooling": "max", "linear_steps": None},
    "one layer": {"n_layers": 1},
    "many layers": {"n_layers": 10},
    "unequal widths": {"n_layers": 3, "units": (5, 8, 3)},
    "both directions": {"bidirectional": True, "linear_steps": None},
    "both directions, last": {"bidirectional": True, "pooling": "last", "units": (4, 7)},
    "both directions, plain": {"bidirectional": True, "skip": None, "pooling": "max"},
    "hidden Dense layers": {"head_units": (6, 5), "dropout": 0.5},
    "linear shortcut of two steps": {"linear_steps": 2},
    "linear shortcut longer than X": {"linear_steps": 20},
    "linear shortcut, unscaled": {"linear_steps": 4, "standardize": False},
    "unscaled": {"standardize": False, "linear_steps": None},
    "float64": {"precision": "float64", "linear_steps": 4},
    "a quantile": {"loss": "quantile", "quantile": 0.9},
    "quantiles": {"loss": "quantile", "quantile": (0.1, 0.5, 0.9), "linear_steps": 4},
    "quantiles, unscaled": {"loss": "quantile", "quantile": (0.1, 0.9), "standardize": False},
}


def series(n_samples, n_timesteps, seed=0):
    """Sequences of three features with other units, one of them a time stamp."""
    X = np.random.default_rng(seed).normal(size=(n_samples, n_timesteps, 3))
    return X * [1.0, 50.0, 1e-3] + [0.0, 1.7e9, 0.0]


def tame(n_samples, n_timesteps, seed=0):
    return np.random.default_rng(seed).normal(size=(n_samples, n_timesteps, 3))


def target(X, n_outputs, return_sequences):
    steps = 100 + 5 * X[:, :, :1].cumsum(axis=1) * np.arange(1, max(n_outputs, 1) + 1)
    y = steps if return_sequences else steps[:, -1]
    return y if n_outputs else y[..., 0]


def fitted(X, y, **parameters):
    model = StackedLSTMRegressor(**{"units": 6, "max_epochs": 2, "random_state": 0, **parameters})
    return model.fit(X, y)


def runtime(model, path):
    """Export to a file and return what onnxruntime predicts with it."""
    to_onnx(model, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda X: session.run(["y"], {"X": X})[0]


def assert_agrees(predict, model, X, scale):
    expected = model.predict(X)
    y = predict(X)
    assert y.shape == expected.shape
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * scale)


@pytest.fixture
def model():
    X = series(40, 7)
    return fitted(X, target(X, 0, False))


@pytest.mark.parametrize("return_sequences", [False, True], ids=["once", "each step"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_file_agrees_with_predict_at_any_batch_and_length(name, return_sequences, tmp_path):
    parameters = CONFIGURATIONS[name]
    make = series if parameters.get("standardize", True) else tame
    X = make(40, 7)
    y = target(X, 0, return_sequences)
    model = fitted(X, y, return_sequences=return_sequences, **parameters)
    predict = runtime(model, tmp_path / "model.onnx")
    for n_samples, n_timesteps in product((1, 5), (1, 3, 7, 23)):
        assert_agrees(predict, model, make(n_samples, n_timesteps, seed=1), y.std())


@pytest.mark.parametrize("loss", [{}, {"loss": "quantile", "quantile": (0.2, 0.8)}], ids=str)
def test_a_horizon_is_an_axis_of_the_answer(loss, tmp_path):
    X = series(30, 6)
    y = 100 + X[:, -3:, :2] / [1.0, 50.0]
    model, path = fitted(X, y, linear_steps=3, **loss), tmp_path / "model.onnx"
    assert_agrees(runtime(model, path), model, series(4, 9, seed=1), y.std())
    (output,) = onnx.load(path).graph.output
    dims = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
    assert dims == ["batch", 3, 2, *[2] * bool(loss)]


@pytest.mark.parametrize("return_sequences", [False, True], ids=["once", "each step"])
@pytest.mark.parametrize("n_outputs", [0, 1, 2])
@pytest.mark.parametrize("quantile", [None, 0.5, (0.2, 0.8), (0.5,)])
def test_the_answer_has_the_form_of_y(quantile, n_outputs, return_sequences, tmp_path):
    X = series(30, 6)
    y = target(X, n_outputs, return_sequences)
    loss = {} if quantile is None else {"loss": "quantile", "quantile": quantile}
    model = fitted(X, y, return_sequences=return_sequences, linear_steps=3, **loss)
    path = tmp_path / "model.onnx"
    assert_agrees(runtime(model, path), model, series(4, 9, seed=1), y.std())
    (output,) = onnx.load(path).graph.output
    dims = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
    declared = [{"batch": 4, "time": 9}.get(dim, dim) for dim in dims]
    assert declared == list(model.predict(series(4, 9)).shape)


def test_a_model_of_all_that_torch_initializes_at_random_agrees(tmp_path):
    X = series(30, 12)
    y = target(X, 0, False)
    model = fitted(X, y, n_layers=4, units=(9, 4, 16, 2), bidirectional=True, max_epochs=0)
    assert_agrees(runtime(model, tmp_path / "model.onnx"), model, series(5, 60), y.std())


def test_long_sequences_agree(model, tmp_path):
    X = series(2, 2000, seed=1)
    assert_agrees(runtime(model, tmp_path / "model.onnx"), model, X, 5.0)


@pytest.mark.parametrize("value", [11.0, 12.5, 40.0, 1e6, 1e18, 1e30, 3e38])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("return_sequences", [False, True], ids=["once", "each step"])
def test_extreme_inputs_agree(value, sign, return_sequences, tmp_path):
    X = series(40, 7)
    y = target(X, 0, return_sequences)
    model = fitted(X, y, return_sequences=return_sequences, linear_steps=4)
    far = series(5, 7, seed=1)
    far[:, 3, 0] = far[:, 6, 1] = sign * value
    assert_agrees(runtime(model, tmp_path / "model.onnx"), model, far, y.std())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"pooling": "max", "linear_steps": None},
        {"return_sequences": True},
        {"standardize": False},
        {"loss": "quantile", "quantile": (0.2, 0.8)},
    ],
    ids=["defaults", "max", "each step", "unscaled", "quantiles"],
)
def test_what_predict_refuses_is_answered_by_nan(value, parameters, tmp_path):
    X = tame(30, 7)
    model = fitted(X, target(X, 0, parameters.get("return_sequences", False)), **parameters)
    predict = runtime(model, tmp_path / "model.onnx")
    bad = X[:5].copy()
    bad[2, 1, 0] = value
    y = predict(bad)
    assert np.isnan(y[2]).all()
    np.testing.assert_array_equal(np.delete(y, 2, axis=0), np.delete(predict(X[:5]), 2, axis=0))


@pytest.mark.parametrize("n_timesteps", [None, 4])
def test_rows_of_a_table_are_taken_as_predict_takes_them(n_timesteps, tmp_path):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 8)), columns=list("abcdefgh"))
    model = fitted(X, X["a"] + X["h"], n_timesteps=n_timesteps)
    predict = runtime(model, tmp_path / "model.onnx")
    for n_samples in (1, 5):
        y = predict(X[:n_samples].to_numpy())
        np.testing.assert_allclose(y, model.predict(X[:n_samples]), rtol=0, atol=1e-5)


def test_sequences_of_unequal_length_are_predicted_one_by_one(tmp_path):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=n) for n in rng.integers(3, 12, size=40)]
    model = fitted(X, np.array([x.sum() for x in X]))
    predict = runtime(model, tmp_path / "model.onnx")
    y = [predict(x[np.newaxis, :, np.newaxis])[0] for x in X]
    np.testing.assert_allclose(y, model.predict(X), rtol=0, atol=1e-4)


def test_grown_layers_agree(tmp_path):
    X = series(40, 7)
    y = target(X, 0, False)
    model = fitted(X, y, warm_start=True)
    model.set_params(n_layers=4).fit(X, y)
    assert_agrees(runtime(model, tmp_path / "model.onnx"), model, series(5, 9), y.std())


def test_a_file_needs_onnxruntime_alone(model, tmp_path):
    path, X = tmp_path / "model.onnx", series(3, 5)
    to_onnx(model, path)
    np.save(tmp_path / "X.npy", X)
    code = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
np.save("y.npy", session.run(["y"], {"X": np.load("X.npy")})[0])
assert not {"torch", "sklearn", "sklstm"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), model.predict(X), atol=1e-4)


def test_importing_interop_does_not_import_onnx():
    code = "import sys, sklstm.interop; assert not {'onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_equal_models_give_equal_files(model, tmp_path):
    X = series(40, 7)
    other = fitted(X, target(X, 0, False))
    to_onnx(model, tmp_path / "a.onnx")
    to_onnx(other, str(tmp_path / "b.onnx"))
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_exporting_leaves_the_estimator_as_it_was(model, tmp_path):
    X = series(5, 7)
    before, state = model.predict(X), set(vars(model))
    to_onnx(model, tmp_path / "model.onnx")
    np.testing.assert_array_equal(model.predict(X), before)
    assert set(vars(model)) == state


def test_a_file_says_what_it_is(model, tmp_path):
    path = tmp_path / "model.onnx"
    to_onnx(model, path)
    file = onnx.load(path)
    assert {item.key: item.value for item in file.metadata_props} == {
        "producer": "sklstm",
        "version": __version__,
    }
    assert file.producer_name == "sklstm"
    assert [opset.version for opset in file.opset_import] == [15]
    assert file.ir_version == 8
    assert [value.name for value in (*file.graph.input, *file.graph.output)] == ["X", "y"]


def test_a_file_that_is_there_is_replaced_and_nothing_is_left_beside_it(model, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("something else")
    to_onnx(model, path)
    onnx.checker.check_model(onnx.load(path))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_cannot_be_written_is_an_os_error_and_leaves_nothing(model, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        to_onnx(model, tmp_path / "folder")
    with pytest.raises(OSError, match="missing"):
        to_onnx(model, tmp_path / "missing" / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_an_unfitted_estimator_is_refused(tmp_path):
    with pytest.raises(NotFittedError, match="StackedLSTMRegressor"):
        to_onnx(StackedLSTMRegressor(), tmp_path / "model.onnx")


@pytest.mark.parametrize("kind", ["Pipeline", "StackedLSTM", "str"])
def test_anything_else_is_refused_and_says_what_to_pass(kind, model, tmp_path):
    others = {
        "Pipeline": make_pipeline(StandardScaler(), model),
        "StackedLSTM": model.module_,
        "str": "model",
    }
    with pytest.raises(TypeError, match=f"got {kind}. Of a pipeline pass the last step"):
        to_onnx(others[kind], tmp_path / "model.onnx")


def test_without_onnx_the_error_names_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "sklstm.interop.onnx_graph", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"the extra sklstm\[onnx\]"):
        to_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
