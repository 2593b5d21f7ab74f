"""Reads the arrays of ``.safetensors`` and ``.npz`` files without unpickling or running code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import IO, TypedDict

import jax.numpy as jnp
import numpy as np

from jinit import errors

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


class _Entry(TypedDict):
    """The header of an array in a ``.safetensors`` file."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the arrays of a checkpoint file; never unpickles and never runs code from the file.

    Args:
      path: a ``.safetensors`` file (8 bytes of header length, a JSON header, raw numbers) or an
        ``.npz`` file without object arrays.

    Returns:
      Name → array, for :func:`jinit.audit`. Names contain ``/`` or ``.`` as in the file.

    Raises:
      ValueError: the file has another ending, does not exist, or does not have the format of its
        ending.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/w.npz", kernel=np.ones((2, 3)))
    ...     read_checkpoint(f"{folder}/w.npz")["kernel"].shape
    (2, 3)
    """
    file = Path(path)
    readers = {".npz": _npz, ".safetensors": _safetensors}
    suffix = file.suffix.lower()
    if suffix not in readers:
        raise errors.refusal(
            "checkpoint", str(path), "a file ending in .safetensors or .npz", "convert the file"
        )
    if not file.is_file():
        raise errors.refusal("checkpoint", str(path), "a file that exists", "check the path")
    try:
        return readers[suffix](file)
    except Exception as error:  # a broken file can raise any exception in its reader
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:120]}"
        raise errors.refusal(
            "checkpoint",
            str(path),
            f"a readable {suffix} file",
            f"write the checkpoint again ({reason})",
        ) from None


def _npz(file: Path) -> dict[str, np.ndarray]:
    import zipfile

    if not zipfile.is_zipfile(file):
        raise ValueError("it is not a zip archive")
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.namelist():
            with archive.open(member) as stream:
                name = member.removesuffix(".npy")
                arrays[name] = _npy(name, stream)
    return arrays


def _npy(name: str, stream: IO[bytes]) -> np.ndarray:
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(stream)
    if dtype.kind not in "biufc" and dtype.name != "bfloat16":
        raise ValueError(f"array {name!r} holds {dtype}, not numbers")
    raw = stream.read()
    count = math.prod(shape)
    if len(raw) < count * dtype.itemsize:
        raise ValueError(f"array {name!r} is cut off")
    flat = np.frombuffer(raw, dtype, count)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    if length > len(raw) - 8:
        raise ValueError(f"the header claims {length} bytes, but the file has only {len(raw)}")
    header = json.loads(raw[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError(f"the header is not a table of arrays ({type(header).__name__})")
    body = memoryview(raw)[8 + length :]
    return {name: _array(body, entry) for name, entry in header.items() if name != "__metadata__"}


def _array(body: memoryview, entry: _Entry) -> np.ndarray:
    kind = entry["dtype"]
    if kind not in _DTYPES:
        raise ValueError(f"NumPy has no dtype for {kind}")
    dtype = np.dtype(_DTYPES[kind])
    start, stop = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not 0 <= start <= stop <= len(body) or stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"offsets {start} to {stop} do not hold shape {shape} of {kind}")
    return np.frombuffer(body[start:stop], dtype).reshape(shape)
