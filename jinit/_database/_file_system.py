"""Finds the file system of a path, and says whether SQLite's locks can be trusted there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Kinds on which SQLite's locks and shared memory work: one machine alone keeps their files.
_LOCAL = (
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "ramfs", "overlay", "jfs",
    "reiserfs", "apfs", "hfs", "bcachefs",
)  # fmt: skip
_IN_MEMORY = ("tmpfs", "ramfs")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class FileSystem:
    """Where a path lies.

    Attributes:
      kind: the name of the file system, ``"ext4"``; ``"unknown"`` if the system does not say.
      mount: the folder where it is mounted.
      trusted: whether SQLite's locks and shared memory are known to work there. A kind that is not
        known to be local is not trusted: a server, or a program between, may keep its files.
      in_memory: whether its files are gone when the machine stops.
      free_bytes: space that is left.
    """

    kind: str
    mount: str
    trusted: bool
    in_memory: bool
    free_bytes: int


def file_system(
    path: str | os.PathLike[str], mounts: Path = Path("/proc/self/mounts")
) -> FileSystem:
    """The file system of a path, which need not exist yet.

    Args:
      path: a file or a folder.
      mounts: the system's list of mounts: device, folder, kind, …, a line each.

    >>> file_system("/proc/self").kind in ("proc", "unknown")
    True
    """
    place = Path(path).expanduser().absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    real = place.resolve()
    kind, mount = UNKNOWN, "/"
    for folder, name in _mounted(mounts):
        # The last mount on a folder hides earlier ones.
        if real.is_relative_to(folder) and len(folder) >= len(mount):
            kind, mount = name, folder
    found = os.statvfs(real) if hasattr(os, "statvfs") else None
    free = found.f_bavail * found.f_frsize if found else 0
    return FileSystem(kind, mount, kind in _LOCAL, kind in _IN_MEMORY, free)


def _mounted(mounts: Path) -> Iterator[tuple[str, str]]:
    """Folder and kind of every mount, in their order; nothing if the system does not say."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        yield from _of_mac(_said_by_mac())
        return
    for line in lines:
        _, folder, kind, *_ = line.split(" ")
        # The list writes spaces, tabs, line ends and backslashes as octal numbers.
        yield re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), folder), kind


def _of_mac(text: str) -> Iterator[tuple[str, str]]:
    """Folder and kind from what ``mount`` prints on macOS.

    >>> list(_of_mac("/dev/disk3s1 on /System/My Data (apfs, local, journaled)"))
    [('/System/My Data', 'apfs')]
    """
    for line in text.splitlines():
        found = re.fullmatch(r".+? on (/.*) \(([\w.]+)[,)].*", line)
        if found:
            yield found[1], found[2]


def _said_by_mac() -> str:
    if sys.platform != "darwin":
        return ""
    try:
        return subprocess.run(
            ["/sbin/mount"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
