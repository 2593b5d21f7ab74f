"""Keeps a store open from one batch of a sweep to the next, so that nobody else takes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from jinit import _database as database
from jinit.engine import FileStore


class _Held:
    """The writer of a batch that is complete, until the next batch takes it or there is none."""

    def __init__(self) -> None:
        self._last: tuple[FileStore, database.Writer, int] | None = None

    def keep(self, store: FileStore, writer: database.Writer, sweep: int) -> None:
        self.close()
        self._last = store, writer, sweep

    def take(self, store: FileStore) -> tuple[database.Writer, int] | None:
        """The writer of this store and the number of its last sweep; None if there is none."""
        if self._last is None or self._last[0] != store:
            self.close()
            return None
        _, writer, sweep = self._last
        self._last = None
        return writer, sweep

    def close(self) -> None:
        """Enters the end of the last sweep and closes the file.

        Raises:
          StoreError: something could not be written.
        """
        if self._last is not None:
            _, writer, sweep = self._last
            self._last = None
            writer.close(database.end_sweep(sweep, "complete"))


_HELD: ContextVar[_Held | None] = ContextVar("kept_open", default=None)


@contextlib.contextmanager
def kept_open() -> Iterator[None]:
    """Sweeps that start within the block are batches of one: their store is closed at its end.

    Raises:
      StoreError: something could not be written.
    """
    token = _HELD.set(_Held())
    try:
        yield
    except BaseException as error:
        try:
            _current().close()
        except OSError as other:
            error.add_note(str(other))
        raise
    else:
        _current().close()
    finally:
        _HELD.reset(token)


def opened(store: FileStore) -> tuple[database.Writer, int | None]:
    """The writer of a store, and the number of the sweep before if its end is not entered yet.

    Raises:
      ValueError: a file that is no store, another writer. StoreError: it cannot be written.
    """
    taken = None if _HELD.get() is None else _current().take(store)
    return taken or (database.Writer(store.path, store.mirror), None)


def closed(store: FileStore, writer: database.Writer, sweep: int, state: str) -> None:
    """Enters the end of a sweep and closes its store, or keeps it open for the next batch.

    Raises:
      StoreError: something could not be written.
    """
    if _HELD.get() is None or state != "complete":
        writer.close(database.end_sweep(sweep, state))
        return
    try:
        writer.flush()
    except OSError:
        writer.close()
        raise
    _current().keep(store, writer, sweep)


def _current() -> _Held:
    current = _HELD.get()
    assert current is not None
    return current
