"""How many files and functions a reader opens to follow one call.

    python benchmarks/reading.py

Calls are watched with ``sys.setprofile``. Only the first call of each function of the package
counts: a reader who follows the code for the first time opens the functions in the order of these
calls. Counted are the files, the functions, and how often the next function is in another file.
Code that runs at import, comprehensions and lambdas are left out.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

import sklstm
from sklstm import StackedLSTMRegressor

PACKAGE = str(Path(sklstm.__file__).parent)


def read(call: Callable[[], Any]) -> list[tuple[str, str]]:
    """Return the file and the name of each function of the package, in the order of first calls."""
    found: dict[CodeType, tuple[str, str]] = {}

    def watch(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE) and code.co_name[0] != "<":
            name = getattr(code, "co_qualname", code.co_name)
            found.setdefault(code, (code.co_filename[len(PACKAGE) + 1 :], name))

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(found.values())


def report(title: str, functions: list[tuple[str, str]], names: bool) -> None:
    """Print the three numbers, and which functions they are."""
    files = [file for file, _ in functions]
    changes = sum(a != b for a, b in pairwise(files))
    print(
        f"{title:<22} {len(set(files)):>5} files {len(functions):>5} functions {changes:>5} changes"
    )
    before = ""
    for file, name in functions if names else ():
        print(f"    {'' if file == before else file:<28} {name}")
        before = file


def main() -> None:
    names = "--names" in sys.argv
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12, 3))
    y = X[:, -3:, 0].sum(axis=1)
    StackedLSTMRegressor(max_epochs=2, random_state=0).fit(X, y).predict(X)  # imports done
    model = StackedLSTMRegressor(max_epochs=2, random_state=0)
    report("fit", read(lambda: model.fit(X, y)), names)
    report("predict", read(lambda: model.predict(X)), names)
    with tempfile.TemporaryDirectory() as folder:
        model.set_params(checkpoint=Path(folder, "fit.checkpoint"))
        report("fit with a checkpoint", read(lambda: model.fit(X, y)), names)


if __name__ == "__main__":
    main()
