"""Ctrl-C: once, twice, and while torch imports what it needs."""

import copy
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import skorch.net
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

import sklstm.regressor
import sklstm.training.callbacks
import sklstm.training.net
from sklstm import StackedLSTMRegressor
from sklstm.training.runtime import interrupts_deferred

X = np.random.default_rng(0).normal(size=(40, 5, 1))
Y = X[:, -1, 0]
WATCHED = {
    module.__file__ for module in (skorch.net, sklstm.training.callbacks, sklstm.training.net)
}
WATCHED.add(sklstm.regressor.__file__)


@pytest.fixture(autouse=True)
def interrupts_on():
    """Let SIGINT interrupt: a process that a shell has started in the background ignores it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


class InterruptTwice(Callback):
    """Interrupt the second epoch, and once more `n_lines` lines of training code later."""

    def __init__(self, n_lines):
        self.n_lines = n_lines

    def on_batch_end(self, net, training=False, **kwargs):
        if len(net.history) == 2:
            self._interrupt_later()
            raise KeyboardInterrupt

    def _interrupt_later(self):
        n_left = self.n_lines

        def trace(frame, event, _):
            nonlocal n_left
            if frame.f_code.co_filename not in WATCHED:
                return None
            n_left -= event == "line"
            if n_left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        frame = sys._getframe()
        while frame.f_code.co_name != "fit_interrupted_twice":
            frame.f_trace = trace
            frame = frame.f_back
        sys.settrace(trace)


def fit_interrupted_twice(model, n_lines):
    """Return the warnings, or `None` if the fit raises; and whether there was a second one."""
    model.set_params(callbacks=[InterruptTwice(n_lines)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(X, Y)
        except KeyboardInterrupt:
            return None, True
        finally:
            came = sys.gettrace() is None
            sys.settrace(None)
    return [str(warning.message) for warning in caught], came


class InterruptAfterFirst(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "validation_fraction": 0.3}])
def test_a_second_interrupt_wherever_it_lands_keeps_the_best_epoch_or_the_model_from_before(params):
    model = StackedLSTMRegressor(
        units=3, n_layers=1, linear_steps=None, max_epochs=3, random_state=0, **params
    )
    fitted = clone(model).set_params(random_state=1).fit(X, Y)
    predicted = fitted.predict(X)
    with pytest.warns(ConvergenceWarning, match="the weights of epoch 1 are kept"):
        best = clone(model).set_params(callbacks=[InterruptAfterFirst()]).fit(X, Y).predict(X)
    n_lines, came, n_raised = 0, True, 0
    while came:
        n_lines += 1
        again = copy.copy(fitted).set_params(random_state=0)
        warned, came = fit_interrupted_twice(again, n_lines)
        n_raised += warned is None
        if warned is None and again.net_ is fitted.net_:
            assert np.array_equal(again.predict(X), predicted)
            assert again._plan is fitted._plan
        else:
            assert warned is None or any("interrupted" in message for message in warned)
            assert np.array_equal(again.predict(X), best)
            assert len(again.loss_curve_) == again.n_iter_ == 1
    assert n_lines > 50
    assert n_raised > 10


IN_TORCHS_IMPORT = """
import signal, sys
import numpy as np
from sklstm import StackedLSTMRegressor

class InterruptImport:
    def find_spec(self, name, path=None, target=None):
        if name == "sympy.polys":
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
assert "sympy" not in sys.modules
sys.meta_path.insert(0, InterruptImport())
X = np.random.default_rng(0).normal(size=(40, 5, 1))
model = StackedLSTMRegressor(units=3, max_epochs=1)
try:
    model.fit(X, X[:, -1, 0])
except KeyboardInterrupt:
    assert not hasattr(model, "net_")
    print("interrupted,", len(model.fit(X, X[:, -1, 0]).loss_curve_), "epoch")
"""


def test_an_interrupt_while_torch_imports_for_the_first_fit_spoils_no_later_one():
    done = subprocess.run(
        [sys.executable, "-c", IN_TORCHS_IMPORT],
        cwd=Path(sklstm.training.net.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("interrupted, 1 epoch\n", "")


def test_an_interrupt_is_deferred_to_the_end_and_not_lost():
    done, handler = [], signal.getsignal(signal.SIGINT)

    def work():
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_within_is_not_hidden_by_a_handler_put_back():
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(OSError, match="what happened"), interrupts_deferred():
        raise OSError("what happened")
    assert signal.getsignal(signal.SIGINT) is handler


def test_other_threads_leave_the_handler_alone():
    handler, seen = signal.getsignal(signal.SIGINT), []

    def look():
        with interrupts_deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [handler]
