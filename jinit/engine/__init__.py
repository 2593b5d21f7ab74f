"""Runs any pure function over many lanes. Knows nothing of networks."""

from jinit.engine.jobs import Job, LaneSource, run, run_many
from jinit.engine.program import Program
from jinit.engine.schedule import Event
from jinit.engine.store import MemoryStore, Store
from jinit.engine.tiles import Tile

__all__ = [
    "Job",
    "LaneSource",
    "run",
    "run_many",
    "Event",
    "Tile",
    "Program",
    "Store",
    "MemoryStore",
]
