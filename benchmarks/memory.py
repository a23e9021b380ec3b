"""How much memory training and predicting take, and that data on disk stay there.

Each case runs in a process of its own. It is compared with a process that imports everything, fits
a tiny set and predicts it. The columns are in MB (a million bytes), and the peak of that process is
subtracted:

- arrays: the size of X and y in memory, before the call; a memory map counts as nothing.
- anonymous: the peak of the memory that the process has allocated, read every few milliseconds.
  Only swapping frees it.
- file: the peak of the pages of mapped files. The system drops them when it needs memory.
- resident: the peak of the two together, as the system records it. It is `VmHWM`, as `ru_maxrss`
  also counts the memory of the process that started this one.
- added: anonymous minus arrays: the memory that the call needs in addition to its data.

With X on disk, resident must be below 300 MB. With a table, anonymous, which includes the table and
its targets, must be below 2.5 times the size of the table.

X on disk is a memory map of float32 windows, 48 steps of 8 features, of the size `--gb`, in a
temporary folder. The table has 1,000,000 rows of 8 float64 columns, of which `LagWindows` makes
windows of 48 rows. Copies of these would be 48 times as large as the table. Linux only.

    python benchmarks/memory.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import print_machine
from numpy.typing import NDArray
from sklearn.pipeline import make_pipeline

from sklstm import LagWindows, StackedLSTMRegressor

N_STEPS, N_FEATURES = 48, 8
MB, BLOCK = 1e6, 20_000
DISK_LIMIT, TABLE_LIMIT = 300, 2.5
PLAIN = {"skip": None, "pooling": "last", "linear_steps": None}
WINDOWS, TABLE = "windows.npy", "table.npy"
KEYS = {"anonymous": "RssAnon", "file": "RssFile", "resident": "VmHWM"}
Case = tuple[float, Callable[[], Any]]
Measured = dict[str, float]


def resident() -> Measured:
    """Bytes of this process that are in memory, by kind."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    found = {name.rstrip(":"): values for name, *values in lines}
    return {name: 1024.0 * int(found[key][0]) for name, key in KEYS.items()}


