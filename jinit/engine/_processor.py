"""Reads the model and the extensions of the processor; Linux states both in /proc/cpuinfo."""

from __future__ import annotations

import functools
import platform
from pathlib import Path


@functools.cache
def processor() -> str:
    """The model of the processor, whose instructions decide how matrix products round."""
    line = _first("model name")
    return line.partition(":")[2].strip() if line else platform.processor()


@functools.cache
def extensions() -> str:
    """The line that lists the extensions of the processor, with its name; "" if unknown."""
    return _first("flags", "Features")


def _first(*names: str) -> str:
    """The first line with one of these beginnings; "" if there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(names)), "")
