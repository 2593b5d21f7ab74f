"""Warns at the line of the user that led to the warning, however deep in jinit it arises."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

_HERE = f"{Path(__file__).parent}{os.sep}"


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issues a warning whose place is the innermost frame outside this package.

    In a thread of jinit no such frame may exist; the outermost frame of the thread is used then.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
