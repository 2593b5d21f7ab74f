"""Joins the tables of sweeps that differ in their arms or seeds alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jinit import errors
from jinit.results._table import Table, Value, check_table
from jinit.results._units import SEED

# What may differ: the rows themselves say which values of the axes and which seeds they have.
_FREE = ("seconds", "devices", "grid.seeds", "grid.data_seeds")
# Settings of single programs, data sets and models: if only one of two tables has such a setting,
# the tables do not differ.
_PARTS = ("tile.", "data.", "models.")


# Settings of a grid that decide at which steps a curve has points.
_STEPS = ("steps", "evaluations", "evaluate_every")


def concat(tables: Sequence[Table], *, ignore: Sequence[str] = ()) -> Table:
    """One table of the runs of several sweeps, such as the same sweep with more seeds.

    Args:
      tables: at least one table; their settings may differ in seeds, values of axes and duration.
      ignore: further settings that may differ, as the error names them: ``"versions.jax"``; with
        ``"seeds"`` arms may have no seed in common, so that nothing compares them in pairs.

    Returns:
      A :class:`Table` with all rows, in the order of ``tables``. Its settings list all values of
      each axis and all seeds; ``seconds`` is the sum.

    Raises:
      TypeError: ``tables`` is not a sequence of tables.
      ValueError: no tables, different columns or steps of the curves, settings that differ, a run
        that two tables have, arms of two tables without a common seed.

    >>> first, more = (
    ...     Table({"seed": np.array(seeds), "test_loss": np.ones(2)}, ("seed",), {}, np.array([]))
    ...     for seeds in ([0, 1], [2, 3])
    ... )
    >>> concat([first, more])["seed"].tolist()
    [0, 1, 2, 3]
    """
    if isinstance(tables, Table) or not isinstance(tables, Sequence):
        raise errors.wrong_type("tables", tables, "a list of tables", "[first, more]")
    for table in tables:
        check_table(table)
    if not tables:
        raise errors.refusal("tables", "none", "at least one table", "[first, more]")
    first = tables[0]
    for other in tables[1:]:
        _check_alike(first, other, (*_FREE, *(f"grid.{axis}" for axis in first.axes), *ignore))
    joined = Table(
        columns={
            name: np.concatenate([table.columns[name] for table in tables])
            for name in first.columns
        },
        axes=first.axes,
        curves={
            name: np.concatenate([table.curves[name] for table in tables]) for name in first.curves
        },
        curve_steps=first.curve_steps,
        settings=_joined_settings(tables),
        parameters=_joined_parameters(tables),
    )
    _check_distinct(joined)
    if "seeds" not in ignore:
        _check_pairs(tables)
    return joined


def _joined_parameters(tables: Sequence[Table]) -> dict[int, Any]:
    starts = np.cumsum([0, *map(len, tables)]).tolist()
    pairs = zip(starts, tables, strict=False)
    return {start + row: kept for start, table in pairs for row, kept in table.parameters.items()}


def _check_alike(first: Table, other: Table, free: Sequence[str]) -> None:
    """Refuses tables with other columns, curves or settings; the error names every difference."""
    for what, mine, theirs in (
        ("columns", set(first.columns), set(other.columns)),
        ("axes", set(first.axes), set(other.axes)),
        ("curves", set(first.curves), set(other.curves)),
        ("curve_steps", first.curve_steps.tolist(), other.curve_steps.tolist()),
    ):
        if mine != theirs:
            plans = [
                {name: table.settings.get("grid", {}).get(name) for name in _STEPS}
                for table in (first, other)
            ]
            named = [
                f"{name}: {plans[0][name]} and {plans[1][name]}"
                for name in _STEPS
                if what == "curve_steps" and plans[0][name] != plans[1][name]
            ]
            raise errors.ValueRefusal(
                f"{what} of the tables",
                "; ".join([*named, f"{mine} and {theirs}"])[:400],
                "the same",
                f"run both with the same {', '.join(n.partition(':')[0] for n in named)}"
                if named
                else "join like sweeps",
            )
    mine, theirs = _flat(first.settings), _flat(other.settings)
    differences = [
        f"{name}: {mine.get(name, 'absent')!r} and {theirs.get(name, 'absent')!r}"
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
        and not (name.startswith(_PARTS) and (name not in mine or name not in theirs))
        and not any(name == each or name.startswith(f"{each}.") for each in free)
    ]
    if differences:
        raise errors.ValueRefusal(
            "settings of the tables",
            "; ".join(differences),
            "settings that differ in seeds and values of axes alone",
            "run both with the same settings, or name what may differ: ignore=(…,)",
        )


def _check_distinct(table: Table) -> None:
    """Refuses a run that occurs twice: counted twice, it would shrink every interval."""
    rows = zip(*(table.columns[axis].tolist() for axis in table.axes), strict=True)
    row, count = Counter(rows).most_common(1)[0] if len(table) else ((), 0)
    if count > 1:
        named = dict(zip(table.axes, row, strict=True))
        raise errors.refusal(
            "runs of the tables", f"{count} times {named}", "each run once", "leave one table out"
        )


def _check_pairs(tables: Sequence[Table]) -> None:
    """Refuses an arm that shares no seed with the arms of other tables: nothing could pair it."""
    if any(SEED not in table.axes for table in tables) or len(tables) < 2:
        return
    names = [axis for axis in tables[0].axes if axis not in (SEED, "data_seed")]
    of_tables = [_seeds_by_arm(table, names) for table in tables]
    for number, arms in enumerate(of_tables):
        others = [other for place, other in enumerate(of_tables) if place != number]
        shared = {arm for other in others for arm in other}
        theirs = {seed for other in others for seeds in other.values() for seed in seeds}
        # An arm that two tables have brings its seeds from one table to the other.
        theirs |= {seed for arm, seeds in arms.items() if arm in shared for seed in seeds}
        for arm, seeds in arms.items():
            if arm not in shared and not seeds & theirs:
                named = ", ".join(f"{name}={value}" for name, value in zip(names, arm, strict=True))
                raise errors.ValueRefusal(
                    f"seeds of table {number}",
                    f"{sorted(seeds, key=str)[:8]} for {named}",
                    f"seeds that other tables have, such as {sorted(theirs, key=str)[:8]}",
                    "run both on the same seeds, or ignore=('seeds',) to join them without pairs",
                )


def _seeds_by_arm(table: Table, names: Sequence[str]) -> dict[tuple[Value, ...], set[Value]]:
    """Values of the axes without the seeds → the seeds that have them."""
    found: dict[tuple[Value, ...], set[Value]] = {}
    rows = zip(*(table.columns[name].tolist() for name in (SEED, *names)), strict=True)
    for seed, *arm in rows:
        found.setdefault(tuple(arm), set()).add(seed)
    return found


def _joined_settings(tables: Sequence[Table]) -> dict[str, Any]:
    """The first table's settings, with the axes, seeds and seconds of all tables."""
    settings = dict(tables[0].settings)
    grids = [table.settings["grid"] for table in tables if "grid" in table.settings]
    if len(grids) == len(tables):
        axes = {*tables[0].axes, "seeds", "data_seeds"} & set(grids[0])
        settings["grid"] = grids[0] | {
            axis: _union([grid.get(axis) for grid in grids], seeds=axis.endswith("seeds"))
            for axis in sorted(axes)
        }
    for part in ("tile", "data", "models"):
        if part in settings:
            settings[part] = {
                name: value
                for table in tables
                for name, value in table.settings.get(part, {}).items()
            }
    seconds = [table.settings.get("seconds") for table in tables]
    if all(each is not None for each in seconds):
        settings["seconds"] = sum(seconds)
    return settings


def _union(values: Sequence[Any], *, seeds: bool) -> Any:
    """All different values of an axis, in order; a single value stays alone."""
    if all(value == values[0] for value in values):
        return values[0]
    lists = [
        value if isinstance(value, list) else [*range(value)] if seeds and value else [value]
        for value in values
    ]
    return list(dict.fromkeys(item for each in lists for item in each))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings under dotted names: ``{"grid": {"steps": 3}}`` gives ``grid.steps``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
