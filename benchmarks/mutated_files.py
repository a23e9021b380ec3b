"""Load files that were damaged or made up, and count what comes of it.

    python benchmarks/mutated_files.py [--files 10000] [--seed 0] [--megabytes 2 20]

A third of the files have flipped bits, a third are cut off or have bytes put in or taken out, and
a third are made up by somebody who knows the format: some fact is replaced, and the checksum fits.
Each has to end in a ValueError that names the file, or in a model. Of damaged files that model has
to be the one that was saved. No file may run code, start a process or open another file for
writing, which an audit hook watches, or take much memory or time. At last come the worst headers
known, of two sizes, each in a process of its own: time and memory have to go with the size. Their
memory is read from /proc, which Linux has.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from sklstm import StackedLSTMRegressor, load, save
from sklstm.files import container as storage
from sklstm.nn.shapes import shapes_of_stack
from sklstm.training.building import module_sizes

X = np.random.default_rng(0).normal(size=(40, 6, 2))
Y = X[:, -2:, 0].sum(axis=1)
FORBIDDEN = ("exec", "os.system", "subprocess.Popen", "pickle.find_class", "socket.connect")
MADE_UP: list[Any] = [
    *(None, True, "", "auto", "../../x", "__import__('os').system('x')", "O", "cuda:7", "\0"),
    *(0, -1, 1, 2, 3, 10**4, 10**9, 2**63, 10**100, 0.5, -0.5, float("nan"), float("inf")),
    *([], {}, [[]], {"tuple": [1, 2]}, {"tuple": "x"}, [1] * 10**4, ["float", "float"]),
]
EVENTS: Counter[str] = Counter()
# Of a layer of one unit in both directions: 160 of weights, the rest their names.
BYTES_A_LAYER = 1250


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
    parser.add_argument("--megabytes", type=int, nargs="+", default=[2, 20])
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
        path.write_bytes(content)
        hostile = [
            (name, megabytes, *cost_of(path, make(facts, megabytes * 10**6)))
            for name, make in HOSTILE.items()
            for megabytes in arguments.megabytes
        ]
    for outcome, n_files in sorted(outcomes.items()):
        print(f"{n_files:6} {outcome}")
    print(f"peak memory grew by {growth / 1024:.0f} MB, the slowest file took {slowest:.2f} s")
    for name, megabytes, n_mb, seconds in hostile:
        print(f"{megabytes:6} MB of {name}: {n_mb:.0f} MB of memory, {seconds:.2f} s")


def header(facts: dict[str, Any], n_bytes: int, rest: Iterable[str]) -> bytes:
    """Make up a file that is all header, of at most so many bytes."""
    metadata = {"format": storage.FORMAT, "version": storage.FORMAT_VERSION, "kind": "model"}
    metadata |= {"facts": json.dumps(facts), "sha256": ""}
    parts = [f'{{"__metadata__":{json.dumps(metadata)}']
    n_left = n_bytes - len(parts[0]) - 10
    for part in rest:
        n_left -= len(part) + 1
        if n_left < 0:
            break
        parts.append(part)
    text = ",".join(parts).encode() + b"}"
    return len(text).to_bytes(8, "little") + text


def layers(facts: dict[str, Any], n_bytes: int, entry: str) -> bytes:
    """Make up as many layers as the bytes hold, each with all of its tensors."""
    size = len(entry) + 60
    n_layers = n_bytes // (8 * size)
    facts = copy.deepcopy(facts)
    facts["recipe"] |= {"n_layers": n_layers, "units": 1, "bidirectional": True}
    facts["state"]["moments"] = []
    names = (
        f'"module.layers.{i}.{direction}_layer.{weights}_l0":{entry}'
        for i in range(n_layers)
        for direction in ("forward", "backward")
        for weights in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return header(facts, n_bytes, names)


def deep(facts: dict[str, Any], n_bytes: int) -> bytes:
    """Make up a file of a model, with as many layers of one unit as the bytes hold."""
    facts = copy.deepcopy(facts)
    facts["recipe"] |= {"units": 1, "bidirectional": True, "n_layers": n_bytes // BYTES_A_LAYER}
    facts["state"] = {"n_epochs": 0, "columns": [], "moments": []}
    form, sizes = facts["form"], module_sizes({**facts["recipe"], "head_units": []})
    tensors = {
        f"module.{name}": torch.zeros(shape, dtype=dtype)
        for part in shapes_of_stack(form["n_features"], form["n_outputs"], sizes)
        for name, (dtype, shape) in part.items()
    }
    none = {"history.values": torch.float64, "history.present": torch.uint8}
    tensors |= {name: torch.zeros(0, 0, dtype=dtype) for name, dtype in none.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "deep")
        storage.write(path, "model", facts, tensors)
        return path.read_bytes()


HOSTILE: dict[str, Callable[[dict[str, Any], int], bytes]] = {
    "layers whose tensors are no tensors": partial(
        layers, entry='{"dtype":0,"shape":0,"data_offsets":0}'
    ),
    "layers with tensors of other sizes": partial(
        layers, entry='{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    ),
    "layers that are all there": deep,
    "empty lists": lambda facts, n_bytes: header(
        facts, n_bytes, chain(['"x":[[]'], repeat("[]", n_bytes // 3 - 3000), ["[]]"])
    ),
    "empty lists among the facts": lambda facts, n_bytes: header(
        facts | {"x": [[]] * (n_bytes // 4)}, 2 * n_bytes, ()
    ),
    "names": lambda facts, n_bytes: header(facts, n_bytes, (f'"{i}":0' for i in count())),
}


def cost_of(path: Path, hostile: bytes) -> tuple[float, float]:
    """Return the megabytes and the seconds of a processor that a file takes, after another."""
    other = path.with_name("hostile")
    other.write_bytes(hostile)
    command = [sys.executable, "-c", TRY, str(path), str(other)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    n_mb, seconds = map(float, output.split())
    return n_mb, seconds


TRY = """
import pathlib, sys, time
from sklstm import load
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
honest, hostile = sys.argv[1:]
load(honest)
before, start = peak(), time.process_time()
try:
    load(hostile)
except ValueError:
    pass
print((peak() - before) / 1024, time.process_time() - start)
"""


def described(loaded: StackedLSTMRegressor, expected: np.ndarray) -> str:
    """Tell what a model that was loaded is."""
    try:
        predicted = loaded.predict(X)
    except ValueError as error:
        return f"a model of other X: {str(error)[:60]}"
    return "the same model" if np.array_equal(predicted, expected) else "another model"


if __name__ == "__main__":
    main()
