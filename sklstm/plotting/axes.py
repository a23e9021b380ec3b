"""Axes to draw on. Matplotlib is imported only to draw."""

from __future__ import annotations

from typing import Any


def new_axes(ax: Any, display: object) -> Any:
    """Return the given axes, or new ones for a display when there are none."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__} needs matplotlib, which the extra sklstm[plot] installs."
        ) from error
    return plt.subplots()[1] if ax is None else ax


def count_on(axis: Any) -> None:
    """Put ticks on whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
