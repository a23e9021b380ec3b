"""A stack of two layers, unrolled over four time steps."""

from style import DARK, LIGHT, Palette, arrow, box, canvas, text

UNUSED = "\N{MULTIPLICATION SIGN}"


def draw(palette: Palette) -> None:
    axes = canvas(5.4, 4.0)
    columns = (1.5, 2.5, 3.5, 4.5)
    x_row, first, second, dense, y_row = 0.3, 1.1, 2.0, 2.95, 3.8
    half = 0.23

    for row, label in (
        (x_row, "input"),
        (first, "layer 1"),
        (second, "layer 2"),
        (dense, "head"),
        (y_row, "output"),
    ):
        text(axes, 0.1, row, label, palette, ha="left")

    last = len(columns)
    for step, column in enumerate(columns, start=1):
        box(axes, column, x_row, 0.62, 0.4, palette.inputs, palette, f"x[{step}]")
        for row, colour in zip((first, second), palette.layers, strict=True):
            box(axes, column, row, 0.62, 0.46, colour, palette, "LSTM", 9)
            if step < last:
                arrow(axes, (column + 0.31, row), (column + 0.69, row), palette.ink)
        arrow(axes, (column, x_row + 0.2), (column, first - half), palette.ink)
        arrow(axes, (column, first + half), (column, second - half), palette.ink)
        if step < last:
            top = second + half + 0.24
            arrow(axes, (column, second + half), (column, top), palette.faint, style="-")
            text(axes, column, top, UNUSED, palette, 9, va="bottom", color=palette.faint)
    text(axes, 2.0, second + 0.14, "h, c", palette, 9)
    text(axes, 2.0, first + 0.14, "h, c", palette, 9)
    text(axes, 1.56, (first + second) / 2, "h[1]", palette, 9, ha="left")
    text(axes, 4.56, (first + second) / 2, "h[4]", palette, 9, ha="left")
    text(axes, 4.42, 2.47, "final h", palette, 9, ha="right")
    box(axes, columns[-1], dense, 0.72, 0.42, palette.output, palette, "Dense", 9)
    arrow(axes, (4.5, second + half), (4.5, dense - 0.21), palette.ink, width=2)
    arrow(axes, (4.5, dense + 0.21), (4.5, y_row - 0.14), palette.ink, width=2)
    text(axes, 4.5, y_row, "ŷ", palette, 12)


def light() -> None:
    draw(LIGHT)


def dark() -> None:
    draw(DARK)
