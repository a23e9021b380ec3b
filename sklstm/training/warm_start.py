"""A fit that continues another: with the same layers, or with more layers on top."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklstm.nn.stack import per_layer

from .net import StackedLSTMNet

# Where the sizes of a module come from that no parameter of their name sets.
ORIGINS = {
    "n_layers": " With 'auto' it is the length of units or dropout.",
    "n_quantiles": " It is the length of quantile.",
}


def continue_net(net: StackedLSTMNet, start: StackedLSTMNet) -> None:
    """Give a new net the weights, the statistics and the history of the one that it continues.

    Raises
    ------
    ValueError
        If it has other layers or sizes, unless it only has more layers on top.
    """
    fitted, wanted = _sizes(start), _sizes(net)
    n_fitted, n_wanted = fitted["n_layers"], wanted["n_layers"]
    if n_fitted == 1:  # no layer has a skip connection yet
        fitted["skip"] = wanted["skip"]
    if n_wanted > n_fitted:
        if wanted["skip"] is None:
            raise ValueError(
                f"n_layers={n_wanted} cannot grow from {n_fitted} with skip=None: a layer without "
                "a skip connection changes the predictions. Set skip='residual'."
            )
        units = fitted["units"] + fitted["units"][-1:] * (n_wanted - n_fitted)
        if wanted["units"] != units:
            raise ValueError(
                f"units={wanted['units']!r}, but a model fitted with units={fitted['units']!r} "
                f"grows to {units!r}: new layers have the units of the one below."
            )
        fitted.update(n_layers=n_wanted, units=units)
    for name, value in wanted.items():
        if not np.array_equal(value, fitted[name]):
            raise ValueError(
                f"{name}={value!r}, but the model that is continued was fitted with "
                f"{name}={fitted[name]!r}. Fit with warm_start=False to start afresh."
                + ORIGINS.get(name, "")
            )
    net.continue_from(start)


def _sizes(net: StackedLSTMNet) -> dict[str, Any]:
    sizes = net.get_params_for("module")
    for name in ("dropout", "dtype", "autocast"):  # these may change
        del sizes[name]
    sizes["units"] = per_layer("units", sizes["units"], sizes["n_layers"])
    return sizes
