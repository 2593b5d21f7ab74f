"""Sends the progress of a sweep to a tracker, in a thread that cannot delay or lose a tile."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np

from jinit import errors
from jinit._specs import label
from jinit._warn import warn

if TYPE_CHECKING:
    from jinit.results import Table
    from jinit.sweep._plan import Plan

Record: TypeAlias = Mapping[str, Any]
Tracker: TypeAlias = "str | Path | Callable[[Record], None]"
"""A file ``.jsonl``, ``"tensorboard:FOLDER"``, ``"wandb:PROJECT"``, ``"mlflow:EXPERIMENT"``,
``"trackio:PROJECT"``, or a function that is called with each record."""

# Records that may wait for a slow tracker; further ones are dropped and counted.
WAITING = 1000
# Seconds that the end of a sweep waits for the last records.
PATIENCE = 10.0
KINDS = ("tensorboard", "wandb", "mlflow", "trackio")
# MLflow refuses names with other characters, such as those of "normal(stddev=0.1)".
_NOT_IN_MLFLOW = re.compile(r"[^\w\-. :/]")


def check_tracker(tracker: Tracker | None) -> None:
    """Refuses what is no tracker, and a file in no existing folder, before training.

    Raises:
      ValueError: a text of another form, a folder that does not exist. TypeError: neither a path
        nor a function. MissingExtraError: the package of a tracker is not installed.

    >>> check_tracker("runs.jsonl")
    """
    if tracker is None or callable(tracker):
        return
    allowed = (
        "FILE.jsonl, 'tensorboard:FOLDER', 'wandb:PROJECT', 'mlflow:EXPERIMENT', "
        "'trackio:PROJECT', a function"
    )
    if not isinstance(tracker, str | os.PathLike):
        raise errors.wrong_type("tracker", tracker, allowed, "tracker='runs.jsonl'")
    kind, _, rest = str(tracker).partition(":")
    if kind in KINDS and rest:
        import importlib.util

        package = {"tensorboard": "tensorboardX"}.get(kind, kind)
        if importlib.util.find_spec(package) is None:
            raise errors.missing_extra(package, None, f"tracker={str(tracker)!r}")
        return
    path = Path(tracker)
    if path.suffix != ".jsonl" or not path.parent.is_dir():
        raise errors.refusal("tracker", str(tracker), allowed, "name a file in an existing folder")


class Event(Protocol):
    """What a tracker reads of a :class:`jinit.sweep.SweepEvent`."""

    @property
    def kind(self) -> str: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def runs(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def table(self) -> Table | None: ...


Seen = TypeVar("Seen", bound=Event)


class Tracking:
    """One run of a tracker for a whole sweep.

    Records are dicts of plain values: ``kind`` (``"end"``, or that of a :class:`SweepEvent`),
    ``seconds`` since the start, ``runs`` finished and, but for ``"end"``, ``planned`` and
    ``diverged``; the first has the settings, those of programs ``metrics``:
    ``"test_accuracy/he_normal"`` → median.
    """

    def __init__(self, tracker: Tracker, settings: Mapping[str, Any], waiting: int | None = None):
        self._tracker = tracker
        self._settings = settings
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(waiting or WAITING)
        self._start = time.perf_counter()
        self._runs = self._diverged = self._dropped = 0
        self._failure: BaseException | None = None
        # A daemon: a tracker that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
        self._thread.start()

    def event(self, event: Event) -> None:
        """Notes an event of the sweep; returns at once."""
        if event.kind in ("tile", "stored"):
            self._runs += event.runs
            self._diverged += event.failed
        record: dict[str, Any] = {
            "kind": event.kind,
            "seconds": time.perf_counter() - self._start,
            "runs": self._runs,
            "planned": event.plan.runs,
            "diverged": self._diverged,
        }
        if event.kind == "plan":
            record["settings"] = dict(self._settings)
        if event.kind == "program" and event.table is not None:
            record["metrics"] = _medians(event.table)
        self._put(record)

    def close(self) -> None:
        """Sends the last record, waits a little, and warns of what did not arrive."""
        seconds = time.perf_counter() - self._start
        self._put({"kind": "end", "seconds": seconds, "runs": self._runs})
        until = time.monotonic() + PATIENCE
        while self._thread.is_alive() and time.monotonic() < until:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=0.1)
                self._thread.join(max(0.0, until - time.monotonic()))
        name = label(self._tracker) if callable(self._tracker) else str(self._tracker)
        if self._failure is not None:
            said = f"{type(self._failure).__name__}: {self._failure}"
            _warn(f"tracker {name} failed: {said}; the sweep itself is unharmed")
        elif self._thread.is_alive():
            said = f"did not finish within {PATIENCE:g} s of the sweep's end"
            _warn(f"tracker {name} {said}; its last records may be lost")
        elif self._dropped:
            _warn(f"tracker {name} was too slow: {self._dropped} records were dropped")

    def _put(self, record: dict[str, Any]) -> None:
        if self._failure is not None:
            return
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._dropped += 1

    def _work(self) -> None:
        try:
            with _opened(self._tracker) as send:
                while (record := self._queue.get()) is not None:
                    send(record)
        except BaseException as failure:  # whatever a tracker raises stays in its thread
            self._failure = failure


@contextlib.contextmanager
def tracked(
    tracker: Tracker | None, settings: Mapping[str, Any], report: Callable[[Seen], None]
) -> Iterator[Callable[[Seen], None]]:
    """The report of a sweep that a tracker sees, too; closes the tracker at the end.

    Args:
      tracker: as :func:`jinit.run` takes it.
      settings: of the sweep, for the first record.
      report: called first with each event.
    """
    if tracker is None:
        yield report
        return
    tracking = Tracking(tracker, settings)

    def both(event: Seen) -> None:
        tracking.event(event)
        report(event)

    try:
        yield both
    finally:
        tracking.close()


def _warn(message: str) -> None:
    """Warns; where warnings are errors, prints, because the table of a sweep must not be lost."""
    try:
        warn(message)
    except UserWarning:
        print(f"jinit: {message}", file=sys.stderr)


@contextlib.contextmanager
def _opened(tracker: Tracker) -> Iterator[Callable[[Record], None]]:
    """The function that takes records."""
    if callable(tracker):
        yield tracker
        return
    kind, _, rest = str(tracker).partition(":")
    if kind not in KINDS:
        with open(tracker, "a", encoding="utf-8") as file:

            def write(record: Record) -> None:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                file.flush()

            yield write
        return
    opened = {
        "tensorboard": _tensorboard,
        "wandb": _wandb,
        "mlflow": _mlflow,
        "trackio": _trackio,
    }
    with opened[kind](rest) as send:
        yield send


@contextlib.contextmanager
def _tensorboard(folder: str) -> Iterator[Callable[[Record], None]]:
    import tensorboardX  # type: ignore[import-not-found,unused-ignore]

    writer = tensorboardX.SummaryWriter(folder)

    def send(record: Record) -> None:
        for name, value in _scalars(record).items():
            writer.add_scalar(name, value, record["runs"])

    try:
        yield send
    finally:
        writer.close()


@contextlib.contextmanager
def _wandb(project: str) -> Iterator[Callable[[Record], None]]:
    import wandb  # type: ignore[import-not-found,unused-ignore]

    run = wandb.init(project=project)

    def send(record: Record) -> None:
        if "settings" in record:
            run.config.update(record["settings"])
        run.log(_scalars(record), step=record["runs"])

    try:
        yield send
    finally:
        run.finish()


@contextlib.contextmanager
def _mlflow(experiment: str) -> Iterator[Callable[[Record], None]]:
    import mlflow  # type: ignore[import-not-found,unused-ignore]

    mlflow.set_experiment(experiment)

    def send(record: Record) -> None:
        if "settings" in record:
            mlflow.log_dict(record["settings"], "settings.json")
        numbers = _scalars(record).items()
        named = {_NOT_IN_MLFLOW.sub("_", name): value for name, value in numbers}
        mlflow.log_metrics(named, step=record["runs"])

    with mlflow.start_run():
        yield send


@contextlib.contextmanager
def _trackio(project: str) -> Iterator[Callable[[Record], None]]:
    import trackio  # type: ignore[import-not-found,unused-ignore]

    runs: list[Any] = []  # the settings come with the first record, and belong into the call

    def send(record: Record) -> None:
        if not runs:
            settings = json.loads(json.dumps(record.get("settings", {}), default=str))
            runs.append(trackio.init(project=project, config=settings))
        runs[0].log(_scalars(record), step=record["runs"])

    try:
        yield send
    finally:
        for run in runs:
            run.finish()


def _scalars(record: Record) -> dict[str, float]:
    """The numbers of a record, medians included, under flat names."""
    numbers = {name: record[name] for name in ("seconds", "runs", "diverged") if name in record}
    return {name: float(value) for name, value in {**numbers, **record.get("metrics", {})}.items()}


def _medians(table: Table) -> dict[str, float]:
    """``metric/arm/cell`` → median of the finite values; of ``diverged`` their number."""
    axes = table.varying(leave_out=("seed", "data_seed")) or ("initializer",)
    keys = list(zip(*(table[axis].tolist() for axis in axes), strict=True))
    found: dict[str, float] = {}
    for key in dict.fromkeys(keys):
        mine = table.take(np.array([each == key for each in keys]))
        for metric in ("train_loss", "test_loss", "test_accuracy", "diverged"):
            values = mine[metric].astype(float)
            finite = values[np.isfinite(values)]
            if finite.size:
                value = float(values.sum() if metric == "diverged" else np.median(finite))
                found["/".join([metric, *map(str, key)])] = value
    return found
