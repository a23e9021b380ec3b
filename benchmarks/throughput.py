"""How fast `StackedLSTMRegressor` trains and predicts, compared with what one would use instead.

Contestants:

- sklstm: the network and the training of the loop by hand (Adam at a constant 0.001, no skip
  connections, the last output to a Dense layer). It still scales X and y, and checks them.
- sklstm-training: the same network, trained as by default (AdamW, one cycle, clipping, averaging)
  at a learning rate of 0.001.
- sklstm-defaults: the default network, trained as by default, without the linear shortcut.
- sklstm-bfloat16: sklstm with ``precision="bfloat16"``.
- hand: a loop written by hand in torch, `torch.optim.Adam` with its default options. It predicts
  256 rows at a time.
- skorch: the network of the loop by hand in a `NeuralNetRegressor` with torch's own loader,
  predicting in batches as in training.
- keras-torch, keras-tf: a Keras model on either backend, predicting 256 rows at a time.
- aeon: aeon's `RecurrentRegressor` without dropout, which is Keras on TensorFlow.

Training is the whole call of `fit` on a new estimator: checks, scaling and set-up included. There
are two exceptions, both to the advantage of the others: a Keras model is built, compiled and traced
before, and only its training is timed; aeon builds and compiles in `fit`, so the time of a fit of E
epochs is subtracted from that of 2 E epochs. Prediction is of 100,000 rows (Keras and aeon:
10,000); one row is the median of 200 calls for one row (Keras and aeon: 30), where hand calls the
bare module.

Every contestant has a process of its own, with its own threads and memory. They take turns within a
repeat, so only one computes at any time. The first round does not count. Prints the median, the
lowest and the highest value over the repeats, and how many times faster sklstm is: the median of
the ratios, within a repeat, of a contestant's time to that of sklstm. Contestants that are not
installed are named and left out.

    python benchmarks/throughput.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from textwrap import shorten

from contestants.sizes import SIZES
from machine import print_machine

WORKER = Path(__file__).parent / "contestants" / "worker.py"
REFERENCE = "sklstm"
RIVALS = [
    "hand",
    "skorch",
    "keras-torch",
    "keras-tf",
    "aeon",
    "sklstm-training",
    "sklstm-defaults",
    "sklstm-bfloat16",
]
UNITS = {
    "train": ("training, samples/s", 1.0),
    "predict": ("prediction, rows/s", 1.0),
    "one_row": ("one row, ms", 1e3),
}
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


class Process:
    """A contestant in a process of its own, which computes only when it is asked."""

    def __init__(self, *arguments: str, threads: int | None) -> None:
        limits = {} if threads is None else dict.fromkeys(THREADS, str(threads))
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **limits},
            text=True,
        )
        self.waited = 0.0
        self.error: str | None = None
        self.ask("start")

    def ask(self, request: str) -> float:
        """Return the seconds of what is asked for, NaN from the first error on."""
        if self.error is not None:
            return float("nan")
        print(request, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"ended in {request}"}
        self.waited = answer.get("waited", self.waited)
        self.error = answer.get("error")
        return answer.get("seconds", float("nan"))

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def take_turns(
    processes: dict[str, Process], request: str, n_repeats: int
) -> dict[str, list[float]]:
    """Ask everyone in turn, again and again; the first round does not count."""
    rounds = [
        {name: process.ask(request) for name, process in processes.items()}
        for _ in range(n_repeats + 1)
    ]
    return {name: [one[name] for one in rounds[1:]] for name in processes}


def print_table(request: str, times: dict[str, list[float]], errors: dict[str, str | None]) -> None:
    title, scale = UNITS[request]
    print(f"\n{title:22}{'median':>12}{'lowest':>12}{'highest':>12}   sklstm is faster by")
    for name, seconds in times.items():
        if errors[name] is not None:
            print(f"{name:22}{'n/a':>12}   {shorten(errors[name], 78)}")
            continue
        values = [s * scale if request == "one_row" else scale / s for s in seconds]
        ratio = median(s / own for s, own in zip(seconds, times[REFERENCE], strict=True))
        columns = "".join(f"{f(values):12,.{2 * (scale > 1)}f}" for f in (median, min, max))
        print(f"{name:22}{columns}{ratio:22.2f}", flush=True)


def run(size: str, arguments: argparse.Namespace) -> None:
    """Time everyone at one size."""
    n_epochs = arguments.epochs or SIZES[size].n_epochs
    numbers = (str(n_epochs), str(arguments.rows))
    print(f"\n{size}: {SIZES[size]}, {n_epochs} epochs")
    with ExitStack() as stack:
        processes = {}
        for name in [REFERENCE, *(n for n in arguments.contestants if n != REFERENCE)]:
            process = Process(name, size, *numbers, threads=arguments.threads)
            stack.callback(process.close)
            if "ModuleNotFoundError" in (process.error or ""):
                print(f"{name} is left out: {process.error}")
            else:
                processes[name] = process
        for request in arguments.what:
            times = take_turns(processes, request, arguments.repeats)
            errors = {name: process.error for name, process in processes.items()}
            print_table(request, times, errors)
        waited = max(process.waited for process in processes.values())
        print(f"\nA process that waited took {waited:.2f} processor seconds at most.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contestants", nargs="+", choices=[REFERENCE, *RIVALS], default=RIVALS)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--what", nargs="+", choices=UNITS, default=list(UNITS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="in a timed training, at every size")
    parser.add_argument("--rows", type=int, default=100_000, help="to predict, at most")
    parser.add_argument("--threads", type=int, help="of each process; its own default if not given")
    arguments = parser.parse_args()
    print_machine(
        "sklstm", "torch", "numpy", "scikit-learn", "skorch", "keras", "tensorflow", "aeon"
    )
    for size in arguments.sizes:
        run(size, arguments)


if __name__ == "__main__":
    main()
