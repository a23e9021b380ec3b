"""Save and load a fitted estimator: one safetensors file, no pickle."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .data.targets import TargetForm
from .files.container import (
    MADE_UP,
    Facts,
    Names,
    Signatures,
    StrPath,
    of_another_version,
    read,
    write,
)
from .files.plain import from_plain, to_plain, versions
from .regressor import StackedLSTMRegressor
from .training.building import Recipe, build_net
from .training.recipes import checked_recipe
from .training.state import count, mapping, restore, signatures, state_of

MODEL = "model"
FORMS = ("rows", "steps", "series")
CONTAINERS = ("array", "list", "object")
DTYPES = [np.dtype(code).name for code in f"?{np.typecodes['AllInteger']}{np.typecodes['Float']}"]


def save(estimator: StackedLSTMRegressor, path: StrPath) -> None:
    """Save a fitted estimator to a file.

    The file is a safetensors file, with the weights, the scaling, the parameters, the history,
    what the optimizer remembers, and the versions of the libraries. It holds no code: whoever
    loads it runs nothing of whoever wrote it. It is written whole or not at all.

    Parameters
    ----------
    estimator : StackedLSTMRegressor
        A fitted estimator.

    path : str or os.PathLike
        The file. One that exists is replaced.

    Raises
    ------
    TypeError
        If `estimator` is something else, such as a pipeline: save its last step. Of a search,
        save `best_estimator_`; of a `TransformedTargetRegressor`, `regressor_`. If `path` is
        neither a str nor an os.PathLike.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If a parameter is an object that a file without code cannot hold: `callbacks`, a class as
        `optimizer`, a generator as `random_state`; or if one is out of range; or if names of
        columns and layers are more text than such a file holds, 100 MB. Nothing is written then.
    OSError
        If the file cannot be written. What was there before still is.

    See Also
    --------
    load : Load the estimator again.

    Notes
    -----
    `checkpoint` is not saved, and neither are metadata requests. A file that is replaced keeps its
    permissions; one that only may not be written to is replaced as well.

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
    if type(estimator) is not StackedLSTMRegressor:
        raise TypeError(
            f"save takes a StackedLSTMRegressor, got {type(estimator).__name__}"
            f"{_what_to_save(estimator)}"
        )
    _check_path(path)
    check_is_fitted(estimator)
    estimator._validate_params()
    parameters = estimator.get_params(deep=False)
    del parameters["checkpoint"]
    state, tensors = state_of(estimator.net_)
    facts = {
        "versions": versions(),
        "parameters": {name: to_plain(name, value) for name, value in parameters.items()},
        "recipe": {name: to_plain(name, value) for name, value in estimator._recipe.items()},
        "form": _form(estimator),
        "best_epoch": estimator.best_epoch_,
        "state": state,
    }
    write(path, MODEL, facts, tensors, _understand)


def load(path: StrPath, *, device: str | torch.device | None = None) -> StackedLSTMRegressor:
    """Load an estimator that was saved to a file.

    Its predictions are those of the estimator that was saved: on the same machine and with the
    same versions of the libraries, to the last bit. Files of every version so far are read;
    parameters that are newer than the file are what they were then.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    device : str or torch.device, default=None
        The estimator's `device` from now on; by default what it was when it was saved.

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
        If it is not such a file, or damaged, or written by a later sklstm (which it names), or
        if it does not make a model, or not one for this machine's memory or for `device`. No
        code from the file is run. The checksum in it finds damage; it does not tell who wrote
        the file.

    See Also
    --------
    save : Save an estimator.
    """
    _check_path(path)
    saved, tensors = read(path, MODEL, _understand)
    on_device = {} if device is None else {"device": device}
    recipe = saved.recipe | on_device
    estimator = StackedLSTMRegressor(**saved.parameters | on_device)
    estimator._validate_params()
    try:
        net = build_net(_to_predict(recipe), saved.n_features, saved.n_outputs).initialize()
        restore(net, saved.state, tensors)
    except MADE_UP as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be read: {error}") from error
    net.best_epoch.best_epoch_ = saved.best_epoch
    for name, value in (saved.attributes | {"net_": net, "_recipe": recipe}).items():
        setattr(estimator, name, value)
    return estimator


def _what_to_save(estimator: object) -> str:
    if isinstance(estimator, StackedLSTMRegressor):
        return (
            ", a subclass of it. The file holds no code, so the code of a subclass cannot be saved."
        )
    return (
        ". Of a pipeline, save the last step; of a search, best_estimator_; of a "
        "TransformedTargetRegressor, regressor_. What is around the regressor is not in the file."
    )


