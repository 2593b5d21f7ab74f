"""What commands leave behind: JSON for other programs, and pictures."""

from __future__ import annotations

import dataclasses
import json as json_format
import math
import signal
import sys
import threading
from typing import Any


def write_picture(axes: Any, path: str) -> None:
    """Saves a picture, and says where, on stderr."""
    from jinit.report import plots

    files = ", ".join(str(file) for file in plots.save(axes, path))
    print(f"picture written to {files}", file=sys.stderr)


def dump(value: Any) -> None:
    """Strict JSON on stdout, whole or not at all: NaN and inf become null."""
    text = json_format.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Ctrl-C while it is written would leave half of it to whoever reads.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        print(text, flush=True)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    return value
