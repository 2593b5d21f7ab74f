"""Finds the workers of this machine: one thread per CPU core, or one thread per accelerator."""

from __future__ import annotations

import os
from dataclasses import dataclass

import jax

from jinit import errors


@dataclass(frozen=True)
class Workers:
    """The workers of a machine.

    Attributes:
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
      devices: one device per worker thread; None is the default device.
      compiler: whether an additional thread compiles while the workers run.
      memory_bytes: memory of one device; None if the device does not report it.
    """

    platform: str
    devices: tuple[jax.Device | None, ...]
    compiler: bool
    memory_bytes: int | None


def local(workers: int | None = None) -> Workers:
    """The workers of this process's machine.

    On CPU all threads share one device. A compiled call releases the GIL, and two threads that
    run small tiles keep two cores busier than one call over all lanes.

    Args:
      workers: number of threads; by default one per core that this process may use, or one per
        accelerator.

    Raises:
      ValueError: fewer than one worker; a JAX backend that does not start.

    >>> local(2).devices if jax.default_backend() == "cpu" else (None, None)
    (None, None)
    """
    if workers is not None:
        errors.check_integer("workers", workers, low=1, fix="use 2, or None for one per core")
    try:
        platform = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        raise errors.refusal(
            "JAX backend",
            str(error).partition("\n")[0],
            "a backend that starts",
            "unset JAX_PLATFORMS, or install JAX for that device",
        ) from None
    if platform == "cpu":
        return Workers(platform, (None,) * (workers or _cores()), False, None)
    devices = jax.local_devices()[:workers]
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    return Workers(platform, tuple(devices), True, limit)


def host_memory() -> int | None:
    """Bytes of memory of this machine; None if the operating system does not report it.

    >>> (host_memory() or 2**31) > 2**30
    True
    """
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
