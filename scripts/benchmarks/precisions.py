"""Counts the verdicts that another precision changes: `python scripts/bench.py precision`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

import jax

import jinit

BASELINE = "glorot_uniform"
# The quickstart's grid.
GRID = jinit.Grid(
    dataset="digits",
    initializer=(
        "zeros", "normal(stddev=0.01)", "normal(stddev=1.0)", "fan_in_uniform", BASELINE,
        "he_normal", "orthogonal",
    ),
    activation=("relu", "tanh"),
    depth=(8, 16),
    width=32,
    batch_size=32,
    learning_rate=0.1,
    steps=300,
)  # fmt: skip


class Found(NamedTuple):
    """The verdicts of a sweep, by cell and arm, with differences and seconds."""

    verdicts: dict[tuple[str, ...], str]
    differences: dict[tuple[str, ...], float]
    seconds: float


def measure(precision: str, seeds: int) -> Found:
    """Trains the grid in a precision, and compares all arms with the baseline."""
    jax.config.update("jax_enable_x64", precision == "float64")
    start = time.perf_counter()
    table = jinit.run(replace(GRID, precision=precision, seeds=seeds), progress=False)
    seconds = time.perf_counter() - start
    verdicts, differences = {}, {}
    for pair in jinit.compare(table, "test_accuracy", baseline=BASELINE):
        key = (*(f"{axis} {value}" for axis, value in pair.cell.items()), pair.arm)
        verdicts[key] = pair.verdict
        differences[key] = pair.result.difference.estimate
    return Found(verdicts, differences, seconds)
