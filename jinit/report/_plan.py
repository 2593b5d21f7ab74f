"""Prints the plan of a sweep: programs, FLOPs, memory, rough time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

import jax

from jinit import _specs
from jinit._anew import anew
from jinit.parameters._rules import Assignment
from jinit.report._console import escaped, new_table, open_console
from jinit.stats._power import fewest_pairs
from jinit.sweep._plan import Plan, PlannedProgram

_LEAF_COLUMNS = ("shape", "layer", "in", "out", "drawn by", "σ")


def plan_line(plan: Plan) -> str:
    """One line: runs, programs, FLOPs, memory, tiles, devices, rough time."""
    programs = "program" if len(plan.programs) == 1 else "programs"
    workers = "worker" if plan.workers == 1 else "workers"
    devices = "device" if len(plan.devices) == 1 else "devices"
    tiles = "tile" if plan.tiles == 1 else "tiles"
    return (
        f"{plan.runs:,} runs in {len(plan.programs)} training {programs}"
        f" · {plan.flops / 1e9:,.0f} GFLOP · results {plan.result_bytes / 2**20:.1f} MiB"
        f" · {plan.tiles:,} {tiles} on {len(plan.devices)} {devices}"
        f" · about {plan.seconds:.0f} s on {plan.workers} {workers} at a nominal rate,"
        " plus compiling"
    )


def seeds_line(plan: Plan, *, settings: int = 1, seeds: int | None = None) -> str:
    """Says that the seeds cannot settle the comparisons; "" if they can, or if nothing is compared.

    Args:
      plan: from :func:`jinit.plan`.
      settings: number of settings that each arm is tuned over; default 1: each is compared.
      seeds: the most seeds of a sweep that adds some; default: those of the plan.

    >>> import jinit
    >>> few = jinit.Grid(dataset="xor", initializer=("zeros", "he_normal"), steps=2, seeds=4)
    >>> seeds_line(jinit.plan(few))
    '4 seeds cannot settle 1 comparison, however clear: at least 6 seeds can'
    """
    seeds, comparisons = seeds or plan.seeds, plan.comparisons // settings
    needed = fewest_pairs(comparisons) if comparisons else 1
    if seeds >= needed:
        return ""
    some = "seed" if seeds == 1 else "seeds"
    compared = "comparison" if comparisons == 1 else "comparisons"
    return (
        f"{seeds} {some} cannot settle {comparisons} {compared}, however clear:"
        f" at least {needed} seeds can"
    )


def print_plan(
    plan: Plan, stream: TextIO | None = None, *, asked: Callable[[Plan], str] = seeds_line
) -> None:
    """Prints the totals of a plan, a row for each program, the data, and what draws each leaf.

    The rows of programs are in the order of running. The leaves are those of the first program in
    the order of the grid, or of each model's first program if the sweep names several, with the
    initializers of its first arm; leaves with equal rows share one.

    Args:
      plan: from :func:`jinit.plan`.
      stream: default stdout.
      asked: says whether the seeds can settle what is compared.

    >>> import jinit
    >>> print_plan(jinit.plan(jinit.Grid(dataset="xor", depth=1, seeds=2)))  # doctest: +ELLIPSIS
    2 runs in 1 training program · ...
    """
    console = open_console(stream)
    console.print(plan_line(plan))
    if asked(plan):
        console.print(asked(plan), style="yellow")
    described = [{**program.labels, "clip": program.code["clip"]} for program in plan.programs]
    varying = [
        axis for axis in described[0] if len({str(program[axis]) for program in described}) > 1
    ]
    table = new_table()
    for heading in (*varying, "runs", "tile", "GFLOP", "lane KiB"):
        table.add_column(heading, justify="left" if heading in varying else "right")
    for program, labels in zip(plan.programs, described, strict=True):
        table.add_row(
            *(str(labels[axis]) for axis in varying),
            f"{program.runs:,}",
            str(program.tile),
            f"{program.flops / 1e9:,.0f}",
            f"{program.lane_bytes / 1024:,.0f}",
        )
    console.print(table)
    for line in _data_lines(plan):
        console.print(escaped(line))
    models: dict[str, PlannedProgram] = {}
    for program in sorted(plan.programs, key=lambda program: program.position):
        models.setdefault(str(program.labels.get("model", "")), program)
    for name, first in models.items():
        leaves = new_table()
        for heading in (f"leaf of {name}" if name else "leaf", *_LEAF_COLUMNS):
            leaves.add_column(
                escaped(heading), justify="right" if heading in ("in", "out", "σ") else "left"
            )
        for row in _leaf_rows(first):
            leaves.add_row(*map(escaped, row))
        console.print(leaves)


def _data_lines(plan: Plan) -> list[str]:
    """What was done to each data set, one line for each subject.

    >>> import jinit
    >>> for line in _data_lines(jinit.plan(jinit.Grid(dataset="xor")))[:2]:
    ...     print(line)
    data xor · rows: 800 training and 200 test examples
    data xor · split: share 0.2 for the test: fixed shuffle, seed 20150201
    """
    sets = {program.dataset.name: program.dataset for program in plan.programs}
    lines = [(name, *pair) for name, dataset in sets.items() for pair in dataset.prepared]
    lines += [
        (program.dataset.name, "epochs", _epoch(program))
        for program in plan.programs
        if program.network.config.sampling == "epochs"
    ]
    return list(dict.fromkeys(f"data {name} · {what}: {text}" for name, what, text in lines))


def _epoch(program: PlannedProgram) -> str:
    """How many steps an epoch has, and the size of its last batch."""
    size, examples = program.network.config.examples, len(program.dataset.x_train)
    steps = -(-examples // size)
    last = examples - (steps - 1) * size
    return f"{steps:,} step{'s' if steps > 1 else ''} of {min(size, examples):,} examples" + (
        f", the last of {last:,}" if steps > 1 and last < size else ""
    )


def _leaf_rows(program: PlannedProgram) -> list[tuple[str, ...]]:
    """Path, shape, layer, fans, initializer and σ of each leaf; equal leaves share a row."""
    paths: dict[tuple[str, ...], list[str]] = {}
    kept = _own_start(program) if program.leaves.given is None else "kept from start="
    for one in program.assignments():
        layer = "" if program.leaves.layers is None or one.layout is None else one.layout.layer
        paths.setdefault(_described(one, layer, kept), []).append(one.leaf)
    return [
        (", ".join(alike) if len(alike) <= 3 else f"{alike[0]} and {len(alike) - 1} more", *row)
        for row, alike in paths.items()
    ]


def _own_start(program: PlannedProgram) -> str:
    """What a kept leaf starts from; the modules of some frameworks hold one draw of weights."""
    start = program.leaves.model.start
    if start is None:
        return "the model's own start"
    traced = jax.make_jaxpr(anew(start))(jax.random.key(0), program.leaves.x).jaxpr
    key = traced.invars[0]
    read = any(atom is key for equation in traced.eqns for atom in equation.invars)
    return "the model's own start" + ("" if read else ", the same for all seeds")


def _described(one: Assignment, layer: str, kept: str) -> tuple[str, ...]:
    kind = "" if one.layout is None else one.layout.kind
    fans = ["" if fan is None else f"{fan:g}" for fan in (one.fan_in, one.fan_out)]
    return (
        "×".join(map(str, one.shape)) or "scalar",
        " ".join(word for word in dict.fromkeys((layer, kind)) if word) or "unknown",
        *fans,
        kept if one.initializer is None else _specs.label(one.initializer),
        "" if one.stddev is None else f"{one.stddev:.4g}",
    )
