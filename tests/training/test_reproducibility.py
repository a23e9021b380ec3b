"""What a fit and a prediction do not depend on: promises that no other file tests."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklstm import StackedLSTMRegressor

pytestmark = pytest.mark.bits

IN_ANOTHER_PROCESS = """
import numpy as np
from sklstm import StackedLSTMRegressor

X = np.random.default_rng(0).normal(size=(60, 7, 3))
y = X[:, -2:, 0].sum(axis=1)
model = StackedLSTMRegressor(units=8, dropout=0.2, max_epochs=2, random_state=0).fit(X, y)
print(model.predict(X).tobytes().hex())
"""


def small(**params):
    return StackedLSTMRegressor(**{"units": 8, "max_epochs": 2, "random_state": 0, **params})


class OnlyLooks(Callback):
    """Read the gradients of each batch, and change nothing."""

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.norm_ = sum(float(weights.grad.norm()) for _, weights in named_parameters)


def test_another_process_fits_to_the_same_bits(sequences):
    X, y = sequences
    here = small(dropout=0.2).fit(X, y).predict(X)
    there = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS],
        env={**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here.tobytes().hex()


def test_global_state_does_not_bear_on_a_seeded_fit(sequences):
    X, y = sequences
    predictions = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        predictions.append(small(dropout=0.2).fit(X, y).predict(X))
    assert np.array_equal(*predictions)


def test_other_fits_before_do_not_bear_on_a_fit(sequences):
    X, y = sequences
    first = small().fit(X, y).predict(X)
    used = small(n_layers=3, random_state=7).fit(X[:30], y[:30])
    used.set_params(n_layers=2, random_state=0)
    assert np.array_equal(used.fit(X, y).predict(X), first)


def test_torchs_generators_are_left_alone(sequences):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    small(dropout=0.2).fit(*sequences).predict(sequences[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mode", [torch.autocast("cpu", torch.bfloat16), torch.device("meta")])
def test_modes_of_torch_around_the_call_change_no_bit(mode, sequences):
    X, y = sequences
    expected = small(dropout=0.2).fit(X, y).predict(X)
    with mode:
        predicted = small(dropout=0.2).fit(X, y).predict(X)
    assert np.array_equal(predicted, expected)


@pytest.mark.parametrize("params", [{"verbose": 1}, {"verbose": 2}, {"callbacks": [OnlyLooks()]}])
def test_looking_on_changes_no_bit(params, sequences):
    X, y = sequences
    unseen = small().fit(X, y).predict(X)
    assert np.array_equal(small(**params).fit(X, y).predict(X), unseen)


@pytest.mark.parametrize("units", [8, 70])
def test_a_prediction_does_not_depend_on_threads_or_on_order(units):
    X = np.random.default_rng(0).normal(size=(700, 9, 3))
    model = small(units=units, max_epochs=0).fit(X, X[:, 0, 0])
    before, one = torch.get_num_threads(), model.predict(X)
    torch.set_num_threads(2)
    two = model.predict(X)
    torch.set_num_threads(before)
    order = np.random.default_rng(1).permutation(len(X))
    assert np.array_equal(two, one)
    assert np.array_equal(model.predict(X[order]), one[order])


def test_a_short_fit_at_a_constant_rate_is_the_first_part_of_a_long_one(sequences):
    short, long = (
        small(lr_schedule="constant", dropout=0.2, max_epochs=n).fit(*sequences) for n in (2, 4)
    )
    assert long.loss_curve_[:2] == short.loss_curve_


has_bfloat16 = pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX512"),
    reason="this processor has no AVX-512",
)


@pytest.mark.parametrize("precision", ["float64", pytest.param("bfloat16", marks=has_bfloat16)])
def test_a_fit_repeats_itself_in_every_precision(precision, sequences):
    X, y = sequences
    first, second = (small(precision=precision).fit(X, y).predict(X) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_float64_prediction_depends_on_the_batch_by_no_more_than_rounding(sequences):
    X, y = sequences
    model = small(precision="float64").fit(X, y)
    one_by_one = np.concatenate([model.predict(X[row : row + 1]) for row in range(len(X))])
    np.testing.assert_allclose(one_by_one, model.predict(X), rtol=1e-12, atol=1e-12)
