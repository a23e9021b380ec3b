"""Differences between depths, and their cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklstm.comparison import DepthComparison, compare_depths, rows_by_depth

from .axes import new_axes


@dataclass(kw_only=True, eq=False, repr=False)
class DepthCurveDisplay:
    """Scores by number of layers, as differences within folds, and the time that they took.

    Scores of one depth differ far more between folds than depths do within a fold. So the curve
    shows the differences to one depth in each fold, and their mean with its standard error. Use
    `from_search` to make one. All parameters are attributes.

    Parameters
    ----------
    comparison : DepthComparison
        Scores of the folds, and the depth with which the others are compared.

    fit_times : ndarray of shape (n_depths,)
        Mean seconds of a fit at each depth.

    best_depth : int
        The depth chosen.

    score_name : str, default="Score"
        Name of the scores.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the differences.

    cost_ax_ : matplotlib.axes.Axes
        Axes with the seconds.

    figure_ : matplotlib.figure.Figure
        Figure of both.

    errorbar_ : matplotlib.container.ErrorbarContainer
        Mean differences, with a standard error to either side where there are several folds.

    fold_lines_ : list of matplotlib.lines.Line2D
        The differences in each fold.

    best_depth_marker_ : matplotlib.lines.Line2D
        The mark of the depth chosen.

    bars_ : matplotlib.container.BarContainer
        The seconds.

    See Also
    --------
    DepthSearchCV : Searches the depth.
    compare_depths : The numbers that are drawn.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import DepthSearchCV, StackedLSTMRegressor
    >>> from sklstm import DepthCurveDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 10, 1))
    >>> model = StackedLSTMRegressor(units=8, max_epochs=2, random_state=0)
    >>> search = DepthSearchCV(model, depths=(1, 2), cv=3).fit(X, X[:, -1, 0])
    >>> DepthCurveDisplay.from_search(search).comparison.differences.shape
    (2, 2)
    """

    comparison: DepthComparison
    fit_times: NDArray[np.float64]
    best_depth: int
    score_name: str = "Score"

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        reference: int | None = None,
        score_name: str | None = None,
        ax: Any = None,
    ) -> DepthCurveDisplay:
        """Draw the depth curve of a fitted search.

        Parameters
        ----------
        search : DepthSearchCV, GridSearchCV or RandomizedSearchCV
            Fitted. If it searched other parameters too, depths are compared at the best values of
            those.

        reference : int, default=None
            The depth with which the others are compared; the shallowest when `None`.

        score_name : str, default=None
            Name of the scores; that of the scorer when `None`.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones when `None`.

        Returns
        -------
        DepthCurveDisplay
            The display.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the search is not fitted.
        TypeError
            If it is not a search.
        ValueError
            If it did not search `n_layers`, or not `reference`.
        """
        comparison, rows = compare_depths(search, reference), rows_by_depth(search)
        fit_times = search.cv_results_["mean_fit_time"][list(rows.values())]
        best = next(depth for depth, row in rows.items() if row == search.best_index_)
        if score_name is None:
            scorer = search.scorer_
            score_name = _name_of_score(
                scorer[search.refit] if isinstance(scorer, dict) else scorer
            )
        display = cls(
            comparison=comparison, fit_times=fit_times, best_depth=best, score_name=score_name
        )
        return display.plot(ax)

    def plot(self, ax: Any = None) -> DepthCurveDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones when `None`.

        Returns
        -------
        DepthCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = new_axes(ax, self)
        self.figure_ = self.ax_.figure
        compared, depths = self.comparison, self.comparison.depths
        # The seconds are bars behind the scores, on an axis of their own.
        self.cost_ax_ = self.ax_.twinx()
        self.bars_ = self.cost_ax_.bar(depths, self.fit_times, width=0.5, color="0.9")
        self.cost_ax_.set_ylabel("Seconds of a fit", color="0.5")
        self.cost_ax_.tick_params(axis="y", colors="0.5")
        self.ax_.set_zorder(self.cost_ax_.get_zorder() + 1)
        self.ax_.patch.set_visible(False)

        several = compared.scores.shape[1] > 1
        self.fold_lines_ = []
        for differences in compared.differences.T:
            known = ~np.isnan(differences)  # not every depth is fitted in every fold
            self.fold_lines_ += self.ax_.plot(
                np.array(depths)[known], differences[known], color="0.6", linewidth=0.8, zorder=1
            )
        self.fold_lines_[0].set_label("a fold" if several else "the fold")
        self.errorbar_ = self.ax_.errorbar(
            depths,
            compared.mean,
            yerr=compared.standard_error if several else None,
            color="C0",
            marker="o",
            capsize=4,
            label="mean and standard error" if several else "mean",
        )
        (self.best_depth_marker_,) = self.ax_.plot(
            self.best_depth,
            compared.mean[depths.index(self.best_depth)],
            marker="o",
            markersize=12,
            fillstyle="none",
            linestyle="none",
            color="C3",
            label=f"chosen depth: {self.best_depth}",
        )
        self.ax_.axhline(0, color="0.5", linewidth=0.8, linestyle="dashed", zorder=0)
        one = compared.reference
        self.ax_.set(
            xlabel="Number of layers",
            ylabel=f"{self.score_name},\nminus that of {one} layer{'s' if one > 1 else ''}",
            xticks=depths,
        )
        self.ax_.legend()
        return self


def _name_of_score(scorer: Any) -> str:
    metric = getattr(scorer, "scoring", scorer)
    if isinstance(metric, str):
        words = metric.replace("neg_", "negative_")
    elif hasattr(getattr(metric, "_score_func", None), "__name__"):
        words = ("negative_" if metric._sign < 0 else "") + metric._score_func.__name__
    else:
        words = "score"
    return words.replace("_", " ").capitalize()
