"""Versions of the file format, and what the files of an older version mean today."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version as version_of
from typing import Any

from torch import Tensor

from sklstm import __version__

# Versions of the format that can be read; new files have the last one. After a release, a change of
# the format needs a new version here, a function in `UPGRADES`, and files of that release in
# tests/stored (write.py there).
VERSIONS = ("1", "2")
FORMAT_VERSION = VERSIONS[-1]
# Where the header of a file has its metadata, as JSON.
METADATA_KEY, OLD_METADATA_KEYS = "metadata", {"1": "facts"}
# Other libraries whose version can change the result of a fit.
LIBRARIES = ("numpy", "scikit-learn", "skorch", "torch")

Content = tuple[dict[str, Any], dict[str, Tensor]]


def library_versions() -> dict[str, str]:
    """Return the version of sklstm and of each library that has an influence on a fit."""
    return {"sklstm": __version__, **{name: version_of(name) for name in LIBRARIES}}


def of_another_version(metadata: dict[str, Any]) -> str:
    """Return a sentence, after a space, about the sklstm that wrote a file, if it is another."""
    versions = metadata.get("versions")
    writer = versions.get("sklstm") if isinstance(versions, dict) else None
    if not isinstance(writer, str) or writer == __version__:
        return ""
    return f" It was written by sklstm {writer[:40]}, this is {__version__}: upgrade it."


def upgraded(version: str, metadata: dict[str, Any], tensors: dict[str, Tensor]) -> Content:
    """Return the content of a saved model as a file of today's version would have it.

    A parameter that is newer than the file gets the value that describes what sklstm did then,
    which need not be today's default.
    """
    for older in VERSIONS[VERSIONS.index(version) : -1]:
        metadata, tensors = UPGRADES[older](metadata, tensors)
    return metadata, tensors


def _from_version_1(metadata: dict[str, Any], tensors: dict[str, Tensor]) -> Content:
    """Upgrade what sklstm 0.1.0 wrote."""
    parameters, plan, state = metadata["parameters"], metadata["recipe"], metadata["state"]
    quantile = plan["quantile"]
    dropped = ("tol", "verbose", "quantile")
    plan = {
        **{name: _as_list(value) for name, value in plan.items() if name not in dropped},
        "loss_params": {} if quantile is None else {"quantile": quantile},
        # All steps had a common scale.
        "scaled_steps": 0,
    }
    parameters = {name: value for name, value in parameters.items() if name != "tol"}
    for values in (parameters, plan):
        values["skip"] = "residual" if values["skip"] == "auto" else values["skip"]

    # The history was a table of numbers, with the type of each column, and which of them were set.
    types = {"bool": bool, "int": int, "float": float}
    columns = [(name, types[kind]) for name, kind in state["columns"]]
    tensors = {name.replace(".paths.", ".skips."): values for name, values in tensors.items()}
    table = tensors.pop("history.values").tolist(), tensors.pop("history.present").tolist()
    history = [
        {
            name: kind(value)
            for (name, kind), value, is_set in zip(columns, *row, strict=True)
            if is_set
        }
        for row in zip(*table, strict=True)
    ]
    numbers = {
        **{"epochs_done": 0, "steps_done": 0, "last_epoch": len(history), "n_misses": 0},
        **{"resumed": False, "stop": False, "best_loss": math.inf},
        "best_epoch": metadata["best_epoch"],
    }
    form = metadata["form"]
    return {
        "versions": metadata["versions"],
        "parameters": parameters,
        "plan": plan,
        "form": {**form, "y": {**form["y"], "horizon": None}},
        "history": history,
        "numbers": numbers,
    }, tensors


def _as_list(value: Any) -> Any:
    """Return a tuple, which was marked as one, as JSON has it."""
    return value["tuple"] if isinstance(value, dict) else value


# For each version but the last, a function that turns its content into that of the next version.
UPGRADES: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], Content]] = {"1": _from_version_1}
