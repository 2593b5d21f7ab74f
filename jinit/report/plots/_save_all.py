"""Draws and writes every picture that a table has the data for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinit import errors
from jinit.report.plots._figure import check_drawable, save
from jinit.report.plots._forests import divergence_rates, paired_differences, ranking
from jinit.report.plots._lines import (
    learning_curves,
    learning_rate_sensitivity,
    performance_profile,
    survival,
)
from jinit.results import Table
from jinit.results._metrics import metric_for, undefined

# File name → function that draws the picture of a sweep.
KINDS: dict[str, Callable[..., Any]] = {
    draw.__name__: draw
    for draw in (
        learning_curves,
        ranking,
        paired_differences,
        learning_rate_sensitivity,
        survival,
        divergence_rates,
        performance_profile,
    )
}


def save_all(
    table: Table,
    folder: str | Path,
    *,
    metric: str | None = None,
    baseline: str | None = None,
    across: str = "initializer",
    higher_is_better: bool | None = None,
) -> list[Path]:
    """Writes every picture that the table has the data for, as PNG, SVG and CSV of its numbers.

    Args:
      table: from :func:`jinit.run`.
      folder: created if it does not exist.
      metric: the metric to draw; default the test accuracy, or the test loss without one.
      baseline: the arm to compare with in ``paired_differences``; default glorot_uniform, or the
        first arm.
      across: the axis whose values are the arms.
      higher_is_better: the direction of a metric of your own, as in :func:`jinit.compare`.

    Returns:
      The files written. A table with one arm has no paired differences, one with a single learning
      rate no sensitivity, one without accuracy no survival, and one without curves, such as that of
      a CSV file, no learning curves.

    Raises:
      ValueError: a folder that is a file; an unknown metric, baseline or axis.
      TypeError: ``table`` is not a Table.

    >>> import tempfile, jinit
    >>> table = jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted({file.stem for file in save_all(table, folder)})
    ['divergence_rates', 'learning_curves', 'performance_profile', 'ranking', 'survival']
    """
    check_drawable(table, Table, "jinit.run(...)")
    target = Path(folder)
    if any(place.is_file() for place in (target, *target.parents)):
        raise errors.refusal("folder", str(folder), "a folder, or a new name", "name another")
    target.mkdir(parents=True, exist_ok=True)
    metric = metric_for(table, metric)
    curve = metric if metric in table.curves and not undefined(table, metric) else "test_loss"
    asked = {"metric": metric, "higher_is_better": higher_is_better}
    options: dict[str, dict[str, Any]] = {
        "learning_curves": asked if curve == metric else {"metric": curve},
        "ranking": asked,
        "paired_differences": {**asked, "baseline": baseline},
        "learning_rate_sensitivity": asked,
        "survival": {},
        "divergence_rates": {},
        "performance_profile": asked,
    }
    if curve not in table.curves:
        del options["learning_curves"]
    if len(set(table[across].tolist())) < 2:
        del options["paired_differences"]
    if "learning_rate" not in table.varying():
        del options["learning_rate_sensitivity"]
    if "steps_to_target" not in table.columns or undefined(table, "steps_to_target"):
        del options["survival"]
    written: list[Path] = []
    for kind, given in options.items():
        axes = KINDS[kind](table, across=across, **given)
        written += save(axes, target / kind)
    return written
