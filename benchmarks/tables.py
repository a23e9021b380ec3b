"""Print every table of docs/how_deep.rst again, into docs/tables, which the page includes.

Takes about two hours on one core; the scripts run one after the other. Each says in its
docstring what its table has.

    python benchmarks/tables.py [NAME ...]
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TABLES = HERE.parent / "docs" / "tables"
SCRIPTS = {
    "depth_search": "depth_search.py",
    "growth": "growth.py",
    "depth_adding": "depth_adding.py",
    **{
        name: f"how_deep/{name}.py"
        for name in (
            *("skip_forms", "cost", "width", "data_size", "dropout", "dense", "feedforward"),
            *("gradients", "timescales"),
        )
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {list(SCRIPTS)}")
    TABLES.mkdir(exist_ok=True)
    for name in parser.parse_args().names or SCRIPTS:
        command = [sys.executable, str(HERE / SCRIPTS[name])]
        # One thread for torch and for the libraries below it, as the pages say.
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        (TABLES / f"{name}.txt").write_text(done.stdout.strip("\n") + "\n")
        print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
