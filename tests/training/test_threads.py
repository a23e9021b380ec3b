import multiprocessing
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklstm import StackedLSTMRegressor

N_THREADS, N_CALLS = 16, 1000
N_CHILDREN = 12


@pytest.fixture
def impatient_threads():
    """Have threads take turns ten times as often, so that a race would show."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)
    yield
    sys.setswitchinterval(interval)


def fitted(X, y, **parameters):
    return StackedLSTMRegressor(1, 4, max_epochs=1, random_state=0, **parameters).fit(X, y)


def at_once(work, n_threads=N_THREADS):
    """Call `work` with the number of each thread, all at the same time."""
    barrier = Barrier(n_threads)

    def waiting(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(waiting, range(n_threads)))


@pytest.mark.usefixtures("impatient_threads")
def test_threads_that_predict_at_once_get_the_bits_that_one_gets(sequences):
    X, y = sequences
    model = fitted(X, y)
    expected = model.predict(X)

    def work(number):
        rows = [(number + call) % len(X) for call in range(N_CALLS)]
        y_pred = [model.predict(X[row : row + 1])[0] for row in rows]
        return np.array_equal(y_pred, expected[rows])

    assert all(at_once(work))


@pytest.mark.bits
@pytest.mark.usefixtures("impatient_threads")
def test_threads_may_predict_other_shapes_at_once(sequences):
    X, _ = sequences
    steps = np.cumsum(X[:, :, 0], axis=1)
    model = fitted(X, steps, return_sequences=True, bidirectional=True)
    inputs = [X, X[:1], X[:, :3], [X[0], X[1, :2], X[2, :5]]]
    expected = [model.predict(some) for some in inputs]

    def work(number):
        which = [(number + call) % len(inputs) for call in range(40)]
        return all(
            np.array_equal(a, b)
            for i in which
            for a, b in zip(model.predict(inputs[i]), expected[i], strict=True)
        )

    assert all(at_once(work))


@pytest.mark.usefixtures("impatient_threads")
def test_threads_may_predict_while_another_estimator_is_fitted(sequences):
    X, y = sequences
    model, twin = fitted(X, y), fitted(X, -y)
    expected, expected_of_twin = model.predict(X), twin.predict(X)

    def work(number):
        if number == 0:
            return np.array_equal(fitted(X, -y).predict(X), expected_of_twin)
        return all(np.array_equal(model.predict(X), expected) for _ in range(100))

    assert all(at_once(work, n_threads=4))


@pytest.mark.bits
@pytest.mark.usefixtures("impatient_threads")
@pytest.mark.parametrize("units", [8, 40])
def test_threads_may_fit_at_once_and_get_the_bits_that_each_gets_alone(sequences, units):
    X, y = sequences
    params = {"max_epochs": 3, "dropout": 0.2, "units": units}

    def work(seed):
        model = StackedLSTMRegressor(random_state=seed, **params).fit(X, y)
        return model.predict(X)

    alone = [work(seed) for seed in range(4)]
    assert all(map(np.array_equal, at_once(work, n_threads=4), alone))


@pytest.mark.usefixtures("impatient_threads")
def test_a_fit_keeps_its_bits_while_other_threads_predict_on_two():
    X = np.random.default_rng(0).normal(size=(96, 40, 3))
    y = X[:, :, 0]
    model = StackedLSTMRegressor(
        *(1, 32), head_units=(256, 256), return_sequences=True, max_epochs=2, random_state=0
    )
    other = fitted(X, y[:, 0])
    expected, done = clone(model).fit(X, y).predict(X), threading.Event()

    def work(number):
        if number:
            torch.set_num_threads(2)
            while not done.is_set():
                other.predict(X[:1])
            return True
        try:
            return all(np.array_equal(model.fit(X, y).predict(X), expected) for _ in range(6))
        finally:
            done.set()

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    same = at_once(work, n_threads=3)
    torch.set_num_threads(before)
    assert all(same)


@pytest.mark.bits
@pytest.mark.usefixtures("impatient_threads")
def test_draws_of_other_threads_do_not_bear_on_a_fit_nor_it_on_them(sequences):
    X, y = sequences
    expected = fitted(X, y, dropout=0.2).predict(X)
    torch.manual_seed(0)
    expected_draws = torch.rand(200)

    def work(number):
        if number == 0:
            return np.array_equal(fitted(X, y, dropout=0.2).predict(X), expected)
        torch.manual_seed(0)
        return torch.equal(torch.stack([torch.rand(()) for _ in range(200)]), expected_draws)

    assert all(at_once(work, n_threads=2))


def fits_to(X, y, expected):
    model = StackedLSTMRegressor(units=40, max_epochs=2, random_state=0).fit(X, y)
    assert np.array_equal(model.predict(X), expected)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_forked_while_a_thread_fits_can_fit(sequences):
    X, y = sequences
    expected = StackedLSTMRegressor(units=40, max_epochs=2, random_state=0).fit(X, y).predict(X)
    enough = threading.Event()

    def keep_fitting():
        torch.set_num_threads(2)
        while not enough.is_set():
            StackedLSTMRegressor(units=40, max_epochs=2, random_state=1).fit(X, y)

    context = multiprocessing.get_context("fork")
    thread = threading.Thread(target=keep_fitting)
    thread.start()
    try:
        children = [
            context.Process(target=fits_to, args=(X, y, expected)) for _ in range(N_CHILDREN)
        ]
        for child in children:
            child.start()
            child.join(60)
            hangs = child.is_alive()
            child.kill()
            assert not hangs
            assert child.exitcode == 0
    finally:
        enough.set()
        thread.join()