def _check_path(path: StrPath) -> None:
    if isinstance(path, bytes):
        raise TypeError(f"path is {path!r:.80}, expected a str: os.fsdecode(path) makes one of it.")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path is {path!r:.80}, expected a str or an os.PathLike.")


@dataclass(frozen=True)
class _Saved:
    """What the facts of a file say, each of it possible."""

    parameters: dict[str, Any]
    recipe: Recipe
    n_features: int
    n_outputs: int
    attributes: dict[str, Any]
    best_epoch: int | None
    state: Facts


def _to_predict(recipe: Recipe) -> Recipe:
    """Leave out the rounding of training, which is not to be had everywhere."""
    rounds = recipe["precision"] == "bfloat16"
    return recipe | {"precision": "float32"} if rounds else recipe


def _understand(facts: Facts, names: Names) -> tuple[_Saved, Signatures]:
    saved = _checked(facts)
    sizes = saved.recipe, saved.n_features, saved.n_outputs
    return saved, signatures(saved.state, *sizes, names)


def _checked(facts: Facts) -> _Saved:
    # The parameters first: of a later version, they tell which one.
    parameters = _checked_parameters(facts)
    recipe = checked_recipe(mapping("recipe", facts), StackedLSTMRegressor)
    form, state = mapping("form", facts), mapping("state", facts)
    best_epoch = None if facts.get("best_epoch") is None else count("best_epoch", facts)
    return _Saved(
        parameters=parameters,
        recipe=recipe,
        n_features=count("n_features", form),
        n_outputs=count("n_outputs", form),
        attributes=_checked_attributes(form, recipe),
        best_epoch=best_epoch,
        state=state,
    )


def _checked_parameters(facts: Facts) -> dict[str, Any]:
    values = mapping("parameters", facts)
    known = set(StackedLSTMRegressor().get_params()) - {"checkpoint"}
    for name in sorted(set(values) - known):
        raise ValueError(
            f"it has a parameter that this sklstm does not know: {name[:40]!r}."
            f"{of_another_version(facts)}"
        )
    for name in sorted(known - set(values)):
        raise ValueError(f"it lacks the parameter {name!r}.")
    parameters = {name: from_plain(value) for name, value in values.items()}
    if parameters["callbacks"]:
        raise ValueError("callbacks are in no file.")
    StackedLSTMRegressor(**parameters)._validate_params()
    return parameters


def _form(estimator: StackedLSTMRegressor) -> Facts:
    """Return what X and y looked like in `fit`."""
    y_form, names = estimator._y_form, getattr(estimator, "feature_names_in_", None)
    return {
        "n_features": estimator.module_.n_features,
        "n_outputs": estimator.n_outputs_,
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": None if names is None else [str(name) for name in names],
        "X": estimator._X_form,
        "y": {**asdict(y_form), "dtype": y_form.dtype.name},
    }


def _checked_attributes(form: Facts, recipe: Recipe) -> dict[str, Any]:
    # Files of sklstm 0.1 were written before y had a horizon.
    y_form = {"horizon": None, **mapping("y", form)}
    if form.get("X") not in FORMS or y_form.get("dtype") not in DTYPES:
        raise ValueError("the forms of X and y are not known.")
    if y_form.get("container") not in CONTAINERS or type(y_form.get("has_outputs")) is not bool:
        raise ValueError("the form of y is not known.")
    if set(y_form) != {field.name for field in fields(TargetForm)}:
        raise ValueError("the form of y is not known.")
    if y_form.get("has_steps") is not recipe["return_sequences"]:
        raise ValueError("the form of y does not go with return_sequences.")
    if not y_form["has_outputs"] and form["n_outputs"] != 1:
        raise ValueError(f"y has one target and {form['n_outputs']}.")
    if y_form["horizon"] is not None:
        _check_horizon(count("horizon", y_form), y_form, form["n_outputs"])
    attributes = {
        "n_features_in_": count("n_features_in", form),
        "_X_form": form["X"],
        "_y_form": TargetForm(**{**y_form, "dtype": np.dtype(y_form["dtype"])}),
    }
    names = form.get("feature_names_in")
    if names is None:
        return attributes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("feature_names_in is not a list of names.")
    return {**attributes, "feature_names_in_": np.array(names, dtype=object)}


def _check_horizon(horizon: int, y_form: Facts, n_outputs: int) -> None:
    one_a_sample = y_form["has_outputs"] and not y_form["has_steps"]
    if not one_a_sample or horizon < 1 or n_outputs % horizon:
        raise ValueError(f"y has a horizon of {horizon} steps and {n_outputs} targets.")
