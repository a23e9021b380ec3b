"""The sets of the accuracy benchmark: real, artificial, long and small ones.

Each is drawn or cut by a seed. Real series are split in time, and neither part sees the other. Bike
sharing and the turbofans are read from the folder in the environment variable SKLSTM_DATA.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import tsdata.fpp3
import tsdata.fpppy
from how_deep.data import adding_problem, mackey_glass
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float64]
DATA = Path(os.environ.get("SKLSTM_DATA", "data"))


@dataclass(frozen=True)
class Task:
    """Sequences and targets to learn from and to predict.

    `persistence` is the target last seen, as a prediction for the test part.
    """

    X: Array
    y: Array
    X_test: Array
    y_test: Array
    persistence: Array | None = None


def series(
    table: Array, n_steps: int, n_train: int, n_test: int, *, ahead: int = 1, horizon: int = 1
) -> Task:
    """Cut the last windows of a table, whose first column is the target.

    A window is followed by `horizon` targets, the first of them `ahead` steps after it.
    """
    windows = sliding_window_view(table, n_steps, axis=0).transpose(0, 2, 1)
    reach = ahead + horizon - 1
    futures = sliding_window_view(table[n_steps + ahead - 1 :, 0], horizon)
    X, y = windows[:-reach][: len(futures)], futures
    test = slice(len(X) - n_test, None)
    train = slice(max(0, len(X) - n_test - reach - n_train), len(X) - n_test - reach)
    last = np.repeat(X[test][:, -1, :1], horizon, axis=1)
    y, last = (y, last) if horizon > 1 else (y[:, 0], last[:, 0])
    return Task(X[train], y[train], X[test], y[test], last)


def _calendar(local: pd.DatetimeIndex) -> Array:
    angle = 2 * np.pi * (local.hour + local.minute / 60) / 24
    return np.column_stack([np.sin(angle), np.cos(angle), local.day_of_week >= 5])


@cache
def _demand() -> Array:
    table = tsdata.fpp3.vic_elec
    local = pd.DatetimeIndex(pd.to_datetime(table["Time"], utc=True)).tz_convert(
        "Australia/Melbourne"
    )
    columns = table[["Demand", "Temperature", "Holiday"]].to_numpy(float)
    return np.column_stack([columns, _calendar(local)])


@cache
def _pedestrians() -> Array:
    table = tsdata.fpp3.pedestrian
    table = table[table["Sensor"] == "Southern Cross Station"]
    local = pd.DatetimeIndex(pd.to_datetime(table["Date_Time"], utc=True)).tz_convert(
        "Australia/Melbourne"
    )
    return np.column_stack([table["Count"].to_numpy(float), _calendar(local)])


def _prices() -> Array:
    table = tsdata.fpppy.EPF_FR_BE
    french = table[table["unique_id"] == "FR"]
    return french[["y", "gen_forecast", "system_load"]].to_numpy(float)


def demand_next(seed: int) -> Task:
    """Electricity demand of the next half-hour from two days."""
    return series(_demand(), 48, 6000, 2000)


def demand_day(seed: int) -> Task:
    """Electricity demand of the next 48 half-hours."""
    return series(_demand(), 48, 6000, 2000, horizon=48)


def pedestrians_next(seed: int) -> Task:
    """Pedestrians in the next hour from a day."""
    return series(_pedestrians(), 24, 5000, 1500)


def pedestrians_day(seed: int) -> Task:
    """Pedestrians in each of the next 24 hours from two days."""
    return series(_pedestrians(), 48, 5000, 1500, horizon=24)


def prices_day(seed: int) -> Task:
    """French electricity prices of the next 24 hours from two days."""
    return series(_prices(), 48, 5000, 1500, horizon=24)


def retail_year(seed: int) -> Task:
    """Log turnover of Australian retailers in the next 12 months from 24: levels drift."""
    groups = tsdata.fpp3.aus_retail.groupby(["State", "Industry"])["Turnover"]
    long = [np.log(values.to_numpy()) for _, values in groups if len(values) == 441]
    parts = [series(values[:, None], 24, 441, 60, horizon=12) for values in long]
    rng = np.random.default_rng(0)
    X, y, X_test, y_test, last = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("X", "y", "X_test", "y_test", "persistence")
    )
    train, test = rng.permutation(len(X))[:4000], rng.permutation(len(X_test))[:1500]
    return Task(X[train], y[train], X_test[test], y_test[test], last[test])


def drift_day(seed: int) -> Task:
    """Make a level that wanders, with a daily cycle and noise: the next 24 steps from 48."""
    rng = np.random.default_rng(seed)
    hours = np.arange(4600)
    level = np.cumsum(0.1 * rng.normal(size=len(hours)))
    table = level + np.sin(2 * np.pi * hours / 24) + 0.2 * rng.normal(size=len(hours))
    return series(table[:, None], 48, 3000, 1500, horizon=24)


def gas_small(seed: int) -> Task:
    """Monthly gas production in Canada, which grew all the time: the next month from 24."""
    table = tsdata.fpp3.canadian_gas["Volume"].to_numpy(float)
    return series(table[:, None], 24, 300, 150)


def pedestrians_small(seed: int) -> Task:
    """Pedestrians in the next hour: nothing but 300 windows to learn from."""
    table = _pedestrians()[: 24 * 7 * 10]
    return series(table, 24, 300, 1000)


def narma(seed: int) -> Task:
    """NARMA-10 (A. F. Atiya and A. G. Parlos, 2000): the output from 30 steps of input."""
    rng = np.random.default_rng(seed)
    u = rng.uniform(0, 0.5, 6000)
    y = np.zeros_like(u)
    for t in range(10, len(u) - 1):
        memory = 0.05 * y[t] * y[t - 9 : t + 1].sum()
        y[t + 1] = 0.3 * y[t] + memory + 1.5 * u[t - 9] * u[t] + 0.1
    windows = sliding_window_view(u, 30)[100:-1, :, None]
    targets = y[130:]
    return Task(windows[:3500], targets[:3500], windows[3600:], targets[3600:])


def mackey_glass_84(seed: int) -> Task:
    """Mackey-Glass, tau 17, 84 steps ahead, from 60."""
    return series(mackey_glass(6000, seed)[:, None], 60, 4000, 1500, ahead=84)


def adding(n_steps: int) -> Callable[[int], Task]:
    """Two marked numbers to add up, in sequences of so many steps."""

    def task(seed: int) -> Task:
        return Task(
            *adding_problem(10_000, n_steps, seed), *adding_problem(2000, n_steps, 1000 + seed)
        )

    return task


def early_pulse(seed: int) -> Task:
    """Long noise with a pulse near the start: the height of the pulse times its width."""
    rng = np.random.default_rng(seed)
    n, n_steps = 1300, 300
    start, height, width = rng.integers(5, 30, n), rng.uniform(1, 3, n), rng.integers(3, 12, n)
    steps = np.arange(n_steps) - start[:, None]
    X = 0.3 * rng.normal(size=(n, n_steps)) + height[:, None] * (
        (steps >= 0) & (steps < width[:, None])
    )
    y = height * width
    return Task(X[:300, :, None], y[:300], X[300:, :, None], y[300:])


def storms(seed: int) -> Task:
    """Rain in short bursts fills a leaking store: its highest level, of 266 steps."""
    rng = np.random.default_rng(seed)
    n, n_steps = 1500, 266
    rain = np.zeros((n, n_steps))
    for row in rain:
        for start in rng.integers(0, n_steps - 20, rng.integers(1, 5)):
            burst = rng.gamma(1.0, 1.0) * np.hanning(rng.integers(4, 20))
            row[start : start + len(burst)] += burst
    level, highest = np.zeros(n), np.zeros(n)
    for water in rain.T:
        level += water - 0.04 * level - 0.01 * level**1.5
        highest = np.maximum(highest, level)
    return Task(rain[:500, :, None], highest[:500], rain[500:, :, None], highest[500:])


def frequency(seed: int) -> Task:
    """Sines with noise, 200 steps long: the frequency, whatever the phase."""
    rng = np.random.default_rng(seed)
    n, n_steps = 1500, 200
    y, phase = rng.uniform(0.02, 0.2, n), rng.uniform(0, 2 * np.pi, n)
    X = np.sin(2 * np.pi * y[:, None] * np.arange(n_steps) + phase[:, None])
    X += 0.3 * rng.normal(size=X.shape)
    return Task(X[:500, :, None], y[:500], X[500:, :, None], y[500:])


def products_small(seed: int) -> Task:
    """Two features at two steps, multiplied, plus a mean and noise; 200 samples."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1200, 15, 3))
    y = X[:, -1, 0] * X[:, -3, 1] + X[:, :, 2].mean(axis=1) * 2 + 0.3 * rng.normal(size=1200)
    return Task(X[:200], y[:200], X[200:], y[200:])


