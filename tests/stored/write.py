"""Write the files that later versions have to read: once for each release, never again.

    python tests/stored/write.py

``model-<version>-<name>.safetensors`` is a saved model and the `.npz` beside it what it was asked
and what it answered; ``fit-<version>.checkpoint`` is of a fit that was ended after two epochs.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from sklstm import StackedLSTMRegressor, __version__, save
from sklstm.training import checkpoint as checkpoints

FOLDER = Path(__file__).parent
VERSION = re.sub(r"\.dev\d+$", "", __version__)


def fits():
    """Return the name, the parameters and the data of each model."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4, 2))
    y = X[:, -2:, 0].sum(axis=1)
    table = pd.DataFrame(X.reshape(40, 8), columns=[f"column {i}" for i in range(8)])
    small = {"units": 3, "max_epochs": 6, "random_state": 0}
    quantiles = {
        **small,
        "n_timesteps": 4,
        "dropout": 0.2,
        "head_units": (3,),
        "linear_steps": 2,
        "loss": "quantile",
        "quantile": (0.1, 0.5, 0.9),
        "early_stopping": True,
        "validation_fraction": 0.25,
    }
    return {"defaults": (small, X, y), "quantiles": (quantiles, table, y)}


def end_after(n_written: int):
    """Return what `checkpoints.write` is to be for a fit to end after so many epochs."""
    write, left = checkpoints.write, [n_written]

    def write_and_end(*args):
        written = write(*args)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return written

    return write_and_end


def main():
    for name, (parameters, X, y) in fits().items():
        model = StackedLSTMRegressor(**parameters).fit(X, y)
        path = FOLDER / f"model-{VERSION}-{name}.safetensors"
        save(model, path)
        np.savez_compressed(path.with_suffix(".npz"), X=np.asarray(X), y=model.predict(X))
    parameters, X, y = fits()["defaults"]
    path = FOLDER / f"fit-{VERSION}.checkpoint"
    checkpoints.write = end_after(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        StackedLSTMRegressor(**parameters, checkpoint=path).fit(X, y)


if __name__ == "__main__":
    main()
