"""Files of tensors and plain facts: safetensors, written whole or not at all, read with care."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import IO, Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from sklstm import __version__

from .versions import FORMAT_VERSION, INTRODUCED, completed

FORMAT = "sklstm"
# Bytes of text that safetensors itself, which limits them, puts before the tensors.
MOST_HEADER = 100_000_000
# Bytes of the text about one tensor beside its name: keys, type, and up to 20 digits a number.
ENTRY, DIGITS = 60, 21
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.uint8: "U8"}
WIDTHS = {"F64": 8, "F32": 4, "U8": 1}
MADE_UP = (ValueError, TypeError, KeyError, OverflowError, RuntimeError, SafetensorError)
T = TypeVar("T")
Facts = dict[str, Any]
Names = Sequence[str]
StrPath = str | os.PathLike[str]
Signatures = dict[str, tuple[str, tuple[int, ...]]]
Understand = Callable[[Facts, Names], tuple[T, Signatures]]


def signatures_of(tensors: Mapping[str, Tensor]) -> Signatures:
    """Return the dtype, in safetensors's words, and the shape of each tensor."""
    return {name: (DTYPES[values.dtype], tuple(values.shape)) for name, values in tensors.items()}


def write(
    path: StrPath,
    kind: str,
    facts: Facts,
    tensors: Mapping[str, Tensor],
    understand: Understand[Any] | None = None,
) -> None:
    """Write facts and tensors as one file, which replaces another once it is whole.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    kind : str
        What the file is, to tell files of different use apart.

    facts : dict
        Strings, numbers, `None`, and lists and dicts of them.

    tensors : dict of str to torch.Tensor
        Tensors of the types in `DTYPES`, on any device.

    understand : callable, default=None
        What `read` will be told: a file that it would refuse is not written.

    Raises
    ------
    OSError
        If the file cannot be written; what was there before still is.
    ValueError
        If `read` would refuse the file.
    """
    document, signatures = document_of(facts), signatures_of(tensors)
    check_header(path, document, signatures)
    if understand is not None:
        _check_readable(path, document, signatures, understand)
    tensors = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
    metadata = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": kind,
        "facts": document,
        "sha256": checksum(document, tensors),
    }
    content = safetensors.torch.save(dict(tensors), metadata)
    with replacing(path) as part:
        part.write_bytes(content)


def check_header(path: StrPath, document: str, signatures: Signatures) -> None:
    """Make sure that the text of a file is not longer than safetensors allows.

    Parameters
    ----------
    path : str or os.PathLike
        The file, for the error.

    document : str
        The facts.

    signatures : dict of str to (str, tuple of int)
        Of the tensors.

    Raises
    ------
    ValueError
        If it is longer.
    """
    n_names = sum(
        len(name) + ENTRY + DIGITS * (len(shape) + 2) for name, (_, shape) in signatures.items()
    )
    n_facts = len(json.dumps(document))
    if n_facts + n_names > MOST_HEADER:
        raise ValueError(
            f"{os.fspath(path)!r} is not written: the names of {len(signatures):,} tensors and "
            f"{n_facts:,} bytes of parameters and column names are more text than the "
            f"{MOST_HEADER:,} bytes that a safetensors file holds. Use fewer layers, or shorter "
            "names."
        )


def _check_readable(
    path: StrPath, document: str, signatures: Signatures, understand: Understand[Any]
) -> None:
    """Try on facts and signatures what `read` will do with them."""
    found = {
        name: {"dtype": dtype, "shape": list(shape), "data_offsets": []}
        for name, (dtype, shape) in signatures.items()
    }
    try:
        _, expected = understand(json.loads(document), list(found))
        _check_signatures(found, expected)
    except MADE_UP as error:
        raise ValueError(
            f"{os.fspath(path)!r} is not written, as it could not be read: {str(error)[:500]}"
        ) from error