class Peaks(threading.Thread):
    """Watches what this process has in memory, every few milliseconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks = resident()
        self.ended = threading.Event()

    def run(self) -> None:
        """Watch until the end."""
        while not self.ended.wait(0.005):
            self.look()

    def look(self) -> None:
        """Look once."""
        self.peaks = {name: max(self.peaks[name], n) for name, n in resident().items()}

    def end(self) -> Measured:
        """Look a last time, and return the peaks."""
        self.ended.set()
        self.join()
        self.look()
        return self.peaks


def regressor(arguments: argparse.Namespace, **parameters: Any) -> StackedLSTMRegressor:
    return StackedLSTMRegressor(
        n_layers=1,
        units=arguments.units,
        batch_size=arguments.batch_size,
        max_epochs=1,
        random_state=0,
        **parameters,
    )


def targets(n_samples: int, dtype: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(1).standard_normal(n_samples).astype(dtype)


def write(path: Path, n_rows: int, shape: tuple[int, ...], dtype: str) -> None:
    """Write random numbers to a file, block by block."""
    rng = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", dtype, (n_rows, *shape))
    for first in range(0, n_rows, BLOCK):
        block = file[first : first + BLOCK]
        block[:] = rng.standard_normal(block.shape, dtype="float32")


def in_memory(n_bytes: float, dtype: str) -> NDArray[Any]:
    n_samples = int(n_bytes / (N_STEPS * N_FEATURES * np.dtype(dtype).itemsize))
    rng = np.random.default_rng(0)
    return rng.standard_normal((n_samples, N_STEPS, N_FEATURES), dtype=dtype)


def tiny(arguments: argparse.Namespace) -> Case:
    return 0, lambda: fitted_to_tiny(arguments)


def fitted_to_tiny(arguments: argparse.Namespace) -> StackedLSTMRegressor:
    X = in_memory(2e6, "float32")
    model = regressor(arguments, **PLAIN).fit(X, targets(len(X)))
    model.predict(X)
    return model


def fit_windows(arguments: argparse.Namespace, **parameters: Any) -> Case:
    X = np.load(arguments.folder / WINDOWS, mmap_mode="r")
    y = targets(len(X))
    return y.nbytes, lambda: regressor(arguments, **parameters).fit(X, y)


def predict_windows(arguments: argparse.Namespace) -> Case:
    X = np.load(arguments.folder / WINDOWS, mmap_mode="r")
    model = fitted_to_tiny(arguments)
    return 0, lambda: model.predict(X)


def fit_table(arguments: argparse.Namespace, mmap_mode: Any) -> Case:
    X = np.load(arguments.folder / TABLE, mmap_mode=mmap_mode)
    y = targets(len(X), "float64")
    model = make_pipeline(LagWindows(N_STEPS), regressor(arguments, **PLAIN))
    return y.nbytes + (0 if mmap_mode else X.nbytes), lambda: model.fit(X, y)


def fit_in_memory(arguments: argparse.Namespace, dtype: str) -> Case:
    X = in_memory(arguments.gb_in_memory * 1e9, dtype)
    y = targets(len(X), dtype)
    return X.nbytes + y.nbytes, lambda: regressor(arguments, **PLAIN).fit(X, y)


BASELINE = "imports and a tiny fit"
CASES: dict[str, Callable[..., Case]] = {
    BASELINE: tiny,
    "fit, X on disk, plain": partial(fit_windows, **PLAIN),
    "fit, X on disk, defaults": fit_windows,
    "predict, X on disk": predict_windows,
    "fit, table in memory": partial(fit_table, mmap_mode=None),
    "fit, table on disk": partial(fit_table, mmap_mode="r"),
    "fit, X in memory, float64": partial(fit_in_memory, dtype="float64"),
    "fit, X in memory, float32": partial(fit_in_memory, dtype="float32"),
}


def measure(case: str, arguments: argparse.Namespace) -> Measured:
    """Run a case in this process."""
    peaks = Peaks()
    peaks.start()
    n_bytes, call = CASES[case](arguments)
    call()
    return {"arrays": n_bytes, **peaks.end()}


def measure_apart(case: str, folder: Path) -> Measured:
    """Run a case in a process of its own."""
    options = ["--measure", case, "--folder", str(folder), *sys.argv[1:]]
    command = [sys.executable, __file__, *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def print_row(case: str, measured: Measured, baseline: Measured, table: float) -> None:
    rises = {name: measured[name] - baseline[name] for name in KEYS}
    added = rises["anonymous"] - measured["arrays"]
    values = (measured["arrays"], *rises.values(), added)
    columns = "".join(f"{value / MB:11.0f}" for value in values)
    print(f"{case:26}{columns}   {compared(case, rises, table)}", flush=True)


def compared(case: str, rises: Measured, table: float) -> str:
    """Compare a case with its limit."""
    if "table" in case:
        n_tables = rises["anonymous"] / table
        return f"{'OVER' if n_tables >= TABLE_LIMIT else 'below'} {TABLE_LIMIT}: {n_tables:.2f}"
    if "disk" in case:
        return f"{'OVER' if rises['resident'] >= DISK_LIMIT * MB else 'below'} {DISK_LIMIT} MB"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=2.0, help="of X on disk")
    parser.add_argument("--gb-in-memory", type=float, default=1.0, help="of X in memory")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table")
    parser.add_argument("--units", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES)[1:])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments)))
        return
    print_machine("sklstm", "torch", "numpy", "scikit-learn", "skorch")
    print(
        f"X on disk {arguments.gb} GB, X in memory {arguments.gb_in_memory} GB, table of "
        f"{arguments.rows:,} rows; a layer of {arguments.units} units, batches of "
        f"{arguments.batch_size}, one epoch\n"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_windows = int(arguments.gb * 1e9 / (4 * N_STEPS * N_FEATURES))
        write(folder / WINDOWS, n_windows, (N_STEPS, N_FEATURES), "float32")
        write(folder / TABLE, arguments.rows, (N_FEATURES,), "float64")
        baseline = measure_apart(BASELINE, folder)
        print_own(baseline)
        for case in arguments.cases:
            print_row(case, measure_apart(case, folder), baseline, 8 * arguments.rows * N_FEATURES)


def print_own(baseline: Measured) -> None:
    """Print the memory that is subtracted from all others, and the head of their table."""
    own = ", ".join(f"{name} {baseline[name] / MB:.0f}" for name in KEYS)
    print(f"{BASELINE}: {own} MB\n")
    names = ("arrays", *KEYS, "added")
    print(f"{'MB over it':26}" + "".join(f"{name:>11}" for name in names))


if __name__ == "__main__":
    main()
