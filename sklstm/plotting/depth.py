"""Scores and cost by depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklstm.search import standard_errors

from .axes import new_axes


@dataclass(kw_only=True, eq=False, repr=False)
class DepthCurveDisplay:
    """Scores in cross-validation by number of layers, and the time that they took.

    Use `from_search` to make one. All parameters are attributes.

    Parameters
    ----------
    depths : list of int
        Numbers of layers.

    test_scores : ndarray of shape (n_depths, n_splits)
        Scores of the folds.

    fit_times : ndarray of shape (n_depths,)
        Seconds that a fold took to reach each depth.

    best_depth : int
        The depth chosen.

    score_name : str, default="Score"
        Name of the scores.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the scores.

    cost_ax_ : matplotlib.axes.Axes
        Axes with the seconds.

    figure_ : matplotlib.figure.Figure
        Figure of both.

    errorbar_ : matplotlib.container.ErrorbarContainer
        Mean scores, with a standard error to either side where there are several folds.

    best_depth_marker_ : matplotlib.lines.Line2D
        The mark of the depth chosen.

    bars_ : matplotlib.container.BarContainer
        The seconds.

    See Also
    --------
    DepthSearchCV : Searches the depth.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import DepthSearchCV, StackedLSTMRegressor
    >>> from sklstm import DepthCurveDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 10, 1))
    >>> model = StackedLSTMRegressor(units=8, max_epochs=2, random_state=0)
    >>> search = DepthSearchCV(model, depths=(1, 2), cv=3).fit(X, X[:, -1, 0])
    >>> DepthCurveDisplay.from_search(search).test_scores.shape
    (2, 3)
    """

    depths: Sequence[int]
    test_scores: NDArray[np.float64]
    fit_times: NDArray[np.float64]
    best_depth: int
    score_name: str = "Score"

    @classmethod
    def from_search(
        cls, search: Any, *, score_name: str | None = None, ax: Any = None
    ) -> DepthCurveDisplay:
        """Draw the depth curve of a fitted search.

        Parameters
        ----------
        search : DepthSearchCV
            Fitted.

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
            If it is not a search over depths.
        """
        if not hasattr(search, "depths_"):
            if not hasattr(search, "depths"):
                raise TypeError(f"search must be a DepthSearchCV, got {type(search).__name__}.")
            check_is_fitted(search)
        results, scorer = search.cv_results_, search.scorer_
        if score_name is None:
            metric = getattr(scorer, "scoring", scorer)
            if isinstance(metric, str):
                words = metric.replace("neg_", "negative_")
            elif hasattr(getattr(metric, "_score_func", None), "__name__"):
                words = ("negative_" if metric._sign < 0 else "") + metric._score_func.__name__
            else:
                words = "score"
            score_name = words.replace("_", " ").capitalize()
        folds = [results[f"split{fold}_test_score"] for fold in range(search.n_splits_)]
        display = cls(
            depths=search.depths_,
            test_scores=np.column_stack(folds),
            fit_times=results["mean_cumulative_fit_time"],
            best_depth=search.best_depth_,
            score_name=score_name,
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
        # The seconds are bars behind the scores, on an axis of their own.
        self.cost_ax_ = self.ax_.twinx()
        self.bars_ = self.cost_ax_.bar(self.depths, self.fit_times, width=0.5, color="0.9")
        self.cost_ax_.set_ylabel("Seconds of a fold to reach the depth", color="0.5")
        self.cost_ax_.tick_params(axis="y", colors="0.5")
        self.ax_.set_zorder(self.cost_ax_.get_zorder() + 1)
        self.ax_.patch.set_visible(False)

        means, several = self.test_scores.mean(axis=1), self.test_scores.shape[1] > 1
        self.errorbar_ = self.ax_.errorbar(
            self.depths,
            means,
            yerr=standard_errors(self.test_scores) if several else None,
            marker="o",
            capsize=3,
            label="mean and standard error" if several else "mean",
        )
        (self.best_depth_marker_,) = self.ax_.plot(
            self.best_depth,
            means[list(self.depths).index(self.best_depth)],
            marker="o",
            markersize=12,
            fillstyle="none",
            linestyle="none",
            color="C3",
            label=f"chosen depth: {self.best_depth}",
        )
        self.ax_.set(xlabel="Number of layers", ylabel=self.score_name, xticks=self.depths)
        self.ax_.legend()
        return self
