"""Types and shapes of the tensors in a stack, without making the stack.

A file may ask for thousands of layers in a few kilobytes. Making modules takes a millisecond a
layer, even without memory for their weights; writing down a shape takes a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from math import prod
from typing import Any

import torch

from .stack import per_layer

Shape = tuple[int, ...]
Shapes = dict[str, tuple[torch.dtype, Shape]]

# Numbers that no tensor can have: torch counts them in 64 bits with a sign.
TOO_MANY = 2**63


def shapes_of_stack(
    n_features: int, n_outputs: int, sizes: Mapping[str, Any]
) -> tuple[Shapes, Shapes]:
    """Return the types and shapes of what a `StackedLSTM` holds.

    Parameters
    ----------
    n_features : int
        Features at each step.

    n_outputs : int
        Targets.

    sizes : mapping
        The other parameters of `StackedLSTM`, as from `module_sizes`.

    Returns
    -------
    weights : dict of str to (torch.dtype, tuple of int)
        What is trained, by its name in the `state_dict`.

    buffers : dict of str to (torch.dtype, tuple of int)
        What is set.

    Raises
    ------
    ValueError
        If a size is no integer of at least 1, or no tensor can be so large.
    """
    cells = _counts("units", per_layer("units", sizes["units"], sizes["n_layers"]))
    hidden = _counts("head_units", sizes["head_units"])
    (n_features,) = _counts("n_features", [n_features])
    (n_outputs,) = _counts("n_outputs", [n_outputs])
    directions = ("forward_layer.", "backward_layer.") if sizes["bidirectional"] else ("",)
    widths = [n_features, *(len(directions) * n_cells for n_cells in cells)]
    at_once = sizes["pooling"] == "concat" and not sizes["return_sequences"]
    n_read = [(3 if at_once else 1) * widths[-1], *hidden]
    n_answers = n_outputs * (sizes["n_quantiles"] or 1)
    trained = chain(
        _layers(widths, cells, directions),
        () if sizes["skip"] is None else _paths(widths),
        _head([*n_read, n_answers]),
    )
    weights = {name: (sizes["dtype"], _possible(shape)) for name, shape in trained}
    return weights, {
        name: (dtype, _possible(shape))
        for name, dtype, shape in _buffers(n_features, n_outputs, sizes)
    }


def _layers(
    widths: list[int], cells: list[int], directions: tuple[str, ...]
) -> Iterator[tuple[str, Shape]]:
    for i, (width, n_cells) in enumerate(zip(widths, cells, strict=False)):
        for direction in directions:
            prefix = f"layers.{i}.{direction}"
            yield f"{prefix}weight_ih_l0", (4 * n_cells, width)
            yield f"{prefix}weight_hh_l0", (4 * n_cells, n_cells)
            yield f"{prefix}bias_ih_l0", (4 * n_cells,)
            yield f"{prefix}bias_hh_l0", (4 * n_cells,)


def _paths(widths: list[int]) -> Iterator[tuple[str, Shape]]:
    for i, (below, width) in enumerate(pairwise(widths[1:])):
        if below != width:
            yield f"paths.{i}.projection.weight", (width, below)


def _head(widths: list[int]) -> Iterator[tuple[str, Shape]]:
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        # Between two Dense layers there is a ReLU, which has a number but no weights.
        yield f"head.{2 * i}.weight", (n_out, n_in)
        yield f"head.{2 * i}.bias", (n_out,)


def _buffers(
    n_features: int, n_outputs: int, sizes: Mapping[str, Any]
) -> Iterator[tuple[str, torch.dtype, Shape]]:
    if sizes["linear_steps"]:
        (n_steps,) = _counts("linear_steps", [sizes["linear_steps"]])
        yield "linear.weight", sizes["dtype"], (n_outputs, n_steps * n_features)
        yield "linear.bias", sizes["dtype"], (n_outputs,)
        yield "linear.residual_scale", sizes["dtype"], (n_outputs,)
    if sizes["standardize"]:
        steps = _counts("scaled_steps", [sizes["scaled_steps"]] if sizes["scaled_steps"] else [])
        scaled = {"input_scaler": (*steps, n_features), "output_scaler": (n_outputs,)}
        for scaler, shape in scaled.items():
            for statistic in ("mean", "scale"):
                yield f"{scaler}.{statistic}", torch.float64, shape


def _counts(name: str, values: list[Any]) -> list[int]:
    for value in values:
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be integers of at least 1, got {repr(value)[:40]}.")
    return [int(value) for value in values]


def _possible(shape: Shape) -> Shape:
    if prod(shape) >= TOO_MANY:
        raise ValueError(f"there is no such model: no tensor has the shape {str(shape)[:80]}.")
    return shape
