"""Runs any pure function over many lanes, in tiles, on all cores.

A lane is one evaluation of the function. A tile is the lanes that one call of the compiled program
takes.
"""

from jinit.engine._durable import FileStore
from jinit.engine._run import run
from jinit.engine._store import MemoryStore, Store

__all__ = [
    "run",
    "FileStore",
    "Store",
    "MemoryStore",
]
