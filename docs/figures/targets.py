"""Every form of y, beside the X of the same samples."""

from style import Palette, axis, both, canvas, grid, missing, text

CELL, GAP = 0.2, 0.16
LEFT, RIGHT, THIRD = 1.0, 2.9, 4.05
TOP, BOTTOM = 0.38, 0.42
LENGTHS = (5, 3, 4)


def _inputs(palette: Palette, x_label: str, lengths=(5, 5, 5), row=2 * CELL):
    """Draw X, and return axes, the middle of each sample and the height."""
    height = TOP + len(lengths) * row + GAP * (len(lengths) - 1) + BOTTOM
    axes = canvas(5.4, height)
    middles = [height - TOP - row / 2 - sample * (row + GAP) for sample in range(len(lengths))]
    for middle, length in zip(middles, lengths, strict=True):
        grid(axes, LEFT, middle - CELL, length, 2, CELL, palette.inputs, palette)
    text(axes, LEFT + 2.5 * CELL, height - 0.14, x_label, palette)
    axis(axes, (0.4, height - TOP), (0.4, BOTTOM), "samples", palette)
    x, y = LEFT - 0.1, middles[-1] - CELL
    axis(axes, (x, y), (x, y + 2 * CELL), "features", palette)
    axis(axes, (LEFT, 0.2), (LEFT + 5 * CELL, 0.2), "time", palette)
    return axes, middles, height


def _y(axes, x, middle, columns, rows, palette):
    grid(axes, x, middle - rows * CELL / 2, columns, rows, CELL, palette.output, palette)


def draw_one(palette: Palette) -> None:
    axes, middles, height = _inputs(palette, "X  (3, 5, 2)")
    for middle in middles:
        _y(axes, RIGHT, middle, 1, 1, palette)
    text(axes, RIGHT + CELL / 2, height - 0.14, "y  (3,)", palette)


def draw_outputs(palette: Palette) -> None:
    axes, middles, height = _inputs(palette, "X  (3, 5, 2)", row=3 * CELL)
    for middle in middles:
        _y(axes, RIGHT, middle, 1, 3, palette)
    text(axes, RIGHT + CELL / 2, height - 0.14, "y  (3, 3)", palette)
    _outputs(axes, middles[-1], 3, palette)


def draw_steps(palette: Palette) -> None:
    axes, middles, height = _inputs(palette, "X  (3, 5, 2)")
    for middle in middles:
        _y(axes, RIGHT, middle, 5, 1, palette)
    text(axes, RIGHT + 2.5 * CELL, height - 0.14, "y  (3, 5)", palette)
    axis(axes, (RIGHT, 0.2), (RIGHT + 5 * CELL, 0.2), "time", palette)


def draw_step_outputs(palette: Palette) -> None:
    axes, middles, height = _inputs(palette, "X  (3, 5, 2)", row=3 * CELL)
    for middle in middles:
        _y(axes, RIGHT, middle, 5, 3, palette)
    text(axes, RIGHT + 2.5 * CELL, height - 0.14, "y  (3, 5, 3)", palette)
    axis(axes, (RIGHT, 0.2), (RIGHT + 5 * CELL, 0.2), "time", palette)
    _outputs(axes, middles[-1], 3, palette)


def draw_labels(palette: Palette) -> None:
    axes, middles, height = _inputs(palette, "X, a list of 3", LENGTHS)
    without = ((4,), (0, 1), ())
    for sample, (middle, length, none) in enumerate(zip(middles, LENGTHS, without, strict=True)):
        for step in range(length):
            x = RIGHT + step * CELL
            if step in none:
                missing(axes, x, middle - CELL / 2, 1, 1, CELL, palette)
            else:
                _y(axes, x, middle, 1, 1, palette)
        text(axes, THIRD, middle, f"y[{sample}]  ({length},)", palette, ha="left")
    text(axes, RIGHT + 2.5 * CELL, height - 0.14, "y, a list of 3", palette)
    axis(axes, (RIGHT, 0.2), (RIGHT + 5 * CELL, 0.2), "time", palette)


def draw_quantiles(palette: Palette) -> None:
    axes, middles, height = _inputs(palette, "X  (3, 5, 2)")
    for middle in middles:
        _y(axes, RIGHT, middle, 1, 1, palette)
        _y(axes, THIRD, middle, 3, 1, palette)
    text(axes, RIGHT + CELL / 2, height - 0.14, "y  (3,)", palette)
    text(axes, THIRD + 1.5 * CELL, height - 0.14, "predictions  (3, 3)", palette)
    axis(axes, (THIRD, 0.2), (THIRD + 3 * CELL, 0.2), "quantiles", palette)


def _outputs(axes, middle, n_outputs, palette):
    x, half = RIGHT - 0.1, n_outputs * CELL / 2
    axis(axes, (x, middle - half), (x, middle + half), "outputs", palette)


one_light, one_dark = both(draw_one)
outputs_light, outputs_dark = both(draw_outputs)
steps_light, steps_dark = both(draw_steps)
step_outputs_light, step_outputs_dark = both(draw_step_outputs)
labels_light, labels_dark = both(draw_labels)
quantiles_light, quantiles_dark = both(draw_quantiles)
