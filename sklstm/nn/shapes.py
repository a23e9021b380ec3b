"""Types and shapes of the tensors in a stack, computed without the stack.

A file may ask for thousands of layers in a few kilobytes. To make a module takes a millisecond for
each layer, even without memory for its weights; to compute a shape takes a microsecond.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any

import torch

from .pooling import POOLINGS
from .stack import per_layer

Shape = tuple[int, ...]
Shapes = dict[str, tuple[torch.dtype, Shape]]

# Numbers that no tensor can hold: torch counts them in 64 bits with a sign.
TOO_MANY = 2**63


def shapes_of_stack(
    n_features: int, n_outputs: int, sizes: Mapping[str, Any]
) -> tuple[Shapes, Shapes]:
    """Return the types and shapes of the weights and of the buffers of a `StackedLSTM`.

    `sizes` are its other parameters, as from `FitPlan.module_params`. The names are those of the
    `state_dict`. Raises a ValueError if a size is no integer of at least 1, or no tensor can be so
    large.
    """
    _check_counts("n_features", [n_features])
    _check_counts("n_outputs", [n_outputs])
    cells = per_layer("units", sizes["units"], sizes["n_layers"])
    _check_counts("units", cells)
    _check_counts("head_units", sizes["head_units"])
    trained: dict[str, Shape] = {}
    directions = ("forward_layer.", "backward_layer.") if sizes["bidirectional"] else ("",)
    widths = [n_features, *(len(directions) * n_cells for n_cells in cells)]
    for i, n_cells in enumerate(cells):
        for direction in directions:
            name = f"layers.{i}.{direction}"
            trained[f"{name}weight_ih_l0"] = (4 * n_cells, widths[i])
            trained[f"{name}weight_hh_l0"] = (4 * n_cells, n_cells)
            trained[f"{name}bias_ih_l0"] = trained[f"{name}bias_hh_l0"] = (4 * n_cells,)
    for i, (below, width) in enumerate(pairwise(widths[1:])):
        if sizes["skip"] is not None and below != width:
            trained[f"skips.{i}.projection.weight"] = (width, below)
    n_vectors = 1 if sizes["return_sequences"] else POOLINGS[sizes["pooling"]].n_vectors
    n_answers = n_outputs * (sizes["n_quantiles"] or 1)
    dense = [n_vectors * widths[-1], *sizes["head_units"], n_answers]
    for i, (n_in, n_out) in enumerate(pairwise(dense)):
        # Between two Dense layers there is a ReLU, which has a number but no weights.
        trained[f"head.{2 * i}.weight"] = (n_out, n_in)
        trained[f"head.{2 * i}.bias"] = (n_out,)

    dtype, steps = sizes["dtype"], sizes["linear_steps"]
    buffers: Shapes = {}
    if steps:
        _check_counts("linear_steps", [steps])
        buffers["linear.weight"] = dtype, (n_outputs, steps * n_features)
        buffers["linear.bias"] = buffers["linear.residual_scale"] = dtype, (n_outputs,)
    if sizes["standardize"]:
        scaled = [sizes["scaled_steps"]] if sizes["scaled_steps"] else []
        _check_counts("scaled_steps", scaled)
        for statistic in ("mean", "scale"):
            buffers[f"input_scaler.{statistic}"] = torch.float64, (*scaled, n_features)
            buffers[f"output_scaler.{statistic}"] = torch.float64, (n_outputs,)

    weights = {name: (dtype, shape) for name, shape in trained.items()}
    for _, shape in [*weights.values(), *buffers.values()]:
        if prod(shape) >= TOO_MANY:
            raise ValueError(f"there is no such model: no tensor has the shape {str(shape)[:80]}.")
    return weights, buffers


def _check_counts(name: str, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be integers of at least 1, got {repr(value)[:40]}.")
