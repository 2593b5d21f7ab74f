"""Finds the workers of this machine: one thread per CPU core, or one thread per accelerator."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import jax

from jinit import errors
from jinit.engine._devices import check_devices, shown

_MOST_WORKERS = 1024
# A limit of a control group at or above this is no limit: version 1 writes 2**63 - 4096.
_NO_LIMIT = 2**60


WorkersLike: TypeAlias = int | Sequence[jax.Device]
"""A number of threads (CPU) or devices, or the devices themselves."""


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

    @property
    def device_names(self) -> tuple[str, ...]:
        """The names of the devices, each once: ``"cpu:0"``."""
        used = [device or jax.local_devices()[0] for device in self.devices]
        return tuple(dict.fromkeys(map(shown, used)))


def backend() -> str:
    """JAX's default platform, which this call starts if nothing has: ``"cpu"``.

    Raises:
      ValueError: a backend that does not start.

    >>> backend() == jax.default_backend()
    True
    """
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        raise errors.refusal(
            "JAX backend",
            str(error).partition("\n")[0],
            "a backend that starts",
            "unset JAX_PLATFORMS, or install JAX for that device",
        ) from None


def local(workers: WorkersLike | None = None) -> Workers:
    """The workers of this process's machine.

    On CPU all threads share one device. A compiled call releases the GIL, and two threads that
    run small tiles keep two cores busier than one call over all lanes.

    Args:
      workers: number of threads; by default one per core that this process may use, or one per
        accelerator. Or the devices to use, one thread each.

    Raises:
      ValueError: fewer than one worker or more than 1,024; a JAX backend that does not start; a
        process that was forked from one in which JAX ran; devices of another process.

    >>> local(2).devices if jax.default_backend() == "cpu" else (None, None)
    (None, None)
    """
    if workers is not None and not isinstance(workers, Sequence):
        errors.check_integer(
            "workers", workers, low=1, high=_MOST_WORKERS, fix="use 2, or None for one per core"
        )
    if _forked:
        raise errors.refusal(
            "process",
            "a fork of a process in which JAX had started; its threads are missing here",
            "a process that starts JAX itself",
            'multiprocessing.get_context("spawn")',
        )
    platform = backend()
    if isinstance(workers, Sequence):
        devices = check_devices(workers)
        # JAX calls all GPUs "gpu" only as a backend.
        platform = "cpu" if devices[0].platform == "cpu" else platform
    elif platform == "cpu":
        return Workers(platform, (None,) * (workers or usable_cores()), False, None)
    else:
        devices = tuple(jax.local_devices()[:workers])
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    return Workers(platform, devices, platform != "cpu", limit)


def host_memory() -> int | None:
    """Bytes of memory that this process may use; None if the operating system does not say.

    The least of the machine's memory, the limits of the control groups (containers, batch systems)
    and ``RLIMIT_AS`` and ``RLIMIT_DATA``.

    >>> (host_memory() or 2**31) > 2**20
    True
    """
    limits = [*_physical(), *_control_groups(), *_resource_limits()]
    return min(limits, default=None)


def usable_cores() -> int:
    """Cores that this process may use: its affinity and the quota of its control groups.

    >>> 1 <= usable_cores() <= (os.cpu_count() or 1)
    True
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, *(math.ceil(quota) for quota in _quotas()), cores))


def _physical() -> Iterator[int]:
    try:
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return


def _control_groups(
    groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """The limits of this process's control groups and of the groups around them.

    Args:
      groups: lines ``number:controllers:/path``; version 2 has no controllers.
      root: where the control groups are mounted.
    """
    for folder, version in _group_folders("memory", groups, root):
        file = "memory.max" if version == 2 else "memory.limit_in_bytes"
        try:
            limit = int((folder / file).read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        if limit < _NO_LIMIT:
            yield limit


def _quotas(
    groups: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> Iterator[float]:
    """The processor time that control groups allow, in cores; arguments as _control_groups."""
    for folder, version in _group_folders("cpu", groups, root):
        try:
            if version == 2:
                quota, period = map(int, (folder / "cpu.max").read_text().split())
            else:
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                quota, period = (int((folder / name).read_text()) for name in names)
        except (OSError, ValueError):  # no such group, or "max"
            continue
        if quota > 0 and period > 0:
            yield quota / period


def _group_folders(controller: str, groups: Path, root: Path) -> Iterator[tuple[Path, int]]:
    """The folders of this process's groups, the inner ones first, and the version, 1 or 2."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        # Inside a container the own group is mounted at the root, whatever the path says.
        inner = top / path.strip("/")
        for folder in (inner, *inner.parents):
            yield folder, 1 if controllers else 2
            if folder == top:
                break


def _resource_limits() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # Windows
        return
    for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(which)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _started() -> bool:
    """Whether JAX has started a backend in this process or in one that it was forked from."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bool(getattr(bridge, "backends_are_initialized", lambda: False)())


def _lacks_threads() -> bool:
    """Whether Python's own threads are the only ones of this process (known on Linux)."""
    try:
        return len(os.listdir("/proc/self/task")) <= threading.active_count()
    except OSError:
        return False


def _note_fork() -> None:
    """Notes, in the child of a fork, whether JAX had started in the parent."""
    global _forked
    _forked = _forked or _started()


# A backend has threads, which a fork does not copy; this module may be imported after the fork.
_forked = _started() and _lacks_threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
