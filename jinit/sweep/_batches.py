"""Runs a sweep in batches, each of which depends on the results of those before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinit import results
from jinit.results import Table
from jinit.sweep._grid import Grid
from jinit.sweep._marks import noted


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

    def _with(self, part: Table) -> Table:
        if self.plain is None:
            return part
        return results.concat([self.plain, part], ignore=self.may_differ)

    def _complete(self, error: BaseException) -> None:
        if self.plain is None:
            return
        part = getattr(error, "table", None)
        table = self.described(self.plain if part is None else self._with(part))
        vars(error)["table"] = table
        error.add_note(f"with the batches before, the exception's .table has {len(table)} runs")
