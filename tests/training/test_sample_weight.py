"""Weights of samples are repetitions of them."""

import numpy as np
import pytest
from small_models import ragged, small


def test_weights_equal_repetitions_in_float64_and_full_batches(sequences):
    X, y = sequences
    weight = np.random.default_rng(0).integers(0, 4, size=60)
    params = {"precision": "float64", "batch_size": 1000, "max_epochs": 10}
    weighted = small(**params).fit(X, y, sample_weight=weight)
    repeated = small(**params).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7, atol=1e-9)
    assert weighted.loss_curve_ == pytest.approx(repeated.loss_curve_, rel=1e-9)


def test_only_ratios_of_weights_matter(sequences):
    X, y = sequences
    weight = np.linspace(1, 2, 60)
    first, second = (small().fit(X, y, w).predict(X) for w in (weight, 4 * weight))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("params", [{}, {"return_sequences": True}])
def test_weights_equal_repetitions_for_sequences_of_unequal_length(params):
    X = ragged(40, longest=9)
    y = [x.cumsum(axis=0) for x in X] if "return_sequences" in params else [x[-1] for x in X]
    weight = np.tile([1, 2, 0, 1, 3], 8)
    index = np.repeat(np.arange(40), weight)
    params = {"precision": "float64", "batch_size": 1000, "max_epochs": 10, **params}
    weighted = small(**params).fit(X, y, sample_weight=weight)
    repeated = small(**params).fit([X[i] for i in index], [y[i] for i in index])
    for first, second in zip(weighted.predict(X), repeated.predict(X), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-7, atol=1e-9)
    assert weighted.loss_curve_ == pytest.approx(repeated.loss_curve_, rel=1e-9)
    assert weighted.score(X, y, sample_weight=weight) == pytest.approx(
        repeated.score([X[i] for i in index], [y[i] for i in index]), rel=1e-9
    )


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("params", [{}, {"return_sequences": True}, {"early_stopping": True}])
def test_weight_zero_equals_leaving_out(method, params):
    X = ragged(40)
    y = [x[:, 0] for x in X] if "return_sequences" in params else [x[-1, 0] for x in X]
    weight = np.tile([1.0, 0.0, 2.0, 0.5], 10)
    kept = np.flatnonzero(weight)
    fits = [(X, y, weight), ([X[i] for i in kept], [y[i] for i in kept], weight[kept])]
    models = [getattr(small(**params), method)(*data) for data in fits]
    assert all(map(np.array_equal, *(model.predict(X) for model in models)))


def test_huge_weights_are_as_good_as_any(sequences):
    X, y = sequences
    plain = small().fit(X, y, np.ones(60)).predict(X)
    assert np.array_equal(small().fit(X, y, np.full(60, 1e308)).predict(X), plain)
