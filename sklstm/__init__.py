"""Stacked LSTMs for scikit-learn."""

from .module import StackedLSTM
from .regressor import StackedLSTMRegressor
from .scoring import step_scorer
from .search import DepthSearchCV
from .windows import LagWindows

__version__ = "0.1.0"

__all__ = [
    "DepthSearchCV",
    "LagWindows",
    "StackedLSTM",
    "StackedLSTMRegressor",
    "__version__",
    "step_scorer",
]
