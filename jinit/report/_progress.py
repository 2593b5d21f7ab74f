"""Shows the progress of a sweep on stderr."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from jinit.report._console import BarColumn, Console, Progress, TextColumn, encodable, escaped
from jinit.report._plan import plan_line, seeds_line
from jinit.report._text import interval_text
from jinit.results import Table, summarize
from jinit.results._metrics import metric_for, undefined
from jinit.sweep._plan import Plan
from jinit.sweep._run import SweepEvent

_SECONDS_BETWEEN_LINES = 5


class SweepProgress:
    """A progress callback for :func:`jinit.run`: runs/s, ETA, diverged runs, compiled programs.

    Shows a live bar in a terminal; elsewhere prints a line every 5 seconds. The rows of a program
    are printed as soon as its last run is finished. As a context manager it stops the bar at the
    end.

    Args:
      metric: the metric of the printed rows; a task without accuracy gets ``test_loss``.
      stream: default stderr.
      asked: says of the first plan whether the seeds can settle what is compared; "" if they can.

    >>> import io, jinit
    >>> stream = io.StringIO()
    >>> with SweepProgress(stream=stream) as progress:
    ...     table = jinit.run(jinit.Grid(dataset="xor", steps=2, seeds=2), progress=progress)
    >>> "2/2 runs" in stream.getvalue()
    True
    """

    def __init__(
        self,
        metric: str = "test_accuracy",
        stream: TextIO | None = None,
        *,
        asked: Callable[[Plan], str] = seeds_line,
    ) -> None:
        # A closed terminal or a pipe without a reader must not end the sweep.
        shown = encodable(stream or sys.stderr or io.StringIO(), forgiving=True)
        self._console = Console(file=shown, highlight=False)
        # A line of a file is a sentence, whatever its length.
        self._console.soft_wrap = not self._console.is_terminal
        self._metric, self._asked = metric, asked
        self._bar: Progress | None = None
        self._done = self._planned = self._failed = self._compiled = self._stored = 0
        self._start = self._last_line = self._last_event = time.monotonic()
        self._running_since: float | None = None

    def __enter__(self) -> SweepProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, event: SweepEvent) -> None:
        """Counts the runs of an event and shows them.

        Args:
          event: from :func:`jinit.run`, which calls this method.
        """
        if event.kind == "plan":
            self._begin(event.plan)
        if event.kind == "stored":
            self._found(event)
            return
        if event.runs and self._running_since is None:
            # runs/s does not count the time before the first tile, when programs compile.
            self._running_since = self._last_event
        self._last_event = time.monotonic()
        self._done += event.runs
        self._failed += event.failed
        self._compiled += event.kind == "compiled"
        if event.table is not None:
            self._print_rows(event.table)
        self._show()

    def note(self, text: str) -> None:
        """Prints a sentence above the bar.

        Args:
          text: e.g. how many comparisons :func:`jinit.sweep.run_until_settled` has settled.
        """
        self._console.print(escaped(text))

    def _found(self, event: SweepEvent) -> None:
        """Counts the runs that the store held, apart from the speed."""
        self._stored += event.runs
        self._failed += event.failed
        if event.note:
            self._console.print(escaped(event.note), style="yellow")
        if event.runs:
            self._console.print(f"{self._stored} of {self._planned} runs stand in the store")

    def _begin(self, plan: Plan) -> None:
        # A sweep that adds seeds until it is settled has several plans, one after the other.
        said = "" if self._planned else self._asked(plan)
        self._planned += plan.runs
        self._console.print(plan_line(plan))
        if said:
            self._console.print(said, style="yellow")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=self._planned)
        elif self._console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=24), TextColumn("{task.description}"), console=self._console
            )
            self._bar.add_task("", total=plan.runs)
            self._bar.start()

    def _show(self) -> None:
        now = time.monotonic()
        rate = self._done / max(now - (self._running_since or now), 1e-3)
        done = self._done + self._stored
        left = (self._planned - done) / rate if rate else math.inf
        eta = f"ETA {left:.0f} s" if math.isfinite(left) else "ETA —"
        text = (
            f"{done}/{self._planned} runs · {rate:.0f} runs/s · {eta} · {self._failed} diverged"
            f" · {self._compiled} compilations, draws included"
        )
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, description=text)
        elif now - self._last_line > _SECONDS_BETWEEN_LINES or done == self._planned:
            self._last_line = now
            self._console.print(text)

    def _print_rows(self, table: Table) -> None:
        cell = ", ".join(
            f"{axis} {table[axis][0]}" for axis in ("activation", "depth") if axis in table.axes
        )
        metric = metric_for(table, self._metric)
        elapsed = time.monotonic() - self._start
        self._console.print(f"[bold]{escaped(cell) or 'done'}[/bold] after {elapsed:.0f} s:")
        if metric not in table.columns or undefined(table, metric):
            return  # only other programs of the sweep have this metric
        for summary in summarize(table, metric, by=()):
            self._console.print(
                f"  {escaped(f'{summary.arm:<24} {interval_text(summary.metric):<22}')}  "
                f"{summary.diverged}/{summary.runs} diverged"
            )
