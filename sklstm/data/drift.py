"""Whether X and y lie where those of the first fit lay: the scaling is from there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklstm.exceptions import SequenceDataWarning, warn
from sklstm.nn.layers import FAR, Standardize

from .sequences import Sequences

# Numbers to look at: enough for a share, and few enough to cost nothing beside a prediction.
ENOUGH = 2**16
# Share of the values of a feature beyond `FAR` that no outliers explain, and sequences from which
# on it is a share: a few may be those in which a rare event happens, and have to lie `FARTHER`.
MOST, FEW, FARTHER = 0.5, 20, 100.0


def warn_if_far(
    values: Sequences, scaler: Standardize | None, kind: str, names: NDArray[Any] | None = None
) -> None:
    """Warn where most values of a feature lie beyond what the layers tell apart.

    Parameters
    ----------
    values : Sequences
        X that is to be predicted, or X or y to be trained on after a first fit; NaN is no value.

    scaler : Standardize or None
        Statistics of the first fit; without any, there is nothing to say.

    kind : str
        What a column is: "feature" or "output".

    names : ndarray of str or None
        Names of the columns, if they have any.
    """
    if scaler is None:
        return
    mean, scale = (numbers.cpu().numpy().ravel() for numbers in (scaler.mean, scaler.scale))
    reach = (FAR if len(values) >= FEW else FARTHER) * scale
    n_numbers = len(values) * int(values.lengths[0]) * values.n_features
    steps = values[:: max(1, n_numbers // ENOUGH)].steps().reshape(-1, len(mean))
    is_far = (steps < mean - reach) | (steps > mean + reach)
    far = is_far.mean(axis=0)
    if not (far > MOST).any():
        return
    worst = int(far.argmax())
    which = f"{kind} {worst}" if names is None else f"{names[worst]!r}"
    spread = "constant" if scale[worst] == 1 else f"with a standard deviation of {scale[worst]:.3g}"
    warn(
        f"{far[worst]:.0%} of the values of {which} are more than {reach[worst] / scale[worst]:g} "
        "standard deviations from the mean of the data that the model was first fitted to: now "
        f"{np.nanmedian(steps[:, worst]):.3g} in the middle, then {mean[worst]:.3g}, {spread}. "
        "That far out, predictions hardly follow. Give the values in the units of the first fit; "
        "to train on data of another range, fit with warm_start=False.",
        SequenceDataWarning,
    )
