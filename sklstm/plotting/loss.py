"""Losses by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklstm.pipelines import final_regressor

from .axes import count_on, new_axes


@dataclass(kw_only=True, eq=False, repr=False)
class LossCurveDisplay:
    """Losses of a fit, epoch by epoch.

    Use `from_estimator` to make one. All parameters are attributes.

    Parameters
    ----------
    loss : ndarray of shape (n_epochs,)
        Training loss of each epoch, on the standardized target.

    validation_loss : ndarray of shape (n_epochs,), default=None
        Validation loss of each epoch; NaN where there was none.

    best_epoch : int, default=None
        Epoch, counted from 1, whose weights the estimator has.

    name : str, default=None
        Name of the estimator in the legend.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the curves.

    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    lines_ : list of matplotlib.lines.Line2D
        The training loss, and the validation loss if there is one.

    best_epoch_marker_ : matplotlib.lines.Line2D or None
        The mark of the best epoch.

    See Also
    --------
    StackedLSTMRegressor : Keeps the losses.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm import LossCurveDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 10, 1))
    >>> model = StackedLSTMRegressor(units=8, early_stopping=True, max_epochs=3, random_state=0)
    >>> display = LossCurveDisplay.from_estimator(model.fit(X, X[:, -1, 0]))
    >>> len(display.lines_)
    2
    """

    loss: NDArray[np.float64]
    validation_loss: NDArray[np.float64] | None = None
    best_epoch: int | None = None
    name: str | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, name: str | None = None, ax: Any = None
    ) -> LossCurveDisplay:
        """Draw the losses of a fitted estimator.

        Parameters
        ----------
        estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
            Fitted; a pipeline ends in a `StackedLSTMRegressor`.

        name : str, default=None
            Name in the legend, for several estimators on the same axes.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones when `None`.

        Returns
        -------
        LossCurveDisplay
            The display.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is of another kind.
        ValueError
            If it was not trained for any epoch.
        """
        regressor = final_regressor(estimator)
        check_is_fitted(regressor)
        if not regressor.n_iter_:
            raise ValueError("estimator has no epoch to draw: it was fitted with max_epochs=0.")
        loss = np.array(regressor.loss_curve_)
        validated = np.array([row.get("valid_loss", np.nan) for row in regressor.history_])
        best = regressor.best_epoch_
        if best is not None and np.isnan(validated[best - 1]):
            best = None
        validation_loss = None if np.isnan(validated).all() else validated
        return cls(loss=loss, validation_loss=validation_loss, best_epoch=best, name=name).plot(ax)

    def plot(self, ax: Any = None, *, name: str | None = None) -> LossCurveDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones when `None`.

        name : str, default=None
            Name in the legend; that of the display when `None`.

        Returns
        -------
        LossCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = new_axes(ax, self)
        self.figure_ = self.ax_.figure
        name = self.name if name is None else name
        of = "" if name is None else f"{name}, "
        epochs, best = np.arange(1, len(self.loss) + 1), self.best_epoch
        self.lines_ = self.ax_.plot(epochs, self.loss, label=f"{of}training")
        self.best_epoch_marker_ = None
        if self.validation_loss is not None:
            color, losses = self.lines_[0].get_color(), self.validation_loss
            self.lines_ += self.ax_.plot(epochs, losses, "--", color=color, label=f"{of}validation")
            if best is not None:
                label = f"{of}best epoch: {best}"
                (self.best_epoch_marker_,) = self.ax_.plot(
                    best, losses[best - 1], "o", color=color, label=label
                )
        self.ax_.set(xlabel="Epoch", ylabel="Loss (standardized target)", yscale="log")
        count_on(self.ax_.xaxis)
        self.ax_.legend()
        return self
