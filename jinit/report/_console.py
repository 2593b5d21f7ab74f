"""Opens a rich console and builds empty tables: the only module that imports rich."""

from __future__ import annotations

import sys
from typing import TextIO

from jinit import errors

try:
    from rich import box
    from rich.console import Console, JustifyMethod
    from rich.padding import Padding
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Table as RichTable
    from rich.text import Text
except ImportError:
    raise errors.missing_extra("rich", "lab", "printing tables") from None

__all__ = [
    "BarColumn",
    "Console",
    "JustifyMethod",
    "Padding",
    "Progress",
    "RichTable",
    "Text",
    "TextColumn",
    "console_width",
    "escaped",
    "new_table",
    "open_console",
]

_WIDTH = 142


def open_console(stream: TextIO | None) -> Console:
    """A console that writes to ``stream``; None is stdout."""
    return Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)


def console_width(stream: TextIO | None) -> int | None:
    """A fixed width for files and pipes; None lets a terminal decide."""
    return None if (stream or sys.stdout).isatty() else _WIDTH


def new_table() -> RichTable:
    """A table without columns, with a rule below its headings and no other lines."""
    return RichTable(box=box.SIMPLE_HEAD, pad_edge=False)


def escaped(text: str) -> str:
    """``text`` with brackets that rich does not read as markup."""
    return text.replace("[", "\\[")
