"""A stacked LSTM as an ONNX graph, part by part.

The graph is put together by hand rather than exported by torch: it is then the same with every
torch, small, and right for any batch and any length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from sklstm import __version__
from sklstm.nn.layers import FAR, FARTHEST, Bidirectional, LinearPath, Residual, Standardize
from sklstm.nn.stack import StackedLSTM
from sklstm.regressor import StackedLSTMRegressor

Array = NDArray[Any]
Value = str | Array | np.generic

OPSET, IR_VERSION = 15, 8
BATCH_AND_TIME_SWAPPED = (1, 0, 2)
TIME_AND_FEATURES_SWAPPED = (0, 2, 1)
END = np.iinfo(np.int64).max


class Graph:
    """A graph in the making, whose nodes are named by what they put out."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: Value, n_outputs: int = 1, **attributes: Any) -> str:
        """Add a node and return the name of its first output; an array is a constant."""
        name = f"{operator}_{len(self.nodes)}"
        outputs = [name, *(f"{name}_{i}" for i in range(1, n_outputs))]
        names = [self._name(value) for value in inputs]
        self.nodes.append(helper.make_node(operator, names, outputs, name, **attributes))
        return name

    def finish(self, y: str, inputs: list[Any], outputs: list[Any]) -> GraphProto:
        """Give `y` the name of the only output, and return the whole."""
        (output,) = outputs
        self.nodes.append(helper.make_node("Identity", [y], [output.name], output.name))
        return helper.make_graph(self.nodes, "StackedLSTM", inputs, outputs, self.constants)

    def _name(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def onnx_model(estimator: StackedLSTMRegressor) -> ModelProto:
    """Put a fitted estimator into a model, from X as `predict` takes it to what it answers.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        Fitted estimator.

    Returns
    -------
    onnx.ModelProto
    """
    graph, module = Graph(), estimator.module_
    x, in_rows = "X", estimator._X_form == "rows"
    if in_rows:
        x = graph.add("Reshape", x, _integers(0, -1, module.n_features))
    y = _add_module(graph, module, x)
    if not estimator._y_form.has_outputs:
        y = graph.add("Squeeze", y, _integers(2 if module.return_sequences else 1))
    elif estimator._y_form.horizon is not None:
        y = graph.add("Reshape", y, _integers(-1, *_answer_shape(estimator)[1:]))
    shapes = ["batch", "time", module.n_features], _answer_shape(estimator)
    if in_rows:
        shapes = ["batch", estimator.n_features_in_], shapes[1]
    X, Y = (
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, shape)
        for name, shape in zip(("X", "y"), shapes, strict=True)
    )
    model = helper.make_model(
        graph.finish(y, [X], [Y]),
        producer_name="sklstm",
        producer_version=__version__,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, {"producer": "sklstm", "version": __version__})
    return model


