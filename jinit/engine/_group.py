"""Lets the processes of ``jax.distributed`` speak with each other through JAX's coordinator.

Collective operations would hang with a process that is gone. The coordinator's table of keys does
not: every wait asks for errors and for signs of life of the others.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

import jax

from jinit import errors
from jinit.engine._executors import backend
from jinit.engine._interrupts import held

T = TypeVar("T")

# Seconds without a sign of life after which a process counts as lost, and between two signs.
LOST_AFTER = 30.0
_BEAT = 2.0
_POLL_MS = 200
# Seconds that the first process, in which the coordinator lives, gives the others to stop.
_LEAVE = 5.0
# Messages of gRPC are limited to 4 MiB by default.
_CHUNK = 2**20


class StoppedError(RuntimeError):
    """Another process stopped with an error."""


class Client(Protocol):
    """What is used of JAX's coordination client."""

    def key_value_set_bytes(self, key: str, value: bytes, allow_overwrite: bool = False) -> None:
        """Sets a key."""
        ...

    def blocking_key_value_get_bytes(self, key: str, timeout_in_ms: int) -> bytes:
        """The value of a key; waits for it."""
        ...

    def key_value_dir_get_bytes(self, key: str) -> list[tuple[str, bytes]]:
        """All keys that begin with ``key`` and a slash."""
        ...

    def key_value_delete(self, key: str) -> None:
        """Deletes a key, and all keys below it."""
        ...


class Group:
    """The processes that run one sweep together; the first one gathers and writes.

    Attributes:
      index: number of this process.
      count: number of processes.
    """

    def __init__(self, client: Client, index: int, count: int, name: str) -> None:
        """Args:
        client: of the coordinator.
        index, count: of this process and of all.
        name: of this run, the same in all processes and not used before.
        """
        self.index = index
        self.count = count
        self._client = client
        self._name = name
        self._shared = itertools.count()
        self._seen = {other: (b"", time.monotonic()) for other in range(count) if other != index}
        self._ended = threading.Event()
        # Not named like threads that compute: the command line does not wait for those, and this
        # process must leave JAX's coordinator in order.
        threading.Thread(target=self._beat, daemon=True, name="sign of life").start()

    @property
    def first(self) -> bool:
        """Whether this process gathers and writes."""
        return self.index == 0

    def say(self, key: str, data: bytes) -> None:
        """Publishes bytes under a key."""
        parts = range(0, max(len(data), 1), _CHUNK)
        for number, start in enumerate(parts):
            piece = data[start : start + _CHUNK]
            self._client.key_value_set_bytes(f"{self._name}/{key}/{number}", piece)
        self._client.key_value_set_bytes(f"{self._name}/{key}/parts", str(len(parts)).encode())

    def hear(
        self, key: str, patience: float, given_up: Callable[[], bool] = lambda: False
    ) -> bytes:
        """The bytes that another process publishes under a key; they stay until :meth:`forget`.

        Args:
          key: as for :meth:`say`.
          patience: seconds to wait while all processes are alive.
          given_up: whether to wait no longer, asked again and again.

        Raises:
          RuntimeError: another process stopped with an error.
          HangError: a process gave no sign of life for ``LOST_AFTER`` seconds, or nothing came.
        """
        wait = functools.partial(self._wait, patience=patience, given_up=given_up)
        parts = int(wait(f"{self._name}/{key}/parts"))
        return b"".join(wait(f"{self._name}/{key}/{number}") for number in range(parts))

    def forget(self, key: str) -> None:
        """Deletes what was published under a key."""
        self._client.key_value_delete(f"{self._name}/{key}")

    def same(self, value: T | None, patience: float) -> T:
        """The value of the first process, in all of them.

        Args:
          value: used in the first process only.
          patience: seconds to wait.
        """
        key = f"same/{next(self._shared)}"
        if not self.first:
            data = self.hear(key, patience)
            self.say(f"{key}-heard/{self.index}", b"")
            return cast(T, pickle.loads(data))
        self.say(key, pickle.dumps(value))
        for other in range(1, self.count):
            self.hear(f"{key}-heard/{other}", patience)
        self.forget(key)
        return cast(T, value)

    def fail(self, error: BaseException) -> None:
        """Tells the others that this process stops with an error."""
        text = f"{type(error).__name__}: {error}"[:2000]
        with contextlib.suppress(Exception):
            self._client.key_value_set_bytes(f"{self._name}/error/{self.index}", text.encode())

    def wait_until_others_stop(self, patience: float) -> None:
        """Waits until the others have failed, too; the coordinator's end would abort them.

        Args:
          patience: seconds to wait at most; Ctrl-C ends the wait.
        """
        deadline = time.monotonic() + patience
        with held() as noted, contextlib.suppress(Exception):
            while not noted.signals and time.monotonic() < deadline:
                failed = self._client.key_value_dir_get_bytes(f"{self._name}/error")
                if len(failed) == self.count:
                    return
                time.sleep(0.05)

    def close(self) -> None:
        """Ends the signs of life."""
        self._ended.set()

    def _wait(self, key: str, patience: float, given_up: Callable[[], bool]) -> bytes:
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._client.blocking_key_value_get_bytes(key, _POLL_MS)
            except Exception as error:  # JAX names neither the class nor the reason in public
                if "DEADLINE_EXCEEDED" not in str(error) and "NOT_FOUND" not in str(error):
                    raise RuntimeError(
                        f"the coordinator, process 0, does not answer: {error}"
                    ) from error
            self.check()
            if time.monotonic() > deadline or given_up():
                raise errors.HangError(
                    f"nothing came from another process for {patience:g} s ({key}); "
                    "fix: call jinit in all processes alike, or raise hang_after"
                )

    def check(self) -> None:
        """Raises if another process has stopped or is silent."""
        for key, text in self._client.key_value_dir_get_bytes(f"{self._name}/error"):
            number = key.rpartition("/")[2]
            raise StoppedError(
                f"process {number} of {self.count} stopped: {text.decode()}; "
                "fix: start all processes again; a store keeps what is finished"
            )
        now = time.monotonic()
        alive = {
            int(key.rpartition("/")[2]): value
            for key, value in self._client.key_value_dir_get_bytes(f"{self._name}/beat")
        }
        for other, (last, since) in self._seen.items():
            beat = alive.get(other, b"")
            if beat != last:
                self._seen[other] = (beat, now)
            elif last and now - since > LOST_AFTER:
                raise errors.HangError(
                    f"process {other} of {self.count} gave no sign of life for "
                    f"{LOST_AFTER:g} s; fix: start all processes again; a store keeps what is "
                    "finished"
                )

    def _beat(self) -> None:
        for number in itertools.count():
            with contextlib.suppress(Exception):
                self._client.key_value_set_bytes(
                    f"{self._name}/beat/{self.index}", str(number).encode(), allow_overwrite=True
                )
            if self._ended.wait(_BEAT):
                return


