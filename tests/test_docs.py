import ast
import doctest
import re
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.rst"))]
SESSIONS = [page for page in PAGES if ">>> " in page.read_text()]


def python_blocks(text):
    """Yield the line and the code of each Python block of a Markdown or reST page."""
    markdown = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
    rest = re.compile(r"^\.\. code-block:: python\n(?: +:.*\n)*\n((?:(?: +.*)?\n)+)", re.MULTILINE)
    for pattern in (markdown, rest):
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start(1)), match.group(1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace = {"__name__": "page"}
    for line, code in python_blocks(page.read_text()):
        indent = re.match(r" *", code).group()
        source = "\n" * line + re.sub(rf"^{indent}", "", code, flags=re.MULTILINE)
        exec(compile(source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_blocks_hold_what_follows_them(page):
    block = re.compile(r"^( *)\.\. code-block:: .*\n(?: +:.*\n)*\n+(.*)", re.MULTILINE)
    for indent, first in block.findall(page.read_text()):
        assert first.startswith(f"{indent}   "), first


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")
@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.name)
def test_sessions_print_what_the_page_shows(page):
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failed, tried = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert tried
    assert not failed


def test_there_are_blocks_to_run():
    assert len(list(python_blocks((ROOT / "README.md").read_text()))) >= 1
    assert sum(len(list(python_blocks(page.read_text()))) for page in PAGES) >= 5


def test_version_is_in_the_changelog():
    from sklstm import __version__

    version = "Unreleased" if ".dev" in __version__ else __version__
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def rooms_on_the_map():
    """Return the files of the package in the order of the table in CONTRIBUTING.md."""
    table = (ROOT / "CONTRIBUTING.md").read_text()
    return re.findall(r"^\| `sklstm/([\w/]+?)(?:\.py|/)` ", table, re.MULTILINE)


def room_of(path):
    return path.relative_to(ROOT / "sklstm").with_suffix("").parts[0]


def files_of_the_package():
    return [path for path in (ROOT / "sklstm").rglob("*.py") if room_of(path) != "__init__"]


def rooms_imported(path):
    """Yield the rooms of the package that a file imports from, anywhere in it."""
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            yield from re.findall(r"^sklstm\.(\w+)", module)


def test_every_room_is_on_the_map_and_in_the_documentation():
    rooms = {room_of(path) for path in files_of_the_package()}
    page = (ROOT / "docs" / "contributing.rst").read_text()
    assert rooms == set(rooms_on_the_map())
    assert [room for room in rooms if not re.search(rf"`{room}(\.py|/)`", page)] == []


@pytest.mark.parametrize("path", files_of_the_package(), ids=lambda path: path.stem)
def test_a_room_imports_from_rooms_above_it_in_the_table(path):
    order = rooms_on_the_map()
    above = order[: order.index(room_of(path)) + 1]
    assert set(rooms_imported(path)) <= set(above)