def read(path: StrPath, kind: str, understand: Understand[T]) -> tuple[T, dict[str, Tensor]]:
    """Read facts and tensors, whoever wrote them, in time and memory that the file's size bounds.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    kind : str
        What the file has to be.

    understand : callable
        Told the facts and the names of the tensors, it returns what it makes of the facts and
        the signatures of the tensors that go with them, or raises a ValueError. All that is known
        of the facts is that they are a dict. What files of an older format lack is in it.

    Returns
    -------
    understood : object
        What `understand` made of the facts.

    tensors : dict of str to torch.Tensor
        The tensors.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is not what it has to be, or not a bit what was written.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{str(path)!r} is not a file.")
    with path.open("rb") as file:
        try:
            return _read(file, kind, understand)
        except MADE_UP as error:
            raise ValueError(f"{str(path)!r} cannot be read: {str(error)[:500]}") from error


def checksum(document: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a text and of named tensors."""
    digest = hashlib.sha256(document.encode())
    for name, values in sorted(tensors.items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_writable(path: StrPath) -> None:
    """Make sure that a file can be written, without touching it.

    Raises
    ------
    OSError
        If it cannot.
    """
    with _beside(path):
        pass


@contextmanager
def replacing(path: StrPath) -> Iterator[Path]:
    """Write beside a file, and put what was written in its place once it is whole.

    Yields
    ------
    pathlib.Path
        Where to write: an empty file in the same folder.

    Raises
    ------
    OSError
        If that fails; the file is then as it was, and nothing is left beside it.
    """
    target = Path(path).resolve()
    with _beside(path) as part:
        yield part
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
        with part.open("r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
        _flush_folder(target.parent)


@contextmanager
def _beside(path: StrPath) -> Iterator[Path]:
    """Make a file in the folder of another; it is gone in the end."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "Not a regular file, and left as it is", os.fspath(path))
    part = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}.part")
    try:
        part.open("xb").close()
        yield part
    except OSError as error:
        reason = f"{error.strerror or error}; what was there is unchanged"
        raise type(error)(error.errno, reason, os.fspath(path)) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def remove_parts(path: StrPath) -> None:
    """Remove what a killed process left beside a file."""
    target = Path(path).resolve()
    for part in target.parent.glob(f"{glob.escape(_prefix(target))}{'?' * 8}.part"):
        part.unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    return f".{target.name[:200]}."


def _read(file: IO[bytes], kind: str, understand: Understand[T]) -> tuple[T, dict[str, Tensor]]:
    start = file.read(8)
    n_header, n_left = int.from_bytes(start, "little"), os.fstat(file.fileno()).st_size - len(start)
    if n_header > min(n_left, MOST_HEADER):
        raise ValueError("it is damaged, or no safetensors file.")
    header = file.read(n_header)
    metadata, found = _parsed(header)
    facts = _facts_of(metadata, kind)
    names = [name for name, entry in found.items() if _is_entry(entry)]
    understood, signatures = understand(facts, names)
    _check_signatures(found, signatures)
    n_bytes = sum(WIDTHS[dtype] * prod(shape) for dtype, shape in signatures.values())
    if n_left - n_header != n_bytes:
        raise ValueError(f"it is damaged: {n_left - n_header} bytes of tensors, not {n_bytes}.")
    tensors = safetensors.torch.load(start + header + file.read(n_bytes))
    if checksum(metadata["facts"], tensors) != metadata.get("sha256"):
        raise ValueError("it is damaged: what is in it does not have its checksum.")
    return understood, tensors


def _parsed(header: bytes) -> tuple[dict[str, Any], Facts]:
    """Return the metadata of a safetensors header, and what else is in it."""
    try:
        found = json.loads(header)
        metadata = found.pop("__metadata__")
        return dict(metadata), found
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("it is damaged, or was not written by sklstm.") from error


def _facts_of(metadata: dict[str, Any], kind: str) -> Facts:
    if metadata.get("format") != FORMAT:
        raise ValueError("it was not written by sklstm.")
    facts, version = _parsed_facts(metadata), metadata.get("version")
    if not isinstance(version, str) or version not in INTRODUCED:
        raise ValueError(
            f"it has version {_short(version)} of the format, this sklstm reads versions up to "
            f"{FORMAT_VERSION!r}.{of_another_version(facts)}"
        )
    if metadata.get("kind") != kind:
        raise ValueError(f"it is a {_short(metadata.get('kind'))}, not a {kind!r}.")
    return completed(facts, version)


def _parsed_facts(metadata: dict[str, Any]) -> Facts:
    try:
        facts = json.loads(metadata["facts"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError("it is damaged: its facts cannot be read.") from error
    if not isinstance(facts, dict):
        raise ValueError("it is damaged: its facts are no mapping.")
    return facts


def of_another_version(facts: Facts) -> str:
    """Return a sentence, after a space, about the sklstm that wrote a file, if it is another."""
    versions = facts.get("versions")
    writer = versions.get("sklstm") if isinstance(versions, dict) else None
    if not isinstance(writer, str) or writer == __version__:
        return ""
    return f" It was written by sklstm {writer[:40]}, this is {__version__}: upgrade it."


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and {"dtype", "shape", "data_offsets"} <= set(entry)


def _check_signatures(found: Facts, expected: Signatures) -> None:
    for name in [*expected, *found]:
        if name not in expected:
            raise ValueError(f"it holds {_short(name)}, which does not go with its parameters.")
        if name not in found:
            raise ValueError(f"it lacks {name!r}.")
        entry, (dtype, shape) = found[name], expected[name]
        if not _is_entry(entry) or (entry["dtype"], entry["shape"]) != (dtype, list(shape)):
            raise ValueError(
                f"{name!r} is not {dtype} of shape {shape}, which its parameters need."
            )


def _flush_folder(folder: Path) -> None:
    """Have the system put on the disk which file it is, where that can be asked for."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def document_of(facts: Facts) -> str:
    """Return facts as text."""
    return json.dumps(facts, sort_keys=True)


def _short(value: Any) -> str:
    return repr(value)[:40]
