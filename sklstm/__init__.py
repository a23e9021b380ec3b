"""Stacked LSTMs for scikit-learn."""

__version__ = "0.2.0.dev0"

from .comparison import DepthComparison, compare_depths
from .nn.stack import StackedLSTM
from .persistence import load, save
from .plotting import DepthCurveDisplay, LossCurveDisplay, TimescaleDisplay
from .regressor import StackedLSTMRegressor
from .scoring import step_scorer
from .search import DepthSearchCV
from .sizing import units_for_budget
from .windows import LagWindows

__all__ = [
    "DepthComparison",
    "DepthCurveDisplay",
    "DepthSearchCV",
    "LagWindows",
    "LossCurveDisplay",
    "StackedLSTM",
    "StackedLSTMRegressor",
    "TimescaleDisplay",
    "__version__",
    "compare_depths",
    "load",
    "save",
    "step_scorer",
    "units_for_budget",
]
