"""Windows and targets on the rows of a table; the split with its gap."""

from matplotlib.patches import Rectangle
from style import DARK, LIGHT, Palette, arrow, canvas, grid, text

LENGTH, HORIZON = 4, 2
CELL = 0.34
LEFT = 0.85


def _cell(axes, row, y, colour, palette, label="", n_rows=1):
    x, width = LEFT + row * CELL, n_rows * CELL
    axes.add_patch(
        Rectangle((x, y), width, CELL, facecolor=colour, edgecolor=palette.ink, linewidth=0.9)
    )
    text(axes, x + width / 2, y + CELL / 2, label, palette)


def _row_numbers(axes, n_rows, y, palette):
    text(axes, LEFT - 0.1, y, "row", palette, 10, ha="right")
    for row in range(n_rows):
        text(axes, LEFT + (row + 0.5) * CELL, y, str(row), palette, 10)


def draw_windows(palette: Palette) -> None:
    n_rows = 12
    axes = canvas(5.4, 3.0)
    _row_numbers(axes, n_rows, 2.8, palette)
    for line, last in enumerate((4, 5, 6, 7)):
        y = 2.25 - line * 0.5
        text(axes, LEFT - 0.1, y + CELL / 2, f"t = {last}", palette, 10, ha="right")
        grid(axes, LEFT, y, n_rows, 1, CELL, palette.empty, _Faint(palette))
        for row in range(last - LENGTH + 1, last + 1):
            _cell(axes, row, y, palette.layers[0], palette)
        _cell(axes, last + HORIZON, y, palette.output, palette, "y")
    y = 0.42
    first = LEFT + (7 - LENGTH + 1) * CELL
    end = LEFT + 8 * CELL
    arrow(axes, (first, y), (end, y), palette.ink, style="|-|", width=0.9)
    text(axes, (first + end) / 2, y - 0.22, "length", palette, 10)
    arrow(axes, (end, y), (end + HORIZON * CELL, y), palette.ink, style="|-|", width=0.9)
    text(axes, end + HORIZON * CELL / 2, y - 0.22, "horizon", palette, 10)


def draw_split(palette: Palette) -> None:
    n_rows, n_train = 12, 6
    first_test = n_train + HORIZON
    axes = canvas(5.4, 2.75)
    _row_numbers(axes, n_rows, 2.55, palette)
    y = 2.05
    parts = (
        ("train", 0, n_train, palette.layers[0]),
        ("gap", n_train, first_test, palette.empty),
        ("test", first_test, n_rows, palette.layers[1]),
    )
    for label, start, end, colour in parts:
        _cell(axes, start, y, colour, palette, label, n_rows=end - start)
    for label, last, colour, y in (
        ("last train", n_train - 1, palette.layers[0], 1.3),
        ("first test", first_test, palette.layers[1], 0.55),
    ):
        text(axes, LEFT - 0.1, y + CELL / 2, label, palette, 10, ha="right")
        grid(axes, LEFT, y, n_rows, 1, CELL, palette.empty, _Faint(palette))
        for row in range(last - LENGTH + 1, last + 1):
            _cell(axes, row, y, colour, palette)
        _cell(axes, last + HORIZON, y, palette.output, palette, "y")
    x = LEFT + first_test * CELL
    axes.plot([x, x], [0.4, 2.4], color=palette.ink, linestyle="--", linewidth=1)
    text(axes, x - 0.06, 0.25, "training targets", palette, 10, ha="right")
    text(axes, x + 0.06, 0.25, "test rows", palette, 10, ha="left")


class _Faint:
    def __init__(self, palette: Palette) -> None:
        self.ink = palette.faint


def windows_light() -> None:
    draw_windows(LIGHT)


def windows_dark() -> None:
    draw_windows(DARK)


def split_light() -> None:
    draw_split(LIGHT)


def split_dark() -> None:
    draw_split(DARK)
