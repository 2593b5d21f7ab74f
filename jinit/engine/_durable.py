"""Names a store on disk, and lets a job run the lanes alone that the store lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from jinit import errors
from jinit._database import check_path
from jinit.engine import _tiles as tiles
from jinit.engine._jobs import LaneSource, PreparedJob
from jinit.engine._program import Program
from jinit.typing import PyTree


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


class Chosen:
    """A :class:`LaneSource` of some lanes of another one."""

    def __init__(self, source: LaneSource, numbers: np.ndarray) -> None:
        """Args:
        source: all lanes.
        numbers: the numbers of those to run, ``(count,)``.
        """
        self.count = len(numbers)
        self.lane = source.lane
        self._source = source
        self._numbers = numbers

    def programs(self, width: int) -> Sequence[Program]:
        """Those of the other source."""
        return self._source.programs(width)

    def take(self, numbers: np.ndarray, device: jax.Device | None) -> PyTree:
        """Lanes by their place among the chosen ones."""
        return self._source.take(self._numbers[numbers], device)


def only(task: PreparedJob, numbers: np.ndarray) -> PreparedJob:
    """The same job for some of its lanes, in tiles of the same width."""
    return dataclasses.replace(
        task,
        source=Chosen(task.source, numbers),
        tiles=tuple(tiles.cut(len(numbers), task.width)),
    )
