"""A stacked LSTM as an ONNX graph, part by part.

The graph is built by hand rather than exported by torch: it is then the same with every version of
torch, small, and right for any batch and any length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from sklstm import __version__
from sklstm.nn.layers import FAR, FARTHEST, Bidirectional, LinearShortcut, Residual, Standardize
from sklstm.nn.pooling import POOLINGS
from sklstm.nn.stack import StackedLSTM
from sklstm.regressor import StackedLSTMRegressor

Array = NDArray[Any]

# The oldest versions with every operator used here, so that old runtimes read the files.
OPSET, IR_VERSION = 15, 8
BATCH_AND_TIME_SWAPPED = (1, 0, 2)
TIME_AND_FEATURES_SWAPPED = (0, 2, 1)
END = np.iinfo(np.int64).max  # where a slice ends that takes all the rest


class Graph:
    """The nodes and constants of a graph that is being built.

    An input of a node is the name of an output, or a constant: an array, a number of numpy, or a
    Python integer or list of them, which become int64.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node with one output, and return the name of the output."""
        return self.add_many(1, operator, *inputs, **attributes)[0]

    def add_many(self, n: int, operator: str, *inputs: Any, **attributes: Any) -> list[str]:
        """Add a node with `n` outputs, and return their names."""
        name = f"{operator}_{len(self.nodes)}"
        outputs = [name, *(f"{name}_{i}" for i in range(1, n))]
        names = []
        for value in inputs:
            if not isinstance(value, str):
                kind = np.int64 if isinstance(value, (int, list)) else None
                constant = np.asarray(value, kind)
                value = f"constant_{len(self.constants)}"
                self.constants.append(numpy_helper.from_array(constant, value))
            names.append(value)
        self.nodes.append(helper.make_node(operator, names, outputs, name, **attributes))
        return outputs


def onnx_model(estimator: StackedLSTMRegressor) -> ModelProto:
    """Return a fitted estimator as a model, from the X of `predict` to its result."""
    graph, module, y_form = Graph(), estimator.module_, estimator._y_form
    X = "X"
    x_shape: list[Any] = ["batch", "time", module.n_features]
    if estimator._X_form.kind == "rows":
        X = graph.add("Reshape", X, [0, -1, module.n_features])
        x_shape = ["batch", estimator.n_features_in_]
    y = _add_module(graph, module, X)
    y_shape: list[Any] = ["batch", "time"] if module.return_sequences else ["batch"]
    if not y_form.has_outputs:
        y = graph.add("Squeeze", y, [len(y_shape)])
    elif y_form.horizon is None:
        y_shape += [estimator.n_outputs_]
    else:
        y_shape += [y_form.horizon, estimator.n_outputs_ // y_form.horizon]
    if module.n_quantiles is not None:
        y_shape += [module.n_quantiles]
    if y_form.horizon is not None:
        y = graph.add("Reshape", y, [-1, *y_shape[1:]])
    graph.nodes.append(helper.make_node("Identity", [y], ["y"], "y"))
    values = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)
        for name, shape in (("X", x_shape), ("y", y_shape))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "StackedLSTM", values[:1], values[1:], graph.constants),
        producer_name="sklstm",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, {"producer": "sklstm", "version": __version__})
    return model


def _add_module(graph: Graph, module: StackedLSTM, X: str) -> str:
    """Add the `forward` of a module, for float64 X of shape (batch, time, features)."""
    x = _add_input_scaling(graph, module.input_scaler, X)
    # Sequences have the shape (time, batch, features) up to the top, which is that of ONNX's LSTM.
    bottom, *upper = module.layers
    sequence = _add_lstm(graph, bottom, graph.add("Transpose", x, perm=BATCH_AND_TIME_SWAPPED))
    for layer, skip in zip(upper, module.skips, strict=True):
        below, sequence = sequence, _add_lstm(graph, layer, sequence)
        if isinstance(skip, Residual):
            if isinstance(skip.projection, nn.Linear):
                below = graph.add("MatMul", below, _array(skip.projection.weight).T)
            sequence = graph.add("Add", below, sequence)
    if module.return_sequences:
        y = graph.add("Transpose", sequence, perm=BATCH_AND_TIME_SWAPPED)
    else:
        y = POOLINGS[module.pooling].onnx(graph, sequence, module.bidirectional)
    for part in module.head:
        if isinstance(part, nn.Linear):
            product = graph.add("MatMul", y, _array(part.weight).T)
            y = graph.add("Add", product, _array(part.bias))
        else:
            y = graph.add("Relu", y)
    n_dims = 3 if module.return_sequences else 2
    if module.n_quantiles is not None:
        n_dims += 1
        kept = [0] * (n_dims - 2)
        y = graph.add("Reshape", y, [*kept, -1, module.n_quantiles])
        y, _ = graph.add_many(2, "TopK", y, [module.n_quantiles], axis=-1, largest=0, sorted=1)
    if module.linear is not None:
        shortcut, scale = _add_shortcut(graph, module.linear, x), module.linear.residual_scale
        if module.n_quantiles is not None:
            shortcut, scale = graph.add("Unsqueeze", shortcut, [-1]), scale.unsqueeze(-1)
        y = graph.add("Add", shortcut, graph.add("Mul", y, _array(scale)))
    y = graph.add("Cast", y, to=TensorProto.DOUBLE)
    if module.output_scaler is not None:
        scale, mean = module.output_scaler.scale, module.output_scaler.mean
        if module.n_quantiles is not None:
            scale, mean = scale.unsqueeze(-1), mean.unsqueeze(-1)
        y = graph.add("Mul", y, _array(scale, np.float64))
        y = graph.add("Add", y, _array(mean, np.float64))
    # A sequence that `predict` refuses becomes NaN: zero times NaN or infinity is NaN.
    zeros = graph.add("Mul", graph.add("Cast", X, to=TensorProto.FLOAT), np.float32(0))
    zero = graph.add("ReduceSum", zeros, [1, 2], keepdims=0)
    zero = graph.add("Unsqueeze", zero, list(range(1, n_dims)))
    return graph.add("Add", y, graph.add("Cast", zero, to=TensorProto.DOUBLE))


def _add_input_scaling(graph: Graph, scaler: Standardize | None, X: str) -> str:
    """Add `StackedLSTM.scale_inputs`: standardize in float64, then squash in float32."""
    if scaler is None:
        return graph.add("Cast", X, to=TensorProto.FLOAT)
    centred = graph.add("Sub", X, _array(scaler.mean, np.float64))
    scaled = graph.add("Div", centred, _array(scaler.scale, np.float64))
    scaled = graph.add("Clip", scaled, np.float64(-FARTHEST), np.float64(FARTHEST))
    scaled = graph.add("Cast", scaled, to=TensorProto.FLOAT)
    near = graph.add("Clip", scaled, np.float32(-FAR), np.float32(FAR))
    return graph.add("Add", graph.add("Asinh", graph.add("Sub", scaled, near)), near)


def _add_lstm(graph: Graph, layer: nn.Module, sequence: str) -> str:
    """Add an LSTM layer of either kind."""
    parts: list[Any] = [layer]
    if isinstance(layer, Bidirectional):
        parts = [layer.forward_layer, layer.backward_layer]
    units = parts[0].hidden_size
    y = graph.add(
        "LSTM",
        sequence,
        np.stack([_gates(part.weight_ih_l0) for part in parts]),
        np.stack([_gates(part.weight_hh_l0) for part in parts]),
        np.stack([np.append(_gates(part.bias_ih_l0), _gates(part.bias_hh_l0)) for part in parts]),
        hidden_size=units,
        direction="forward" if len(parts) == 1 else "bidirectional",
    )
    if len(parts) == 1:
        return graph.add("Squeeze", y, [1])
    side_by_side = graph.add("Transpose", y, perm=(0, 2, 1, 3))
    return graph.add("Reshape", side_by_side, [0, 0, 2 * units])


def _gates(weights: Tensor) -> Array:
    """Change torch's order of the gates (input, forget, cell, output) to ONNX's."""
    i, f, c, o = np.split(_array(weights), 4)
    return np.concatenate([i, o, f, c])


def _add_shortcut(graph: Graph, linear: LinearShortcut, x: str) -> str:
    """Add the linear shortcut as a convolution along time, with zeros before the first step."""
    if linear.clip:
        x = graph.add("Clip", x, np.float32(-FAR), np.float32(FAR))
    x = graph.add("Pad", x, [0, linear.n_steps - 1, 0, 0, 0, 0])
    if not linear.at_each_step:
        x = graph.add("Slice", x, [-linear.n_steps], [END], [1])
    weight = _array(linear.weight)
    weight = weight.reshape(len(weight), linear.n_steps, -1).transpose(TIME_AND_FEATURES_SWAPPED)
    x = graph.add("Transpose", x, perm=TIME_AND_FEATURES_SWAPPED)
    y = graph.add("Conv", x, weight, _array(linear.bias))
    y = graph.add("Transpose", y, perm=TIME_AND_FEATURES_SWAPPED)
    return y if linear.at_each_step else graph.add("Squeeze", y, [1])


def _array(tensor: Tensor, dtype: Any = np.float32) -> Array:
    return tensor.detach().cpu().numpy().astype(dtype)
