"""Save and load a fitted estimator: one safetensors file, no pickle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from .data.inputs import KINDS, InputForm
from .data.targets import TargetForm
from .files.container import (
    CONTENT_ERRORS,
    Metadata,
    StrPath,
    naming_file,
    read,
    shortened,
    write,
)
from .files.plain import from_plain, to_plain
from .files.versions import library_versions, of_another_version, upgraded
from .regressor import StackedLSTMRegressor
from .training.net import make_net
from .training.plan import FitPlan
from .training.runtime import resolve_autocast, resolve_device
from .training.state_file import from_file, to_file

MODEL = "model"
# What y can look like, and its types: those of numpy that hold real numbers.
CONTAINERS_OF_Y = ("array", "list", "object")
DTYPES = [np.dtype(code).name for code in f"?{np.typecodes['AllInteger']}{np.typecodes['Float']}"]


def save(estimator: StackedLSTMRegressor, path: StrPath) -> None:
    """Save a fitted estimator to a file.

    The file is a safetensors file. It holds the weights, the scaling, the parameters, the history,
    the optimizer state and the versions of the libraries, but no code: loading a file runs nothing
    that its author wrote. It is written whole or not at all.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        A fitted estimator.

    path : str or os.PathLike
        The file. An older file is replaced.

    Raises
    ------
    TypeError
        If `estimator` is something else, such as a pipeline: save its last step. Of a search,
        save `best_estimator_`; of a `TransformedTargetRegressor`, save `regressor_`. If `path` is
        neither a str nor an os.PathLike.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If a parameter is an object that a file without code cannot hold: `callbacks`, a class as
        `optimizer`, a generator as `random_state`. If a parameter is out of range. If the names of
        columns and layers are longer than such a file allows, 100 MB. Nothing is written then.
    OSError
        If the file cannot be written. An older file is then unchanged.

    See Also
    --------
    load : Load the estimator again.

    Notes
    -----
    `checkpoint` and metadata requests are not saved. When a file is replaced, its permissions stay
    the same. A file that is read-only is replaced, too.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor, load, save
    >>> X, y = np.random.default_rng(0).normal(size=(50, 5, 1)), np.arange(50.0)
    >>> model = StackedLSTMRegressor(units=4, max_epochs=2, random_state=0).fit(X, y)
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.safetensors")
    ...     save(model, path)
    ...     loaded = load(path)
    >>> bool((loaded.predict(X) == model.predict(X)).all())
    True
    """
    _check_path(path)
    if type(estimator) is not StackedLSTMRegressor:
        advice = (
            ". Of a pipeline, save the last step; of a search, best_estimator_; of a "
            "TransformedTargetRegressor, regressor_. What is around the regressor is not in the "
            "file."
        )
        if isinstance(estimator, StackedLSTMRegressor):
            advice = (
                ", a subclass of it. The file holds no code, so the code of a subclass cannot be "
                "saved."
            )
        raise TypeError(
            f"save takes a StackedLSTMRegressor, got {type(estimator).__name__}{advice}"
        )
    check_is_fitted(estimator)
    estimator._validate_params()
    params = estimator.get_params(deep=False)
    del params["checkpoint"]
    net, y_form = estimator.net_, estimator._y_form
    names = getattr(estimator, "feature_names_in_", None)
    metadata: Metadata = {
        "versions": library_versions(),
        "parameters": {name: to_plain(name, value) for name, value in params.items()},
        "plan": estimator._plan.to_dict(),
        "form": {
            "n_features": net.module_.n_features,
            "n_outputs": estimator.n_outputs_,
            "n_features_in": estimator.n_features_in_,
            "feature_names_in": None if names is None else [str(name) for name in names],
            "X": estimator._X_form.kind,
            "y": {**asdict(y_form), "dtype": y_form.dtype.name},
        },
    }
    of_state, tensors = to_file(net.state_.state_dict(net))
    metadata |= of_state
    try:
        _checked(metadata, tensors)
    except CONTENT_ERRORS as error:
        raise ValueError(
            f"{os.fspath(path)!r} is not written, as it could not be read: {str(error)[:500]}"
        ) from error
    write(path, MODEL, metadata, tensors)


def load(path: StrPath, *, device: str | torch.device | None = None) -> StackedLSTMRegressor:
    """Load an estimator from a file that `save` wrote.

    It predicts the same as the estimator that was saved: on the same machine and with the same
    versions of the libraries, to the last bit. Files of all earlier versions can be read. A
    parameter that is newer than the file has the value that describes what sklstm did then.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    device : str or torch.device, default=None
        Where the estimator computes; by default the device on which it was fitted.

    Returns
    -------
    StackedLSTMRegressor
        The fitted estimator.

    Raises
    ------
    OSError
        If the file cannot be opened.
    TypeError
        If `path` is neither a str nor an os.PathLike.
    ValueError
        If the file was not written by `save`, or is damaged. If a later version of sklstm wrote
        it: the message names the version. If its content is no model, or a model that does not fit
        the memory of this machine, or if `device` cannot be used.

    See Also
    --------
    save : Save an estimator.

    Notes
    -----
    No code from the file is run. The checksum in the file detects damage. It does not tell who
    wrote the file.
    """
    _check_path(path)
    version, metadata, tensors = read(path, MODEL)
    given = {} if device is None else {"device": device}
    with naming_file(path):
        saved = _checked(*upgraded(version, metadata, tensors))
        estimator = StackedLSTMRegressor(**saved.params | given)
        estimator._validate_params()
    # From here on, an error is about this machine, not about the file.
    plan = saved.plan
    plan = replace(plan, device=resolve_device(plan.device if device is None else device))
    try:
        resolve_autocast(plan.precision, plan.device)
    except ValueError:
        # Only training rounds. So a model predicts the same where bfloat16 cannot be used.
        plan = replace(plan, precision="float32")
    net = make_net(plan, saved.n_features, saved.n_outputs, verbose=estimator.verbose)
    net.state_.load_state_dict(net, saved.state)
    net.state_.is_over = True
    for name, value in (saved.attributes | {"net_": net, "_plan": plan}).items():
        setattr(estimator, name, value)
    return estimator


def _check_path(path: StrPath) -> None:
    if isinstance(path, bytes):
        raise TypeError(f"path is {path!r:.80}, expected a str: os.fsdecode(path) makes one of it.")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {path!r:.80}, expected a str or an os.PathLike.")


@dataclass(frozen=True)
class _Saved:
    """The content of a file after all checks."""

    params: dict[str, Any]
    plan: FitPlan
    n_features: int
    n_outputs: int
    attributes: dict[str, Any]
    state: dict[str, Any]


def _checked(metadata: Metadata, tensors: Mapping[str, Tensor]) -> _Saved:
    """Check the content of a file, which anybody may have written, before a net is made.

    A ValueError says what is wrong. Metadata of another structure raise whatever they raise.
    """
    # The parameters come first: if the file is of a later version, their error names it.
    params = _checked_params(metadata)
    plan, form = FitPlan.from_dict(metadata["plan"]), metadata["form"]
    attributes = _checked_form(form, plan)
    sizes = form["n_features"], form["n_outputs"]
    state = from_file(metadata, tensors, plan, *sizes)
    return _Saved(params, plan, *sizes, attributes, state)


def _checked_params(metadata: Metadata) -> dict[str, Any]:
    """Return the parameters of the estimator, all of which `fit` would accept."""
    values = metadata["parameters"]
    known = set(StackedLSTMRegressor().get_params()) - {"checkpoint"}
    for name in sorted(set(values) - known):
        raise ValueError(
            f"This sklstm does not know the parameter {name[:40]!r}.{of_another_version(metadata)}"
        )
    for name in sorted(known - set(values)):
        raise ValueError(f"The parameter {name!r} is missing.")
    params = {name: from_plain(value) for name, value in values.items()}
    if params["callbacks"]:
        raise ValueError("callbacks must be empty: no file can hold them.")
    StackedLSTMRegressor(**params)._validate_params()
    return params


def _checked_form(form: Metadata, plan: FitPlan) -> dict[str, Any]:
    """Return the fitted attributes about the form of X and y."""
    y, names, n_outputs = {**form["y"]}, form["feature_names_in"], form["n_outputs"]
    is_known = form["X"] in KINDS and y["container"] in CONTAINERS_OF_Y
    if not is_known or y["dtype"] not in DTYPES or set(y) != {f.name for f in fields(TargetForm)}:
        raise ValueError("The forms of X and y are not known.")
    if y["has_steps"] is not plan.return_sequences or type(y["has_outputs"]) is not bool:
        raise ValueError("The form of y does not agree with return_sequences.")
    counts = {"n_features_in": form["n_features_in"], "n_outputs": n_outputs}
    if y["horizon"] is not None:
        counts["horizon"] = y["horizon"]
    for name, value in counts.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} is {shortened(value)}, not an integer of at least 1.")
    if not y["has_outputs"] and n_outputs != 1:
        raise ValueError(f"y has one target and {n_outputs}.")
    if y["horizon"] is not None:
        is_one_a_sample = y["has_outputs"] and not y["has_steps"]
        if not is_one_a_sample or n_outputs % y["horizon"]:
            raise ValueError(f"y has a horizon of {y['horizon']} steps and {n_outputs} targets.")
    attributes: dict[str, Any] = {
        "n_features_in_": form["n_features_in"],
        "_X_form": InputForm(form["X"], form["n_features_in"]),
        "_y_form": TargetForm(**{**y, "dtype": np.dtype(y["dtype"])}),
    }
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("feature_names_in is not a list of names.")
        attributes["feature_names_in_"] = np.array(names, dtype=object)
    return attributes