def _answer_shape(estimator: StackedLSTMRegressor) -> list[Any]:
    module = estimator.module_
    steps = ["time"] if module.return_sequences else []
    outputs, horizon = [estimator.n_outputs_], estimator._y_form.horizon
    if not estimator._y_form.has_outputs:
        outputs = []
    elif horizon is not None:
        outputs = [horizon, estimator.n_outputs_ // horizon]
    quantiles = [] if module.n_quantiles is None else [module.n_quantiles]
    return ["batch", *steps, *outputs, *quantiles]


def _add_module(graph: Graph, module: StackedLSTM, x: str) -> str:
    """Add all that a module does with float64 inputs, (batch, time, features)."""
    scaled = _scaled(graph, module.input_scaler, x)
    sequence = _read(graph, module, scaled)
    if module.return_sequences:
        top = graph.add("Transpose", sequence, perm=BATCH_AND_TIME_SWAPPED)
    else:
        top = _pooled(graph, module, sequence)
    y = _dense(graph, module.head, top)
    if module.n_quantiles is not None:
        y = _sorted_quantiles(graph, module, y)
    if module.linear is not None:
        y = _beside(graph, module, module.linear, y, scaled)
    y = graph.add("Cast", y, to=TensorProto.DOUBLE)
    return _missing_if_not_finite(graph, module, _unscaled(graph, module, y), x)


def _scaled(graph: Graph, scaler: Standardize | None, x: str) -> str:
    """Standardize in float64, go on in float32, and let outliers grow as logarithms."""
    if scaler is None:
        return graph.add("Cast", x, to=TensorProto.FLOAT)
    centred = graph.add("Sub", x, _numbers(scaler.mean, np.float64))
    far = graph.add("Div", centred, _numbers(scaler.scale, np.float64))
    far = graph.add("Clip", far, np.float64(-FARTHEST), np.float64(FARTHEST))
    far = graph.add("Cast", far, to=TensorProto.FLOAT)
    near = _near(graph, far)
    return graph.add("Add", graph.add("Asinh", graph.add("Sub", far, near)), near)


def _near(graph: Graph, x: str) -> str:
    return graph.add("Clip", x, np.float32(-FAR), np.float32(FAR))


def _read(graph: Graph, module: StackedLSTM, x: str) -> str:
    """Hand the sequence, (time, batch, features), up from layer to layer."""
    first, *upper = module.layers
    sequence = _lstm(graph, first, graph.add("Transpose", x, perm=BATCH_AND_TIME_SWAPPED))
    for layer, path in zip(upper, module.paths, strict=True):
        output = _lstm(graph, layer, sequence)
        sequence = _joined(graph, path, sequence, output)
    return sequence


def _lstm(graph: Graph, layer: Any, sequence: str) -> str:
    both = isinstance(layer, Bidirectional)
    parts = [layer.forward_layer, layer.backward_layer] if both else [layer]
    units = parts[0].hidden_size
    y = graph.add(
        "LSTM",
        sequence,
        np.stack([_gates(part.weight_ih_l0) for part in parts]),
        np.stack([_gates(part.weight_hh_l0) for part in parts]),
        np.stack([np.append(_gates(part.bias_ih_l0), _gates(part.bias_hh_l0)) for part in parts]),
        hidden_size=units,
        direction="bidirectional" if both else "forward",
    )
    if not both:
        return graph.add("Squeeze", y, _integers(1))
    side_by_side = graph.add("Transpose", y, perm=(0, 2, 1, 3))
    return graph.add("Reshape", side_by_side, _integers(0, 0, 2 * units))


def _gates(weights: Tensor) -> Array:
    """Bring torch's order of the gates (in, forget, cell, out) to ONNX's."""
    i, f, c, o = np.split(_numbers(weights), 4)
    return np.concatenate([i, o, f, c])


def _joined(graph: Graph, path: nn.Module, below: str, output: str) -> str:
    if not isinstance(path, Residual):
        return output
    if isinstance(path.projection, nn.Linear):
        below = graph.add("MatMul", below, _numbers(path.projection.weight).T)
    return graph.add("Add", below, output)


def _pooled(graph: Graph, module: StackedLSTM, sequence: str) -> str:
    pools = {
        "last": lambda: _final(graph, module, sequence),
        "mean": lambda: graph.add("ReduceMean", sequence, axes=[0], keepdims=0),
        "max": lambda: graph.add("ReduceMax", sequence, axes=[0], keepdims=0),
    }
    if module.pooling != "concat":
        return pools[module.pooling]()
    return graph.add("Concat", *(pool() for pool in pools.values()), axis=1)


def _final(graph: Graph, module: StackedLSTM, sequence: str) -> str:
    final = graph.add("Gather", sequence, np.int64(-1), axis=0)
    top = module.layers[-1]
    if not isinstance(top, Bidirectional):
        return final
    units, feature = _integers(top.forward_layer.hidden_size), _integers(1)
    forward = graph.add("Slice", final, _integers(0), units, feature)
    first = graph.add("Gather", sequence, np.int64(0), axis=0)
    backward = graph.add("Slice", first, units, _integers(END), feature)
    return graph.add("Concat", forward, backward, axis=1)


def _dense(graph: Graph, head: nn.Module, x: str) -> str:
    for part in head.children():
        if isinstance(part, nn.Linear):
            product = graph.add("MatMul", x, _numbers(part.weight).T)
            x = graph.add("Add", product, _numbers(part.bias))
        else:
            x = graph.add("Relu", x)
    return x


def _sorted_quantiles(graph: Graph, module: StackedLSTM, y: str) -> str:
    kept = [0, 0] if module.return_sequences else [0]
    apart = graph.add("Reshape", y, _integers(*kept, -1, module.n_quantiles))
    n_quantiles = _integers(module.n_quantiles)
    return graph.add("TopK", apart, n_quantiles, n_outputs=2, axis=-1, largest=0, sorted=1)


def _beside(graph: Graph, module: StackedLSTM, linear: LinearPath, y: str, x: str) -> str:
    """Add what the stack puts out to the linear path."""
    path = _linear_path(graph, module, linear, x)
    residual_scale = _numbers(linear.residual_scale)
    if module.n_quantiles is not None:
        path = graph.add("Unsqueeze", path, _integers(-1))
        residual_scale = residual_scale[:, np.newaxis]
    return graph.add("Add", path, graph.add("Mul", y, residual_scale))


def _linear_path(graph: Graph, module: StackedLSTM, linear: LinearPath, x: str) -> str:
    """Convolve along time, at the last step alone or at each; zeros stand before the first."""
    if module.input_scaler is not None:
        x = _near(graph, x)
    x = graph.add("Pad", x, _integers(0, linear.n_steps - 1, 0, 0, 0, 0))
    if not module.return_sequences:
        x = graph.add("Slice", x, _integers(-linear.n_steps), _integers(END), _integers(1))
    weight = _numbers(linear.weight).reshape(-1, linear.n_steps, module.n_features)
    y = graph.add(
        "Conv",
        graph.add("Transpose", x, perm=TIME_AND_FEATURES_SWAPPED),
        weight.transpose(TIME_AND_FEATURES_SWAPPED),
        _numbers(linear.bias),
    )
    y = graph.add("Transpose", y, perm=TIME_AND_FEATURES_SWAPPED)
    return y if module.return_sequences else graph.add("Squeeze", y, _integers(1))


def _unscaled(graph: Graph, module: StackedLSTM, y: str) -> str:
    if module.output_scaler is None:
        return y
    scaler = module.output_scaler
    mean, scale = _numbers(scaler.mean, np.float64), _numbers(scaler.scale, np.float64)
    if module.n_quantiles is not None:
        mean, scale = mean[:, np.newaxis], scale[:, np.newaxis]
    return graph.add("Add", graph.add("Mul", y, scale), mean)


def _missing_if_not_finite(graph: Graph, module: StackedLSTM, y: str, x: str) -> str:
    """Answer NaN for a sequence that the estimator refuses, rather than a number."""
    zeros = graph.add("Mul", graph.add("Cast", x, to=TensorProto.FLOAT), np.float32(0))
    zero = graph.add("ReduceSum", zeros, _integers(1, 2), keepdims=0)
    n_dims = 1 + module.return_sequences + (module.n_quantiles is not None)
    zero = graph.add("Unsqueeze", zero, _integers(*range(1, 1 + n_dims)))
    return graph.add("Add", y, graph.add("Cast", zero, to=TensorProto.DOUBLE))


def _numbers(tensor: Tensor, dtype: Any = np.float32) -> Array:
    return tensor.detach().cpu().numpy().astype(dtype)


def _integers(*values: Any) -> Array:
    return np.array(values, np.int64)
