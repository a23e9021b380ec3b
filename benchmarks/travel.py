"""Measure what a search sends to the workers of a Dask cluster, and how large it is.

The first table has the sizes of messages, as Dask serializes them. The second one has the bytes
that pass through the loopback device while a grid search of six fits runs on two worker processes,
divided by the size of the windows; nothing else should use that device. The fits have no epochs.
The data are 10,000 rows of 8 columns of float64 and windows of 24 rows.

    python benchmarks/travel.py
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import joblib
import numpy as np
import psutil
from dask.distributed import Client, LocalCluster
from distributed.protocol import serialize_bytelist
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline

from sklstm import LagWindows, StackedLSTMRegressor

N_ROWS, N_COLUMNS, LENGTH = 10_000, 8, 24


def size(thing):
    """Bytes of a message that holds a thing."""
    return sum(memoryview(frame).nbytes for frame in serialize_bytelist(thing))


def sizes(table, windows, y):
    """Yield things, and the bytes of each."""
    yield "table", size(table)
    yield "windows, a view of the table", size(windows)
    yield "windows, a list of arrays", size(list(windows))
    with TemporaryDirectory() as folder:
        np.save(Path(folder) / "table.npy", table)
        yield "table, an np.memmap", size(np.load(Path(folder) / "table.npy", mmap_mode="r"))
    yield "training rows of one of 3 folds", size(next(KFold(3).split(table))[0])
    model = StackedLSTMRegressor(random_state=0)
    yield "regressor, not fitted", size(model)
    yield "pipeline with LagWindows, not fitted", size(make_pipeline(LagWindows(LENGTH), model))
    model.set_params(max_epochs=1).fit(windows, y)
    yield f"regressor, fitted, {model.n_parameters_:,} weights", size(model)
    yield "state_dict of its module", size(model.module_.state_dict())


def sent(search, X, y, scatter):
    """Bytes through the loopback device while a search runs on the cluster."""

    def through_loopback():
        return psutil.net_io_counters(pernic=True)["lo"].bytes_sent

    before = through_loopback()
    with joblib.parallel_config(backend="dask", scatter=[X, y] if scatter else None):
        search.fit(X, y)
    return through_loopback() - before


def searches(table, windows):
    """Yield forms of X, and a search of six fits for each."""
    model = StackedLSTMRegressor(max_epochs=0, linear_steps=None, random_state=0)
    grid = {"n_layers": [1, 2]}
    yield "windows, a view of the table", windows, GridSearchCV(model, grid, cv=3)
    yield "windows, a list of arrays", list(windows), GridSearchCV(model, grid, cv=3)
    pipeline = make_pipeline(LagWindows(LENGTH), model)
    grid = {"stackedlstmregressor__n_layers": [1, 2]}
    yield "table, LagWindows in a pipeline", table, GridSearchCV(pipeline, grid, cv=3)


def main():
    """Print both tables."""
    warnings.filterwarnings("ignore", "Sending large graph")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(N_ROWS, N_COLUMNS))
    windows = LagWindows(LENGTH).fit_transform(table)
    y = rng.normal(size=N_ROWS)
    print(f"{'message':<40} {'kB':>10}")
    for name, n_bytes in sizes(table, windows, y):
        print(f"{name:<40} {n_bytes / 1e3:>10,.1f}")
    print(f"\n{'sent, in sizes of the windows':<40} {'plain':>10} {'scatter':>10}")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        for name, X, search in searches(table, windows):
            ratios = [sent(search, X, y, scatter) / windows.nbytes for scatter in (False, True)]
            print(f"{name:<40} {ratios[0]:>10.2f} {ratios[1]:>10.2f}")


if __name__ == "__main__":
    main()
