"""Predictions: the same bits in any batch, their form, their blocks, and never NaN."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from small_models import ragged, small


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"n_layers": 1},
        {"n_layers": 3, "units": (33, 7, 5)},
        {"bidirectional": True},
        {"head_units": (33,), "units": 7},
        {"standardize": False},
        {"pooling": "mean"},
        {"pooling": "max"},
        {"pooling": "concat", "bidirectional": True},
        {"loss": "quantile", "quantile": (0.1, 0.9)},
    ],
)
@pytest.mark.parametrize("n_outputs", [1, 5])
def test_predictions_do_not_depend_on_the_batch(params, n_outputs):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 6, 3)), rng.normal(size=(1000, n_outputs))
    model = small(**params, max_epochs=0).fit(X, y)
    whole = model.predict(X)
    for rows in (slice(0, 1), slice(999, 1000), slice(5, 8), slice(37, 292), slice(1, 1000)):
        assert np.array_equal(model.predict(X[rows]), whole[rows])


@pytest.mark.bits
@pytest.mark.parametrize(
    "params",
    [
        {"n_layers": 1},
        {"n_layers": 2},
        {"n_layers": 3},
        {"pooling": "mean"},
        {"pooling": "max"},
        {"pooling": "concat"},
        {"return_sequences": True},
        {"return_sequences": True, "head_units": (5,)},
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_predictions_do_not_depend_on_padding_or_batch(params, bidirectional):
    X = ragged(600)
    y = [x[:, 0] for x in X] if "return_sequences" in params else [x[-1, 0] for x in X]
    model = small(**params, bidirectional=bidirectional, max_epochs=1).fit(X[:50], y[:50])
    whole = model.predict(X)
    for rows in (slice(0, 1), slice(599, 600), slice(5, 8), slice(37, 292), slice(1, 600)):
        assert all(map(np.array_equal, model.predict(X[rows]), whole[rows]))
    longest = max(X, key=len)
    for i in (0, 1, 2, 3):
        pair = model.predict([X[i], np.repeat(longest, 3, axis=0)])
        assert np.array_equal(pair[0], whole[i])


def test_module_predicts_like_the_estimator(sequences):
    X, y = sequences
    model = small(skip=None).fit(X, y)
    with torch.no_grad():
        prediction = model.module_(torch.from_numpy(X)).numpy().ravel()
    np.testing.assert_allclose(prediction, model.predict(X), rtol=1e-6)
    assert model.n_parameters_ == 4 * 8 * (3 + 8 + 2) + 4 * 8 * (8 + 8 + 2) + 3 * 8 + 1


def test_predictions_take_the_form_of_the_last_y(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    assert model.fit(X, y[:, None]).predict(X).shape == (60, 1)
    assert model.partial_fit(X, y).predict(X).shape == (60,)


@contextmanager
def without_onednn():
    """Turn oneDNN off in words that every torch knows: `flags` takes other arguments in each."""
    enabled, *_ = torch.backends.mkldnn.set_flags(False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(enabled)


def test_predictions_are_never_nan():
    X = np.random.default_rng(0).normal(size=(8, 3, 500))
    model = small(standardize=False, max_epochs=0).fit(X, np.zeros(8))
    X[2] = 3e38 * np.sign(X[2])
    assert np.isfinite(model.predict(X)).all()
    with (
        without_onednn(),
        pytest.raises(ValueError, match="prediction for sample 2 of X is not finite"),
    ):
        model.predict(X)


def test_a_prediction_that_is_not_finite_blames_the_rate_too(sequences):
    X, y = sequences
    model = small(standardize=False).fit(X, y)
    with torch.no_grad():
        model.module_.head[0].weight.fill_(3e38)
    with pytest.raises(ValueError, match=r"training diverged \(lower lr or weight_decay\)"):
        model.predict(X)


def test_fit_and_predict_do_not_copy_x():
    X = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 100, 2)), (80_000, 100, 2))
    small(max_epochs=0).fit(X[:10], np.arange(10.0)).predict(X[:10])
    tracemalloc.start()
    model = small(max_epochs=0).fit(X, np.arange(80_000.0))
    model.predict(X[:2000])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.nbytes / 2


@pytest.mark.parametrize(
    ("units", "expected"), [(1, [608]), (200, [320, 288]), (600, [96] * 6 + [24])]
)
def test_predictions_are_made_in_blocks_that_stay_in_the_cache(sequences, units, expected):
    X, y = sequences
    model = small(max_epochs=0, units=units).fit(X, y)
    sizes = []
    model.module_.register_forward_pre_hook(
        lambda _, args, inputs: sizes.append(len(inputs["x"])), with_kwargs=True
    )
    model.predict(np.repeat(X, 10, axis=0))
    assert sizes == expected
