"""Gives the runs of several sweeps the looks and decisions that one driver of them noted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jinit import errors
from jinit._database._sweeps import Entry

MARKS = "marks"


def of_sweep(newest: Entry, entries: Sequence[Entry]) -> dict[str, Any]:
    """The marks of a sweep, with the decisions of all sweeps that belong to its race.

    The last look of a sweep that was not completed has not been made.

    Args:
      newest: the sweep.
      entries: all sweeps of its kind, in the order in which they were entered.

    Returns:
      ``looks``; for successive halving ``halving``, too, ``grid`` (axis → values in the order of
      the grid) and ``dropped``: (axis values) → (number of the decision, score). {} for a plain
      sweep.

    Raises:
      ValueError: marks that jinit did not write.
    """
    try:
        marks = dict(newest.settings.get(MARKS, {}))
        looks = dict(marks.get("looks", {}))
        if "seeds" in looks:
            looks["seeds"] = [*map(int, looks["seeds"])]
        if "grid" in marks:
            marks["grid"] = dict(marks["grid"])
        if looks and "halving" not in marks and newest.state != "complete":
            looks["seeds"] = looks["seeds"][:-1]
        if not looks.get("seeds"):
            marks.pop("looks", None)
        else:
            marks["looks"] = looks
        if "halving" in marks:
            marks["dropped"] = _dropped(entries, _race(marks))
        return marks
    except (KeyError, TypeError, ValueError, AttributeError):
        raise errors.refusal(
            "marks of the store", "damaged values", "what jinit wrote", "run jinit verify"
        ) from None


def race_of(settings: Mapping[str, Any]) -> bool:
    """Whether a sweep is a batch of a race, whose configurations differ from batch to batch."""
    marks = settings.get(MARKS)
    return isinstance(marks, Mapping) and "halving" in marks


def marked(marks: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns ``dropped`` and ``dropped_score`` of a race; {} for other sweeps."""
    if "halving" not in marks:
        return {}
    axes = [name for name in marks["grid"] if name in columns]
    rows = zip(*(columns[name].tolist() for name in axes), strict=True)
    found = [marks["dropped"].get(row, (0, math.nan)) for row in rows]
    return {
        "dropped": np.array([number for number, _ in found], np.int64),
        "dropped_score": np.array([score for _, score in found], np.float64),
    }


def _race(marks: Mapping[str, Any]) -> tuple[object, ...]:
    """What is equal in all batches of a race."""
    asked = marks["halving"]
    return asked["factor"], asked["across"], asked["keep"], marks["looks"], marks["grid"]


def _dropped(
    entries: Sequence[Entry], race: tuple[object, ...]
) -> dict[tuple[Any, ...], tuple[int, float]]:
    found: dict[tuple[Any, ...], tuple[int, float]] = {}
    for entry in entries:
        if race_of(entry.settings) and _race(entry.settings[MARKS]) == race:
            for *values, number, score in entry.settings[MARKS].get("dropped", []):
                found[tuple(values)] = (int(number), float(score))
    return found
