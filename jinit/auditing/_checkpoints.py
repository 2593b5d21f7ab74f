"""Reads the arrays of ``.safetensors`` and ``.npz`` files without unpickling or running code."""

from __future__ import annotations

import ast
import functools
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.findings import Finding
from jinit.typing import DType

# The names of https://huggingface.co/docs/safetensors for whole-byte numbers.
_DTYPES: dict[str, DType] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2,
    "F8_E8M0": jnp.float8_e8m0fnu, "C64": np.complex64,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
# What NumPy writes for the dtypes of ml_dtypes. It writes V1 for eight of them, which is ambiguous.
_WRITTEN = {"V2": jnp.bfloat16, "f1": jnp.float8_e5m2}
_LONGEST_NPY_HEADER = 10_000


@dataclass(frozen=True)
class _Stored:
    """One array of a file.

    Attributes:
      name: the name in the file.
      read: returns the array, or raises an exception if its part of the file is broken.
    """

    name: str
    read: Callable[[], np.ndarray]


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint file; never unpickles and never runs code from the file.

    Args:
      path: a ``.safetensors`` file (8 bytes of header length, a JSON header, raw numbers) or an
        ``.npz`` file without object arrays. bfloat16, float8 and complex numbers are read; NumPy
        writes the names of bfloat16 and float8_e5m2 only, so ``.npz`` has no other float8.

    Returns:
      Name → array, for :func:`jinit.audit`. Names contain ``/`` or ``.`` as in the file.

    Raises:
      ValueError: the file has another ending, does not exist, or does not have the format of its
        ending; it has no arrays, one name twice, arrays that overlap, or bytes of no array; an
        array that cannot be read (:func:`read_readable` reads the others).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/w.npz", kernel=np.ones((2, 3)))
    ...     read_checkpoint(f"{folder}/w.npz")["kernel"].shape
    (2, 3)
    """
    arrays, broken = read_readable(path)
    if broken:
        others = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        fix = "write the checkpoint again"
        if arrays:
            fix += f"; auditing.read_readable reads the other {len(arrays)}"
        what, got = f"checkpoint: array {broken[0].where!r}{others}", broken[0].evidence
        raise errors.ValueRefusal(what, got, "arrays of numbers", fix)
    return arrays


def read_readable(path: str | Path) -> tuple[dict[str, np.ndarray], list[Finding]]:
    """Reads those arrays of a checkpoint file that can be read, and reports the others.

    Args:
      path: as for :func:`read_checkpoint`.

    Returns:
      Name → array, and a finding ``"unreadable"`` for each array that cannot be read: it holds no
      numbers or has an unknown dtype; in an ``.npz`` file it is cut off, encrypted, or compressed
      in a broken or unknown way.

    Raises:
      ValueError: as :func:`read_checkpoint`, but for single arrays only if no array can be read. A
        ``.safetensors`` file that is cut off is refused whole: its header does not fit its length.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/w.npz", kernel=np.ones((2, 3)), name=np.array("model"))
    ...     arrays, findings = read_readable(f"{folder}/w.npz")
    >>> list(arrays), [finding.where for finding in findings]
    (['kernel'], ['name'])
    """
    if not isinstance(path, str | os.PathLike):
        raise errors.wrong_type("checkpoint", path, "a path", "pass 'weights.safetensors'")
    file = Path(path)
    readers = {".npz": _npz, ".safetensors": _safetensors}
    suffix = file.suffix.lower()
    if suffix not in readers:
        raise errors.refusal(
            "checkpoint", str(path), "a file ending in .safetensors or .npz", "convert the file"
        )
    if not file.is_file():
        raise errors.refusal("checkpoint", str(path), "a file that exists", "check the path")
    arrays, broken = {}, []
    try:
        for stored in readers[suffix](file):
            try:
                arrays[stored.name] = stored.read()
            except Exception as error:  # zipfile and its decompressors raise many kinds
                broken.append(_unreadable(stored.name, error))
    except Exception as error:  # a broken file can raise any exception in its reader
        raise errors.refusal(
            "checkpoint",
            str(path),
            f"a readable {suffix} file",
            f"write the checkpoint again ({_reason(error)})",
        ) from None
    if not arrays:
        reason = f"; array {broken[0].where!r}: {broken[0].evidence}" if broken else ""
        got = f"{path} without an array that can be read{reason}"
        raise errors.ValueRefusal("checkpoint", got, "arrays of numbers", "save the parameters")
    return arrays, broken


def _unreadable(name: str, error: Exception) -> Finding:
    fix = "write the array again by NumPy or safetensors, as numbers of a dtype that they name"
    return Finding("unreadable", name, _reason(error), fix=fix)


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0][:120]
    return text if type(error) is ValueError else f"{type(error).__name__}: {text}"


def _once(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the name {twice[0]!r} stands for two arrays")


def _npz(file: Path) -> Iterator[_Stored]:
    if not zipfile.is_zipfile(file):
        raise ValueError("it is not a zip archive")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        _once(names)
        for name, member in zip(names, members, strict=True):
            yield _Stored(name, functools.partial(_member, archive, member))


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        shape, fortran, dtype = _npy_header(stream)
        size = math.prod(shape) * dtype.itemsize
        # Known before anything is read, so that no header can ask for more than the file has.
        rest = member.file_size - stream.tell()
        if rest != size:
            problem = "cut off" if rest < size else "followed by bytes of no array"
            raise ValueError(f"shape {shape} of {dtype} needs {size} bytes; {rest}: {problem}")
        raw = stream.read(size)
    if len(raw) < size:
        raise ValueError("the array is cut off")
    flat = np.frombuffer(raw, dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype; NumPy's own reader refuses what NumPy writes for float8_e5m2."""
    version = np.lib.format.read_magic(stream)
    length = int.from_bytes(stream.read(2 if version[0] == 1 else 4), "little")
    if length > _LONGEST_NPY_HEADER:
        raise ValueError(f"the header claims {length} bytes")
    try:
        header = ast.literal_eval(stream.read(length).decode("latin1"))
        written, shape, fortran = (header[key] for key in ("descr", "shape", "fortran_order"))
    except (SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise ValueError("the header is not that of an array") from None
    if not isinstance(written, str):
        raise ValueError("the array holds records, not numbers")
    try:
        dtype = np.dtype(_WRITTEN.get(written.lstrip("<|"), written))
    except (SyntaxError, TypeError):
        raise ValueError(f"NumPy has no dtype {written[:60]!r}") from None
    if dtype.kind == "V" and dtype.itemsize == 1:
        raise ValueError("V1 does not say which 8-bit dtype the numbers have; use .safetensors")
    if dtype.kind not in "biufc" and dtype != jnp.bfloat16:
        raise ValueError(f"the array holds {dtype}, not numbers")
    return _shape(shape), bool(fortran), dtype


def _shape(shape: object) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, tuple | list) else (-1,)
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"{str(shape)[:60]} is not a shape")
    return sizes


