"""Names the environments that computed the runs of a table: versions, machine, switches."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jinit._database._runs import Stored, settings_of
from jinit._database._values import repeated

ENVIRONMENT = "environment"
# The value of the column for runs of the environment that the others are compared with.
_HERE = "this"


def environments(connection: sqlite3.Connection) -> dict[int, tuple[object, dict[str, Any]]]:
    """Number of a program → number and settings of the environment that computed its runs.

    Raises:
      ValueError: settings that jinit did not write.
    """
    known = {
        number: settings_of(text)
        for number, text in connection.execute("SELECT id, settings FROM environments")
    }
    query = "SELECT id, environment FROM programs"
    return {
        program: (number, known.get(number, {})) for program, number in connection.execute(query)
    }


def marked(
    parts: Sequence[Stored],
    programs: Sequence[int],
    of: Mapping[int, tuple[object, dict[str, Any]]],
    own: int,
) -> list[Stored]:
    """The runs with the column ``environment`` if several environments computed them.

    Args:
      parts: the runs of each program.
      programs: the numbers of the programs.
      of: from :func:`environments`.
      own: the program in whose environment the others' differences are told.
    """
    if len({of[program][0] for program in programs}) < 2:
        return list(parts)
    here = of[own]
    named = []
    for part, program in zip(parts, programs, strict=True):
        number, settings = of[program]
        words = _HERE if number == here[0] else difference(here[1], settings) or str(number)
        column = repeated(np.array([words], object), len(part.places))
        named.append(dataclasses.replace(part, columns={**part.columns, ENVIRONMENT: column}))
    return named


def difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """How another environment differs from this one, in words; "" if it does not.

    >>> difference({"jax": "0.9.1"}, {"jax": "0.9.2"})
    'jax 0.9.2 (here 0.9.1)'
    """
    return ", ".join(
        f"{name} {_shown(name, theirs.get(name), mine.get(name))}"
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    )


def _shown(name: str, theirs: object, mine: object) -> str:
    """Two values of an environment; of the instructions those that only one of them has."""
    if name == "instructions":
        with_theirs, with_mine = set(str(theirs).split()), set(str(mine).split())
        more, less = sorted(with_theirs - with_mine), sorted(with_mine - with_theirs)
        return f"with {' '.join(more) or 'none'} and without {' '.join(less) or 'none'} of here"
    return f"{theirs!s} (here {mine!s})"[:200]
