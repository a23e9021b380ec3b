"""What "auto" comes to for the data at hand."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sklstm.data.sequences import columns_differ
from sklstm.data.targets import labels_every_output
from sklstm.files.plain import from_plain

from .batches import SequenceDataset, TailSplit
from .building import Recipe, build_net, initialize, optimizer_class
from .callbacks import DivergedError
from .net import StackedLSTMNet
from .shortcut import FEWEST_ROWS, steps_to_read

# Part of the epochs of a fit that the trial of a linear path takes, all of them where that takes a
# second or two, and the part at the end of the data on which the two are compared.
TRIAL_EPOCHS, TRIAL_TAIL = 0.25, 0.2
# Samples from which on a trial of a quarter of the epochs tells: with fewer, ridge regression leads
# unless there are too few rows for its columns.
MANY_SAMPLES = 200
# Labels of a mini-batch that are enough for a step where there is one at each step, and samples.
ENOUGH_LABELS, FEWEST_BATCH, FEWEST_SEQUENCES = 4096, 32, 4
# Labels at its steps for which a sequence may be read as often again as one with a single label,
# and how many times at most.
MANY_LABELS, MOST_REPEATS = 64, 4
DECOUPLED_DECAY = 0.08
NUMBERS = {"max_epochs": int, "lr": float, "weight_decay": float}
NOT_IN_A_RECIPE = ("n_timesteps", "warm_start", "checkpoint", "callbacks", "random_state")
DECIDED = (
    "n_layers",
    "linear_steps",
    "scaled_steps",
    "lr",
    "batch_size",
    "max_epochs",
    "weight_decay",
)
N_LAYERS = 2  # where nothing says how many: the fewest that are a stack


def recipe_of_fit(
    estimator: BaseEstimator, data: SequenceDataset, start: StackedLSTMNet | None, seed: int
) -> Recipe:
    """Decide what a fit is made by; a short training may decide on the linear path.

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

    Returns
    -------
    dict
        The recipe.
    """
    recipe = _recipe(estimator, data, start, seed)
    return {**recipe, "linear_steps": _linear_steps(recipe, estimator, data, start)}


def recipe_of_epoch(
    estimator: BaseEstimator, data: SequenceDataset, start: StackedLSTMNet | None, seed: int
) -> Recipe:
    """Decide what a single epoch at a constant rate is made by, whatever data are to come."""
    known = _known_linear_steps(estimator.linear_steps, start)
    return {
        **_recipe(estimator, data, start, seed),
        "linear_steps": known or 0,
        "max_epochs": 1,
        "lr": _lr(estimator.lr, math.inf),
        "lr_schedule": "constant",
        "early_stopping": False,
    }


def checked_recipe(facts: dict[str, Any], estimator_class: type[BaseEstimator]) -> Recipe:
    """Turn plain facts, whoever wrote them, into a recipe.

    Parameters
    ----------
    facts : dict
        A recipe, each value as from `to_plain`.

    estimator_class : type
        The estimator that the recipe is of.

    Raises
    ------
    ValueError
        If no fit has such a recipe.
    """
    recipe = {name: from_plain(value) for name, value in facts.items()}
    names = {*estimator_class().get_params(), "scaled_steps", "seed"} - {*NOT_IN_A_RECIPE}
    wrong = sorted(names ^ set(recipe))
    if wrong:
        raise ValueError(f"{wrong[0][:40]!r} is missing, or not known to this sklstm.")
    if type(recipe["seed"]) is not int or recipe["seed"] < 0:
        raise ValueError("seed is not a number of at least 0.")
    for name in DECIDED:
        if not isinstance(recipe[name], (int, float)):
            raise ValueError(f"{name} is {repr(recipe[name])[:40]}, not a number.")
    quantiles = _quantiles(recipe["quantile"]) if recipe["loss"] == "quantile" else None
    if quantiles != recipe["quantile"]:
        raise ValueError("quantile does not go with loss.")
    given = {
        **recipe,
        "linear_steps": recipe["linear_steps"] or None,
        "quantile": recipe["quantile"] or 0.5,
    }
    del given["seed"], given["scaled_steps"]
    estimator_class(**given)._validate_params()
    return recipe


def auto_max_epochs(n_samples: int, batch_size: int, labels_each: float = 1) -> int:
    """Return the epochs that make about 1,700 steps, within limits.

    Small data are read 28 times at most, as more would be learned by heart, and long sequences with
    a label at each step more often, as there is more to learn in each.
    """
    most = 28 * min(MOST_REPEATS, max(1, int(labels_each / MANY_LABELS)))
    return min(most, max(10, 1700 * batch_size // n_samples))


def auto_batch_size(n_samples: int, labels_each: float = 1) -> int:
    """Return a 32nd of the samples, within limits.

    The lower limit is 32 samples, or fewer where these have 4,096 labels, one at each step.
    """
    enough = math.ceil(ENOUGH_LABELS / labels_each)
    return min(64, max(min(FEWEST_BATCH, max(FEWEST_SEQUENCES, enough)), n_samples // 32))


def _labels_each(data: SequenceDataset) -> float:
    """Count the labels of a sequence, on average."""
    return float(data.y.lengths.mean()) if data.has_steps else 1.0


def _recipe(
    estimator: BaseEstimator, data: SequenceDataset, start: StackedLSTMNet | None, seed: int
) -> Recipe:
    """Decide everything but the linear path."""
    n_samples, labels_each = len(data), _labels_each(data)
    recipe = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in estimator.get_params(deep=False).items()
        if name not in NOT_IN_A_RECIPE
    }
    optimizer = optimizer_class(recipe["optimizer"])
    recipe["n_layers"] = _n_layers(recipe["n_layers"], recipe["units"], recipe["dropout"])
    recipe["batch_size"] = _batch_size(recipe["batch_size"], data)
    if recipe["max_epochs"] == "auto":
        recipe["max_epochs"] = auto_max_epochs(n_samples, recipe["batch_size"], labels_each)
    if recipe["weight_decay"] == "auto":
        recipe["weight_decay"] = DECOUPLED_DECAY if optimizer is torch.optim.AdamW else 0.0
    recipe["lr"] = _lr(recipe["lr"], n_samples)
    for name, kind in NUMBERS.items():
        recipe[name] = kind(recipe[name])
    quantiles = _quantiles(recipe["quantile"])
    recipe["quantile"] = quantiles if recipe["loss"] == "quantile" else None
    return {**recipe, "scaled_steps": _scaled_steps(estimator, data, start), "seed": seed}


def _n_layers(n_layers: int | str, units: Any, dropout: Any) -> int:
    if not isinstance(n_layers, str):
        return n_layers
    for name, sizes in (("units", units), ("dropout", dropout)):
        # An array without axes is refused by name where the layers are made.
        if not isinstance(sizes, Real) and getattr(sizes, "ndim", None) != 0:
            if not len(sizes):
                raise ValueError(f"{name}={sizes!r} has no layer.")
            return len(sizes)
    return N_LAYERS


def _scaled_steps(
    estimator: BaseEstimator, data: SequenceDataset, start: StackedLSTMNet | None
) -> int:
    """Return the columns of 2-D X that are scaled each for itself, or 0: they are always the same.

    The steps of any other X share their scale, as they may be as many as they like.
    """
    if start is not None:
        return start.get_params_for("module")["scaled_steps"]
    if not estimator.standardize or estimator._X_form != "rows" or not data.X.are_equal:
        return 0
    n_steps = int(data.X.lengths[0])
    return n_steps if n_steps > 1 and columns_differ(data.X, data.sample_weight) else 0


def _batch_size(batch_size: int | str, data: SequenceDataset) -> int:
    if isinstance(batch_size, str):
        return auto_batch_size(len(data), _labels_each(data))
    return int(batch_size)


def _lr(lr: float | str, n_samples: float) -> float:
    if isinstance(lr, str):
        return 0.01 * min(3.0, max(1.0, math.sqrt(4000 / n_samples)))
    return lr


def _quantiles(quantile: Any) -> float | list[float]:
    if isinstance(quantile, Real):
        return float(quantile)
    quantiles = np.asarray(quantile)
    real = quantiles.ndim == 1 and quantiles.dtype.kind in "iuf" and len(quantiles)
    if not real or not (np.diff([0.0, *quantiles, 1.0]) > 0).all():
        raise ValueError(
            f"quantile={quantile!r} must be a float in (0, 1), or several in rising order."
        )
    return [float(value) for value in quantiles]


def _known_linear_steps(linear_steps: int | str | None, start: StackedLSTMNet | None) -> int | None:
    """Return the steps of the linear path, or `None` if the data are to decide."""
    if not isinstance(linear_steps, str):
        return linear_steps or 0
    return None if start is None else start.module_.linear_steps


def _linear_steps(
    recipe: Recipe,
    estimator: BaseEstimator,
    data: SequenceDataset,
    start: StackedLSTMNet | None,
) -> int:
    known = _known_linear_steps(recipe["linear_steps"], start)
    if known is not None:
        return known
    if recipe["early_stopping"]:
        data = TailSplit(recipe["validation_fraction"])(data)[0]
    n_steps = steps_to_read(data)
    n_rows, n_columns = len(data) * _labels_each(data), n_steps * data.X.n_features
    if n_steps == 0 or n_rows < FEWEST_ROWS:
        return 0
    if len(data) < MANY_SAMPLES and n_columns < n_rows:
        return n_steps if recipe["loss"] == "squared_error" else 0
    return 0 if _stack_leads(estimator, data, n_steps, recipe["seed"]) else n_steps


def _stack_leads(estimator: BaseEstimator, data: SequenceDataset, n_steps: int, seed: int) -> bool:
    """Whether a short training of the stack alone beats the linear path alone on the tail."""
    n_head = len(data) - math.ceil(TRIAL_TAIL * len(data))
    if n_head == 0:
        return False
    head, tail = data.split(n_head)
    if not labels_every_output(head.y):
        return True
    whole = _recipe(estimator, data, None, seed)
    n_epochs = auto_max_epochs(len(data), whole["batch_size"], _labels_each(data))
    rehearsed = {
        **whole,
        "batch_size": _batch_size(estimator.batch_size, head),
        "max_epochs": math.ceil(n_epochs * (TRIAL_EPOCHS if len(data) >= MANY_SAMPLES else 1)),
        "quantile": None if whole["quantile"] is None else 0.5,
        "early_stopping": False,
        "verbose": 0,
    }
    path, stack = (
        build_net({**rehearsed, "linear_steps": steps}, data.X.n_features, data.y.n_features)
        for steps in (n_steps, 0)
    )
    initialize(path, head, None)
    path.silence_stack()
    initialize(stack, head, None)
    try:
        stack.rehearse(head)
    except DivergedError:
        return False
    return stack.mean_loss(tail) < path.mean_loss(tail)
