"""Turns arrays into the values of SQL and back, and computes checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jinit import errors

SqlValue: TypeAlias = int | float | str | bytes | None
Rows: TypeAlias = tuple[str, list[tuple[SqlValue, ...]]]
"""A statement and the rows that it inserts."""


def python_values(column: np.ndarray) -> list[SqlValue]:
    """A column as Python numbers or text; NaN is None.

    ``sqlite3`` would store NumPy's scalars as blobs, of which SQL computes averages without an
    error. A negative zero becomes zero, as SQLite stores no other.

    >>> python_values(np.array([0.5, np.nan, -0.0], np.float32))
    [0.5, None, 0.0]
    """
    kind = column.dtype.kind
    if kind == "b":
        return [int(value) for value in column.tolist()]
    if kind == "f":
        return [None if value != value else value + 0.0 for value in column.tolist()]
    values: list[Any] = column.tolist()
    if kind == "O":
        for value in values:
            if value is not None and not isinstance(value, str):
                raise errors.wrong_type(
                    "value of a column of text", value, "text or None", "use one dtype per column"
                )
    return values


def array_of(values: Sequence[SqlValue], dtype: str, name: str) -> np.ndarray:
    """The column again, in its dtype; None is NaN where the dtype has one.

    Raises:
      ValueError: a value that the dtype does not hold: the file is damaged or made up.

    >>> array_of([0.5, None], "float32", "loss")
    array([0.5, nan], dtype=float32)
    """
    try:
        kind = str(np.dtype(dtype).kind)
    except TypeError:
        kind = ""
    kinds = {"b": (int,), "i": (int,), "u": (int,), "f": (int, float, type(None)),
             "O": (str, type(None))}.get(kind)  # fmt: skip
    found = set(map(type, values))
    if kinds == (int,) and found != {int}:
        values = [_normal(v) for v in values]
        found = set(map(type, values))
    strange = found - set(kinds or ())
    wrong = [v for v in values if type(v) in strange] if strange else []
    if kinds is None or wrong:
        got = f"dtype {dtype!r}" if kinds is None else f"{str(wrong[0])[:80]!r}"
        raise errors.refusal(
            f"column {name!r} of the store", got, f"values of {dtype}", "run jinit verify"
        )
    if kind == "O":
        return np.array([*values, None], object)[:-1]
    if kind == "f":
        return np.array(values, np.float64).astype(dtype)  # None becomes NaN
    try:
        return np.array(values, np.int64).astype(dtype)
    except OverflowError:
        raise errors.refusal(
            f"column {name!r} of the store", "a number beyond 64 bits", dtype, "run jinit verify"
        ) from None


def repeated(column: np.ndarray, count: int) -> np.ndarray:
    """The first value as a column of that many rows, which takes the memory of one.

    >>> repeated(np.array([0.5]), 3)
    array([0.5, 0.5, 0.5])
    """
    return np.broadcast_to(column[:1], count)


def is_repeated(column: np.ndarray) -> bool:
    """Whether a column is known to have one value, because the value is in memory once.

    >>> is_repeated(repeated(np.array([0.5]), 3)), is_repeated(np.array([0.5, 0.5]))
    (True, False)
    """
    return column.ndim == 1 and column.strides == (0,)


def packed(curve: np.ndarray) -> bytes:
    """A curve as little-endian float32, the layout of ``curves.values``.

    >>> packed(np.array([1.0], np.float32)).hex()
    '0000803f'
    """
    return np.ascontiguousarray(curve, "<f4").tobytes()


def checksum(values: Iterable[tuple[str, SqlValue]]) -> int:
    """A 63-bit number that changes with any name or value; None counts as absent.

    Columns that later sweeps add are NULL in earlier rows, whose checksums therefore stay.

    >>> checksum([("a", 1.0), ("b", None)]) == checksum([("a", 1.0)])
    True
    """
    text = repr([(name, _normal(value)) for name, value in values if value is not None])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _normal(value: SqlValue) -> SqlValue:
    """A whole number as int: SQLite returns 1.0 as 1 from a column of integers, and 1 as 1.0."""
    if isinstance(value, float) and abs(value) < 2**53 and value.is_integer():
        return int(value)
    return value


def row_checksum(
    names: Sequence[str], row: Sequence[SqlValue], curves: Mapping[str, bytes] | None = None
) -> int:
    """The checksum of a row of ``runs`` with its curves, in the order of the names.

    >>> row_checksum(("b", "a"), (1, 2)) == row_checksum(("a", "b"), (2, 1))
    True
    """
    pairs = sorted(zip(names, row, strict=True))
    blobs = [] if curves is None else sorted(curves.items())
    return checksum([*pairs, *blobs])


def missing(like: np.ndarray, rows: int) -> np.ndarray:
    """A column of runs that lack a metric, to stand beside the column of runs that have it.

    >>> missing(np.zeros(3, np.float32), 2).tolist(), missing(np.array(["a"], object), 1).tolist()
    ([nan, nan], [None])
    """
    kind = like.dtype if like.dtype.kind in "fO" else np.dtype(np.float64)
    return np.full(rows, None if kind.kind == "O" else np.nan, kind)
