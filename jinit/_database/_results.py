"""Keeps the results of any function's lanes: the leaves of a lane, one after the other."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from jinit import errors
from jinit._database._runs import chunks
from jinit._database._values import Rows, checksum

_INSERT = "INSERT OR IGNORE INTO results (identity, job, data, checksum) VALUES (?, ?, ?, ?)"


def result_rows(job: int, lanes: Sequence[tuple[bytes, bytes]]) -> list[Rows]:
    """The rows of finished lanes: identity and bytes of each."""
    return [(_INSERT, [(identity, job, data, _sum(identity, data)) for identity, data in lanes])]


def find_results(
    connection: sqlite3.Connection, identities: Sequence[bytes], size: int
) -> dict[bytes, bytes]:
    """Identity → bytes of the lanes that the store holds.

    Args:
      connection: to the store.
      identities: of the lanes.
      size: the number of bytes of a lane's result.

    Raises:
      ValueError: a damaged row.
    """
    found = {}
    for chunk in chunks(identities):
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT identity, data, checksum FROM results WHERE identity IN ({marks})"
        for identity, data, kept in connection.execute(query, tuple(chunk)):
            if not isinstance(data, bytes) or len(data) != size or kept != _sum(identity, data):
                raise errors.refusal(
                    "result in the store", "damaged values", "what jinit wrote", "run jinit verify"
                )
            found[identity] = data
    return found


def _sum(identity: bytes, data: bytes) -> int:
    return checksum([("data", data), ("identity", identity)])
