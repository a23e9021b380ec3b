import doctest
import re
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


def test_files_named_on_the_page_about_contributing_exist():
    page = (ROOT / "docs" / "contributing.rst").read_text()
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", page))
    assert len(named) > 10
    folders = (ROOT, ROOT / "sklstm")
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []
