"""Whatever is accepted gives finite predictions in y's form; whatever is not names its place."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklstm import StackedLSTMRegressor

DTYPES = ["float64", "float32", "float16", "int64", "int8", "uint16", "bool", ">f8", "object"]
ORDERS = {
    "C": lambda array: array,
    "Fortran": np.asfortranarray,
    "negative strides": lambda array: array[::-1].copy()[::-1],
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
    "read-only": lambda array: np.lib.stride_tricks.as_strided(array, writeable=False),
}


def objects(arrays):
    container = np.empty(len(arrays), dtype=object)
    container[:] = arrays
    return container


CONTAINERS = {"list": list, "tuple": tuple, "object array": objects, "Series": pd.Series}


@st.composite
def arrays(draw, shape):
    """Numbers in any dtype and memory layout."""
    seed = draw(st.integers(0, 2**16))
    values = np.random.default_rng(seed).integers(0, 7, size=shape)
    order = ORDERS[draw(st.sampled_from(sorted(ORDERS)))]
    return order(values.astype(draw(st.sampled_from(DTYPES))))


@st.composite
def ragged(draw, lengths, tail):
    """Arrays of the given lengths, and what they are in."""
    sequences = [draw(arrays((length, *tail))) for length in lengths]
    container = draw(st.sampled_from(sorted(CONTAINERS)))
    return CONTAINERS[container](sequences), container


@st.composite
def padded(draw, lengths, n_features):
    """A float array of sequences with NaN at either end."""
    dtype = draw(st.sampled_from(["float64", "float32", "float16"]))
    longest = max(lengths) + draw(st.integers(0, 2))
    rows = np.full((len(lengths), longest, n_features), np.nan, dtype=dtype)
    leading = [draw(st.integers(0, longest - length)) for length in lengths]
    for row, first, length in zip(rows, leading, lengths, strict=True):
        row[first : first + length] = draw(arrays((length, n_features)))
    return rows, leading


@st.composite
def inputs(draw, forms=("rows", "n_timesteps", "steps", "padded", "ragged", "series")):
    """X, the number of steps in each sample, and which of them are present."""
    form = draw(st.sampled_from(forms))
    n_samples = draw(st.integers(1, 6))
    n_steps, n_features = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 6), min_size=n_samples, max_size=n_samples))
    everywhere = [np.ones(n_steps, bool)] * n_samples
    if form == "rows":
        return draw(arrays((n_samples, n_steps))), everywhere, {}
    if form == "n_timesteps":
        X = draw(arrays((n_samples, n_steps * n_features)))
        return X, everywhere, {"n_timesteps": n_steps}
    if form == "steps":
        return draw(arrays((n_samples, n_steps, n_features))), everywhere, {}
    if form == "padded":
        X, leading = draw(padded(lengths, n_features))
        steps = np.arange(X.shape[1])
        ends = np.add(leading, lengths)
        present = [
            (first <= steps) & (steps < end) for first, end in zip(leading, ends, strict=True)
        ]
        return X, present, {}
    X, _ = draw(ragged(lengths, (n_features,) if form == "ragged" else ()))
    return X, [np.ones(length, bool) for length in lengths], {}


PARAMETERS = st.fixed_dictionaries(
    {
        "n_layers": st.integers(1, 3),
        "bidirectional": st.booleans(),
        "pooling": st.sampled_from(["last", "mean", "max", "concat"]),
        "head_units": st.sampled_from([(), (2,)]),
        "standardize": st.booleans(),
        "loss": st.sampled_from(["squared_error", "huber", "quantile"]),
        "quantile": st.sampled_from([0.5, (0.1, 0.9)]),
        "batch_size": st.sampled_from([1, 3, "auto"]),
        "precision": st.sampled_from(["float32", "float32", "float64"]),
    }
)
EXAMPLES = settings(max_examples=100, deadline=None, derandomize=True, database=None)


def build(parameters):
    return StackedLSTMRegressor(**{"units": 2, "max_epochs": 1, "random_state": 0, **parameters})


def tail_of(parameters):
    several = parameters["loss"] == "quantile" and isinstance(parameters["quantile"], tuple)
    return (2,) if several else ()


@EXAMPLES
@given(st.data(), inputs(), PARAMETERS)
def test_one_target_a_sequence(data, x, parameters):
    X, present, form = x
    shape = (len(present), *data.draw(st.sampled_from([(), (1,), (3,), (2, 3)])))
    y = data.draw(arrays(shape))
    if data.draw(st.booleans()):
        y = y.astype(np.float64)
        y[data.draw(st.integers(0, len(y) - 1))] = np.nan
        y[data.draw(st.integers(0, len(y) - 1))] = 1.0
    prediction = build({**parameters, **form}).fit(X, y).predict(X)
    assert prediction.shape == (*shape, *tail_of(parameters))
    assert np.isfinite(prediction).all()


@EXAMPLES
@given(st.data(), inputs(), PARAMETERS)
def test_a_target_at_each_step(data, x, parameters):
    X, present, form = x
    n_outputs = data.draw(st.sampled_from([(), (1,), (2,)]))
    y = [np.full((len(steps), *n_outputs), np.nan) for steps in present]
    for targets, steps in zip(y, present, strict=True):
        targets[steps] = data.draw(arrays((steps.sum(), *n_outputs)))
        targets[data.draw(st.integers(0, len(steps) - 1))] = np.nan
    y[0][present[0].argmax()] = 1.0
    equal = len({len(steps) for steps in present}) == 1
    container = data.draw(st.sampled_from(["list", "object array", *["array"] * equal]))
    y = np.stack(y) if container == "array" else CONTAINERS[container](y)
    model = build({**parameters, **form, "return_sequences": True}).fit(X, y)
    prediction = model.predict(X)
    assert isinstance(prediction, list if container == "list" else np.ndarray)
    for row, steps in zip(prediction, present, strict=True):
        assert row.shape == (len(steps), *n_outputs, *tail_of(parameters))
        assert np.array_equal(np.isfinite(row).reshape(len(steps), -1).all(axis=1), steps)
        assert np.isnan(row[~steps]).all()


def spoil(draw, X):
    """Put something bad into sequences, and say what the error must name."""
    i = draw(st.integers(0, len(X) - 1))
    t = draw(st.integers(0, len(X[i]) - 1))
    f = draw(st.integers(0, X[i].shape[1] - 1))
    bad = X[i].astype(np.float64)
    kind = draw(
        st.sampled_from(["inf", "large", "empty", "width", "deep", "text", "complex", "gap"])
    )
    value = {"inf": -np.inf, "large": 1e39}.get(kind)
    if value is not None:
        bad[t, f] = value
        return i, bad, f"sample {i}, step {t}, feature {f}"
    if kind == "gap":
        bad = np.concatenate([bad, [[np.nan] * bad.shape[1]], bad])
        return i, bad, f"NaN at sample {i}, step {len(X[i])}, feature 0"
    if kind == "width":
        wrong = np.hstack([bad, bad])
        return i, wrong, "values at each step"
    shapes = {"empty": bad[:0], "deep": bad[np.newaxis]}
    if kind in shapes:
        return i, shapes[kind], rf"X\[{i}\] has shape {re.escape(str(shapes[kind].shape))}"
    return i, bad.astype({"text": str, "complex": complex}[kind]), rf"X\[{i}\] has dtype"


@EXAMPLES
@given(st.data())
def test_bad_input_is_refused_with_its_place(data):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=6))
    n_features = data.draw(st.integers(1, 3))
    X = [data.draw(arrays((length, n_features))) for length in lengths]
    y = np.arange(float(len(X)))
    model = build({"n_layers": 1}).fit(X, y)
    i, bad, message = spoil(data.draw, X)
    X[i] = bad
    container = CONTAINERS[data.draw(st.sampled_from(sorted(CONTAINERS)))]
    with pytest.raises(ValueError, match=message):
        build({"n_layers": 1}).fit(container(X), y)
    with pytest.raises(ValueError, match=f"{message}|expecting {n_features} features"):
        model.predict(container(X))
