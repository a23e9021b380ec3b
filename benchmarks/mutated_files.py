"""Load files that were damaged or made up, and count the results.

    python benchmarks/mutated_files.py [--files 10000] [--seed 0] [--megabytes 2 20]

A quarter of the files have flipped bits. A quarter are cut off, or have bytes inserted or removed.
The others are made up by somebody who knows the format: values in the metadata are replaced, and
the checksum is right. Half of these have today's format, half that of sklstm 0.1.0, as in
tests/stored. Loading must raise a ValueError that names the file, or return a model. Of a damaged
file, this must be the model that was saved. No file may run code, start a process or open another
file for writing: an audit hook watches this. No file may take much memory or time. The last lines
are about the most expensive files known, of two sizes, each loaded in a process of its own: time
and memory must be in proportion to the size. The memory is read from /proc, so this needs Linux.
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
from sklstm.files.versions import OLD_METADATA_KEYS
from sklstm.training.plan import FitPlan
from sklstm.training.state_file import stored_shapes

X = np.random.default_rng(0).normal(size=(40, 6, 2))
Y = X[:, -2:, 0].sum(axis=1)
FORBIDDEN = ("exec", "os.system", "subprocess.Popen", "pickle.find_class", "socket.connect")
MADE_UP: list[Any] = [
    *(None, True, "", "auto", "../../x", "__import__('os').system('x')", "O", "cuda:7", "\0"),
    *(0, -1, 1, 2, 3, 10**4, 10**9, 2**63, 10**100, 0.5, -0.5, float("nan"), float("inf")),
    *([], {}, [[]], {"tuple": [1, 2]}, {"tuple": "x"}, [1] * 10**4, ["float", "float"]),
]
STORED = Path(__file__).parents[1] / "tests" / "stored" / "model-0.1.0-defaults.safetensors"
EVENTS: Counter[str] = Counter()
# Of a layer of one unit in both directions: 160 of weights, the rest their names.
BYTES_A_LAYER = 1250


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Count events that no file may cause."""
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
    """Cut the end off, or insert bytes, or remove some."""
    first, _ = sorted(draw.sample(range(len(content)), 2))
    change = draw.randrange(3)
    if change == 0:
        return content[:first]
    return content[:first] + draw.randbytes(draw.randint(0, 40)) + content[first + change - 1 :]


