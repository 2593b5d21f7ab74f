"""What keeps a run of the tests short: samples of batteries, programs that are compiled once."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path

import pytest


def sample(rows: Iterable, every: int = 3, mark=pytest.mark.full) -> list:
    """Rows for ``parametrize``, all but each ``every``-th marked for a later tier."""
    return keep(rows, lambda row, place: place % every == 0, mark)


def keep(rows: Iterable, kept, mark=pytest.mark.full) -> list:
    """Rows for ``parametrize``, marked for a later tier unless ``kept(row, place)``."""
    marked = []
    for place, row in enumerate(rows):
        values = row if isinstance(row, tuple) else (row,)
        marks = () if kept(row, place) else mark
        marked.append(pytest.param(*values, marks=marks))
    return marked


def compiled_programs() -> Path:
    """The folder of compiled programs for this JAX on this processor.

    The processes of a run share the folder with each other and with the next run: most of the
    time of the tests goes to XLA's compiler. JAX finds a program by its code and its options, so
    that a changed jinit compiles anew.
    """
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    parts = (importlib.metadata.version("jaxlib"), platform.machine(), features)
    name = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    return Path(__file__).parent.parent / ".pytest_cache" / "compiled" / name
