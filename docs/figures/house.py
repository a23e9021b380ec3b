"""The files of the package and which of them import which, read from the source."""

import ast
from pathlib import Path

from style import Palette, arrow, both, canvas, text
from style import box as draw_box

import sklstm

PACKAGE = Path(sklstm.__file__).parent
FOLDERS = ("data", "nn", "training", "files")
LINE = 0.165  # inches from one file name to the next
BAND = 0.46  # inches between two rows of boxes, for the arrows


def part_of(path: Path) -> str:
    """Return the folder of a file, or the file itself if it is in no folder."""
    return path.relative_to(PACKAGE).parts[0]


def imports() -> dict[str, set[str]]:
    """Return which parts of the package, files or folders, each part imports."""
    parts = {part_of(path) for path in PACKAGE.rglob("*.py")} - {"__init__.py"}
    arrows: dict[str, set[str]] = {part: set() for part in parts}
    for path in PACKAGE.rglob("*.py"):
        package = ("sklstm", *path.relative_to(PACKAGE).parts[:-1])
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and part_of(path) in parts:
                base = package[: len(package) - node.level + 1] if node.level else ()
                names = (*base, *(node.module or "").split("."), node.names[0].name)
                root, part, *_ = (*filter(None, names), "")
                found = {part, f"{part}.py"} & parts if root == "sklstm" else set()
                arrows[part_of(path)] |= found - {part_of(path)}
    return arrows


def reach(start: str, arrows: dict[str, set[str]]) -> set[str]:
    """Return all that can be reached by arrows, in one step or in several."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = arrows[waiting.pop()] - found
        found |= new
        waiting.extend(new)
    return found


def boxes(arrows: dict[str, set[str]]) -> dict[str, list[str]]:
    """Return the parts in each box of the picture."""
    below = reach("regressor.py", arrows) | {"regressor.py"}
    around = sorted(part for part in arrows if "regressor.py" in reach(part, arrows))
    rest = sorted(set(arrows) - below - set(around) - set(FOLDERS))
    tools = [part for part in rest if arrows[part] & set(FOLDERS)]
    names = {folder: [folder] for folder in FOLDERS}
    shared = set().union(*(reach(folder, arrows) for folder in FOLDERS))
    helpers = sorted(below - shared - set(FOLDERS) - {"regressor.py"})
    return {"around": around, "regressor": ["regressor.py", *helpers], "tools": tools, **names}


def arrows_between(groups: dict[str, list[str]], arrows: dict[str, set[str]]):
    """Return the arrows between boxes, without those that follow from others."""
    box_of = {part: box for box, parts in groups.items() for part in parts}
    direct = {
        box: {box_of[other] for part in parts for other in arrows[part] if other in box_of} - {box}
        for box, parts in groups.items()
    }
    return {
        box: {end for end in ends if not any(end in reach(way, direct) for way in ends - {end})}
        for box, ends in direct.items()
    }


def files_in(folder: str) -> list[str]:
    return sorted(path.name for path in (PACKAGE / folder).glob("[!_]*.py"))


def first_lines() -> dict[str, list[tuple[str, str]]]:
    """Return the files of each folder with the first line of their docstrings."""
    listing: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (len(path.parts), path)):
        if path.name != "__init__.py":
            folder = str(path.parent.relative_to(PACKAGE.parent))
            docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
            listing.setdefault(folder, []).append((path.name, docstring.split("\n")[0]))
    return listing


def draw(palette: Palette) -> None:
    arrows = imports()
    groups = boxes(arrows)
    names = {box: parts for box, parts in groups.items() if box not in FOLDERS}
    names |= {folder: files_in(folder) for folder in FOLDERS}
    titles = {"around": "around the estimator", "regressor": "", "tools": "tools"}
    columns = {"around": 3, "regressor": 2, "training": 2}
    rows = {box: -(-len(files) // columns.get(box, 1)) for box, files in names.items()}
    heights = {box: (n + bool(titles.get(box, "folder"))) * LINE + 0.2 for box, n in rows.items()}

    width, left = 3.9, 2.65
    low = max(heights[folder] for folder in ("data", "nn", "files"))
    middle = max(heights["training"] + BAND + heights["regressor"], heights["tools"])
    edges = {}  # of each box: left, right, bottom, top
    edges["files"] = (0.0, 1.25, 0.0, low)
    edges["nn"] = (1.35, 2.5, 0.0, low)
    edges["data"] = (2.6, width, 0.0, low)
    bottom = low + BAND
    edges["training"] = (0.0, left, bottom, bottom + heights["training"])
    edges["regressor"] = (0.0, left, bottom + middle - heights["regressor"], bottom + middle)
    edges["tools"] = (left + 0.1, width, bottom, bottom + middle)
    bottom += middle + BAND
    edges["around"] = (0.0, width, bottom, bottom + heights["around"])

    axes = canvas(width, bottom + heights["around"])
    colours = dict.fromkeys(names, palette.inputs)
    colours |= {"regressor": palette.output, "training": palette.layers[1]}
    colours["nn"] = palette.layers[0]
    for box, (x, right, y, top) in edges.items():
        middle_of = ((x + right) / 2, (y + top) / 2)
        draw_box(axes, *middle_of, right - x, top - y, colours[box], palette)
        title = titles.get(box, f"{box}/")
        if title:
            text(axes, x + 0.14, top - 0.19, title, palette, 9.5, ha="left", weight="bold")
        for index, name in enumerate(names[box]):
            column, row = divmod(index, rows[box])
            across = x + 0.14 + column * (right - x - 0.1) / columns.get(box, 1)
            down = top - 0.19 - (row + bool(title)) * LINE
            label = name if name.endswith(".py") else f"{name}/"
            text(axes, across, down, label, palette, 9, ha="left")
    for box, ends in arrows_between(groups, arrows).items():
        for end in sorted(ends):
            (x, right, y, _), (x_end, right_end, _, top) = edges[box], edges[end]
            overlap = (max(x, x_end), min(right, right_end))
            if overlap[1] - overlap[0] > 0.3:
                start = finish = sum(overlap) / 2
            elif x >= right_end - 0.3:
                start, finish = x + 0.3, right_end - 0.25
            else:
                start, finish = right - 0.3, x_end + 0.25
            arrow(axes, (start, y), (finish, top), palette.ink)


light, dark = both(draw)
