"""Runs any pure function over many lanes, in tiles, on all cores. Knows nothing of networks."""

from jinit.engine._jobs import Job, LaneSource, run, run_many
from jinit.engine._schedule import Event
from jinit.engine._store import MemoryStore, Store
from jinit.engine._tiles import Tile

__all__ = [
    "Job",
    "LaneSource",
    "run",
    "run_many",
    "Event",
    "Tile",
    "Store",
    "MemoryStore",
]
