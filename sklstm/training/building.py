"""From a recipe to the skorch net of a fit, fresh or going on from another.

A recipe is what a fit is made by: the parameters of the estimator, each "auto" decided, and a
seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch

from sklstm.data.sequences import mean_and_scale, mean_and_scale_of_columns
from sklstm.data.targets import mean_and_scale_of_labels, median_and_spread_of_labels
from sklstm.nn.stack import StackedLSTM, per_layer

from .batches import PREDICT_ROWS, Batches, SequenceDataset, TailSplit
from .callbacks import training_callbacks
from .net import (
    FUSED,
    LOSSES,
    OPTIMIZERS,
    StackedLSTMNet,
    resolve_autocast,
    resolve_device,
)
from .room import check_room
from .shortcut import fit_linear_path

Recipe = dict[str, Any]
# The parameters that decide how many weights there are.
SIZES = (
    *("units", "n_layers", "head_units", "linear_steps"),
    *("bidirectional", "pooling", "return_sequences"),
)
# Where sizes of a module come from that are no parameters of the estimator, or not always.
FROM = {
    "n_layers": " With 'auto' it is the length of units or dropout.",
    "n_quantiles": " It is the length of quantile.",
}
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}


def build_net(
    recipe: Recipe, n_features: int, n_outputs: int, callbacks: Sequence[Any] = ()
) -> StackedLSTMNet:
    """Make the skorch net of one fit.

    Parameters
    ----------
    recipe : dict
        What the fit is made by.

    n_features : int
        Features at each step.

    n_outputs : int
        Targets.

    callbacks : sequence of skorch callbacks
        What runs after the callbacks of every fit.

    Raises
    ------
    ValueError
        If the device or its arithmetic cannot be used, the optimizer lacks a parameter, or
        the machine lacks the memory.
    """
    optimizer = optimizer_class(recipe["optimizer"])
    fused = {"optimizer__fused": True} if optimizer in FUSED else {}
    quantile, early_stopping = recipe["quantile"], recipe["early_stopping"]
    device = resolve_device(recipe["device"])
    sizes = {name: recipe[name] for name in SIZES}
    check_room(sizes, n_features, n_outputs, PRECISIONS[recipe["precision"]].itemsize)
    own_callbacks = training_callbacks(
        lr_schedule=recipe["lr_schedule"],
        clip_norm=recipe["clip_norm"],
        monitor="valid_loss" if early_stopping else "train_loss",
        patience=recipe["n_iter_no_change"] if early_stopping else None,
        tol=recipe["tol"],
        progress=recipe["verbose"] == 1,
    )
    return StackedLSTMNet(
        StackedLSTM,
        **{f"module__{name}": value for name, value in module_sizes(recipe).items()},
        module__n_features=n_features,
        module__n_outputs=n_outputs,
        module__autocast=resolve_autocast(recipe["precision"], device),
        criterion=LOSSES[recipe["loss"]],
        criterion__reduction="none",
        **({} if quantile is None else {"criterion__quantiles": quantile}),
        optimizer=optimizer,
        optimizer__weight_decay=recipe["weight_decay"],
        lr=recipe["lr"],
        max_epochs=recipe["max_epochs"],
        batch_size=recipe["batch_size"],
        dataset=SequenceDataset,
        iterator_train=Batches,
        iterator_train__shuffle=True,
        iterator_valid=Batches,
        iterator_valid__batch_size=PREDICT_ROWS,
        train_split=TailSplit(recipe["validation_fraction"] if early_stopping else None),
        callbacks=[*own_callbacks, *callbacks],
        device=device,
        verbose=max(0, int(recipe["verbose"]) - 1),
        seed=recipe["seed"],
        **fused,
    )


def module_sizes(recipe: Recipe) -> dict[str, Any]:
    """Return the parameters of the module but for what the data and the device decide."""
    quantile = recipe["quantile"]
    names = ("n_layers", "units", "dropout", "bidirectional", "skip", "pooling", "head_units")
    return {
        **{name: recipe[name] for name in names},
        "return_sequences": recipe["return_sequences"],
        "linear_steps": recipe["linear_steps"],
        "n_quantiles": len(quantile) if isinstance(quantile, list) else None,
        "standardize": recipe["standardize"],
        "scaled_steps": recipe["scaled_steps"],
        "dtype": PRECISIONS[recipe["precision"]],
    }


def optimizer_class(optimizer: str | type[torch.optim.Optimizer]) -> Any:
    """Return the class of an optimizer, which may be given by name.

    Raises
    ------
    ValueError
        If a class does not take what the estimator sets.
    """
    if isinstance(optimizer, str):
        return OPTIMIZERS[optimizer]
    missing = {"lr", "weight_decay"} - _arguments(optimizer)
    if missing:
        raise ValueError(f"optimizer={optimizer!r} does not take {sorted(missing)}.")
    return optimizer


def _arguments(function: Callable[..., Any]) -> set[str]:
    try:
        return set(signature(function).parameters)
    except ValueError:
        return set()


def initialize(net: StackedLSTMNet, data: SequenceDataset, start: StackedLSTMNet | None) -> None:
    """Give a net fresh weights, statistics and linear path, or those it goes on from.

    Raises
    ------
    ValueError
        If the net has other layers or sizes than that which it goes on from.
    """
    net.initialize()
    if start is not None:
        _check_goes_on(net, start)
        net.resume(start)
        return
    if net.module_.input_scaler is not None:
        of_inputs = mean_and_scale_of_columns if net.module__scaled_steps else mean_and_scale
        of_labels = median_and_spread_of_labels if is_robust(net) else mean_and_scale_of_labels
        net.set_statistics(
            of_inputs(data.X, data.sample_weight), of_labels(data.y, data.sample_weight)
        )
    fit_linear_path(net.module_, net.train_split(data)[0], is_robust(net))


def is_robust(net: StackedLSTMNet) -> bool:
    """Tell whether the loss of a net grows no faster than large errors."""
    return net.criterion is not LOSSES["squared_error"]


def _check_goes_on(net: StackedLSTMNet, start: StackedLSTMNet) -> None:
    """Check that a net has the layers and sizes of another, or more layers on top."""
    fitted, wanted = _sizes(start), _sizes(net)
    if fitted["n_layers"] == 1:
        fitted["skip"] = wanted["skip"]
    if wanted["n_layers"] > fitted["n_layers"]:
        fitted = _grown(fitted, wanted)
    for name, value in wanted.items():
        if not np.array_equal(value, fitted[name]):
            raise ValueError(
                f"{name}={value!r}, but the model to go on from was fitted with "
                f"{name}={fitted[name]!r}. Fit with warm_start=False to start afresh."
                + FROM.get(name, "")
            )


def _sizes(net: StackedLSTMNet) -> dict[str, Any]:
    sizes = net.get_params_for("module")
    del sizes["dropout"], sizes["dtype"], sizes["autocast"]
    sizes["skip"] = sizes["skip"] and "residual"
    sizes["units"] = per_layer("units", sizes["units"], sizes["n_layers"])
    return sizes


def _grown(fitted: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Sizes of a model grown as wanted."""
    n_layers, n_wanted = fitted["n_layers"], wanted["n_layers"]
    if wanted["skip"] is None:
        raise ValueError(
            f"n_layers={n_wanted} cannot grow from {n_layers} with skip=None: a layer without a "
            "path around it changes the predictions. Set skip='residual'."
        )
    units = fitted["units"] + fitted["units"][-1:] * (n_wanted - n_layers)
    if wanted["units"] != units:
        raise ValueError(
            f"units={wanted['units']!r}, but a model fitted with units={fitted['units']!r} grows "
            f"to {units!r}: new layers have the units of the one below."
        )
    return {**fitted, "n_layers": n_wanted, "units": units}
