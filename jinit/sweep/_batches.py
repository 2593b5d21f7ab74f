"""Runs a sweep in batches, each of which depends on the results of those before."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jinit import _database as database
from jinit import errors, results
from jinit.results import Table
from jinit.sweep import _rows
from jinit.sweep._grid import Grid
from jinit.sweep._marks import noted
from jinit.sweep._stored import ENVIRONMENT
from jinit.sweep._stored_batches import kept_open


@dataclass
class Batches:
    """The runs of all batches so far.

    Attributes:
      run: runs one batch.
      described: a table with what the sweep notes in columns and settings.
      may_differ: settings in which batches may differ, see :func:`jinit.results.concat`.
      plain: the finished runs as ``run`` returned them; None before the first batch.
    """

    run: Callable[[Grid], Table]
    described: Callable[[Table], Table]
    may_differ: tuple[str, ...]
    plain: Table | None = None

    def add(self, batch: Grid, marks: Mapping[str, Any]) -> Table:
        """Runs a batch, whose store gets the marks, and returns the runs of all batches.

        Whatever ends the batch carries the finished runs of all batches, as ``error.table``.
        """
        try:
            with noted(marks):
                part = self.run(batch)
        except BaseException as error:
            self._complete(error)
            raise
        self.plain = self._with(part)
        return self.plain

    def table(self) -> Table:
        """The runs of all batches, described."""
        assert self.plain is not None
        return self.described(self.plain)

    @contextlib.contextmanager
    def carried(self) -> Iterator[None]:
        """Whatever ends the block carries the finished runs, too, if nothing carries them yet.

        A store stays open within the block.
        """
        try:
            with kept_open():
                yield
        except BaseException as error:
            if self.plain is not None and not hasattr(error, "table"):
                self._attach(error, self.plain)
            raise

    def _with(self, part: Table) -> Table:
        if self.plain is None:
            return part
        return results.concat(_alike([self.plain, part]), ignore=self.may_differ)

    def _complete(self, error: BaseException) -> None:
        if self.plain is None:
            return
        part, whole = getattr(error, "table", None), self.plain
        with contextlib.suppress(errors.Refusal):  # the error that ends the batch says more
            whole = self.plain if part is None else self._with(part)
        self._attach(error, whole)

    def _attach(self, error: BaseException, table: Table) -> None:
        with contextlib.suppress(Exception):  # an error in the description is no reason to lose it
            table = self.described(table)
        vars(error)["table"] = table
        error.add_note(f"with the batches before, the exception's .table has {len(table)} runs")


def _alike(tables: Sequence[Table]) -> list[Table]:
    """The tables with all columns and curves of all of them; NaN where one has no such value.

    Only batches with runs of another environment have the column of environments, and a batch of
    shallow networks lacks the curves of deep ones.
    """
    columns = {name: column for table in tables for name, column in table.columns.items()}
    curves = dict.fromkeys(name for table in tables for name in table.curves)

    def column(table: Table, name: str) -> np.ndarray:
        if name in table.columns or name in table.axes:
            return table.columns[name]
        if name == ENVIRONMENT:
            return np.full(len(table), _rows.HERE, object)
        return database.missing(columns[name], len(table))

    def curve(table: Table, name: str) -> np.ndarray:
        lacking = np.full((len(table), len(table.curve_steps)), np.nan, np.float32)
        return table.curves.get(name, lacking)

    return [
        dataclasses.replace(
            table,
            columns={name: column(table, name) for name in columns},
            curves={name: curve(table, name) for name in curves},
        )
        for table in tables
    ]
