"""Stacked LSTMs for scikit-learn."""

from .module import StackedLSTM
from .plotting import DepthCurveDisplay, LossCurveDisplay, TimescaleDisplay
from .regressor import StackedLSTMRegressor
from .scoring import step_scorer
from .search import DepthSearchCV
from .sizing import units_for_budget
from .windows import LagWindows

__version__ = "0.1.0"

__all__ = [
    "DepthCurveDisplay",
    "DepthSearchCV",
    "LagWindows",
    "LossCurveDisplay",
    "StackedLSTM",
    "StackedLSTMRegressor",
    "TimescaleDisplay",
    "__version__",
    "step_scorer",
    "units_for_budget",
]
