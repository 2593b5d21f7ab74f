"""Names a store on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinit import errors
from jinit._database import check_path


@dataclass(frozen=True)
class FileStore:
    """A store on disk: one SQLite file. A path alone means ``FileStore(path)``.

    Every finished run is kept under an identity, a hash of everything that decides its numbers.
    The same call again computes what is missing, whatever ended the first one.

    Args:
      path: the file, ending in .db, .sqlite or .sqlite3; it is made if it does not exist.
      accept_environment: whether to take runs that another version of JAX or another kind of
        machine computed, marked in the table's column ``environment``, instead of computing them.
      mirror: a folder, such as one of a cloud drive, that gets a copy of the file at least at the
        end; the locks of such drives cannot be trusted with the file itself.

    Raises:
      ValueError: another ending, a folder that does not exist. TypeError: no path.

    >>> FileStore("runs.db").accept_environment
    False
    """

    path: str | Path
    accept_environment: bool = False
    mirror: str | Path | None = None

    def __post_init__(self) -> None:
        check_path(self.path)
        errors.check_bool("accept_environment", self.accept_environment)
