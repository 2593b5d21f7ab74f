"""Chooses the devices of ``--devices`` and connects the processes of ``--distributed``."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

from jinit import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jinit.cli._options import RunOptions
    from jinit.engine._executors import WorkersLike

_MOST = 1024
# Seconds until all processes must have come, and until JAX ends those that are silent.
_CONNECT, _BEAT = 120, 60
# Seconds after which a process that still waits for the others says so.
_QUIET = 3.0
# Seconds between two attempts to reach process 0.
_RETRY = 0.25


def workers_of(options: RunOptions) -> WorkersLike | None:
    """The argument ``workers`` of :func:`jinit.run` for ``--workers`` and ``--devices``.

    Raises:
      ValueError: both options, a number below 1, more devices than there are.
    """
    number = options.devices
    if number is not None:
        errors.check_integer("--devices", number, low=1, high=_MOST, fix="--devices 8")
    for other, given in (("--devices", number), ("--distributed", options.distributed)):
        if given is not None and options.workers is not None:
            raise errors.refusal(
                other, f"{given} with --workers", "one of the two", "leave --workers out"
            )
    if number is not None:
        _make_host_devices(number)
    if options.distributed is not None:
        _connect(options.distributed)
        return None
    if number is None:
        return options.workers
    import jax

    devices = jax.local_devices()
    if number > len(devices):
        raise errors.refusal(
            "--devices",
            number,
            f"at most the {len(devices)} {devices[0].platform} devices of this process",
            f"--devices {len(devices)}",
        )
    return devices[:number]


def writes() -> bool:
    """Whether this process prints and writes: the first one, where JAX has several."""
    import jax

    return jax.process_index() == 0


def _make_host_devices(number: int) -> None:
    import jax

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # Has no effect on accelerators, and is refused once JAX has started.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", number)


def _connect(where: str) -> None:
    """Connects this process with the others; "auto" asks the batch system or the TPU pod."""
    fix = "--distributed auto, or --distributed 10.0.0.1:8476/2/0 in the first of two processes"
    address: str | None = None
    count: int | None = None
    index: int | None = None
    if where != "auto":
        address, _, numbers = where.partition("/")
        try:
            count, index = map(int, numbers.split("/"))
        except ValueError:
            count, index = 0, 0
        if not address.rpartition(":")[2].isdecimal() or not 0 <= index < count:
            raise errors.refusal(
                "--distributed", where, "auto, or HOST:PORT/PROCESSES/NUMBER from 0", fix
            )
    import jax

    # Its handler of SIGTERM would take the place of ours, which stores what is finished.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        with _wait_told(address):
            if address is not None and index:
                _wait_for_first(address, fix)
            jax.distributed.initialize(
                address,
                count,
                index,
                initialization_timeout=_CONNECT,
                heartbeat_timeout_seconds=_BEAT,
            )
    except (RuntimeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        allowed = "processes that reach each other"
        raise errors.refusal("--distributed", said, allowed, fix) from None


@contextlib.contextmanager
def _wait_told(address: str | None) -> Iterator[None]:
    """Says that this process waits, and for what: the others may start later, or never."""
    where = "" if address is None else f" at {address}"
    line = f"jinit: waiting up to {_CONNECT} s for the other processes{where}"
    timer = threading.Timer(_QUIET, print, (line,), {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _wait_for_first(address: str, fix: str) -> None:
    """Waits for process 0; JAX would end this process without an error if it never came.

    Raises:
      ValueError: nothing takes a connection for ``_CONNECT`` seconds.
    """
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _CONNECT
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()
            return
        except (OSError, OverflowError) as error:
            if time.monotonic() > deadline:
                raise errors.refusal(
                    "--distributed", f"{address} ({error})", "the address of process 0", fix
                ) from None
        time.sleep(_RETRY)
