"""Files of metadata and tensors: safetensors, written whole or not at all, read with care."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from .versions import (
    FORMAT_VERSION,
    METADATA_KEY,
    OLD_METADATA_KEYS,
    VERSIONS,
    of_another_version,
)

FORMAT = "sklstm"
# Largest header of a safetensors file in bytes: the library's own limit.
MOST_HEADER = 100_000_000
# Bytes that a tensor takes in the header beside its name: for the keys and the type, and for each
# number of its shape and its offsets.
ENTRY_BYTES, NUMBER_BYTES = 60, 21
# What a file that somebody made up may raise where its content is used.
CONTENT_ERRORS = (
    *(ValueError, TypeError, AttributeError, LookupError, OverflowError, RuntimeError),
    SafetensorError,
)
# Characters of an error about the content of a file, which may hold very long names.
MOST_ERROR = 500
Metadata = dict[str, Any]
StrPath = str | os.PathLike[str]
FileId = tuple[int, int]
Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


def write(
    path: StrPath, kind: str, metadata: Metadata, tensors: Mapping[str, Tensor]
) -> FileId | None:
    """Write metadata and tensors as one file, which replaces an older one once it is whole.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    kind : str
        What the file is, to tell files of different use apart.

    metadata : dict
        Strings, numbers, `None`, and lists and dicts of them.

    tensors : dict of str to torch.Tensor
        Tensors on any device.

    Returns
    -------
    tuple of int
        The `file_id` of what was written, even if another process has replaced it since.

    Raises
    ------
    OSError
        If the file cannot be written. An older file is then unchanged.
    ValueError
        If the names and the metadata are too long for a safetensors file.
    """
    check_header(path, metadata, {n: (v.dtype, tuple(v.shape)) for n, v in tensors.items()})
    tensors = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
    text = json.dumps(metadata, sort_keys=True)
    header = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": kind,
        METADATA_KEY: text,
        "sha256": checksum(text, tensors),
    }
    content = safetensors.torch.save(dict(tensors), header)
    with replacing(path) as part:
        part.write_bytes(content)
        # A file keeps both numbers when it gets another name.
        return file_id(part)


def check_header(path: StrPath, metadata: Metadata, shapes: Shapes) -> None:
    """Check that the header of a file is not longer than safetensors allows."""
    n_names = sum(
        len(name) + ENTRY_BYTES + NUMBER_BYTES * (len(shape) + 2)
        for name, (_, shape) in shapes.items()
    )
    # The metadata are JSON within JSON.
    n_metadata = len(json.dumps(json.dumps(metadata)))
    if n_metadata + n_names > MOST_HEADER:
        raise ValueError(
            f"{os.fspath(path)!r} is not written: the names of {len(shapes):,} tensors and "
            f"{n_metadata:,} bytes of parameters and column names are longer than the "
            f"{MOST_HEADER:,} bytes that a safetensors file allows. Use fewer layers or shorter "
            "names."
        )


def read(path: StrPath, kind: str) -> tuple[str, Metadata, dict[str, Tensor]]:
    """Read a file that anybody may have written.

    Time and memory are bounded by the size of the file. Nothing is known of the metadata but that
    it is a dict.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    kind : str
        What the file has to be.

    Returns
    -------
    version : str
        The version of the format, one of `VERSIONS`.

    metadata : dict

    tensors : dict of str to torch.Tensor

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is no such file, or damaged.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{str(path)!r} is not a file.")
    with path.open("rb") as file, naming_file(path):
        start = file.read(8)
        n_header, n_left = int.from_bytes(start, "little"), os.fstat(file.fileno()).st_size - 8
        # A file that claims to be longer than it is must not be given the memory for it.
        if n_header > min(n_left, MOST_HEADER):
            raise ValueError("The file is damaged, or no safetensors file.")
        text = file.read(n_header)
        header: dict[str, Any]
        try:
            header = dict(json.loads(text)["__metadata__"])
        except (*CONTENT_ERRORS, RecursionError) as error:
            raise ValueError("The file is damaged, or was not written by sklstm.") from error
        if header.get("format") != FORMAT:
            raise ValueError("The file was not written by sklstm.")
        version: Any = header.get("version")
        # A later version is expected to have its metadata where they are now.
        document: Any = header.get(OLD_METADATA_KEYS.get(str(version), METADATA_KEY))
        try:
            metadata = json.loads(document)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError("The file is damaged: its metadata cannot be read.") from error
        if not isinstance(metadata, dict):
            raise ValueError("The file is damaged: its metadata is not a dict.")
        if version not in VERSIONS:
            raise ValueError(
                f"The file has version {shortened(version)} of the format. This sklstm reads "
                f"versions up to {FORMAT_VERSION!r}.{of_another_version(metadata)}"
            )
        if header.get("kind") != kind:
            raise ValueError(f"The file is a {shortened(header.get('kind'))}, not a {kind!r}.")
        tensors = safetensors.torch.load(start + text + file.read())
        if checksum(document, tensors) != header.get("sha256"):
            raise ValueError("The file is damaged: checksum mismatch.")
    return version, metadata, tensors


