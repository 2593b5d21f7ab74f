"""Writes a store: finished work is committed in groups, by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jinit import errors
from jinit._database import _mirror, _owner, _packs
from jinit._database._open import check_path, connect_to_write, explained
from jinit._database._values import Rows

# Nothing that was finished longer ago than twice this is lost by a kill.
SECONDS_BETWEEN_COMMITS = 0.2
_MOST_TILES = 64
# Whoever ends a sweep does not wait longer for columns of rows to be packed.
SECONDS_OF_PACKING = 4.0


class Writer:
    """The one writer of a store.

    Statements of the caller run in ``transaction``; finished tiles go to :meth:`put`, which returns
    at once. After an error nothing more is written, and :meth:`put` raises that error.
    """

    def __init__(self, path: str | Path, mirror: str | Path | None = None) -> None:
        """Args:
        path: the file; it is made if it does not exist.
        mirror: a folder that gets copies of the file, at most every half minute and at the end. If
          the file is lost, the copy there takes its place first.

        Raises:
          ValueError: a path that cannot be a store, a file that is none, another writer, a mirror
            with runs that the store lacks.
          StoreError: the file cannot be written.
        """
        self.path = check_path(path)
        folder = _mirror.check(mirror, self.path)
        self._mirror = None if folder is None else _mirror.Mirror(self.path, folder)
        if self._mirror is not None:
            self._mirror.restore()
        self._lock = threading.Lock()
        self._error: errors.StoreError | None = None
        self._queue: queue.SimpleQueue[list[Rows] | None] = queue.SimpleQueue()
        self._thread = self._new_thread()
        self._started = self._closed = False
        self._connection = connect_to_write(self.path)
        try:
            with explained(self.path):
                _owner.acquire(self._connection, self.path)
                if self._mirror is not None:
                    self._mirror.check(self._connection)
            status = self.path.stat()
        except BaseException:
            self._connection.close()
            raise
        self._file = (status.st_dev, status.st_ino)
        self._copied = time.monotonic()
        self._copying: threading.Thread | None = None
        self._packer = _packs.Packer()
        _mirror.clean(self.path, self._mirror)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection for statements that are committed together, or not at all."""
        with self._lock, explained(self.path):
            try:
                yield self._connection
                self._commit()
            except BaseException:
                self._roll_back()
                raise

    def put(self, tile: list[Rows]) -> None:
        """Hands over the rows of a finished tile.

        Raises:
          StoreError: an earlier tile could not be written.
        """
        if self._error is not None:
            raise self._error
        if not self._started:
            self._started = True
            self._thread.start()
        self._queue.put(tile)

    def flush(self) -> None:
        """Waits until all that was handed over is committed.

        Raises:
          StoreError: something could not be written.
        """
        self._finish_thread()
        if self._error is not None:
            raise self._error

    def close(
        self,
        last: Sequence[Rows] = (),
        *,
        shrink: bool = False,
        packing: float = SECONDS_OF_PACKING,
    ) -> None:
        """Writes what was handed over, then closes the file; a second call does nothing.

        Args:
          last: rows to write at the end.
          shrink: whether to give the room of removed rows back.
          packing: seconds after which rows are left unpacked.

        Raises:
          StoreError: something could not be written.
        """
        self._finish_thread()
        try:
            if self._error is None and self._is_open():
                with explained(self.path):
                    for statement, rows in last:
                        self._connection.executemany(statement, rows)
                    self._packer.step(self._connection, packing)
                    _owner.release(self._connection)
                    self._one_file(shrink)
        finally:
            self._connection.close()
        if self._error is not None:
            raise self._error
        if self._copying is not None:
            self._copying.join()
        if self._mirror is not None and not self._closed:
            self._mirror.deliver(_mirror.taken(self.path))
        self._closed = True

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._loop, daemon=True, name="store-of-jinit")

    def _finish_thread(self) -> None:
        """Ends the thread once it has written everything; :meth:`put` starts another one."""
        if self._started:
            self._queue.put(None)
            self._thread.join()
            self._thread, self._started = self._new_thread(), False

    def _is_open(self) -> bool:
        try:
            return self._connection.in_transaction
        except sqlite3.ProgrammingError:
            return False

    def _one_file(self, shrink: bool) -> None:
        """Moves what stands in the journal into the file; a reader may prevent that."""
        with contextlib.suppress(sqlite3.OperationalError):
            self._connection.execute("PRAGMA busy_timeout = 200")
            if shrink:
                self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA journal_mode = DELETE")

    def _loop(self) -> None:
        """Commits groups of tiles until None comes."""
        while (tile := self._queue.get()) is not None:
            group, closing = [tile], False
            deadline = time.monotonic() + SECONDS_BETWEEN_COMMITS
            while len(group) < _MOST_TILES and not closing:
                try:
                    more = self._queue.get(timeout=max(deadline - time.monotonic(), 0.0))
                except queue.Empty:
                    break
                closing = more is None
                group += [] if more is None else [more]
            self._write(group)
            if closing:
                return

    def _write(self, group: Sequence[list[Rows]]) -> None:
        if self._error is not None:
            return
        try:
            with self._lock, explained(self.path):
                for tile in group:
                    for statement, rows in tile:
                        self._connection.executemany(statement, rows)
                self._commit()
                if self._packer.step(self._connection):
                    self._commit()
            if self._mirror and time.monotonic() - self._copied > _mirror.SECONDS:
                self._copy()
        except Exception as error:
            self._roll_back()
            self._error = (
                error if isinstance(error, errors.StoreError) else errors.StoreError(str(error))
            )

    def _copy(self) -> None:
        """Copies the store to the mirror; a slow drive delays no commit."""
        mirror = self._mirror
        if mirror is None or (self._copying is not None and self._copying.is_alive()):
            return
        self._copied = time.monotonic()

        def deliver(local: Path) -> None:
            # A drive that is away for a while must not end a sweep; the last copy raises.
            with contextlib.suppress(errors.StoreError):
                mirror.deliver(local)

        with contextlib.suppress(errors.StoreError):
            local = _mirror.taken(self.path)
            self._copying = threading.Thread(
                target=deliver, args=(local,), daemon=True, name="mirror-of-jinit"
            )
            self._copying.start()

    def _commit(self) -> None:
        self._check_file()
        _owner.commit(self._connection)

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN IMMEDIATE")

    def _check_file(self) -> None:
        """Raises StoreError if the file at the path is not the one that was opened.

        SQLite would go on writing into a file that has no name any more.
        """
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise errors.StoreError(
                f"store {self.path}: the file has vanished ({error.strerror}); run it again"
            ) from None
        if (status.st_dev, status.st_ino) != self._file:
            raise errors.StoreError(
                f"store {self.path}: another file has taken its place; run it again"
            )