_current: Group | None = None
_runs = itertools.count()


@contextlib.contextmanager
def joined(*, alone: bool = False) -> Iterator[Group | None]:
    """The group of this run; None where JAX has one process. Inside a run, the run's own group.

    An error that leaves the block is told to the other processes.

    Args:
      alone: whether this process runs by itself in any case.

    >>> with joined() as group:
    ...     group is None
    True
    """
    global _current
    if not alone:
        backend()  # an error of ours where JAX cannot start
    if alone or jax.process_count() == 1:
        yield None
        return
    if _current is not None:
        yield _current
        return
    client = _client()
    if client is None:
        raise errors.refusal(
            "processes of JAX",
            f"{jax.process_count()} without a coordinator",
            "processes that jax.distributed connects",
            "jax.distributed.initialize() before anything else",
        )
    # All processes make the same runs in the same order.
    group = Group(client, jax.process_index(), jax.process_count(), f"jinit/{next(_runs)}")
    _current = group
    try:
        yield group
    except BaseException as error:
        group.fail(error)
        if group.first and not isinstance(error, StoppedError | errors.HangError):
            group.wait_until_others_stop(_LEAVE)
        raise
    finally:
        _current = None
        group.close()


def current() -> Group | None:
    """The group of the run that this process is in."""
    return _current


def _client() -> Any:
    """The client of JAX's coordinator; None without one."""
    from jax._src import distributed  # not public, and the same from 0.7.2 on

    return distributed.global_state.client
