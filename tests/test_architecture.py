"""Which part of the package imports which, read from the source: the arrows point one way."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import sklstm

PACKAGE = Path(sklstm.__file__).parent
TESTS = Path(__file__).parent
MOST_LINES = 600  # what a reader takes in at one sitting

# A part is a folder or a top-level module. It may import the parts after the colon, and itself.
# Nothing below `regressor` knows of an estimator, and nothing in `files` of a model.
ARROWS = {
    "_compat": set(),
    "exceptions": set(),
    "keras_words": {"_compat", "exceptions"},
    "data": {"_compat", "exceptions"},
    "nn": {"exceptions"},
    "files": {"exceptions"},
    "training": {"_compat", "exceptions", "data", "nn", "files"},
    "fit_tasks": {"training"},
    "regressor": {
        *("_compat", "exceptions", "fit_tasks", "keras_words"),
        *("data", "nn", "training"),
    },
    "windows": {"_compat", "exceptions", "data"},
    "scoring": {"data"},
    "sizing": {"nn"},
    "pipelines": {"regressor"},
    "comparison": set(),
    "race": {"_compat", "comparison", "exceptions", "pipelines"},
    "search": {"_compat", "comparison", "exceptions", "pipelines", "race"},
    "persistence": {"exceptions", "data", "nn", "files", "training", "regressor"},
    "inspection": {"data", "nn", "training", "pipelines", "regressor", "search"},
    "interop": {"nn", "files", "regressor"},
    "plotting": {"comparison", "inspection", "pipelines", "regressor"},
    "sklstm": {
        *("comparison", "nn", "persistence", "plotting", "regressor"),
        *("scoring", "search", "sizing", "windows"),
    },
}

# The parts that may import a library.
LIBRARIES = {
    "torch": {
        *("files", "inspection", "interop", "nn"),
        *("persistence", "regressor", "sizing", "training"),
    },
    "sklearn": set(ARROWS) - {"exceptions", "files", "fit_tasks", "nn", "sizing", "sklstm"},
    "skorch": {"training"},
    "safetensors": {"files"},
    "matplotlib": {"plotting"},
    "keras": {"interop"},
    "onnx": {"interop"},
}


def name_of(path: Path) -> str:
    """Return the dotted name of the module in a file of the package."""
    return ".".join(("sklstm", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def part_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imported(module: str) -> Iterator[str]:
    """Yield the dotted names that a module imports anywhere, relative ones written in full."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package.split("."), ""][: -node.level] if node.level else []
            base += [node.module] if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def own_imports(module: str) -> set[str]:
    """Return the modules of the package that a module imports.

    The version is no arrow: `sklstm/__init__.py` sets it before it imports anything.
    """
    names = {name for name in imported(module) if name.split(".")[0] == "sklstm"}
    names -= {"sklstm.__version__"}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def test_each_part_imports_only_the_parts_below_it():
    assert {part_of(module) for module in MODULES} == set(ARROWS)
    wrong = [
        f"{module} -> {other}"
        for module in MODULES
        for other in sorted(own_imports(module))
        if part_of(other) not in {part_of(module), *ARROWS[part_of(module)]}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: own_imports(module) for module in MODULES}
    assert graph["sklstm.search"] >= {"sklstm.pipelines", "sklstm.race"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_each_library_is_imported_only_where_it_belongs():
    wrong = [
        f"{module} -> {name}"
        for module in MODULES
        for name in imported(module)
        if part_of(module) not in LIBRARIES.get(name.split(".")[0], {part_of(module)})
    ]
    assert not wrong, "\n".join(wrong)


def test_private_names_of_scikit_learn_are_imported_in_one_module():
    importing = {
        module
        for module in MODULES
        for name in imported(module)
        if name.startswith("sklearn.") and "._" in name
    }
    assert importing == {"sklstm._compat"}


def n_lines_of_code(path: Path) -> int:
    """Count the lines of a file but for docstrings: those of 33 parameters take 250 lines."""
    source = path.read_text()
    docstrings = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            docstrings += (text.end_lineno or 0) - text.lineno + 1
    return len(source.splitlines()) - docstrings


def test_no_file_is_too_long_for_one_sitting():
    files = [*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py")]
    lines = {path: n_lines_of_code(path) for path in files}
    wrong = [f"{path}: {n}" for path, n in lines.items() if n > MOST_LINES]
    assert not wrong, "\n".join(wrong)


def test_each_module_says_what_it_is_for():
    wrong = [
        name for name, path in MODULES.items() if not path.read_text().startswith(('"""', "#"))
    ]
    assert not wrong, "\n".join(wrong)
