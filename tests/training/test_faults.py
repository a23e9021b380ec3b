import os
import signal

import numpy as np
import pytest
import torch
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklstm import DepthSearchCV, StackedLSTMRegressor, load, save
from sklstm.training.batches import SequenceDataset

X = np.random.default_rng(0).normal(size=(60, 6, 2))
Y = X[:, -2:, 0].sum(axis=1)
SMALL = {"units": 4, "max_epochs": 3, "linear_steps": 2, "random_state": 0}


class Fault(Callback):
    """Something goes wrong in the second epoch."""

    def __init__(self, happen):
        self.happen = happen

    def on_batch_end(self, net, training=False, **kwargs):
        if len(net.history) % 3 == 2:
            self.happen()


def raise_(error):
    raise error


FAULTS = {
    "callback": lambda: raise_(RuntimeError("what happened")),
    "memory": lambda: raise_(MemoryError("what happened")),
    "torch out of memory": lambda: torch.empty(2**60),
    "exit": lambda: raise_(SystemExit("what happened")),
    "attribute": lambda: raise_(AttributeError("what happened")),
}


@pytest.fixture(params=FAULTS)
def fault(request):
    return Fault(FAULTS[request.param])


MESSAGE = r"what happened|can't allocate memory|Storage size calculation|not enough memory"
ERRORS = (RuntimeError, MemoryError, SystemExit, AttributeError)


def test_a_fit_that_fails_leaves_an_unfitted_estimator_as_it_was(fault):
    model = StackedLSTMRegressor(**SMALL, callbacks=[fault])
    before = dict(vars(model))
    with pytest.raises(ERRORS, match=MESSAGE):
        model.fit(X, Y)
    assert vars(model) == before


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("warm_start", [False, True])
def test_training_that_fails_leaves_a_fitted_estimator_as_it_was(fault, warm_start, method):
    model = StackedLSTMRegressor(**SMALL).fit(X, Y).partial_fit(X, Y)
    model.set_params(callbacks=[fault], warm_start=warm_start)
    before, predicted, history = dict(vars(model)), model.predict(X), list(model.history_)
    with pytest.raises(ERRORS, match=MESSAGE):
        getattr(model, method)(X[:, :, :1] if method == "fit" and not warm_start else X, Y * 2)
    assert vars(model) == before
    assert np.array_equal(model.predict(X), predicted)
    assert model.history_ == history


def test_a_batch_that_does_not_fit_into_memory_leaves_the_estimator_as_it_was(monkeypatch):
    model = StackedLSTMRegressor(**SMALL).fit(X, Y)
    before, predicted = dict(vars(model)), model.predict(X)

    def too_large(*_):
        raise MemoryError("Unable to allocate 64.0 GiB")

    with monkeypatch.context() as patched:
        patched.setattr(SequenceDataset, "__getitem__", too_large)
        with pytest.raises(MemoryError, match="Unable to allocate"):
            model.fit(X, Y)
    assert vars(model) == before
    assert np.array_equal(model.predict(X), predicted)


def test_training_that_fails_leaves_threads_and_random_state_alone(fault):
    n_threads, state = torch.get_num_threads(), torch.get_rng_state()
    with pytest.raises(ERRORS):
        StackedLSTMRegressor(**SMALL, callbacks=[fault]).fit(X, Y)
    assert torch.get_num_threads() == n_threads
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_a_fit_that_fails_leaves_what_was_saved_as_it_was(fault, tmp_path):
    path = tmp_path / "model.safetensors"
    model = StackedLSTMRegressor(**SMALL).fit(X, Y)
    save(model, path)
    with pytest.raises(ERRORS):
        model.set_params(callbacks=[fault]).fit(X, Y)
    assert np.array_equal(load(path).predict(X), model.predict(X))


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="has no such signal")
@pytest.mark.parametrize("search", [GridSearchCV, DepthSearchCV])
def test_a_worker_that_dies_is_an_error_and_leaves_the_search_unfitted(search):
    model = StackedLSTMRegressor(**SMALL, callbacks=[Fault(kill_self)])
    depths = (1, 2) if search is DepthSearchCV else {"n_layers": [1, 2]}
    searching = search(model, depths, cv=2, n_jobs=2)
    before = dict(vars(model))
    with pytest.raises(TerminatedWorkerError, match="SIGKILL"):
        searching.fit(X, Y)
    assert vars(model) == before
    assert not hasattr(searching, "best_estimator_")
