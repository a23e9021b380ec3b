"""Every form of X: what is passed on the left, the sequences it is read as on the right."""

from style import Palette, arrow, axis, both, canvas, grid, missing, text

CELL, GAP = 0.2, 0.14
LEFT, RIGHT = 0.85, 3.45
TOP = 0.38  # for the headings
BOTTOM = 0.42  # for the axis of time
LENGTHS = (5, 3, 4)


def _frame(heights: list[float]):
    """Return axes, and the lower edge of each sample, the first one on top."""
    height = TOP + sum(heights) + GAP * (len(heights) - 1) + BOTTOM
    axes = canvas(5.4, height)
    edges, y = [], height - TOP + GAP
    for sample in heights:
        y -= sample + GAP
        edges.append(y)
    return axes, edges, height


def _headings(axes, height, left, right, palette, n_left=6, n_right=6):
    text(axes, LEFT + n_left * CELL / 2, height - 0.14, left, palette)
    text(axes, RIGHT + n_right * CELL / 2, height - 0.14, right, palette)


def _becomes(axes, height, palette, n_left=6):
    y = (height - TOP + BOTTOM) / 2
    start = LEFT + n_left * CELL + 0.2
    arrow(axes, (start, y), (max(start + 0.4, RIGHT - 0.6), y), palette.ink)


def _samples(axes, height, palette, x=0.25):
    axis(axes, (x, height - TOP), (x, BOTTOM), "samples", palette)


def _time(axes, x, n_steps, palette):
    axis(axes, (x, 0.2), (x + n_steps * CELL, 0.2), "time", palette)


def draw_rows(palette: Palette) -> None:
    axes, edges, height = _frame([CELL] * 3)
    for y, row in zip(edges, reversed(range(3)), strict=True):
        bottom = (BOTTOM + height - TOP - 3 * CELL) / 2 + row * CELL
        grid(axes, LEFT, bottom, 6, 1, CELL, palette.inputs, palette)
        grid(axes, RIGHT, y, 6, 1, CELL, palette.inputs, palette)
    _headings(axes, height, "X  (3, 6)", "3 sequences", palette)
    _becomes(axes, height, palette)
    _samples(axes, height, palette)
    _time(axes, LEFT, 6, palette)
    _time(axes, RIGHT, 6, palette)


def draw_columns(palette: Palette) -> None:
    cell, n_steps = 0.29, 3
    axes, edges, height = _frame([2 * cell] * 2)
    names = [f"{feature}{step}" for step in range(1, n_steps + 1) for feature in "ab"]
    middle = (height - TOP + BOTTOM) / 2
    for row, y in enumerate(edges):
        bottom = middle - row * cell
        grid(axes, LEFT - 0.1, bottom, 6, 1, cell, palette.inputs, palette)
        grid(axes, RIGHT, y, n_steps, 2, cell, palette.inputs, palette)
        for column, name in enumerate(names):
            step, feature = divmod(column, 2)
            x = LEFT - 0.1 + (column + 0.5) * cell
            text(axes, x, bottom + cell / 2, name, palette, 9)
            x, up = RIGHT + (step + 0.5) * cell, y + (feature + 0.5) * cell
            text(axes, x, up, name, palette, 9)
    text(axes, LEFT - 0.1 + 3 * cell, height - 0.14, "X  (2, 6), n_timesteps=3", palette)
    text(axes, RIGHT + n_steps * cell / 2, height - 0.14, "2 sequences", palette)
    arrow(axes, (LEFT + 6 * cell + 0.05, middle), (RIGHT - 0.4, middle), palette.ink)
    _samples(axes, height, palette)
    axis(axes, (RIGHT, 0.2), (RIGHT + n_steps * cell, 0.2), "time", palette)
    y = edges[-1]
    axis(axes, (RIGHT - 0.1, y), (RIGHT - 0.1, y + 2 * cell), "features", palette)


