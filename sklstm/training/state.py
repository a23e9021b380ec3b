"""The state of a net as plain facts and tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklstm.files.container import DTYPES, Facts, Names, Signatures
from sklstm.nn.shapes import Shapes, shapes_of_stack

from .building import Recipe, module_sizes
from .net import StackedLSTMNet

MOMENTS = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "rmsprop": ("step", "square_avg"),
    "sgd": (),
}
STEP: tuple[str, tuple[int, ...]] = ("F32", ())
NUMBERS: dict[str, type] = {"bool": bool, "int": int, "float": float}


def state_of(net: StackedLSTMNet) -> tuple[Facts, dict[str, Tensor]]:
    """Return weights, statistics, history and what the optimizer remembers.

    Returns
    -------
    facts : dict
        Names and types of the columns of the history, number of its rows, and the weights
        that the optimizer knows.

    tensors : dict of str to torch.Tensor
        Not copies.

    Raises
    ------
    ValueError
        If there is something else than numbers in the history.
    """
    history, rows = _table(net.history)
    module, moments = net.module_.state_dict(), net.moments()
    facts = {**history, "moments": list(moments)}
    return facts, {
        **rows,
        **{f"module.{name}": values for name, values in module.items()},
        **{
            f"optimizer.{name}.{key}": values.float() if key == "step" else values
            for name, state in moments.items()
            for key, values in state.items()
            if isinstance(values, Tensor)
        },
    }


def signatures(
    facts: Facts,
    recipe: Recipe,
    n_features: int,
    n_outputs: int,
    names: Names,
    copied: Sequence[str] = (),
) -> Signatures:
    """Return what the tensors of a state have to be, without making any.

    Parameters
    ----------
    facts : dict
        What `state_of` returned, or somebody made up.

    recipe : dict
        What the net was made by.

    n_features, n_outputs : int
        Features at each step, and targets.

    names : sequence of str
        Names of the tensors that there are: a stack that needs more is not even tried.

    copied : sequence of str
        Names of copies of the trained weights that there are beside the state.

    Raises
    ------
    ValueError
        If there is no such net, or the facts are not as described.
    """
    sizes = module_sizes(recipe)
    _check_enough_names(sizes, names)
    weights, buffers = map(_signatures, shapes_of_stack(n_features, n_outputs, sizes))
    expected = {f"module.{name}": signature for name, signature in (weights | buffers).items()}
    for copy in copied:
        expected |= {f"{copy}.{name}": signature for name, signature in weights.items()}
    for name in _known_names("moments", facts, weights):
        for key in MOMENTS[recipe["optimizer"]]:
            expected[f"optimizer.{name}.{key}"] = STEP if key == "step" else weights[name]
    shape = (count("n_epochs", facts), len(_columns(facts)))
    if shape[0] and not shape[1]:
        raise ValueError(f"a history of n_epochs={shape[0]} has no columns.")
    return {**expected, "history.values": ("F64", shape), "history.present": ("U8", shape)}


def restore(net: StackedLSTMNet, facts: Facts, tensors: Mapping[str, Tensor]) -> None:
    """Give an initialized net the state that another had.

    Parameters
    ----------
    net : StackedLSTMNet
        A net made by the same recipe.

    facts : dict
        As from `state_of`.

    tensors : dict of str to torch.Tensor
        With the `signatures` of the facts.
    """
    # Not load_state_dict, which looks at all names once for each layer.
    with torch.no_grad():
        for name, values in net.module_.state_dict().items():
            values.copy_(tensors[f"module.{name}"])
    net.history_ = type(net.history)(_rows(facts, tensors))
    _restore_moments(net, facts["moments"], under("optimizer.", tensors))


def _restore_moments(
    net: StackedLSTMNet, names: Sequence[str], tensors: Mapping[str, Tensor]
) -> None:
    """Set what the optimizer remembers; its load_state_dict looks at all weights for each one."""
    weights, (group,) = dict(net.module_.named_parameters()), net.optimizer_.param_groups
    state = net.optimizer_.state
    for name in names:
        state[weights[name]] = {}
    for place, values in tensors.items():
        name, _, key = place.rpartition(".")
        weight = weights[name]
        # Only fused optimizers count steps on the device.
        on_cpu = key == "step" and not group.get("fused")
        state[weight][key] = values if on_cpu else values.to(weight.device)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name[len(prefix) :]: v for name, v in tensors.items() if name.startswith(prefix)}


def count(name: str, facts: Facts) -> int:
    """Return a fact that is an integer of at least 0.

    Raises
    ------
    ValueError
        If it is not.
    """
    value = facts.get(name)
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is {repr(value)[:40]}, not a number of at least 0.")
    return value


def mapping(name: str, facts: Facts) -> Facts:
    """Return a fact that is a mapping.

    Raises
    ------
    ValueError
        If it is not.
    """
    value = facts.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no mapping.")
    return value


def _table(history: Any) -> tuple[Facts, dict[str, Tensor]]:
    rows = [{name: v for name, v in row.items() if name != "batches"} for row in history]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [[name, _type_of(name, [row[name] for row in rows if name in row])] for name in names]
    values = np.array([[float(row.get(name, 0)) for name in names] for row in rows])
    present = np.array([[name in row for name in names] for row in rows], dtype=np.uint8)
    shape = (len(rows), len(names))
    return {"n_epochs": len(rows), "columns": columns}, {
        "history.values": torch.from_numpy(values.reshape(shape)),
        "history.present": torch.from_numpy(present.reshape(shape)),
    }


def _type_of(name: str, values: list[Any]) -> str:
    for value in values:
        if not isinstance(value, (bool, int, float, np.number, np.bool_)):
            raise ValueError(f"history_ has {name}={value!r}, which cannot be saved: no number.")
    if all(isinstance(value, (bool, np.bool_)) for value in values):
        return "bool"
    return "int" if all(isinstance(value, (int, np.integer)) for value in values) else "float"


def _rows(facts: Facts, tensors: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    columns = _columns(facts)
    values, present = tensors["history.values"].tolist(), tensors["history.present"].tolist()
    return [
        {
            "batches": [],
            **{
                name: number(value)
                for (name, number), value, there in zip(columns, row, known, strict=True)
                if there
            },
        }
        for row, known in zip(values, present, strict=True)
    ]


def _columns(facts: Facts) -> list[tuple[str, type]]:
    columns = facts.get("columns")
    if not isinstance(columns, list):
        raise ValueError("columns is not a list.")
    for column in columns:
        named = isinstance(column, list) and [type(part) for part in column] == [str, str]
        if not named or column[1] not in NUMBERS:
            raise ValueError(f"{repr(column)[:40]} is no column of a history.")
    return [(name, NUMBERS[kind]) for name, kind in columns]


def _known_names(name: str, facts: Facts, known: Mapping[str, Any]) -> list[str]:
    names = facts.get(name)
    if not isinstance(names, list) or not all(isinstance(n, str) and n in known for n in names):
        raise ValueError(f"{name} is not a list of weights.")
    if len(names) > len(set(names)):
        raise ValueError(f"{name} has a weight twice.")
    return names


def _check_enough_names(sizes: dict[str, Any], names: Names) -> None:
    """Refuse a stack of more layers than the names of tensors allow, before anything is made."""
    a_layer = 8 if sizes["bidirectional"] else 4
    for prefix, n_needed in (
        ("module.layers.", a_layer * sizes["n_layers"]),
        ("module.head.", 2 * len(sizes["head_units"])),
    ):
        n_there = sum(name.startswith(prefix) for name in names)
        if n_needed > n_there:
            raise ValueError(
                f"n_layers and head_units need more than the {n_there} tensors there are."
            )


def _signatures(shapes: Shapes) -> Signatures:
    return {name: (DTYPES[dtype], shape) for name, (dtype, shape) in shapes.items()}
