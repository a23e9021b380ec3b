"""Displays: losses by epoch, scores by depth, time scales by layer."""

from .depth import DepthCurveDisplay
from .loss import LossCurveDisplay
from .timescales import TimescaleDisplay

__all__ = ["DepthCurveDisplay", "LossCurveDisplay", "TimescaleDisplay"]
