"""Lets a Ray cluster run tiles: an executor whose tasks Ray starts again when a worker is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from jinit import errors

# Seconds that a cluster has to say anything.
_ANSWER = 5.0
_RETRIES = 16
# What an HTTP/2 client says first: its preface and an empty frame of settings (RFC 9113, 3.4).
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME = 4


@dataclass(frozen=True)
class RayPart:
    """A part of a job in Ray's object store."""

    ref: Any

    def fetch(self) -> bytes:
        """The bytes; every node gets them once."""
        import ray

        content: bytes = ray.get(self.ref)
        return content


class RayExecutor:
    """Submits functions as Ray tasks."""

    def __init__(self, platform: str) -> None:
        """Args:
        platform: ``"gpu"`` asks Ray for one GPU for each task.
        """
        import ray

        self._ray = ray
        self._options = {"num_cpus": 1, "max_retries": _RETRIES}
        self._options |= {"num_gpus": 1} if platform == "gpu" else {}
        self._remote: dict[Callable[..., Any], Any] = {}
        self._parts: dict[str, RayPart] = {}
        resource = "GPU" if platform == "gpu" else "CPU"
        self._max_workers = int(ray.cluster_resources().get(resource, 0))
        if not self._max_workers:
            raise errors.refusal(
                "Ray cluster", f"no {resource}", f"at least one {resource}", "start a node with one"
            )

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Runs ``fn(*args)`` as a task."""
        if fn not in self._remote:
            self._remote[fn] = self._ray.remote(**self._options)(fn)
        ref = self._remote[fn].remote(*args)
        future: Future[Any] = ref.future()
        return future

    def put(self, name: str, content: bytes) -> RayPart:
        """Puts a part of a job into the object store, once."""
        if name not in self._parts:
            self._parts[name] = RayPart(self._ray.put(content))
        return self._parts[name]


@contextlib.contextmanager
def ray_executor(address: str | None, platform: str) -> Iterator[RayExecutor]:
    """Connects to Ray for the time of a run, unless this process is connected already.

    Args:
      address: ``"host:port"`` of the cluster; None: the cluster that runs on this machine or that
        ``RAY_ADDRESS`` names, or else a new one on this machine alone.
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.

    Raises:
      ValueError: an address, given or of ``RAY_ADDRESS``, that is none or does not answer.
      MissingExtraError: Ray is not installed.
    """
    if address is not None:
        check_answers(address)
    try:
        import ray
    except ImportError:
        raise errors.missing_extra("ray", "cluster", 'executor="ray"') from None
    mine = not ray.is_initialized()
    if mine:
        if address is None:
            _check_named()
        # Ray takes over SIGTERM, which must go on to mean "store what is finished".
        with _handlers_kept():
            try:
                ray.init(address=address, log_to_driver=False, logging_level="warning")
            except (ConnectionError, RuntimeError, TimeoutError, ValueError) as error:
                text = str(error).partition("\n")[0]
                raise errors.refusal(
                    "Ray cluster", text, "a cluster that takes this process", "see `ray status`"
                ) from None
    try:
        yield RayExecutor(platform)
    finally:
        if mine:
            ray.shutdown()


def check_answers(address: str, seconds: float = _ANSWER, what: str = "address") -> None:
    """Refuses an address at which no Ray cluster answers; without this check Ray waits for ever.

    Args:
      address: ``"host:port"``.
      seconds: to connect, and again to get an answer.
      what: where the address stands.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise errors.refusal(
            what,
            address,
            "host:port of a Ray cluster",
            "use the address that `ray start` says",
        )
    try:
        with socket.create_connection((host, int(port)), timeout=seconds) as connection:
            connection.settimeout(seconds)
            connection.sendall(_HELLO)
            head = connection.recv(9, socket.MSG_WAITALL)
    except OSError as error:
        said = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        head = b""
    else:
        said = "an answer, but not Ray's"
    if len(head) < 9 or head[3] != _SETTINGS_FRAME:
        raise errors.refusal(
            what, f"{address} ({said})", "a Ray cluster that answers", "see `ray status` there"
        )


def _check_named() -> None:
    """Refuses the cluster that ``RAY_ADDRESS`` names if it does not answer."""
    named = os.environ.get("RAY_ADDRESS", "")
    # Ray knows some words, and packages add protocols.
    own = named in ("", "auto", "local") or "://" in named.removeprefix("ray://")
    if not own:
        check_answers(named, what="RAY_ADDRESS")


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Gives signals back the handlers that they had."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if main:
            for number, handler in before.items():
                signal.signal(number, handler)
