"""A fit that a new process resumes when the first one was killed: its state in a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from skorch.callbacks import Callback

from sklstm.exceptions import warn
from sklstm.files.container import (
    FileId,
    check_header,
    check_writable,
    checksum,
    file_id,
    naming_file,
    read,
    shortened,
    write,
)
from sklstm.files.plain import to_plain
from sklstm.files.versions import library_versions

from .batches import SequenceDataset
from .net import StackedLSTMNet
from .plan import FitPlan
from .runtime import resolve_device
from .state import FitState
from .state_file import from_file, stored_shapes, to_file

CHECKPOINT = "checkpoint"


class Checkpoint:
    """The file in which a fit stores its state after each epoch, and what it holds already.

    It holds what tells the fit from others (parameters, versions, seed, checksums of the data and
    of the weights at the start), the `FitPlan`, and the state of the fit: weights and buffers of
    the module, the best and the average weights, the optimizer state, the history and counts, as
    `FitState.state_dict` returns them. It holds no data, no code and no generator: these are
    seeded anew in each epoch.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    params : dict
        Parameters of the estimator that decide what the fit computes.

    data : SequenceDataset
        The training data.

    seed : int or None
        Seed of the fit; `None` if it was drawn for this fit, so that the one in the file counts.

    start : StackedLSTMNet or None
        The net that the fit continues.

    Attributes
    ----------
    plan : FitPlan or None
        The plan of the fit that is resumed, `None` where the file does not exist.

    state : dict or None
        Its state, as `FitState.load_state_dict` takes it.

    epochs_done : int
        Its epochs so far.

    Raises
    ------
    OSError
        If the file cannot be read or written.
    ValueError
        If the file is of another fit, or if a parameter cannot be kept in a file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        params: Mapping[str, Any],
        data: SequenceDataset,
        seed: int | None,
        start: StackedLSTMNet | None,
    ) -> None:
        # The fit may change the current folder.
        self.path = Path(path).absolute()
        self.sizes = data.X.n_features, data.y.n_features
        self.fit = fingerprint(params, data, seed, start)
        self.plan: FitPlan | None = None
        self.state: dict[str, Any] | None = None
        self.epochs_done = 0
        check_writable(self.path)
        self.found = file_id(self.path)
        if self.found is None:
            return
        try:
            _, metadata, tensors = read(self.path, CHECKPOINT)
            with naming_file(self.path):
                other = _difference(metadata["fit"], self.fit)
            if other is not None:
                raise ValueError(f"{str(self.path)!r} is of a fit {other}.")
            with naming_file(self.path):
                self.plan = FitPlan.from_dict(metadata["plan"])
                self.state = from_file(metadata, tensors, self.plan, *self.sizes)
                self.epochs_done = self.state["numbers"]["epochs_done"]
                if self.epochs_done > self.plan.max_epochs:
                    raise ValueError("The file has more epochs than the fit.")
        except ValueError as error:
            raise ValueError(
                f"checkpoint: {error} Delete it, or choose another path, to train afresh."
            ) from error

    def callback(self, plan: FitPlan) -> KeepState:
        """Return the callback that writes the file. It has to run after all others.

        Raises
        ------
        ValueError
            If the names of all layers are too long for a file.
        """
        metadata = {"versions": self.fit["versions"], "fit": self.fit, "plan": plan.to_dict()}
        check_header(self.path, metadata, stored_shapes(plan, *self.sizes))
        return KeepState(self.path, metadata, self.found)


class KeepState(Callback):
    """Write the state of a fit after each epoch.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    metadata : dict
        What to write beside the state.

    found : tuple of int or None
        Which file is there already, to notice when another fit writes one.
    """

    def __init__(self, path: Path, metadata: Mapping[str, Any], found: FileId | None) -> None:
        self.path = path
        self.metadata = metadata
        self.found = found
        self.is_over = False

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if self.is_over:
            return
        try:
            if file_id(self.path) not in (self.found, None):
                raise FileExistsError(f"another fit writes to {str(self.path)!r}.")
            state: FitState = net.state_
            metadata, tensors = to_file(state.state_dict(net))
            self.found = write(self.path, CHECKPOINT, {**self.metadata, **metadata}, tensors)
        # A ValueError: the history of very many epochs is too long for a file.
        except (OSError, MemoryError, ValueError) as error:
            warn(
                f"Training continues without a checkpoint of epoch {len(net.history)}: {error}",
                RuntimeWarning,
            )

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        # partial_fit may train the same net, and writes no checkpoint.
        self.is_over = True


def fingerprint(
    params: Mapping[str, Any],
    data: SequenceDataset,
    seed: int | None,
    start: StackedLSTMNet | None,
) -> dict[str, Any]:
    """Return what tells a fit from others, as JSON can hold it."""
    plain = {name: to_plain(name, value) for name, value in params.items()}
    digest = hashlib.sha256()
    for part in (data, data.validation):
        if part is None:
            continue
        digest.update(b"table" if part.is_table else b"")
        for sequences in (part.X, part.y):
            digest.update(f"{sequences.dtype} {len(sequences)} {sequences.n_features}".encode())
            digest.update(np.ascontiguousarray(sequences.lengths).data)
            for block in sequences.blocks():
                steps = sequences[block].steps()
                # A long double has bytes that no operation sets.
                digest.update(
                    np.ascontiguousarray(steps, np.float64 if steps.itemsize > 8 else None).data
                )
        if part.sample_weight is not None:
            digest.update(np.ascontiguousarray(part.sample_weight).data)
    return {
        "versions": library_versions(),
        # The same device may be given in several ways.
        "parameters": {**plain, "device": resolve_device(params["device"])},
        "data": digest.hexdigest(),
        "seed": seed,
        "start": start and [len(start.history), checksum("", start.module_.state_dict())],
    }


def _difference(found: Mapping[str, Any], fit: Mapping[str, Any]) -> str | None:
    """Say what the fit of a file has that this fit has not; `None` if they are the same."""
    for kind in ("versions", "parameters"):
        others = [
            f"with {name}={shortened(found[kind].get(name))}, not {value!r}"
            for name, value in fit[kind].items()
            if found[kind].get(name) != value
        ]
        if others:
            return "; ".join(others)
    for name, sentence in (
        ("data", "to other data"),
        ("seed", "with another random_state"),
        ("start", "that did not continue from these weights"),
    ):
        if found[name] != fit[name]:
            return sentence
    return None
