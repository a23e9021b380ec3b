"""What the layers do: their time scales, the gradients that reach them, what they cost."""

from .cost import depth_cost
from .gradients import gradient_flow
from .timescales import layer_timescales

__all__ = ["depth_cost", "gradient_flow", "layer_timescales"]
