"""Models of other libraries to estimators, and back."""

from .keras import from_keras, to_keras
from .onnx import to_onnx

__all__ = ["from_keras", "to_keras", "to_onnx"]