@contextmanager
def naming_file(path: StrPath) -> Iterator[None]:
    """Turn any error about the content of a file into a ValueError that names the file."""
    try:
        yield
    except CONTENT_ERRORS as error:
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        reason = reason[:MOST_ERROR]
        raise ValueError(f"{os.fspath(path)!r} cannot be read: {reason}") from error


def file_id(path: Path) -> FileId | None:
    """Return what tells a file from another of the same name; `None` if there is none."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def check_shapes(tensors: Mapping[str, Tensor], expected: Shapes) -> None:
    """Check that there are just the tensors that are expected, each of its type and shape."""
    for name in [*expected, *tensors]:
        if name not in expected:
            raise ValueError(f"Tensor {shortened(name)} does not belong to the model.")
        if name not in tensors:
            raise ValueError(f"Tensor {name!r} is missing.")
        dtype, shape = expected[name]
        if tensors[name].dtype != dtype or tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"Tensor {name!r} is {tensors[name].dtype} of shape {tuple(tensors[name].shape)}, "
                f"but the model needs {dtype} of shape {shape}."
            )


def checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a text and of named tensors."""
    digest = hashlib.sha256(text.encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def shortened(value: Any) -> str:
    """Return the first characters of a value that anybody may have written."""
    return repr(value)[:40]


# Whole or not at all ------------------------------------------------------------------------


@contextmanager
def replacing(path: StrPath) -> Iterator[Path]:
    """Write beside a file, and replace the file with the result once that is whole.

    Yields
    ------
    pathlib.Path
        Where to write: an empty file in the same folder.

    Raises
    ------
    OSError
        If that fails. The file is then unchanged, and nothing is left beside it.
    """
    target = Path(path).resolve()
    with _beside(path) as part:
        yield part
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
        # Not every system can flush a folder, so that the new name is on the disk, too.
        with suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def check_writable(path: StrPath) -> None:
    """Raise an OSError if a file cannot be written, and remove what killed processes left."""
    with _beside(path):
        target = Path(path).resolve()
        for part in target.parent.glob(f"{glob.escape(_prefix(target))}{'?' * 8}.part"):
            part.unlink(missing_ok=True)


@contextmanager
def _beside(path: StrPath) -> Iterator[Path]:
    """Make an empty file in the folder of another one, and remove it in the end."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "Not a regular file, and not replaced", os.fspath(path))
    part = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.part")
    try:
        part.open("xb").close()
        yield part
    except OSError as error:
        reason = f"{error.strerror or error}; an older file is unchanged"
        raise type(error)(error.errno, reason, os.fspath(path)) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    """Return how the names of files beside another one begin; systems allow 255 bytes."""
    return f".{target.name[:200]}."
