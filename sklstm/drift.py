"""Whether X lies where the data of the first fit lay: the scaling is from there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .exceptions import SequenceDataWarning, warn
from .layers import FAR, Standardize
from .sequences import Sequences

# Numbers to look at: enough for a share, and few enough to cost nothing beside a prediction.
ENOUGH = 2**16
# Share of the values of a feature beyond `FAR` that no outliers explain.
MOST = 0.5


def warn_if_far(X: Sequences, scaler: Standardize | None, names: NDArray[Any] | None) -> None:
    """Warn where most values of a feature lie beyond what the layers tell apart.

    Parameters
    ----------
    X : Sequences
        What is to be predicted, or trained on after a first fit.

    scaler : Standardize or None
        Statistics of the first fit; without any, there is nothing to say.

    names : ndarray of str or None
        Names of the features, if they have any.
    """
    if scaler is None:
        return
    mean, scale = (values.cpu().numpy().ravel() for values in (scaler.mean, scaler.scale))
    n_numbers = len(X) * int(X.lengths[0]) * X.n_features
    values = X[:: max(1, n_numbers // ENOUGH)].steps().reshape(-1, len(mean))
    reach = FAR * scale
    is_far = (values < mean - reach) | (values > mean + reach)
    far = is_far.mean(axis=0)
    if not (far > MOST).any():
        return
    worst = int(far.argmax())
    kind = "column" if scaler.mean.ndim > 1 else "feature"
    which = f"{kind} {worst}" if names is None else f"{names[worst]!r}"
    middle = np.median(values[:, worst])
    warn(
        f"{far[worst]:.0%} of the values of {which} are more than {FAR:g} standard deviations from "
        f"the mean of the data that the model was first fitted to: now {middle:.3g} in the middle, "
        f"then {mean[worst]:.3g} with a standard deviation of {scale[worst]:.3g}. That far out, "
        "predictions hardly follow. Give X in the units of the first fit; to train on data of "
        "another range, fit with warm_start=False.",
        SequenceDataWarning,
    )
