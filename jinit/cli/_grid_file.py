"""Reads the axes of a grid from a TOML file, as options of the command line."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from pathlib import Path

from jinit import errors

_OPTION = "--grid"
_MOST_BYTES = 2**20


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments with ``--grid FILE`` replaced by what the file says.

    Options that are given beside the file win over it.

    Raises:
      ValueError: no such file, no TOML, an entry that is no axis of a grid.

    >>> expanded(["--seeds", "4"])
    ['--seeds', '4']
    """
    given = list(arguments)
    places = [place for place, word in enumerate(given) if word.partition("=")[0] == _OPTION]
    if not places:
        return given
    place, inline = places[0], given[places[0]].partition("=")[2]
    if len(places) > 1 or (not inline and place + 1 == len(given)):
        raise errors.refusal(_OPTION, " ".join(given)[:200], "one file", "--grid grid.toml")
    path = inline or given[place + 1]
    rest = given[:place] + given[place + (1 if inline else 2) :]
    named = {word.partition("=")[0].replace("_", "-") for word in rest}
    options: list[str] = []
    for name, values in _entries(path).items():
        flag = f"--{name.replace('_', '-')}"
        if flag not in named:
            options += [flag, *values]
    return options + rest


def _entries(path: str) -> dict[str, list[str]]:
    """Field of a grid → its values as words; no words for a flag."""
    from jinit.sweep._grid import Grid

    allowed = "a TOML file such as: depth = [8, 16]"
    try:
        content = Path(path).read_bytes()
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes")
        table = tomllib.loads(content.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise errors.refusal(_OPTION, path, allowed, f"mend the file: {error}") from None
    fields = [item.name for item in dataclasses.fields(Grid)]
    found: dict[str, list[str]] = {}
    for name, value in table.items():
        if name not in fields:
            raise errors.unknown_name(f"entry of {path}", name, fields)
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str | int | float) for item in values):
            raise errors.refusal(f"{name} in {path}", value, "a value or a list of values", allowed)
        if isinstance(value, bool):
            if value:
                found[name] = []
        else:
            found[name] = [str(item) for item in values]
    return found
