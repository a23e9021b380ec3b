"""Colours and pieces that the figures share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle


@dataclass(frozen=True)
class Palette:
    """Colours for one background."""

    ink: str
    faint: str
    inputs: str
    layers: tuple[str, str]
    output: str
    empty: str


LIGHT = Palette(
    ink="#1f2933",
    faint="#a3abb5",
    inputs="#cfd6de",
    layers=("#a9d3ee", "#f6cf8f"),
    output="#b5dfb0",
    empty="#ffffff00",
)
DARK = Palette(
    ink="#e8ecf0",
    faint="#6b7580",
    inputs="#4a5562",
    layers=("#1f5f87", "#8a5a10"),
    output="#2f6b35",
    empty="#00000000",
)


def both(draw: Callable[[Palette], None]) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return a drawing for a light background, and the same for a dark one."""
    return partial(draw, LIGHT), partial(draw, DARK)


def canvas(width: float, height: float) -> Axes:
    """Return axes without frame, on which one unit is one inch."""
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return axes


def box(axes, x, y, width, height, colour, palette, label="", size=10):
    """Draw a labelled box around (x, y)."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2 + 0.04, y - height / 2 + 0.04),
            width - 0.08,
            height - 0.08,
            boxstyle="round,pad=0.04",
            facecolor=colour,
            edgecolor=palette.ink,
            linewidth=0.9,
        )
    )
    text(axes, x, y, label, palette, size)


def text(axes, x, y, label, palette, size=10, ha="center", va="center", **kwargs):
    """Write a label at (x, y)."""
    kwargs.setdefault("color", palette.ink)
    axes.text(x, y, label, fontsize=size, ha=ha, va=va, **kwargs)


def arrow(axes, start, end, colour, width=1.2, style="-|>"):
    """Draw an arrow."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle=style,
            mutation_scale=9,
            color=colour,
            linewidth=width,
            shrinkA=0,
            shrinkB=0,
        )
    )


def grid(axes, x, y, columns, rows, cell, colour, palette):
    """Draw a grid of cells with its lower left corner at (x, y)."""
    for column in range(columns):
        for row in range(rows):
            axes.add_patch(
                Rectangle(
                    (x + column * cell, y + row * cell),
                    cell,
                    cell,
                    facecolor=colour,
                    edgecolor=palette.ink,
                    linewidth=0.6,
                )
            )


def missing(axes, x, y, columns, rows, cell, palette):
    """Draw a grid of cells that hold NaN."""
    for column in range(columns):
        for row in range(rows):
            left, bottom = x + column * cell, y + row * cell
            axes.add_patch(
                Rectangle(
                    (left, bottom),
                    cell,
                    cell,
                    facecolor=palette.empty,
                    edgecolor=palette.faint,
                    linewidth=0.6,
                )
            )
            text(
                axes,
                left + cell / 2,
                bottom + cell / 2,
                "\N{MULTIPLICATION SIGN}",
                palette,
                9,
                color=palette.faint,
            )


def axis(axes, start, end, label, palette):
    """Draw the arrow of an axis, which runs right, down or up, and its name."""
    arrow(axes, start, end, palette.ink, width=0.9)
    (x, y), (x_end, y_end) = start, end
    if y == y_end:
        text(axes, x_end + 0.06, y, label, palette, 9, ha="left")
    else:
        text(axes, x - 0.12, (y + y_end) / 2, label, palette, 9, rotation=90)
