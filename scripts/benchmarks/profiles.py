"""Profiles one tile on one core: `python scripts/bench.py profile`.

The profiler times every operation of a compiled program. How often an operation ran tells where it
belongs: in every training step, in every evaluation, or in neither. Recording takes some .2 µs for
each operation: what stands between operations is mostly the recorder's, and short operations look
dearer than they are. A step is therefore timed without the recorder, too.
"""

from __future__ import annotations

import collections
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from benchmarks import contenders
from benchmarks.contenders import RATE, THRESHOLD, Work
from jax.profiler import ProfileData

import jinit
from jinit.train import FitConfig

Counter = collections.Counter[str]
KINDS = ("products", "others", "dispatch")
PARTS = ("step", "evaluation", "rest")


def one_core() -> None:
    """Keeps this process on one core; call before JAX starts its threads."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(work: Work) -> dict[str, Any]:
    """Microseconds of the training steps and evaluations of one tile, by kind of operation.

    Returns:
      ``networks`` in the tile, the number of ``evaluations``, ``at_peak``, the microseconds that
      the products of a step take at the core's peak, ``unrecorded``, the microseconds of a step
      without the profiler, and for ``step``, ``evaluation`` and ``rest`` the microseconds of matrix
      ``products``, of ``others``, of ``dispatch`` between operations, and the number of
      ``operations`` beside products. ``rest`` is the sum over the run: weights, the training set's
      loss.
    """
    grid = jinit.Grid(
        dataset="digits", initializer="he_normal", width=work.width, depth=work.depth,
        batch_size=work.batch, learning_rate=RATE, clip=f"global_norm({THRESHOLD})",
        steps=work.steps, seeds=2,
    )  # fmt: skip
    networks = jinit.plan(grid).programs[0].tile
    grid = replace(grid, seeds=networks)
    train = _trained(grid)
    peak = contenders.peak()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            train()
        profile = ProfileData.from_file(str(next(Path(folder).rglob("*.xplane.pb"))))
    evaluations = len(FitConfig(steps=work.steps).evaluation_steps())
    return {
        "work": {"width": work.width, "depth": work.depth, "batch": work.batch},
        "networks": networks,
        "at_peak": networks * work.step_flop / peak / 1e3,
        "unrecorded": _unrecorded(grid),
        "evaluations": evaluations,
        **_split(profile, {"step": work.steps, "evaluation": evaluations, "rest": 1}),
    }


def _trained(grid: jinit.Grid) -> Callable[[], float]:
    """What trains a grid of one tile and returns the processor's seconds; compiled already."""

    def train() -> float:
        start = time.process_time()
        jinit.run(grid, workers=1, tile=grid.seeds, progress=False)
        return time.process_time() - start

    train()
    return train


def _unrecorded(grid: jinit.Grid) -> float:
    """Microseconds of a step without the profiler: what twice the steps take longer."""
    some = _trained(replace(grid, evaluations=1))
    twice = _trained(replace(grid, evaluations=1, steps=2 * grid.steps))
    rounds = [(some(), twice()) for _ in range(3)]
    shorter, longer = (min(column) for column in zip(*rounds, strict=True))
    return (longer - shorter) / grid.steps * 1e6


def _split(profile: ProfileData, times: dict[str, int]) -> dict[str, dict[str, float]]:
    """Microseconds of each part, each time, by kind of operation."""
    spent, calls = Counter(), Counter()
    for plane in profile.planes:
        for line in plane.lines:
            events = [event for event in line.events if not event.name.startswith("end: ")]
            if any(event.name.startswith("while") for event in events):
                _add(events, spent, calls)
    found = {part: dict.fromkeys((*KINDS, "operations"), 0.0) for part in PARTS}
    for name, nanoseconds in spent.items():
        # The recorder may lose some calls of an operation.
        part = next(part for part in PARTS if calls[name] > times[part] / 2)
        kind = _kind(name)
        found[part][kind] += nanoseconds / 1e3 / times[part]
        found[part]["operations"] += kind == "others"
    return found


def _kind(name: str) -> str:
    if name.startswith(("ThunkExecutor", "while", "call", "conditional")):
        return "dispatch"
    return "products" if name.startswith("dot") else "others"


def _add(events: Iterable[Any], spent: Counter, calls: Counter) -> None:
    """Adds each operation's own time, without that of the operations inside."""
    around: list[tuple[float, str]] = []
    for event in sorted(events, key=lambda event: (event.start_ns, -event.duration_ns)):
        while around and around[-1][0] <= event.start_ns:
            around.pop()
        if around:
            spent[around[-1][1]] -= event.duration_ns
        spent[event.name] += event.duration_ns
        calls[event.name] += 1
        around.append((event.start_ns + event.duration_ns, event.name))
