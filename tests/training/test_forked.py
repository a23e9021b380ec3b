"""Processes forked after torch has worked with two threads, which do not survive a fork."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from sklstm import DepthSearchCV, StackedLSTMRegressor, load, save
from sklstm.inspection import depth_cost, gradient_flow, layer_timescales

LONGEST = 300  # seconds for a process that takes one or two, unless it hangs
PARAMS = {"units": 64, "linear_steps": None, "max_epochs": 1, "random_state": 0}

pytestmark = [
    pytest.mark.skipif(
        "fork" not in multiprocessing.get_all_start_methods(), reason="the system cannot fork"
    ),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


def data():
    """Make so few sequences that they are predicted as one block, in the thread that asks."""
    X = np.random.default_rng(0).normal(size=(100, 50, 3))
    return X, X[:, -3:, 0].sum(axis=1)


def use_two_threads():
    """Have torch start its threads, between which it splits arrays of more than 32,768 numbers."""
    torch.set_num_threads(2)
    large = torch.ones(300, 300)
    large.exp() @ large


@dataclass
class Case:
    X: np.ndarray
    y: np.ndarray
    model: StackedLSTMRegressor
    path: Path


def fit(case):
    fresh = StackedLSTMRegressor(**PARAMS).fit(case.X, case.y)
    assert np.array_equal(fresh.predict(case.X), case.model.predict(case.X))


def try_the_linear_path_and_stop_early(case):
    params = {**PARAMS, "linear_steps": "auto", "loss": "huber", "early_stopping": True}
    StackedLSTMRegressor(**params).fit(case.X, case.y).score(case.X, case.y)


def go_on(case):
    case.model.partial_fit(case.X, case.y)
    case.model.set_params(warm_start=True, n_layers=3).fit(case.X, case.y)


def predict(case):
    assert case.model.predict(case.X[:1]) == case.model.predict(case.X)[0]


def save_and_load(case):
    save(case.model, case.path)
    assert np.array_equal(load(case.path).predict(case.X), case.model.predict(case.X))


def inspect(case):
    layer_timescales(case.model, case.X)
    gradient_flow(case.model, case.X, case.y)
    depth_cost(case.model, case.X, case.y, depths=(1,), n_epochs=1)


def search(case):
    DepthSearchCV(StackedLSTMRegressor(**PARAMS), depths=(1, 2), cv=2).fit(case.X, case.y)


WORKS = [fit, try_the_linear_path_and_stop_early, go_on, predict, save_and_load, inspect, search]


@pytest.fixture
def case(tmp_path):
    X, y = data()
    before = torch.get_num_threads()
    model = StackedLSTMRegressor(**PARAMS).fit(X, y)
    use_two_threads()
    yield Case(X, y, model, tmp_path / "model.safetensors")
    torch.set_num_threads(before)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.__name__)
def test_a_forked_child_works_after_its_parent_used_two_threads(work, case):
    child = multiprocessing.get_context("fork").Process(target=work, args=(case,))
    child.start()
    child.join(LONGEST)
    hangs = child.is_alive()
    child.kill()
    assert not hangs
    assert child.exitcode == 0


def work_on_the_backend_that_forks():
    """Predict and search in processes that joblib forks; for a process that can be given up."""
    X, y = data()
    search = GridSearchCV(StackedLSTMRegressor(**PARAMS), {"n_layers": [1, 2]}, cv=2).fit(X, y)
    alone = search.cv_results_["mean_test_score"]
    expected = search.predict(X)
    use_two_threads()
    with joblib.parallel_backend("multiprocessing", n_jobs=2):
        predictions = joblib.Parallel()(joblib.delayed(search.predict)(X) for _ in range(2))
        assert np.array_equal(predictions, [expected, expected])
        assert np.array_equal(search.fit(X, y).cv_results_["mean_test_score"], alone)


def test_joblib_may_fork_after_two_threads_were_used():
    code = "import test_forked; test_forked.work_on_the_backend_that_forks()"
    command, folder = [sys.executable, "-c", code], Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, start_new_session=True) as process:
        try:
            assert process.wait(LONGEST) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its children, too
