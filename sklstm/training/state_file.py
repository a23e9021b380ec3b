"""The state of a fit as metadata and tensors, which a file can hold, and back.

The dict that `FitState.state_dict` returns becomes tensors with the names ``module.NAME``,
``optimizer.NAME.KEY``, ``best.NAME`` and ``average.NAME``, and the metadata `history` and
`numbers`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sized
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sklstm.files.container import Shapes, check_shapes, shortened
from sklstm.nn.shapes import shapes_of_stack

from .plan import FitPlan
from .state import NUMBERS

# What each optimizer of `OPTIMIZERS` keeps for each weight: a tensor of the shape of the weight,
# but for `step`, which is a number in float32. SGD has no momentum here, and keeps nothing.
OPTIMIZER_KEYS = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "rmsprop": ("step", "square_avg"),
    "sgd": (),
}


class Names(Container[str], Sized, Protocol):
    """Names of tensors."""


def to_file(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the metadata and the tensors of a state. Tensors are not copied.

    Raises
    ------
    ValueError
        If the history holds anything but numbers.
    """
    history = [dict(row) for row in state["history"]]
    for row in history:
        for name, value in row.items():
            if isinstance(value, (bool, np.bool_)):
                row[name] = bool(value)
            elif isinstance(value, (Integral, Real)):
                row[name] = int(value) if isinstance(value, Integral) else float(value)
            else:
                raise ValueError(
                    f"history_ has {name}={value!r}, which cannot be saved: it is no number."
                )
    tensors = {
        f"{part}.{name}": values
        for part in ("module", "best", "average")
        for name, values in state.get(part, {}).items()
    }
    for name, kept in state["optimizer"].items():
        for key, value in kept.items():
            if isinstance(value, Tensor):
                # torch counts the steps in its default type, which a caller may have changed.
                tensors[f"optimizer.{name}.{key}"] = value.float() if key == "step" else value
    return {"history": history, "numbers": dict(state["numbers"])}, tensors


def from_file(
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    plan: FitPlan,
    n_features: int,
    n_outputs: int,
) -> dict[str, Any]:
    """Return the state for a net with such a plan. Anybody may have written the file.

    Raises
    ------
    ValueError
        If a net with such a plan has no such state. Other errors tell of metadata of other types.
    """
    check_shapes(tensors, stored_shapes(plan, n_features, n_outputs, tensors))
    numbers: dict[str, Any] = {name: metadata["numbers"][name] for name in NUMBERS}
    for name, value in numbers.items():
        if name in ("resumed", "stop"):
            is_valid = type(value) is bool
        elif name == "best_loss":
            is_valid = isinstance(value, (int, float))
        else:
            is_count = type(value) is int and value >= 0
            is_valid = is_count or (name == "best_epoch" and value is None)
        if not is_valid:
            raise ValueError(f"{name} is {shortened(value)}, which no fit has.")
    for row in metadata["history"]:
        for name, value in row.items():
            if type(value) not in (bool, int, float):
                raise ValueError(f"history_ has {name[:40]}={shortened(value)}: no number.")
    state: dict[str, Any] = {"module": {}, "optimizer": {}, "numbers": numbers}
    state["history"] = list(metadata["history"])
    for place, values in tensors.items():
        part, _, name = place.partition(".")
        if part == "optimizer":
            weight, _, key = name.rpartition(".")
            state["optimizer"].setdefault(weight, {})[key] = values
        else:
            state.setdefault(part, {})[name] = values
    return state


def stored_shapes(
    plan: FitPlan, n_features: int, n_outputs: int, names: Names | None = None
) -> Shapes:
    """Return the type and the shape of each tensor of a state, without making a net.

    Not every state has the best and the average weights, and for each weight the state of the
    optimizer. Those of which a tensor is among the `names` must be there as a whole. Without
    `names`, all of them are returned.

    Raises
    ------
    ValueError
        If there is no such net, or if it needs more tensors than there are names.
    """
    # A few bytes of a file can ask for a list of billions of layers.
    if names is not None and plan.n_layers > len(names):
        raise ValueError(f"n_layers={plan.n_layers} needs more than the {len(names)} tensors.")
    weights, buffers = shapes_of_stack(n_features, n_outputs, plan.module_params())
    optional: list[dict[str, tuple[torch.dtype, tuple[int, ...]]]] = [
        {f"{part}.{name}": shape for name, shape in weights.items()} for part in ("best", "average")
    ]
    for name, shape in weights.items():
        keys = OPTIMIZER_KEYS[str(plan.optimizer)]
        step = (torch.float32, ())
        optional.append({f"optimizer.{name}.{k}": step if k == "step" else shape for k in keys})
    shapes = {f"module.{name}": shape for name, shape in (weights | buffers).items()}
    for group in optional:
        if names is None or any(name in names for name in group):
            shapes |= group
    return shapes
