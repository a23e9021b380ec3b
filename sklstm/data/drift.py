"""Whether X and y lie where those of the first fit lay: the scaling is from there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklstm.exceptions import SequenceDataWarning, warn

from .scaling import FAR
from .sequences import Sequences

# Numbers to look at: enough for a share, and few enough to cost nothing beside a prediction.
ENOUGH = 2**16
# Share of the values of a feature that must lie beyond `FAR` standard deviations: outliers are
# fewer, data in other units are more.
MOST = 0.5
# With fewer sequences than `FEW`, which may be those in which a rare event happens, the values must
# lie beyond `FARTHER` standard deviations.
FEW, FARTHER = 20, 100.0


def warn_if_far(
    values: Sequences,
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
    kind: str,
    names: NDArray[Any] | None = None,
) -> None:
    """Warn where most values of a feature lie beyond what the layers tell apart.

    `values` are X to predict, or X or y to continue training with; NaN is no value. `mean` and
    `scale` are those of the first fit, of each feature or of each one at each step. The warning
    calls a feature by its name, or else by `kind` and its number.
    """
    mean, scale = mean.ravel(), scale.ravel()
    reach = (FAR if len(values) >= FEW else FARTHER) * scale
    n_numbers = int(values.lengths.sum()) * values.n_features
    steps = values[:: max(1, n_numbers // ENOUGH)].steps().reshape(-1, len(mean))
    is_far = (steps < mean - reach) | (steps > mean + reach)
    if not is_far.any():
        return
    far = is_far.sum(axis=0) / np.isfinite(steps).sum(axis=0).clip(1)
    if not (far > MOST).any():
        return
    worst = int(far.argmax())
    which = f"{kind} {worst}" if names is None else f"{names[worst]!r}"
    spread = "constant" if scale[worst] == 1 else f"with a standard deviation of {scale[worst]:.3g}"
    warn(
        f"{far[worst]:.0%} of the values of {which} are more than {reach[worst] / scale[worst]:g} "
        "standard deviations from the mean of the data that the model was first fitted to: their "
        f"median is {np.nanmedian(steps[:, worst]):.3g} now, and the mean was {mean[worst]:.3g}, "
        f"{spread}. Predictions hardly change that far out. Give the values in the units of the "
        "first fit; to train on data of another range, fit with warm_start=False.",
        SequenceDataWarning,
    )