def threshold_small(seed: int) -> Task:
    """Make a threshold autoregression: one step ahead from 12; 150 samples."""
    rng = np.random.default_rng(seed)
    z = np.zeros(1500)
    for t in range(2, len(z)):
        drift = 0.9 * z[t - 1] if z[t - 2] < 0 else 1.0 - 0.8 * z[t - 1]
        z[t] = drift + 0.5 * rng.normal()
    return series(z[:, None], 12, 150, 1000)


def bike(seed: int) -> Task:
    """Rented bikes in the next hour from a day (UCI bike sharing)."""
    table = pd.read_csv(DATA / "bike_sharing_hour.csv.gz")
    names = ["cnt", "hr", "weekday", "workingday", "weathersit", "temp", "hum", "windspeed"]
    n_train = int(0.8 * len(table)) - 24
    return series(table[names].to_numpy(float), 24, n_train, len(table) - 24 - n_train)


def fd001(seed: int) -> Task:
    """Cycles a turbofan has left, from 30 (C-MAPSS FD001)."""
    files = (DATA / "cmapss" / f"{name}_FD001.txt.gz" for name in ("train", "test", "RUL"))
    train, test, life = map(np.loadtxt, files)
    kept = [column for column in range(2, 26) if train[:, column].std() > 1e-8]
    X, y, X_test = [], [], []
    for engine in np.unique(train[:, 0]):
        cycles = train[train[:, 0] == engine][:, kept]
        windows = sliding_window_view(cycles, 30, axis=0).transpose(0, 2, 1)
        X.append(windows)
        y.append(np.minimum(125, np.arange(len(windows))[::-1]))
    for engine in np.unique(test[:, 0]):
        cycles = test[test[:, 0] == engine][:, kept]
        X_test.append(np.pad(cycles, ((max(0, 30 - len(cycles)), 0), (0, 0)), "edge")[-30:])
    return Task(np.concatenate(X), np.concatenate(y).astype(float), np.stack(X_test), life)


SETS: dict[str, Callable[[int], Task]] = {
    "products-small": products_small,
    "threshold-small": threshold_small,
    "gas-small": gas_small,
    "pedestrians-small": pedestrians_small,
    "early-pulse": early_pulse,
    "storms": storms,
    "frequency": frequency,
    "narma": narma,
    "mackey-glass-84": mackey_glass_84,
    "drift-24": drift_day,
    "retail-12": retail_year,
    "prices-24": prices_day,
    "pedestrians": pedestrians_next,
    "pedestrians-24": pedestrians_day,
    "demand": demand_next,
    "demand-48": demand_day,
    "adding-50": adding(50),
    "adding-100": adding(100),
}
if DATA.exists():
    SETS |= {"bike": bike, "fd001": fd001}
