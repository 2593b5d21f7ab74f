"""Looks at the machine: accelerators that JAX does not use, and the kind of a file system."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# Sign of an accelerator → its name.
_SIGNS = {
    "/dev/nvidia0": "an NVIDIA GPU (/dev/nvidia0)",
    "/dev/dxg": "a GPU of Windows (/dev/dxg)",
    "/dev/kfd": "an AMD GPU (/dev/kfd)",
    "/dev/accel0": "a TPU (/dev/accel0)",
    "/dev/vfio/0": "a TPU (/dev/vfio/0)",
}
_VARIABLES = ("TPU_NAME", "COLAB_TPU_ADDR", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID")
# SQLite's locks cannot be trusted there: the server, or a program between, keeps them.
_REMOTE = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|ceph|gluster|lustre|beegfs|gpfs|wekafs|pvfs2|orangefs|sshfs"
    r"|fuse\..*|fuse|drvfs|vboxsf|virtiofs"
)
_IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class FileSystem:
    """Where a path lies.

    Attributes:
      kind: the name of the file system, ``"ext4"``; ``"unknown"`` if the system does not say.
      mount: the folder where it is mounted.
      remote: whether other machines, or programs in between, keep its files.
      in_memory: whether its files are gone when the machine stops.
      free_bytes: space that is left.
    """

    kind: str
    mount: str
    remote: bool
    in_memory: bool
    free_bytes: int


def file_system(path: str | os.PathLike[str], mounts: Path = Path("/proc/mounts")) -> FileSystem:
    """The file system of a path, which need not exist yet.

    Args:
      path: a file or a folder.
      mounts: the system's list of mounts: device, folder, kind, …, a line each.

    >>> file_system("/proc/self").kind in ("proc", "unknown")
    True
    """
    place = Path(path).expanduser().absolute()
    while not place.exists():
        place = place.parent
    real = place.resolve()
    kind, mount = "unknown", "/"
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, folder, name, *_ = line.split(" ")
        folder = folder.replace("\\040", " ")
        # The last mount on a folder hides earlier ones.
        if real.is_relative_to(folder) and len(folder) >= len(mount):
            kind, mount = name, folder
    found = os.statvfs(real) if hasattr(os, "statvfs") else None
    free = found.f_bavail * found.f_frsize if found else 0
    return FileSystem(kind, mount, _REMOTE.fullmatch(kind) is not None, kind in _IN_MEMORY, free)


def accelerators(root: Path = Path("/")) -> list[str]:
    """Signs of accelerators on this machine, whatever JAX uses.

    Args:
      root: the folder that stands for ``/``.
    """
    found = [name for path, name in _SIGNS.items() if (root / path.lstrip("/")).exists()]
    return found + [f"a TPU ({name} is set)" for name in _VARIABLES if os.environ.get(name)]