def draw_array(palette: Palette) -> None:
    axes, edges, height = _frame([2 * CELL] * 3)
    x, y = LEFT - 0.1, BOTTOM + 0.14
    for back in (2, 1, 0):
        grid(axes, x + back * 0.24, y + back * 0.3, 5, 2, CELL, palette.inputs, palette)
    for edge in edges:
        grid(axes, RIGHT, edge, 5, 2, CELL, palette.inputs, palette)
    corner = x + 5 * CELL + 0.1
    arrow(axes, (corner, y), (corner + 0.48, y + 0.6), palette.ink, width=0.9)
    text(axes, corner + 0.3, y + 0.2, "samples", palette, 9, ha="left")
    text(axes, x + 0.24 + 2.5 * CELL, height - 0.14, "X  (3, 5, 2)", palette)
    text(axes, RIGHT + 2.5 * CELL, height - 0.14, "3 sequences", palette)
    middle = (height - TOP + BOTTOM) / 2
    arrow(axes, (RIGHT - 0.85, middle), (RIGHT - 0.35, middle), palette.ink)
    axis(axes, (x - 0.1, y), (x - 0.1, y + 2 * CELL), "features", palette)
    _time(axes, x, 5, palette)
    _time(axes, RIGHT, 5, palette)


def draw_list(palette: Palette) -> None:
    axes, edges, height = _frame([2 * CELL] * 3)
    left = 2.35
    for sample, (y, length) in enumerate(zip(edges, LENGTHS, strict=True)):
        text(axes, 0.95, y + CELL, f"X[{sample}]  ({length}, 2)", palette, ha="left")
        grid(axes, left, y, length, 2, CELL, palette.inputs, palette)
    text(axes, left + 2.5 * CELL, height - 0.14, "X, a list of 3", palette)
    _samples(axes, height, palette, 0.7)
    y = edges[-1]
    axis(axes, (left - 0.1, y), (left - 0.1, y + 2 * CELL), "features", palette)
    _time(axes, left, 5, palette)


def draw_padded(palette: Palette) -> None:
    axes, edges, height = _frame([2 * CELL] * 3)
    longest = max(LENGTHS)
    leading = (0, 0, 1)
    for y, length, before in zip(edges, LENGTHS, leading, strict=True):
        missing(axes, LEFT, y, before, 2, CELL, palette)
        first = LEFT + before * CELL
        grid(axes, first, y, length, 2, CELL, palette.inputs, palette)
        after = longest - before - length
        missing(axes, first + length * CELL, y, after, 2, CELL, palette)
        grid(axes, RIGHT, y, length, 2, CELL, palette.inputs, palette)
    _headings(axes, height, "X  (3, 5, 2)", "3 sequences", palette, 5, 5)
    _becomes(axes, height, palette, 5)
    _samples(axes, height, palette)
    y = edges[-1]
    axis(axes, (LEFT - 0.1, y), (LEFT - 0.1, y + 2 * CELL), "features", palette)
    _time(axes, LEFT, 5, palette)
    _time(axes, RIGHT, 5, palette)


def draw_windows(palette: Palette) -> None:
    length, n_rows = 4, 6
    cell, left, height = 0.26, 1.7, 2.8
    axes = canvas(5.4, height)
    text(axes, left - 0.1, height - 0.14, "row", palette, 10, ha="right")
    for row in range(n_rows):
        text(axes, left + (row + 0.5) * cell, height - 0.14, str(row), palette)
    y = height - 0.32 - cell
    text(axes, left - 0.1, y + cell / 2, "table", palette, 10, ha="right")
    grid(axes, left, y, n_rows, 1, cell, palette.inputs, palette)
    for last in range(5):
        y = height - 0.98 - last * (cell + 0.09)
        text(axes, 0.75, y + cell / 2, f"t = {last}", palette, 10, ha="right")
        first = last - length + 1
        before = max(0, -first)
        missing(axes, left + first * cell, y, before, 1, cell, palette)
        x = left + max(0, first) * cell
        grid(axes, x, y, length - before, 1, cell, palette.layers[0], palette)
        steps = f"{length - before} steps" if before < length - 1 else "1 step"
        text(axes, 3.6, y + cell / 2, steps, palette, 10, ha="left")
    axis(axes, (left, 0.16), (left + n_rows * cell, 0.16), "time", palette)


rows_light, rows_dark = both(draw_rows)
columns_light, columns_dark = both(draw_columns)
array_light, array_dark = both(draw_array)
list_light, list_dark = both(draw_list)
padded_light, padded_dark = both(draw_padded)
windows_light, windows_dark = both(draw_windows)
