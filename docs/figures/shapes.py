"""What one sequence looks like between the layers."""

from style import DARK, LIGHT, Palette, arrow, canvas, grid, text

N_TIMESTEPS, N_FEATURES = 6, 3
UNITS = (5, 4)
CELL = 0.15


def draw(palette: Palette) -> None:
    axes = canvas(5.4, 2.2)
    middle = 1.2
    width = N_TIMESTEPS * CELL
    stages = [
        (0.35, N_TIMESTEPS, N_FEATURES, palette.inputs, "input"),
        (1.65, N_TIMESTEPS, UNITS[0], palette.layers[0], "layer 1"),
        (2.95, N_TIMESTEPS, UNITS[1], palette.layers[1], "layer 2"),
        (4.2, 1, UNITS[1], palette.layers[1], "final"),
        (4.95, 1, 1, palette.output, "Dense"),
    ]
    for x, columns, rows, colour, label in stages:
        fill = palette.empty if label == "layer 2" else colour
        bottom = middle - rows * CELL / 2
        grid(axes, x, bottom, columns, rows, CELL, fill, palette)
        centre = x + columns * CELL / 2
        text(axes, centre, 1.9, label, palette)
        shape = f"({columns}, {rows})" if columns > 1 else f"({rows},)"
        text(axes, centre, 0.55, shape, palette)
    grid(
        axes,
        2.95 + width - CELL,
        middle - UNITS[1] * CELL / 2,
        1,
        UNITS[1],
        CELL,
        palette.layers[1],
        palette,
    )
    for start, end in ((1.3, 1.6), (2.6, 2.9), (3.9, 4.15), (4.4, 4.9)):
        arrow(axes, (start, middle), (end, middle), palette.ink)
    arrow(axes, (0.35, 0.2), (0.35 + width, 0.2), palette.ink, width=0.9)
    text(axes, 0.35 + width + 0.08, 0.2, "time steps", palette, 9, ha="left")
    low = middle - N_FEATURES * CELL / 2
    arrow(axes, (0.25, low), (0.25, low + N_FEATURES * CELL), palette.ink, width=0.9)
    text(axes, 0.13, middle, "features", palette, 9, rotation=90)


def light() -> None:
    draw(LIGHT)


def dark() -> None:
    draw(DARK)
