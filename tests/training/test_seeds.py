"""Seeds, threads and modes: equal ones give equal bits."""

import joblib
import numpy as np
import pytest
import torch
from small_models import small


@pytest.mark.bits
@pytest.mark.parametrize("params", [{}, {"dropout": 0.3}, {"bidirectional": True}])
def test_equal_seeds_give_equal_bits_and_others_do_not(params, sequences):
    X, y = sequences
    first, second = (small(**params).fit(X, y).predict(X) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, small(**params, random_state=1).fit(X, y).predict(X))


def test_a_random_state_instance_gives_another_fit_each_time(sequences):
    X, y = sequences
    rng = np.random.RandomState(0)
    model = small(random_state=rng)
    first, second = (model.fit(X, y).predict(X) for _ in range(2))
    assert not np.array_equal(first, second)
    again = small(random_state=np.random.RandomState(0)).fit(X, y).predict(X)
    assert np.array_equal(first, again)


def test_global_state_is_left_as_it_was(sequences):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    small(dropout=0.5).fit(*sequences).predict(sequences[0])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]
    assert torch.is_grad_enabled()


def test_without_a_seed_numpy_s_global_state_decides(sequences):
    X, y = sequences
    np.random.seed(3)
    first = small(random_state=None).fit(X, y).predict(X)
    second = small(random_state=None).fit(X, y).predict(X)
    np.random.seed(3)
    assert np.array_equal(small(random_state=None).fit(X, y).predict(X), first)
    assert not np.array_equal(first, second)


@pytest.mark.bits
@pytest.mark.parametrize(
    "params",
    [
        {"units": 8},
        {"units": 40},
        {"units": 40, "batch_size": 50, "precision": "float64"},
        {"units": (16, 33), "bidirectional": True, "head_units": (20,), "early_stopping": True},
        {"units": 33, "return_sequences": True, "batch_size": 60},
    ],
)
def test_bits_do_not_depend_on_the_number_of_threads(sequences, params):
    X, y = sequences
    y = X[:, :, 0] if "return_sequences" in params else y
    before = torch.get_num_threads()
    predictions = []
    for n_threads in (1, 2, 3):
        torch.set_num_threads(n_threads)
        predictions.append(small(dropout=0.2, **params).fit(X, y).predict(X))
    torch.set_num_threads(before)
    assert np.array_equal(predictions[0], predictions[1])
    assert np.array_equal(predictions[0], predictions[2])


def test_fit_in_inference_mode_is_the_same_fit(sequences):
    X, y = sequences
    with torch.inference_mode():
        inside = small().fit(X, y).predict(X)
    assert np.array_equal(inside, small().fit(X, y).predict(X))


def test_fits_in_threads_are_the_fits_of_one_thread(sequences):
    X, y = sequences
    before = torch.get_rng_state()
    scores = [
        joblib.Parallel(n_jobs=n_jobs, backend="threading")(
            joblib.delayed(lambda units: small(units=units, dropout=0.3).fit(X, y).score(X, y))(u)
            for u in (4, 5, 6, 7)
        )
        for n_jobs in (1, 4)
    ]
    assert scores[0] == scores[1]
    assert torch.equal(torch.get_rng_state(), before)
