"""Reads the arrays of a checkpoint file: ``.safetensors`` or ``.npz``. Never pickle, never code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jinit import errors

_DTYPES = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


def load(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name.

    Args:
      path: a ``.safetensors`` file (8 bytes of header length, a JSON header, raw numbers) or an
        ``.npz`` without object arrays.

    Returns:
      Name → array, names with ``/`` or ``.`` as the file has them.

    Raises:
      ValueError: another ending, no such file, a file that is not what its ending says.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/w.npz", kernel=np.ones((2, 3)))
    ...     load(f"{folder}/w.npz")["kernel"].shape
    (2, 3)
    """
    file = Path(path)
    readers = {".npz": _npz, ".safetensors": _safetensors}
    if file.suffix not in readers:
        raise errors.refusal(
            "checkpoint", str(path), "a file ending in .safetensors or .npz", "convert it"
        )
    if not file.is_file():
        raise errors.refusal("checkpoint", str(path), "a file that exists", "check the path")
    try:
        return readers[file.suffix](file)
    except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
        raise errors.refusal(
            "checkpoint", str(path), f"a readable {file.suffix} file", f"write it again ({error})"
        ) from None


def _npz(file: Path) -> dict[str, np.ndarray]:
    import zipfile

    try:
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        for name, array in found.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"member {name!r} is no array")
        return found
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from None


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    if length > len(raw) - 8:
        raise ValueError(f"a header of {length} bytes in a file of {len(raw)}")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    body = memoryview(raw)[8 + length :]
    return {name: _array(body, entry) for name, entry in header.items() if name != "__metadata__"}


def _array(body: memoryview, entry: dict[str, Any]) -> np.ndarray:
    kind = entry["dtype"]
    if kind not in _DTYPES:
        raise ValueError(f"dtype {kind}, which has no NumPy type")
    dtype = np.dtype(_DTYPES[kind])
    start, stop = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if not 0 <= start <= stop <= len(body) or stop - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"offsets {start} to {stop} do not hold shape {shape} of {kind}")
    return np.frombuffer(body[start:stop], dtype).reshape(shape)
