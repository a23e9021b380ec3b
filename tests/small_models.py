"""Small models and data that train in a moment, for the tests."""

import numpy as np
from skorch.callbacks import Callback

from sklstm import StackedLSTMRegressor


def small(**params):
    return StackedLSTMRegressor(
        **{
            "n_layers": 2,
            "units": 8,
            "linear_steps": None,
            "max_epochs": 3,
            "random_state": 0,
            **params,
        }
    )


def ragged(n_samples, longest=40):
    """Sequences of 1 to `longest` steps of 3 features."""
    rng = np.random.default_rng(1)
    return [rng.normal(size=(n, 3)) for n in rng.integers(1, longest + 1, size=n_samples)]


def middle_half(y):
    """Range of the middle half of y, as a part of that of a normal distribution."""
    centres = (np.arange(len(y)) + 0.5) / len(y)
    return np.diff(np.interp([0.25, 0.75], centres, np.sort(y)))[0] / 1.349


class AtEpoch(Callback):
    """Do something to the net at the end of an epoch."""

    def __init__(self, epoch, act):
        self.epoch = epoch
        self.act = act

    def on_epoch_end(self, net, **kwargs):
        if net.history[-1]["epoch"] == self.epoch:
            self.act(net)


def interrupt(_net):
    raise KeyboardInterrupt