def parts(content: bytes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Read the metadata and the tensors of a file."""
    n_header = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + n_header])["__metadata__"]
    return json.loads(entries["metadata"]), safetensors.torch.load(content)


def write_old(path: Path, metadata: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Write a file of version 1, whose checksum is right."""
    text, version = json.dumps(metadata), "1"
    entries = {"format": storage.FORMAT, "version": version, "kind": "model"}
    entries |= {OLD_METADATA_KEYS[version]: text, "sha256": storage.checksum(text, tensors)}
    path.write_bytes(safetensors.torch.save(tensors, entries))


def made_up(metadata: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """Replace, remove or add some values, at any depth."""
    changed = copy.deepcopy(metadata)
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
                place[key] = copy.deepcopy(draw.choice(MADE_UP))
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
        metadata, tensors = parts(content)
        old = storage.read(STORED, "model")[1:]
        assert (load(path).predict(X) == expected).all()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sys.addaudithook(watch)
        kinds: dict[str, Callable[[], Any]] = {
            "flipped": lambda: path.write_bytes(flipped(content, draw)),
            "cut": lambda: path.write_bytes(cut(content, draw)),
            "made up": lambda: storage.write(path, "model", made_up(metadata, draw), tensors),
            "made up, version 1": lambda: write_old(path, made_up(old[0], draw), old[1]),
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
            (name, megabytes, *cost_of(path, make(metadata, megabytes * 10**6)))
            for name, make in HOSTILE.items()
            for megabytes in arguments.megabytes
        ]
    for outcome, n_files in sorted(outcomes.items()):
        print(f"{n_files:6} {outcome}")
    print(f"peak memory grew by {growth / 1024:.0f} MB, the slowest file took {slowest:.2f} s")
    for name, megabytes, n_mb, seconds in hostile:
        print(f"{megabytes:6} MB of {name}: {n_mb:.0f} MB of memory, {seconds:.2f} s")


def header(metadata: dict[str, Any], n_bytes: int, rest: Iterable[str]) -> bytes:
    """Make up a file that is nothing but a header, of at most `n_bytes` bytes."""
    entries = {"format": storage.FORMAT, "version": storage.FORMAT_VERSION, "kind": "model"}
    entries |= {"metadata": json.dumps(metadata), "sha256": ""}
    parts = [f'{{"__metadata__":{json.dumps(entries)}']
    n_left = n_bytes - len(parts[0]) - 10
    for part in rest:
        n_left -= len(part) + 1
        if n_left < 0:
            break
        parts.append(part)
    text = ",".join(parts).encode() + b"}"
    return len(text).to_bytes(8, "little") + text


def layers(metadata: dict[str, Any], n_bytes: int, entry: str) -> bytes:
    """Make up as many layers as fit in the bytes, each with all of its tensors."""
    size = len(entry) + 60
    n_layers = n_bytes // (8 * size)
    metadata = copy.deepcopy(metadata)
    metadata["plan"] |= {"n_layers": n_layers, "units": 1, "bidirectional": True}
    names = (
        f'"module.layers.{i}.{direction}_layer.{weights}_l0":{entry}'
        for i in range(n_layers)
        for direction in ("forward", "backward")
        for weights in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return header(metadata, n_bytes, names)


def deep(metadata: dict[str, Any], n_bytes: int) -> bytes:
    """Make up a file of a model, with as many layers of one unit as fit in the bytes."""
    metadata = copy.deepcopy(metadata)
    metadata["plan"] |= {"units": 1, "bidirectional": True, "n_layers": n_bytes // BYTES_A_LAYER}
    form, plan = metadata["form"], FitPlan.from_dict(metadata["plan"])
    shapes = stored_shapes(
        plan, form["n_features"], form["n_outputs"], set(map(str, range(plan.n_layers)))
    )
    tensors = {name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in shapes.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "deep")
        storage.write(path, "model", metadata, tensors)
        return path.read_bytes()


def empty_tensors(metadata: dict[str, Any], n_bytes: int) -> bytes:
    """Make up a file with the right checksum and as many empty tensors as fit in the bytes."""
    names = (f"{i:07}" for i in range(n_bytes // 65))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "empty")
        storage.write(path, "model", metadata, {name: torch.zeros(0) for name in names})
        return path.read_bytes()


HOSTILE: dict[str, Callable[[dict[str, Any], int], bytes]] = {
    "layers whose tensors are no tensors": partial(
        layers, entry='{"dtype":0,"shape":0,"data_offsets":0}'
    ),
    "layers with tensors of other sizes": partial(
        layers, entry='{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'
    ),
    "layers that are all there": deep,
    "tensors without numbers": empty_tensors,
    "empty lists": lambda metadata, n_bytes: header(
        metadata, n_bytes, chain(['"x":[[]'], repeat("[]", n_bytes // 3 - 3000), ["[]]"])
    ),
    "empty lists among the metadata": lambda metadata, n_bytes: header(
        metadata | {"x": [[]] * (n_bytes // 4)}, 2 * n_bytes, ()
    ),
    "names": lambda metadata, n_bytes: header(metadata, n_bytes, (f'"{i}":0' for i in count())),
}


def cost_of(path: Path, hostile: bytes) -> tuple[float, float]:
    """Return the megabytes and processor seconds that loading a file takes, after another one."""
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
    """Describe a model that was loaded."""
    try:
        predicted = loaded.predict(X)
    except ValueError as error:
        return f"a model of other X: {str(error)[:60]}"
    return "the same model" if np.array_equal(predicted, expected) else "another model"


if __name__ == "__main__":
    main()
