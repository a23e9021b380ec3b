"""Displays: what they hold and what they draw."""

import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, max_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import Bunch

from sklstm import DepthSearchCV, LagWindows, StackedLSTMRegressor, step_scorer
from sklstm.inspection import layer_timescales
from sklstm.plotting import DepthCurveDisplay, LossCurveDisplay, TimescaleDisplay

plt.switch_backend("Agg")


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


def small(**params):
    return StackedLSTMRegressor(**{"units": 4, "max_epochs": 3, "random_state": 0, **params})


def labels(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def points(line):
    return np.column_stack(line.get_data()).astype(float)


def search_like(**changes):
    """What a finished depth search of two folds holds."""
    return Bunch(
        **{
            "n_splits_": 2,
            "best_index_": 1,
            "scorer_": "r2",
            "cv_results_": {
                "params": [{"n_layers": depth} for depth in (1, 2, 4)],
                "split0_test_score": np.array([0.1, 0.5, 0.4]),
                "split1_test_score": np.array([0.3, 0.9, 0.2]),
                "mean_fit_time": np.array([1.0, 1.5, 2.5]),
            },
            **changes,
        }
    )


def displays_of(model, X):
    return [
        LossCurveDisplay.from_estimator(model),
        TimescaleDisplay.from_estimator(model, X),
        DepthCurveDisplay.from_search(search_like()),
    ]


def test_a_figure_is_made_where_no_axes_are_given_and_none_where_they_are(sequences):
    plt.close("all")
    model = small().fit(*sequences)
    displays = displays_of(model, sequences[0])
    assert len(plt.get_fignums()) == 3
    figure, axes = plt.subplots(3)
    for display, ax in zip(displays, axes, strict=True):
        assert display.figure_ is display.ax_.figure is not figure
        assert display.plot(ax) is display
        assert display.ax_ is ax
        assert display.figure_ is figure
    assert len(plt.get_fignums()) == 4


def test_axes_are_labelled_and_counts_have_whole_ticks(sequences):
    for display in displays_of(small().fit(*sequences), sequences[0]):
        assert display.ax_.get_xlabel()
        assert display.ax_.get_ylabel()
        display.figure_.canvas.draw()
        ticks = display.ax_.get_xticks()
        np.testing.assert_array_equal(ticks, ticks.round())


def test_without_matplotlib_the_error_says_what_to_install(sequences, monkeypatch):
    model = small().fit(*sequences)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for draw, name in (
        (lambda: LossCurveDisplay.from_estimator(model), "LossCurveDisplay"),
        (lambda: TimescaleDisplay.from_estimator(model, sequences[0]), "TimescaleDisplay"),
        (lambda: DepthCurveDisplay.from_search(search_like()), "DepthCurveDisplay"),
    ):
        with pytest.raises(ImportError, match=rf"{name} needs matplotlib.*sklstm\[plot\]"):
            draw()


# Losses


def test_the_training_loss_is_drawn_by_epoch_on_a_log_axis(sequences):
    model = small().fit(*sequences)
    display = LossCurveDisplay.from_estimator(model)
    expected = np.column_stack([[1, 2, 3], model.loss_curve_])
    assert display.validation_loss is None
    assert display.best_epoch_marker_ is None
    (line,) = display.lines_
    np.testing.assert_array_equal(points(line), expected)
    assert display.ax_.get_yscale() == "log"
    assert labels(display) == ["training"]


def test_early_stopping_adds_the_validation_loss_and_marks_the_best_epoch(sequences):
    model = small(early_stopping=True, max_epochs=6, lr=0.1).fit(*sequences)
    display = LossCurveDisplay.from_estimator(make_pipeline(model))
    best = 1 + int(np.argmin(model.validation_loss_curve_))
    training, validation = display.lines_
    assert validation.get_linestyle() != training.get_linestyle()
    np.testing.assert_array_equal(validation.get_ydata(), model.validation_loss_curve_)
    np.testing.assert_array_equal(
        points(display.best_epoch_marker_), [[best, min(model.validation_loss_curve_)]]
    )
    assert labels(display) == ["training", "validation", f"best epoch: {best}"]


def test_epochs_without_validation_leave_a_gap(sequences):
    model = small(early_stopping=True, warm_start=True).fit(*sequences)
    model.set_params(early_stopping=False).fit(*sequences)
    display = LossCurveDisplay.from_estimator(model)
    assert len(display.loss) == 6
    np.testing.assert_array_equal(np.isnan(display.validation_loss), [False] * 3 + [True] * 3)
    assert display.best_epoch is None
    model.set_params(early_stopping=True).fit(*sequences)
    assert LossCurveDisplay.from_estimator(model).best_epoch > 6


def test_names_tell_estimators_on_the_same_axes_apart(sequences):
    first = LossCurveDisplay.from_estimator(small().fit(*sequences), name="shallow")
    second = LossCurveDisplay.from_estimator(
        small(n_layers=3).fit(*sequences), name="deep", ax=first.ax_
    )
    assert labels(second) == ["shallow, training", "deep, training"]
    assert first.lines_[0].get_color() != second.lines_[0].get_color()
    assert labels(second.plot(name="again"))[-1] == "again, training"


def test_losses_need_a_fit_of_at_least_one_epoch(sequences):
    with pytest.raises(NotFittedError):
        LossCurveDisplay.from_estimator(small())
    with pytest.raises(ValueError, match="max_epochs=0"):
        LossCurveDisplay.from_estimator(small(max_epochs=0).fit(*sequences))
    with pytest.raises(TypeError, match="Ridge"):
        LossCurveDisplay.from_estimator(Ridge())


# Scores by depth


def test_differences_within_folds_have_standard_errors():
    display = DepthCurveDisplay.from_search(search_like())
    line, _, (bars,) = display.errorbar_
    np.testing.assert_allclose(points(line), [[1, 0], [2, 0.5], [4, 0.1]], atol=1e-15)
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose((ends[:, 1] - ends[:, 0]) / 2, [0, 0.1, 0.2], atol=1e-15)
    np.testing.assert_allclose(points(display.best_depth_marker_), [[2, 0.5]])
    first, second = (points(fold)[:, 1] for fold in display.fold_lines_)
    np.testing.assert_allclose(first, [0, 0.4, 0.3], atol=1e-15)
    np.testing.assert_allclose(second, [0, 0.6, -0.1], atol=1e-15)
    assert labels(display) == ["a fold", "chosen depth: 2", "mean and standard error"]
    assert list(display.ax_.get_xticks()) == [1, 2, 4]


def test_any_depth_may_be_the_reference():
    display = DepthCurveDisplay.from_search(search_like(), reference=4)
    np.testing.assert_allclose(points(display.errorbar_[0]), [[1, -0.1], [2, 0.4], [4, 0]])
    assert display.ax_.get_ylabel().endswith("minus that of 4 layers")


def test_the_cost_stands_behind_the_scores():
    display = DepthCurveDisplay.from_search(search_like())
    assert [bar.get_height() for bar in display.bars_] == [1.0, 1.5, 2.5]
    assert [bar.get_x() + bar.get_width() / 2 for bar in display.bars_] == [1, 2, 4]
    assert display.ax_.get_zorder() > display.cost_ax_.get_zorder()
    assert not display.ax_.patch.get_visible()
    assert "Seconds" in display.cost_ax_.get_ylabel()


def test_a_single_fold_has_no_standard_error():
    display = DepthCurveDisplay.from_search(search_like(n_splits_=1))
    assert not display.errorbar_.has_yerr
    assert display.comparison.scores.shape == (3, 1)
    assert labels(display) == ["the fold", "chosen depth: 2", "mean"]


@pytest.mark.parametrize(
    ("scoring", "name"),
    [
        ("neg_root_mean_squared_error", "Negative root mean squared error"),
        ("r2", "R2 score"),
        (None, "Score"),
        (make_scorer(max_error, greater_is_better=False), "Negative max error"),
        (step_scorer("neg_mean_absolute_error"), "Negative mean absolute error"),
        (lambda estimator, X, y: 0.5, "Score"),
    ],
)
def test_scores_are_named_after_their_scorer(scoring, name):
    X = np.random.default_rng(0).normal(size=(12, 4, 1))
    y = X[:, :, 0] if hasattr(scoring, "scoring") else X[:, -1, 0]
    model = small(max_epochs=1, return_sequences=y.ndim == 2)
    search = DepthSearchCV(model, depths=(1, 2), cv=2, scoring=scoring, refit=False).fit(X, y)
    display = DepthCurveDisplay.from_search(search)
    assert display.ax_.get_ylabel() == f"{name},\nminus that of 1 layer"
    np.testing.assert_allclose(
        display.errorbar_[0].get_ydata(), search.cv_results_["mean_difference"]
    )
    mine = DepthCurveDisplay.from_search(search, score_name="Mine")
    assert mine.ax_.get_ylabel().startswith("Mine,")


def test_a_grid_search_is_drawn_at_the_best_other_parameters(sequences):
    grid = {"n_layers": [1, 2], "units": [2, 3]}
    search = GridSearchCV(small(max_epochs=1), grid, cv=2).fit(*sequences)
    display = DepthCurveDisplay.from_search(search)
    rows = [
        row
        for row, params in enumerate(search.cv_results_["params"])
        if params["units"] == search.best_params_["units"]
    ]
    assert display.best_depth == search.best_params_["n_layers"]
    assert display.fit_times.tolist() == search.cv_results_["mean_fit_time"][rows].tolist()
    scores = search.cv_results_["mean_test_score"][rows]
    assert display.comparison.mean == pytest.approx(scores - scores[0])


def test_a_search_of_several_metrics_is_drawn_by_that_of_its_refit(sequences):
    search = GridSearchCV(
        small(max_epochs=1),
        {"n_layers": [1, 2]},
        cv=2,
        scoring={"r2": "r2", "error": "neg_mean_absolute_error"},
        refit="error",
    ).fit(*sequences)
    display = DepthCurveDisplay.from_search(search)
    scores = search.cv_results_["mean_test_error"]
    assert display.comparison.mean == pytest.approx(scores - scores[0])
    assert display.ax_.get_ylabel().startswith("Negative mean absolute error")


def test_only_a_fitted_search_over_depths_is_drawn(sequences):
    with pytest.raises(NotFittedError):
        DepthCurveDisplay.from_search(DepthSearchCV(small()))
    grid = GridSearchCV(small(max_epochs=1), {"units": [2, 3]}, cv=2).fit(*sequences)
    with pytest.raises(ValueError, match=r"no number of layers in best_params_.*units"):
        DepthCurveDisplay.from_search(grid)
    for other in (small(), "search"):
        with pytest.raises(TypeError, match=f"GridSearchCV.*got {type(other).__name__}"):
            DepthCurveDisplay.from_search(other)


# Time scales


def test_time_scales_are_drawn_a_line_a_layer(sequences):
    X, y = sequences
    model = small(n_layers=3).fit(X, y)
    display = TimescaleDisplay.from_estimator(model, X, step=2, size=0.5)
    scales = layer_timescales(model, X, step=2, size=0.5)
    assert len(display.lines_) == 3
    for line, curve in zip(display.lines_, scales.difference, strict=True):
        np.testing.assert_array_equal(points(line), np.column_stack([np.arange(5), curve]))
    assert len({tuple(line.get_color()) for line in display.lines_}) == 3
    assert "step 2" in display.ax_.get_xlabel()


def test_half_lives_are_in_the_legend():
    display = TimescaleDisplay(
        difference=np.ones((3, 4)), half_life=np.array([2.34, np.inf, np.nan]), step=1
    ).plot()
    assert labels(display) == [
        "layer 1: 2.3 steps",
        "layer 2: not reached",
        "layer 3: no difference",
    ]


def test_time_scales_are_drawn_of_a_pipeline():
    table = np.random.default_rng(0).normal(size=(30, 2))
    pipeline = make_pipeline(LagWindows(length=6), small()).fit(table, table[:, 0])
    assert len(TimescaleDisplay.from_estimator(pipeline, table).lines_) == 2
