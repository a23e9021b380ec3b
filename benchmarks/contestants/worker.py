"""One contestant of `throughput.py`, in a process of its own.

Reads requests from standard input, one on each line, and writes a line of JSON for each: the
seconds of a sample, a row or a call, or an error, and the processor seconds that this process used
while it waited for requests.

    python benchmarks/contestants/worker.py CONTESTANT SIZE N_EPOCHS MOST_ROWS
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from statistics import median

from sizes import SIZES, Array, Contestant, Size, seconds

CONTESTANTS = {
    "sklstm": ("with_torch", "Sklstm"),
    "sklstm-training": ("with_torch", "SklstmTraining"),
    "sklstm-defaults": ("with_torch", "SklstmDefaults"),
    "sklstm-bfloat16": ("with_torch", "SklstmBfloat16"),
    "hand": ("with_torch", "Hand"),
    "skorch": ("with_torch", "Skorch"),
    "keras-torch": ("with_keras", "KerasTorch"),
    "keras-tf": ("with_keras", "KerasTensorflow"),
    "aeon": ("with_keras", "Aeon"),
}


class Worker:
    """Times a contestant."""

    def __init__(self, name: str, size: Size, most_rows: int) -> None:
        module, kind = CONTESTANTS[name]
        self.contestant: Contestant = getattr(import_module(module), kind)(size)
        self.size = size
        self.n_rows = min(self.contestant.n_rows, most_rows)
        X, self.y = size.data(size.n_samples)
        self.X = self.contestant.arranged(X)

    @cached_property
    def rows(self) -> Array:
        """What to predict."""
        return self.contestant.arranged(self.size.data(self.n_rows)[0])

    def start(self) -> float:
        """Train for an epoch, so that there is a model."""
        return seconds(lambda: self.contestant.fit(self.X, self.y, 1))

    def train(self) -> float:
        """Return the seconds of a sample in an epoch."""
        n_epochs = self.size.n_epochs
        return self.contestant.train(self.X, self.y, n_epochs) / (n_epochs * len(self.X))

    def predict(self) -> float:
        """Return the seconds of a row among many."""
        rows = self.rows
        return seconds(lambda: self.contestant.predict(rows)) / len(rows)

    def one_row(self) -> float:
        """Return the seconds of a call for one row."""
        call = self.contestant.predicting_one(self.X)
        return median(seconds(call) for _ in range(self.contestant.n_calls))


def main() -> None:
    name, size, n_epochs, most_rows = sys.argv[1:]
    size = replace(SIZES[size], n_epochs=int(n_epochs))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries print to standard output, too
    worker, waited = None, 0.0
    while request := _next_request():
        waited += request[1]
        try:
            worker = worker or Worker(name, size, int(most_rows))
            answer = {"seconds": getattr(worker, request[0])()}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
        answers.write(json.dumps({**answer, "waited": waited}) + "\n")


def _next_request() -> tuple[str, float] | None:
    """Return the request, and the processor seconds that waiting for it took."""
    start = time.process_time()
    request = sys.stdin.readline().strip()
    return (request, time.process_time() - start) if request else None


if __name__ == "__main__":
    main()
