"""Models of other libraries to estimators, and back."""

from .onnx import to_onnx

__all__ = ["to_onnx"]
