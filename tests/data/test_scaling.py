"""Means and scales of X, which outliers cannot move."""

import numpy as np
import pytest

from sklstm.data.scaling import columns_differ, mean_and_scale
from sklstm.data.sequences import Sequences


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_are_those_of_all_steps(weighted, sequences):
    X, _ = sequences
    weight = np.arange(1, 61) if weighted else np.ones(60)
    rows = X.reshape(-1, 3)
    mean, scale = mean_and_scale(Sequences.equal(X), weight.astype(float) if weighted else None)
    expected = np.average(rows, axis=0, weights=np.repeat(weight, 7))
    np.testing.assert_allclose(mean, expected)
    variance = np.average((rows - expected) ** 2, axis=0, weights=np.repeat(weight, 7))
    np.testing.assert_allclose(scale, np.sqrt(variance))


def test_statistics_of_blocks_are_those_of_the_whole(monkeypatch, sequences):
    X, _ = sequences
    whole = mean_and_scale(Sequences.equal(X), None)
    monkeypatch.setattr("sklstm.data.sequences.BLOCK_BYTES", 7 * 3 * 8 * 4)
    np.testing.assert_allclose(mean_and_scale(Sequences.equal(X), None), whole, rtol=1e-12)


WEIGHT = np.random.default_rng(0).uniform(0.1, 1, 20)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("constant", [0.0, 0.1, 3.0, 1e6, 1.7e18, 1e30, -3e38])
def test_a_constant_feature_is_scaled_to_zero(constant, weight):
    X = np.random.default_rng(0).normal(size=(20, 4, 2))
    X[..., 0] = constant
    mean, scale = mean_and_scale(Sequences.equal(X), weight)
    assert mean[0] == constant
    assert scale[0] == 1


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_what_differs_by_rounding_alone_is_scaled_to_next_to_nothing(weight):
    X = 1.7e18 + np.random.default_rng(0).choice([0.0, 256.0], size=(20, 4, 1))
    mean, scale = mean_and_scale(Sequences.equal(X), weight)
    assert 0 < np.abs((X - mean) / scale).max() <= 1e-6


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_a_large_constant_beside_outliers_stays_near_zero(weight):
    X = np.random.default_rng(0).normal(size=(20, 4, 2))
    X[..., 0] = 1.7e18
    X[3, 1] = [0.0, 1e6]
    mean, scale = mean_and_scale(Sequences.equal(X), weight)
    assert np.abs((X[4:] - mean) / scale)[..., 0].max() < 1


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_constant_column_hides_none_whatever_the_unit(size):
    X = size * np.random.default_rng(0).normal(size=(50, 6, 1))
    X[:, 0] = 0.0
    assert not columns_differ(Sequences.equal(X), None)
    X[:, 1] *= 0.1
    assert columns_differ(Sequences.equal(X), None)


def test_statistics_leave_outliers_out():
    rng = np.random.default_rng(0)
    values = rng.normal(5, 2, size=(100, 20, 2))
    clean = values[5:].copy()
    values[:5, :, 0] = [[1e6], [-1e9], [1e15], [1e7], [-1e6]]
    mean, scale = mean_and_scale(Sequences.equal(values), None)
    assert mean[0] == pytest.approx(clean[..., 0].mean())
    assert scale[0] == pytest.approx(clean[..., 0].std())
    assert mean[1] == pytest.approx(values[..., 1].mean())


def test_statistics_of_rare_events_are_those_of_all_values():
    values = np.zeros((500, 2, 1))
    values[7] = 3.0
    mean, scale = mean_and_scale(Sequences.equal(values), None)
    assert mean[0] == pytest.approx(values.mean())
    assert scale[0] == pytest.approx(values.std())


@pytest.mark.parametrize("constant", [1e16 / 3, 1e30 / 3, -3e38])
def test_statistics_of_large_constants(constant):
    values = np.random.default_rng(0).normal(size=(30, 5, 2))
    values[..., 0] = constant
    mean, scale = mean_and_scale(Sequences.equal(values), None)
    assert mean[0] == constant
    assert scale[0] == 1


def test_bursts_over_small_noise_are_no_outliers():
    rng = np.random.default_rng(0)
    values = 1e-3 * rng.normal(size=(100, 20, 1))
    values[rng.random(values.shape) < 0.03] += 2
    _, scale = mean_and_scale(Sequences.equal(values), None)
    assert scale[0] == pytest.approx(values.std())


def clean(kind, n_samples=2000):
    rng = np.random.default_rng(0)
    shape = (n_samples, 5, 1)
    if kind == "rain":
        return rng.exponential(size=shape) * (rng.random(shape) < 0.03)
    if kind == "flags":
        return (rng.random(shape) < 0.03).astype(float)
    return rng.normal(5, 2, shape) if kind == "normal" else rng.uniform(size=shape)


@pytest.mark.parametrize("kind", ["normal", "uniform", "rain", "flags"])
@pytest.mark.parametrize("spikes", [[1e3], [1e6], [-1e6, 30], [1e2, 1e4, 1e8, 1e12], [1e12] * 10])
def test_spikes_of_any_size_change_neither_mean_nor_scale(kind, spikes):
    values = clean(kind)
    expected = values.mean(), values.std()
    scale = values.std()
    places = np.random.default_rng(1).choice(values.size, len(spikes), replace=False)
    values.flat[places] = scale * np.array(spikes)
    mean, scale = mean_and_scale(Sequences.equal(values), None)
    assert mean[0] == pytest.approx(expected[0], rel=0.1)
    assert scale[0] == pytest.approx(expected[1], rel=0.1)


@pytest.mark.parametrize("kind", ["normal", "uniform", "rain", "flags"])
def test_values_without_outliers_all_count(kind):
    values = clean(kind)
    mean, scale = mean_and_scale(Sequences.equal(values), None)
    assert mean[0] == pytest.approx(values.mean())
    assert scale[0] == pytest.approx(values.std())


def test_outliers_are_left_out_in_a_second_reading_and_no_more(monkeypatch):
    readings = []
    blocks = Sequences.blocks
    monkeypatch.setattr(Sequences, "blocks", lambda self: readings.append(1) or blocks(self))
    values = clean("normal")
    values[3, 2] = [1e3]
    values[5, 1], values[7, 0], values[8, 0] = [1e5], [-1e8], [1e12]
    mean_and_scale(Sequences.equal(values), None)
    assert len(readings) == 2


def test_a_weight_of_two_is_two_samples_also_beside_outliers():
    values = clean("normal", 200)
    values[3, 2] = [1e6]
    weight = np.where(np.arange(200) < 100, 2.0, 1.0)
    twice = np.concatenate([values, values[:100]])
    weighted = mean_and_scale(Sequences.equal(values), weight)
    np.testing.assert_allclose(weighted, mean_and_scale(Sequences.equal(twice), None))
