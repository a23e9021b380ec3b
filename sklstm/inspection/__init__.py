"""The parts of a model, what its layers do and what they cost."""

from .cost import depth_cost
from .gradients import gradient_flow
from .parts import architecture
from .timescales import layer_timescales

__all__ = ["architecture", "depth_cost", "gradient_flow", "layer_timescales"]
