"""Colours and pieces that the figures share."""

from dataclasses import dataclass

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
