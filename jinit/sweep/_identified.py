"""Tells runs of a store apart: by everything that decides their numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jinit.data._arrays import WITHOUT_CLASSES
from jinit.engine._jobs import PreparedJob
from jinit.sweep._grid import CODE_AXES, NUMBER_AXES
from jinit.sweep._lanes import NetworkLanes
from jinit.sweep._plan import PlannedProgram


def digest(
    task: PreparedJob,
    program: PlannedProgram,
    settings: Mapping[str, Any],
    environment: bytes,
) -> bytes:
    """16 bytes of a program's code, data and labels: all that tells runs apart but their lanes.

    Args:
      task: the prepared job.
      program: the program.
      settings: those of the sweep.
      environment: the digest of an environment: equal code then gives the digest that this code has
        there.
    """
    data = settings["data"][program.dataset.name]["fingerprint"]
    parts = [task.programs[0].fingerprint(), task.width, data, environment.hex()]
    # Equal code may have two names, each with rows of its own: depth 2 and two layers of a model.
    named = sorted((axis, str(name)) for axis, name in _named(program).items())
    return hashlib.blake2b(repr([*parts, named]).encode(), digest_size=16).digest()


def label(program: PlannedProgram, settings: Mapping[str, Any]) -> bytes:
    """16 bytes of what a program trains, from its settings: equal in every environment."""
    axes = (*CODE_AXES, *NUMBER_AXES, "clip", "seeds", "data_seeds")
    grid = {k: v for k, v in settings["grid"].items() if k not in axes}
    named = {key: settings[key] for key in ("model", "start", "layers", "rules")}
    data = settings["data"][program.dataset.name]
    parts = [grid, named, data, _named(program)]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _named(program: PlannedProgram) -> dict[str, Any]:
    """Code axis → its value as tables show it."""
    return {**program.labels, "clip": program.code["clip"]}


def identities(digest: bytes, lanes: NetworkLanes, count: int) -> list[bytes]:
    """16 bytes for every lane, from the code, the labels and everything that a lane holds."""
    bases = [hashlib.blake2b(digest + draw, digest_size=16) for draw in lanes.draws()]
    pairs, words = lanes.words(np.arange(count))
    found = []
    for pair, row in zip(pairs.tolist(), np.ascontiguousarray(words, "<u4"), strict=True):
        one = bases[pair].copy()
        one.update(row.tobytes())
        found.append(one.digest())
    return found


def reasons(program: PlannedProgram, columns: Mapping[str, np.ndarray]) -> list[dict[str, str]]:
    """For each run: name of a column that is NaN → why."""
    diverged = columns["diverged"].tolist()
    found: list[dict[str, str]] = [{} for _ in diverged]
    for name, column in columns.items():
        if column.dtype.kind != "f" or not np.isnan(column).any():
            continue
        for place in np.flatnonzero(np.isnan(column)).tolist():
            found[place][name] = _reason(program, name, diverged[place])
    return found


def _reason(program: PlannedProgram, name: str, diverged: bool) -> str:
    if name == "clip_fraction" and program.code["clip"] is None:
        return "no clip"
    if "accuracy" in name and program.dataset.task in WITHOUT_CLASSES:
        return program.dataset.task
    return "diverged" if diverged else "not a number"
