"""The sets that the scripts beside this file use, and the parameter of a stack alone."""

from collections import deque

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tsdata.fpp3 import vic_elec

from sklstm import LagWindows

Arrays = tuple[NDArray[np.float32], NDArray[np.float64]]
HORIZON, WINDOW = 6, 24
# The questions are about the stack: no linear shortcut helps it.
ALONE = {"linear_steps": None}


def adding_problem(n_samples: int, n_timesteps: int, seed: int) -> Arrays:
    """Return pairs of marked numbers to add up (S. Hochreiter and J. Schmidhuber, 1997).

    One of the two marks is in each half. A constant prediction of 1 has an error of 1/6.
    """
    rng = np.random.default_rng(seed)
    rows, half = np.arange(n_samples), n_timesteps // 2
    values = rng.random((n_samples, n_timesteps))
    marks = np.zeros_like(values)
    marks[rows, rng.integers(0, half, n_samples)] = 1
    marks[rows, rng.integers(half, n_timesteps, n_samples)] = 1
    return np.stack([values, marks], axis=-1).astype(np.float32), (values * marks).sum(axis=1)


def demand_table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two years of hourly demand, temperature and calendar, and demand 6 hours later."""
    hour = pd.to_datetime(vic_elec["Time"], utc=True).dt.floor("h")
    hourly = vic_elec[["Demand", "Temperature", "Holiday"]].groupby(hour).mean().astype(float)
    local = hourly.index.tz_convert("Australia/Melbourne")
    angle = 2 * np.pi * local.hour / 24
    calendar = [np.sin(angle), np.cos(angle), (local.day_of_week >= 5).astype(float)]
    table = np.column_stack([hourly.to_numpy(), *calendar])[-2 * 365 * 24 :]
    return table[:-HORIZON], table[HORIZON:, 0]


def demand_windows() -> tuple[Arrays, Arrays]:
    """Return windows of 24 hours of the demand table, train and test: its last four months."""
    table, y = demand_table()
    X = LagWindows(WINDOW).fit_transform(table).astype(np.float32)
    n_train = len(X) - 120 * 24
    train = slice(WINDOW - 1, n_train - HORIZON)
    return (X[train], y[train]), (X[n_train:], y[n_train:])


def mackey_glass(n_points: int, seed: int) -> NDArray[np.float64]:
    """Return a Mackey-Glass series, tau 17, in steps of 1, by Euler's method in steps of 0.1.

    The seed draws the constant history that it starts from. The first 1,000 points are not used.
    """
    x = np.random.default_rng(seed).uniform(0.4, 1.4)
    past, series = deque([x] * 170), []
    for _ in range(10 * (n_points + 1000)):
        past.append(x)
        late = past.popleft()
        x += 0.1 * (0.2 * late / (1 + late**10) - 0.1 * x)
        series.append(x)
    return np.array(series[10_000::10])
