"""Load files that were damaged or made up, and count what comes of it.

    python benchmarks/mutated_files.py [--files 10000] [--seed 0]

A third of the files have flipped bits, a third are cut off or have bytes put in or taken out, and
a third are made up by somebody who knows the format: some fact is replaced, and the checksum fits.
Each has to end in a ValueError that names the file, or in a model. Of damaged files that model has
to be the one that was saved. No file may run code, start a process or open another file for
writing, which an audit hook watches, or take much memory or time. At last comes the worst header
known: as many names as fit, and a stack of as many layers as they allow.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from sklstm import StackedLSTMRegressor, load, save, storage

X = np.random.default_rng(0).normal(size=(40, 6, 2))
Y = X[:, -2:, 0].sum(axis=1)
FORBIDDEN = ("exec", "os.system", "subprocess.Popen", "pickle.find_class", "socket.connect")
MADE_UP: list[Any] = [
    *(None, True, "", "auto", "../../x", "__import__('os').system('x')", "O", "cuda:7", "\0"),
    *(0, -1, 1, 2, 3, 10**4, 10**9, 2**63, 10**100, 0.5, -0.5, float("nan"), float("inf")),
    *([], {}, [[]], {"tuple": [1, 2]}, {"tuple": "x"}, [1] * 10**4, ["float", "float"]),
]
EVENTS: Counter[str] = Counter()


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Count what no file may do."""
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event in FORBIDDEN or writes:
        EVENTS[event] += 1


def flipped(content: bytes, draw: random.Random) -> bytes:
    """Flip one to four bits."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut(content: bytes, draw: random.Random) -> bytes:
    """Cut the end off, or put bytes in, or take some out."""
    first, _ = sorted(draw.sample(range(len(content)), 2))
    change = draw.randrange(3)
    if change == 0:
        return content[:first]
    return content[:first] + draw.randbytes(draw.randint(0, 40)) + content[first + change - 1 :]


def parts(content: bytes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Take the facts and the tensors out of a file."""
    n_header = int.from_bytes(content[:8], "little")
    metadata, _ = storage._parsed(content[8 : 8 + n_header])
    return storage._facts_of(metadata, "model"), safetensors.torch.load(content)


def made_up(facts: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Replace, remove or add some facts, at any depth."""
    changed = copy.deepcopy(facts)
    for _ in range(draw.randint(1, 2)):
        place: Any = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw.choice(keys)
            if isinstance(place[key], (dict, list)) and place[key] and draw.random() < 0.9:
                place = place[key]
                continue
            if draw.random() < 0.1:
                del place[key]
            else:
                place[key] = draw.choice(MADE_UP)
            break
    return changed


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    draw = random.Random(arguments.seed)
    model = StackedLSTMRegressor(units=8, n_layers=3, max_epochs=2, random_state=0).fit(X, Y)
    expected = model.predict(X)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        save(model, path)
        content = path.read_bytes()
        facts, tensors = parts(content)
        assert (load(path).predict(X) == expected).all()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sys.addaudithook(watch)
        kinds: dict[str, Callable[[], Any]] = {
            "flipped": lambda: path.write_bytes(flipped(content, draw)),
            "cut": lambda: path.write_bytes(cut(content, draw)),
            "made up": lambda: storage.write(path, "model", made_up(facts, draw), tensors),
        }
        for number in range(arguments.files):
            kind = list(kinds)[number % len(kinds)]
            kinds[kind]()
            EVENTS.clear()
            start = time.perf_counter()
            try:
                loaded = load(path)
            except ValueError as error:
                outcome = "clear error" if str(path) in str(error) else f"ERROR: {error}"
                slowest = max(slowest, time.perf_counter() - start)
            else:
                slowest = max(slowest, time.perf_counter() - start)
                outcome = described(loaded, expected)
            outcomes[f"{kind}: {outcome}"] += 1
            for event in EVENTS:
                outcomes[f"{kind}: FORBIDDEN {event}"] += 1
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        path.write_bytes(worst(facts))
        start = time.perf_counter()
        try:
            load(path)
        except ValueError:
            worst_seconds = time.perf_counter() - start
        worst_growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:6} {outcome}")
    print(f"peak memory grew by {growth / 1024:.0f} MB, the slowest file took {slowest:.2f} s")
    print(f"the worst header: {worst_growth / 1024:.0f} MB, {worst_seconds:.1f} s")


def worst(facts: dict[str, Any]) -> bytes:
    """Make up a header that is just short enough to be read."""
    n_names = (storage.MOST_HEADER - 20_000) // 62
    facts = copy.deepcopy(facts)
    facts["recipe"]["n_layers"] = n_names // 4
    metadata = {"format": storage.FORMAT, "version": storage.VERSION, "kind": "model"}
    names = {
        f"module.layers.{i:05}": {"dtype": 0, "shape": 0, "data_offsets": 0} for i in range(n_names)
    }
    content = {"__metadata__": {**metadata, "facts": json.dumps(facts), "sha256": ""}, **names}
    header = json.dumps(content, separators=(",", ":")).encode()
    assert len(header) <= storage.MOST_HEADER
    return len(header).to_bytes(8, "little") + header


def described(loaded: StackedLSTMRegressor, expected: np.ndarray) -> str:
    """Tell what a model that was loaded is."""
    try:
        predicted = loaded.predict(X)
    except ValueError as error:
        return f"a model of other X: {str(error)[:60]}"
    return "the same model" if np.array_equal(predicted, expected) else "another model"


if __name__ == "__main__":
    main()