def _safetensors(file: Path) -> Iterator[_Stored]:
    total = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > total - 8:
            raise ValueError(f"the header claims {length} bytes, but the file has only {total}")
        header = json.loads(stream.read(length), object_pairs_hook=_table)
        if not isinstance(header, dict):
            raise ValueError(f"the header is not a table of arrays ({type(header).__name__})")
        header.pop("__metadata__", None)
        entries = {name: _entry(name, entry) for name, entry in header.items()}
        start = 8 + length
        _check_cover(entries, total - start)
        for name, (kind, shape, begin, end) in entries.items():
            place = (stream, start + begin, end - begin)
            yield _Stored(name, functools.partial(_raw, kind, shape, place))


def _table(pairs: list[tuple[str, object]]) -> dict[str, object]:
    _once([name for name, _ in pairs])
    return dict(pairs)


def _entry(name: str, entry: object) -> tuple[str, tuple[int, ...], int, int]:
    """dtype name, shape, first byte and end of an array in the file's body."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise ValueError(f"the entry {name!r} does not describe an array")
    begin, end = _shape(entry["data_offsets"])
    return str(entry["dtype"]), _shape(entry["shape"]), begin, end


def _check_cover(entries: dict[str, tuple[str, tuple[int, ...], int, int]], size: int) -> None:
    """The format wants every byte of the body in exactly one array."""
    place, before = 0, "the header"
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin > end or end > size:
            raise ValueError(f"array {name!r} has offsets {begin} to {end}; the file has {size}")
        if begin < place:
            raise ValueError(f"array {name!r} overlaps {before!r}")
        if begin > place:
            raise ValueError(f"{begin - place} bytes before array {name!r} belong to no array")
        place, before = end, name
    if entries and place < size:
        raise ValueError(f"{size - place} bytes after {before!r} belong to no array")


def _raw(kind: str, shape: tuple[int, ...], place: tuple[IO[bytes], int, int]) -> np.ndarray:
    stream, start, size = place
    if kind not in _DTYPES:
        raise ValueError(f"NumPy has no dtype for {kind}")
    dtype = np.dtype(_DTYPES[kind])
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{size} bytes do not hold shape {shape} of {kind}")
    stream.seek(start)
    return np.frombuffer(stream.read(size), dtype).reshape(shape)
