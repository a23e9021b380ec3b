"""Files: written whole or not at all, and damage is found."""

import errno
import json
import os
import pickle
import random
import re
import struct
import subprocess
import sys

import pytest
from saved_models import X, Y, fitted, same

from sklstm import StackedLSTMRegressor, __version__, load, persistence, save
from sklstm.files import container as storage

# Written whole or not at all


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    model, _, _ = fitted()
    save(model, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*an older file is unchanged.*model"):
        save(fitted("deep")[0], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import pathlib, resource, sys
import numpy as np
from sklstm import StackedLSTMRegressor, save
path = pathlib.Path(sys.argv[1])
model = StackedLSTMRegressor(units=4, max_epochs=1).fit(np.ones((9, 3, 1)), np.arange(9.0))
save(model, path)
before = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    save(model, path)
except OSError as error:
    print(error)
print(path.read_bytes() == before, [file.name for file in path.parent.iterdir()])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits on the size of files")
def test_a_system_that_refuses_to_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(path)]
    message, state = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "File too large; an older file is unchanged" in message
    assert state == "True ['model.safetensors']"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no/model\.safetensors"):
        save(fitted()[0], tmp_path / "no" / "model.safetensors")


def test_links_and_permissions_stay(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path, link = tmp_path / "elsewhere" / "model.safetensors", tmp_path / "link"
    path.write_text("")
    path.chmod(0o640)
    link.symlink_to(path)
    save(fitted()[0], link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert same(load(path).predict(X), fitted()[0].predict(X))


# Files that are something else


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="Not a regular file, and not replaced"):
            save(fitted()[0], path)
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "no.safetensors")
    with pytest.raises(ValueError, match="is not a file"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is not a file"):
        load(tmp_path / "pipe")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 100,
        b"\xff" * 100,
        pickle.dumps(Bomb()),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 20) + b"[" * 20,
        struct.pack("<Q", 400_000) + b"[" * 400_000,
        struct.pack("<Q", 30) + b'{"__metadata__": {"format": 1}}',
        b"PK\x03\x04" + bytes(1000),
    ],
    ids=range(11),
)
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors' cannot be read: The file "):
        load(path)


def with_version(version):
    """Return a `safetensors.torch.save` that says another version, of any type."""
    write = storage.safetensors.torch.save

    def save(tensors, metadata):
        content = write(tensors, metadata)
        n_header = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + n_header])
        header["__metadata__"]["version"] = version
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + content[8 + n_header :]

    return save


def test_files_of_other_use_or_version_are_refused(tmp_path, monkeypatch):
    model, _, _ = fitted()
    path = tmp_path / "file"
    storage.write(path, "checkpoint", {}, {})
    with pytest.raises(ValueError, match="The file is a 'checkpoint', not a 'model'"):
        load(path)
    with monkeypatch.context() as patched:
        patched.setattr(storage, "FORMAT_VERSION", "99")
        patched.setattr(persistence, "library_versions", lambda: {"sklstm": "9.0"})
        save(model, path)
    with pytest.raises(
        ValueError,
        match=r"The file has version '99' of the format. This sklstm reads versions up to '\d+'\. "
        rf"It was written by sklstm 9\.0, this is {re.escape(__version__)}: upgrade it",
    ):
        load(path)
    for version in (None, 2, ["2"], {}, "", "0"):
        with monkeypatch.context() as patched:
            patched.setattr(storage.safetensors.torch, "save", with_version(version))
            save(model, path)
        with pytest.raises(ValueError, match=r"The file has version .* of the format"):
            load(path)


# Damage


def test_any_truncation_is_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    lengths = [*range(0, len(content), 97), *range(len(content) - 20, len(content))]
    for length in lengths:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cannot be read"):
            load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="cannot be read"):
        load(path)


def test_any_flipped_bit_is_found_or_means_nothing(tmp_path):
    path = tmp_path / "model.safetensors"
    model, _, _ = fitted()
    save(model, path)
    content, expected = path.read_bytes(), model.predict(X)
    draw = random.Random(0)
    n_found = n_right = 0
    for _ in range(500):
        flipped = bytearray(content)
        flipped[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            predictions = load(path).predict(X)
        except ValueError as error:
            n_found += "cannot be read" in str(error)
        else:
            n_right += same(predictions, expected)
    assert n_found + n_right == 500
    assert n_found > 450


def test_a_changed_parameter_is_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    assert b'clip_norm\\": 1.0' in content
    path.write_bytes(content.replace(b'clip_norm\\": 1.0', b'clip_norm\\": 2.0'))
    with pytest.raises(ValueError, match="The file is damaged: checksum mismatch"):
        load(path)


def test_tensors_that_changed_places_are_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    one, other = b'"module.layers.0.bias_ih_l0"', b'"module.layers.0.bias_hh_l0"'
    assert content.count(one) == content.count(other) == 1
    path.write_bytes(
        content.replace(one, b"?" * len(one)).replace(other, one).replace(b"?" * len(one), other)
    )
    with pytest.raises(ValueError, match="The file is damaged: checksum mismatch"):
        load(path)


def test_a_file_that_is_shorter_than_it_says_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((10**8).to_bytes(8, "little") + b'{"x":')
    with pytest.raises(ValueError, match="The file is damaged, or no safetensors file"):
        load(path)


def test_swapped_weights_are_found(tmp_path):
    path = tmp_path / "model.safetensors"
    save(fitted()[0], path)
    content = path.read_bytes()
    other = StackedLSTMRegressor(units=4, max_epochs=2, random_state=1).fit(X, Y)
    save(other, path)
    n_header = 8 + int.from_bytes(content[:8], "little")
    path.write_bytes(content[:n_header] + path.read_bytes()[-(len(content) - n_header) :])
    with pytest.raises(ValueError, match="The file is damaged: checksum mismatch"):
        load(path)
