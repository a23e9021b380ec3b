"""Time scales by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklstm.inspection import layer_timescales

from .axes import count_on, new_axes


@dataclass(kw_only=True, eq=False, repr=False)
class TimescaleDisplay:
    """How long each layer remembers a change of one step.

    Use `from_estimator` to make one. All parameters are attributes.

    Parameters
    ----------
    difference : ndarray of shape (n_layers, n_steps)
        Difference that the change makes from its step on, divided by the largest one.

    half_life : ndarray of shape (n_layers,)
        Steps from the largest difference to half of it.

    step : int
        The step that was changed.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the curves.

    figure_ : matplotlib.figure.Figure
        Figure of the axes.

    lines_ : list of matplotlib.lines.Line2D
        The curve of each layer, bottom first.

    See Also
    --------
    layer_timescales : The measurement.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> from sklstm import TimescaleDisplay
    >>> X = np.random.default_rng(0).normal(size=(100, 20, 1))
    >>> model = StackedLSTMRegressor(n_layers=3, units=8, max_epochs=2, random_state=0)
    >>> display = TimescaleDisplay.from_estimator(model.fit(X, X[:, -5, 0]), X)
    >>> len(display.lines_)
    3
    """

    difference: NDArray[np.float64]
    half_life: NDArray[np.float64]
    step: int

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, step: int | None = None, size: float = 1.0, ax: Any = None
    ) -> TimescaleDisplay:
        """Measure the time scales of a fitted estimator, and draw them.

        Parameters
        ----------
        estimator : StackedLSTMRegressor or sklearn.pipeline.Pipeline
            Fitted; a pipeline ends in a `StackedLSTMRegressor`.

        X : array-like or list of array-like
            Sequences, as for `predict`.

        step : int, default=None
            The step to change, as for `layer_timescales`.

        size : float, default=1.0
            Change of each feature, as for `layer_timescales`.

        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones when `None`.

        Returns
        -------
        TimescaleDisplay
            The display.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator is of another kind.
        ValueError
            As `layer_timescales`.
        """
        scales = layer_timescales(estimator, X, step=step, size=size)
        display = cls(difference=scales.difference, half_life=scales.half_life, step=scales.step)
        return display.plot(ax)

    def plot(self, ax: Any = None) -> TimescaleDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones when `None`.

        Returns
        -------
        TimescaleDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = new_axes(ax, self)
        self.figure_ = self.ax_.figure
        from matplotlib import colormaps

        # From dark, the bottom layer, to light.
        colors = colormaps["viridis"](np.linspace(0, 0.85, len(self.difference)))
        self.ax_.axhline(0.5, color="0.8", linewidth=1)
        self.lines_ = []
        for i, (curve, half_life) in enumerate(zip(self.difference, self.half_life, strict=True)):
            words = f"{half_life:.1f} steps"
            if not np.isfinite(half_life):
                words = "no difference" if np.isnan(half_life) else "not reached"
            self.lines_ += self.ax_.plot(curve, color=colors[i], label=f"layer {i + 1}: {words}")
        self.ax_.set(
            xlabel=f"Steps since the change of step {self.step}",
            ylabel="Difference in the layer's output\n(part of the largest)",
            ylim=(0, None),
        )
        count_on(self.ax_.xaxis)
        self.ax_.legend(title="Half-life")
        return self
