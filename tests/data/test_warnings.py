"""Warnings: they name the line of the caller."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from sklstm import StackedLSTMRegressor
from sklstm.exceptions import warn


class Interrupt(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def interrupted():
    return StackedLSTMRegressor(
        units=4, linear_steps=None, max_epochs=2, callbacks=[Interrupt()], random_state=0
    )


@pytest.mark.parametrize(
    "use",
    [
        lambda X, y: interrupted().fit(X, y),
        lambda X, y: make_pipeline(FunctionTransformer(), interrupted()).fit(X, y),
        lambda X, y: cross_val_score(interrupted(), X, y, cv=2),
        lambda X, y: GridSearchCV(interrupted(), {"units": [2, 3]}, cv=2).fit(X, y),
    ],
)
def test_warnings_point_at_the_line_of_the_caller(use):
    X = np.random.default_rng(0).normal(size=(40, 5, 1))
    with pytest.warns(ConvergenceWarning, match="interrupted") as caught:
        use(X, X[:, -1, 0])
    assert {(warning.filename, warning.lineno) for warning in caught} == {
        (__file__, use.__code__.co_firstlineno)
    }


def test_a_warning_without_a_caller_outside_is_still_given():
    library = {"__name__": "sklearn.made_up", "warn": warn}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec("warn('words', UserWarning)", library)
    assert str(caught[0].message) == "words"
