"""Opens a rich console and builds empty tables: the only module that imports rich."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, TextIO, cast

from jinit import errors
from jinit.report._encoding import Encodable

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
    "columns_that_fit",
    "console_width",
    "encodable",
    "escaped",
    "natural_width",
    "new_table",
    "open_console",
    "print_left_out",
    "wider",
]

_WIDTH = 142


def open_console(stream: TextIO | None) -> Console:
    """A console that writes to ``stream``; None is stdout."""
    chosen = stream or sys.stdout or io.StringIO()  # stdout is None where a program has none
    return Console(file=encodable(chosen), width=console_width(chosen), highlight=False)


def encodable(stream: TextIO, *, forgiving: bool = False) -> IO[str]:
    """A stream for a console, see :class:`Encodable`."""
    return cast(IO[str], Encodable(stream, forgiving=forgiving))


def console_width(stream: TextIO) -> int | None:
    """The width in characters: COLUMNS or 142 for files and pipes; None for a terminal.

    A terminal knows its own width.
    """
    if stream.isatty():
        return None
    wanted = os.environ.get("COLUMNS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) > 0 else _WIDTH


def new_table() -> RichTable:
    """A table without columns, with a rule below its headings and no other lines."""
    return RichTable(box=box.SIMPLE_HEAD, pad_edge=False)


def natural_width(console: Console, table: RichTable) -> int:
    """The width of a table in which no cell is wrapped."""
    # console.measure never answers more than max_width, which is the terminal's width by default.
    return console.measure(table, options=console.options.update(max_width=10_000)).maximum


def columns_that_fit(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    expendable: Sequence[str],
    wrapping: Mapping[str, int],
) -> list[int]:
    """The columns of a table that fit side by side without cutting off a cell.

    Args:
      headings, rows: the table, as rich markup.
      width: width of the terminal in characters.
      expendable: prefixes of the headings to leave out, in this order; column 0 always stays.
      wrapping: heading → minimum width of a column whose cells may wrap.
    """
    needed = [
        wrapping.get(heading)
        or max(len(Text.from_markup(cell)) for cell in (heading, *(row[column] for row in rows)))
        for column, heading in enumerate(headings)
    ]
    shown = list(range(len(headings)))
    for prefix in expendable:
        # Three spaces between columns, one at each edge.
        if sum(needed[column] + 3 for column in shown) - 1 <= width:
            break
        matching = [column for column in shown[1:] if headings[column].startswith(prefix)]
        shown = [column for column in shown if column not in matching[:1]]
    return shown


def print_left_out(console: Console, headings: Sequence[str], shown: Sequence[int]) -> None:
    """Names the columns that a narrow terminal does not show."""
    left_out = [heading for column, heading in enumerate(headings) if column not in shown]
    if left_out:
        console.print(f"Too narrow for: {', '.join(left_out)}. {wider(console)}.")


def wider(console: Console) -> str:
    """What shows more columns: a terminal is widened, a file or pipe gets more by COLUMNS."""
    if console.is_terminal:
        return "Widen the terminal, or pipe into `COLUMNS=400 … | less -S`"
    return "Set COLUMNS=400"


def escaped(text: str) -> str:
    """``text`` with its brackets escaped, so that rich does not read them as markup."""
    return text.replace("[", "\\[")
