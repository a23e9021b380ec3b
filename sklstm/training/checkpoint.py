"""A fit that a killed process goes on with: its state after each epoch, in a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback
from torch import Tensor

from sklstm.data.sequences import Sequences
from sklstm.exceptions import warn
from sklstm.files.container import (
    Facts,
    Names,
    Signatures,
    check_header,
    check_writable,
    checksum,
    document_of,
    read,
    remove_parts,
    write,
)
from sklstm.files.plain import from_plain, to_plain, versions

from .batches import SequenceDataset
from .building import Recipe
from .callbacks import Progress
from .net import StackedLSTMNet, resolve_device
from .recipes import NOT_IN_A_RECIPE, checked_recipe
from .state import count, mapping, restore, signatures, state_of, under

CHECKPOINT = "checkpoint"
# Callbacks that keep a copy of the weights.
COPIED = ("best_epoch", "average")


@dataclass(frozen=True)
class Written:
    """What an earlier process wrote of a fit.

    Parameters
    ----------
    recipe : dict
        What the fit was made by.

    facts : dict
        How far it came.

    tensors : dict of str to torch.Tensor
        Weights and whatever goes with them.
    """

    recipe: Recipe
    facts: Facts
    tensors: Mapping[str, Tensor]

    @property
    def n_done(self) -> int:
        return self.facts["n_done"]


class Checkpoint:
    """Where a fit keeps its state, if anywhere, and what is there already.

    Parameters
    ----------
    path : pathlib.Path or None
        The file; `None` keeps nothing.

    fit : dict
        What tells this fit from others.

    written : Written or None
        What is there already.

    estimator_class : type
        The estimator that is fitted.

    Attributes
    ----------
    recipe : dict or None
        What the fit was made by, where an earlier process began it.

    n_done : int
        Epochs that are done.
    """

    def __init__(
        self,
        path: Path | None,
        fit: Facts,
        written: Written | None,
        estimator_class: type[BaseEstimator],
    ) -> None:
        self.path = path
        self.fit = fit
        self.written = written
        self.estimator_class = estimator_class
        self.recipe = None if written is None else written.recipe
        self.n_done = 0 if written is None else written.n_done
        self.found = _which(path)

    def callbacks(self, recipe: Recipe) -> list[tuple[str, Callback]]:
        """Return the callback that keeps the state, to run after all others.

        Raises
        ------
        ValueError
            If a fit could not go on from such a recipe.
        """
        if self.path is None:
            return []
        plain = {name: to_plain(name, value) for name, value in recipe.items()}
        checked_recipe(plain, self.estimator_class)
        identity = {"versions": self.fit["versions"], "fit": self.fit, "recipe": plain}
        return [("checkpoint", KeepState(self.path, identity, self.written, self.found))]

    def restore(self, net: StackedLSTMNet) -> None:
        """Give an initialized net the state that is there already."""
        if self.written is not None:
            restore(net, self.written.facts["state"], self.written.tensors)


class KeepState(Callback):
    """Write the state of a fit after each epoch; before, go on from what is there already.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    identity : dict
        What to write beside the state.

    written : Written or None
        What is there already.

    found : tuple of int or None
        Which file that is, to know it from what another fit writes.
    """

    def __init__(
        self,
        path: Path,
        identity: Facts,
        written: Written | None,
        found: tuple[int, int] | None,
    ) -> None:
        self.path = path
        self.identity = identity
        self.written = written
        self.found = found

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.n_done_, self.last_ = 0, self.found
        if self.written is not None:
            self.n_done_ = self.written.n_done
            _restore_callbacks(net, self.written)
            self.written = None
        self._check_header(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.n_done_ += 1
        try:
            self._write(net)
        except (OSError, MemoryError) as error:
            warn(
                f"Training goes on without a checkpoint of epoch {len(net.history)}: {error}",
                RuntimeWarning,
            )

    def _check_header(self, net: StackedLSTMNet) -> None:
        """Refuse before training a stack of so many layers that no file holds their names."""
        facts, tensors = _progress(net)
        state = {**facts["state"], "moments": _weights(net)}
        recipe = {name: from_plain(value) for name, value in self.identity["recipe"].items()}
        sizes = net.module_.n_features, net.get_params_for("module")["n_outputs"]
        largest = signatures(state, recipe, *sizes, list(tensors), COPIED)
        check_header(self.path, document_of({**self.identity, **facts, "state": state}), largest)

    def _write(self, net: StackedLSTMNet) -> None:
        if _which(self.path) not in (self.last_, None):
            raise FileExistsError(f"another fit writes to {str(self.path)!r}.")
        facts, tensors = _progress(net)
        write(self.path, CHECKPOINT, {**self.identity, **facts, "n_done": self.n_done_}, tensors)
        self.last_ = _which(self.path)


def open_checkpoint(
    estimator: BaseEstimator, data: SequenceDataset, start: StackedLSTMNet | None, seed: int
) -> Checkpoint:
    """Find what an earlier process wrote of a fit, or make sure that it can be written.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        Its parameters.

    data : SequenceDataset
        What is to be fitted.

    start : StackedLSTMNet or None
        The net that the fit goes on from.

    seed : int
        Seed of the fit.

    Raises
    ------
    OSError
        If the file cannot be read or written.
    ValueError
        If the file is of another fit, or if a parameter cannot be kept in a file.
    """
    if estimator.checkpoint is None:
        return Checkpoint(None, {}, None, type(estimator))
    if estimator.callbacks:
        raise ValueError(
            f"checkpoint={estimator.checkpoint!r} cannot be used with callbacks="
            f"{estimator.callbacks!r}: what they remember is in no checkpoint."
        )
    path, fit = Path(estimator.checkpoint).absolute(), _identity(estimator, data, start, seed)
    check_writable(path)
    remove_parts(path)
    written = _written(path, fit, estimator, data) if path.exists() else None
    return Checkpoint(path, fit, written, type(estimator))


def _which(path: Path | None) -> tuple[int, int] | None:
    """Tell a file from another of the same name; `None` if there is none."""
    if path is None or not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _identity(
    estimator: BaseEstimator, data: SequenceDataset, start: StackedLSTMNet | None, seed: int
) -> Facts:
    """Return what tells a fit from others."""
    parameters = {
        name: to_plain(name, value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in {*NOT_IN_A_RECIPE, "verbose"}
    }
    drawn_anew = start is None and estimator.random_state is None
    return {
        "versions": versions(),
        "parameters": {**parameters, "device": resolve_device(estimator.device)},
        "seed": None if drawn_anew else seed,
        "data": _digest(data),
        "start": start and [len(start.history), checksum("", start.module_.state_dict())],
    }


def _digest(data: SequenceDataset) -> str:
    digest = hashlib.sha256()
    for sequences in (data.X, data.y):
        digest.update(f"{sequences.dtype} {len(sequences)} {sequences.n_features}".encode())
        digest.update(np.ascontiguousarray(sequences.lengths).data)
        for block in sequences.blocks():
            digest.update(_contiguous(sequences, block).data)
    if data.sample_weight is not None:
        digest.update(np.ascontiguousarray(data.sample_weight).data)
    if data.validation is not None:
        digest.update(f"validation {_digest(data.validation)}".encode())
    return digest.hexdigest()


def _contiguous(sequences: Sequences, block: slice) -> NDArray[Any]:
    steps = sequences[block].steps()
    return np.ascontiguousarray(steps, np.float64 if steps.itemsize > 8 else None)


def _written(path: Path, fit: Facts, estimator: BaseEstimator, data: SequenceDataset) -> Written:
    def understand(facts: Facts, names: Names) -> tuple[tuple[Recipe, Facts], Signatures]:
        _check_same_fit(facts, fit)
        recipe = checked_recipe(mapping("recipe", facts), type(estimator))
        expected = _signatures(facts, recipe, data, names)
        return ({**recipe, "verbose": estimator.verbose}, facts), expected

    try:
        (recipe, facts), tensors = read(path, CHECKPOINT, understand)
    except ValueError as error:
        raise ValueError(
            f"checkpoint: {error} Delete it, or choose another path, to train afresh."
        ) from error
    return Written(recipe, facts, tensors)


def _check_same_fit(facts: Facts, fit: Facts) -> None:
    found = mapping("fit", facts)
    for kind in ("versions", "parameters"):
        values = mapping(kind, found)
        others = [
            f"with {name}={repr(values.get(name))[:40]}, not {value!r}"
            for name, value in fit[kind].items()
            if values.get(name) != value
        ]
        if others:
            raise ValueError(f"it is of a fit {'; '.join(others)}.")
    if found.get("data") != fit["data"]:
        raise ValueError("it is of a fit to other data.")
    if found.get("seed") != fit["seed"]:
        raise ValueError("it is of a fit with another random_state.")
    if found.get("start") != fit["start"]:
        raise ValueError("it is of a fit that did not go on from these weights.")


def _signatures(facts: Facts, recipe: Recipe, data: SequenceDataset, names: Names) -> Signatures:
    remembered, copied = mapping("remembered", facts), facts.get("copied")
    if not all(value is None or type(value) in (bool, int, float) for value in remembered.values()):
        raise ValueError("what it remembers is no number.")
    if copied not in ([], ["best_epoch"], ["average"], [*COPIED]):
        raise ValueError("its copies of the weights are not known.")
    if count("n_done", facts) > recipe["max_epochs"]:
        raise ValueError("it has more epochs than the fit.")
    sizes = data.X.n_features, data.y.n_features
    return signatures(mapping("state", facts), recipe, *sizes, names, copied)


def _progress(net: StackedLSTMNet) -> tuple[Facts, dict[str, Tensor]]:
    """Return the state of a net, and what its callbacks remember."""
    state, tensors = state_of(net)
    remembered, copied = {}, []
    for name, callback in net.callbacks_:
        for attribute in _remembers(callback):
            remembered[f"{name}.{attribute}"] = getattr(callback, attribute)
        if getattr(callback, "weights_", None):
            copied.append(name)
            tensors |= _named(net, name, callback.weights_)
    return {"state": state, "remembered": remembered, "copied": copied}, tensors


def _restore_callbacks(net: StackedLSTMNet, written: Written) -> None:
    remembered = written.facts["remembered"]
    for name, callback in net.callbacks_:
        if isinstance(callback, Progress):
            callback.skip(written.n_done)
        for attribute in _remembers(callback):
            setattr(callback, attribute, remembered.get(f"{name}.{attribute}"))
        if name in written.facts["copied"]:
            weights = under(f"{name}.", written.tensors)
            callback.weights_ = [weights[key].to(net.device) for key in _weights(net)]


def _remembers(callback: Callback) -> tuple[str, ...]:
    """Names of the numbers that a callback carries from epoch to epoch."""
    skorch_own = ("best_score_",) if hasattr(callback, "best_score_") else ()
    return getattr(callback, "remembers", skorch_own)


def _named(net: StackedLSTMNet, prefix: str, weights: list[Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": v for key, v in zip(_weights(net), weights, strict=True)}


def _weights(net: StackedLSTMNet) -> list[str]:
    return [name for name, _ in net.module_.named_parameters()]
