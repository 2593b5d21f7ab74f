"""Writes files atomically: a file at the target path is always complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | Path, write: Callable[[str], None]) -> None:
    """Writes a temporary file and renames it, so that a file at ``path`` is always complete.

    Args:
      path: the file; its folder must exist. An existing file is replaced at the end.
      write: ``write(name)`` writes the contents to the temporary file ``name``, in the same folder.

    Raises:
      Exception: any exception of ``write``; an existing file at ``path`` is then unchanged.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> write_whole(file, lambda name: Path(name).write_text("1 2 3"))
    >>> file.read_text(), [path.name for path in file.parent.iterdir()]
    ('1 2 3', ['numbers.txt'])
    """
    # The file that a link points to is replaced, not the link.
    target = Path(path).resolve()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        write(str(unfinished))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
