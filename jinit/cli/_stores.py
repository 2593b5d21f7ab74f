"""Defines ``jinit show``, ``ls``, ``verify``, ``merge``, ``rm`` and ``export``: stores on disk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Annotated

from jinit import errors
from jinit.cli._options import RunOptions, left_out
from jinit.cli._output import dump

try:
    import tyro
    from tyro.conf import arg
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None

if TYPE_CHECKING:
    from jinit._database import Entry
    from jinit.engine import FileStore
    from jinit.results import Table

_Store = Annotated[
    tyro.conf.Positional[str], arg(help="the store: a file ending in .db", metavar="FILE.db")
]
_Sweep = Annotated[
    int | None,
    left_out("number of a sweep, as jinit ls lists them; needed if settings differ", "N"),
]
_SECONDS = 2.0
_ENDINGS = (".parquet", ".csv", ".nc", ".zarr")
# What a printed table needs of a run besides its axes and the metric that was asked for.
_PRINTED = (
    "test_accuracy", "test_loss", "train_loss", "diverged", "steps_to_target", "calibrated",
)  # fmt: skip


def show(
    store: _Store,
    sweep: _Sweep = None,
    metric: Annotated[str, arg(help="metric to rank by, e.g. test_loss")] = "test_accuracy",
    baseline: Annotated[str | None, left_out("arm to compare with; default: none", "NAME")] = None,
    watch: Annotated[bool, arg(help="wait until the sweep that writes the store ends")] = False,
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False,
) -> int:
    """Prints the table of a store; a sweep may be writing it.

    Example: jinit show runs.db --watch

    For a smallest difference that matters, or for tuned arms: jinit compare runs.db --margin 0.01
    --tune learning_rate
    """
    from jinit import report
    from jinit.results._metrics import metric_for

    shown = -1
    while (entries := _entries(store)) and watch and entries[-1].state == "running":
        if entries[-1].computed != shown:
            shown = entries[-1].computed
            print(_line(entries[-1]), file=sys.stderr, flush=True)
        time.sleep(_SECONDS)
    for entry in entries[-1:]:
        print(_line(entry), file=sys.stderr)
    table = _table(store, sweep) if json else printed(store, sweep, metric)
    metric = metric_for(table, metric)
    if json:
        dump(report.to_json(table, metric=metric, baseline=baseline))
    else:
        report.show(table, metric=metric, baseline=baseline)
    return 0


def list_sweeps(
    store: _Store, json: Annotated[bool, arg(help="print JSON instead of lines")] = False
) -> int:
    """Lists the sweeps of a store: when, how many runs, how each ended, and its command.

    Example: jinit ls runs.db
    """
    entries = _entries(store)
    if json:
        names = ("number", "started", "ended", "state", "planned", "computed", "command")
        dump([{name: getattr(entry, name) for name in names} for entry in entries])
        return 0
    for entry in entries:
        print(_line(entry))
    return 0


def verify(store: _Store) -> int:
    """Looks for damage: SQLite's own check of the pages, and the checksum of every row.

    Exit code 0 if nothing is wrong, 1 if something is.

    Example: jinit verify runs.db
    """
    from jinit import _database

    _check_is_database(store)
    problems = _database.verify(store)
    for problem in problems:
        print(problem)
    print(
        f"{store}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}",
        file=sys.stderr,
    )
    return 1 if problems else 0


def _check_is_database(path: str) -> None:
    """Refuses a file that is no SQLite file by its first bytes: bad input, not a damaged store."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(16)
        if start and not start.startswith(b"SQLite format 3") and not path.endswith(".db"):
            raise errors.refusal(
                "store", path, "a store, which is an SQLite file", "jinit verify runs.db"
            )


def merge(
    into: Annotated[
        tyro.conf.Positional[str], arg(help="the store that gets the runs", metavar="FILE.db")
    ],
    sources: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        left_out("stores to copy from", "FILE.db [FILE.db ...]"),
    ],
) -> int:
    """Copies the runs of other stores, such as those of other machines, into one.

    Runs that two stores have must have the same numbers in both; otherwise nothing is copied.

    Example: jinit merge all.db machine_a.db machine_b.db
    """
    from jinit import _database

    copied, known = _database.merge(into, sources)
    print(f"{copied} runs copied into {into}, {known} were there already", file=sys.stderr)
    return 0


def remove(
    store: _Store,
    sweep: Annotated[tuple[int, ...], arg(help="numbers of sweeps, as jinit ls lists them")],
) -> int:
    """Removes sweeps with the runs that they computed.

    Example: jinit rm runs.db --sweep 2
    """
    from jinit import _database

    removed = _database.remove(store, sweep)
    print(f"{removed} runs removed from {store}", file=sys.stderr)
    return 0


def export(
    store: _Store,
    out: Annotated[
        tyro.conf.Positional[str],
        arg(help="FILE.parquet, FILE.csv, FILE.nc or DIR.zarr", metavar="OUT"),
    ],
    sweep: _Sweep = None,
) -> int:
    """Writes the runs of a store as Parquet, CSV, NetCDF or Zarr.

    Example: jinit export runs.db runs.parquet
    """
    from jinit.results import check_output

    check_output(out, _ENDINGS)
    if out.endswith(".zarr") and importlib.util.find_spec("zarr") is None:
        raise errors.missing_extra("zarr", None, f"writing {out}")
    table = _table(store, sweep)
    if out.endswith((".nc", ".zarr")):
        _write_dataset(table, out)
    else:
        table.write(out)
    print(f"{len(table)} runs written to {out}", file=sys.stderr)
    return 0


def _write_dataset(table: Table, path: str) -> None:
    """Writes a dataset of xarray; it appears as a whole."""
    from jinit.results._files import write_whole

    dataset = table.to_xarray()
    for name, array in dataset.variables.items():
        if array.dtype == bool:
            dataset[name] = dataset[name].astype("int8")  # NetCDF has no truth values
        elif array.dtype == object:
            dataset[name] = dataset[name].astype(str)
    dataset.attrs = {name: str(value) for name, value in dataset.attrs.items()}
    if path.endswith(".nc"):
        write_whole(path, lambda file: dataset.to_netcdf(file, engine=None))
        return
    part = f"{path}.{os.getpid()}.part"
    try:
        # Format 3 does not say how text is stored.
        dataset.to_zarr(part, mode="w", zarr_format=2)
        os.replace(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _table(store: str, sweep: int | None) -> Table:
    from jinit.results import read

    return read(store, sweep=sweep)


def printed(store: str, sweep: int | None, metric: str | None) -> Table:
    """The runs of a store, with no other columns than a printed table needs, and no curves."""
    from jinit import results
    from jinit._database import load
    from jinit.results._metrics import target_metric

    def table(*more: str) -> results.Table:
        found = load(store, sweep, (*_PRINTED, *more), lenient=True)
        return results.Table(found.columns, found.axes, found.curves, found.steps, found.settings)

    asked = () if metric is None else (metric,)
    few = table(*asked)
    if target_metric(few) not in few.columns:
        few = table(*asked, target_metric(few))
    # The refusal of a metric that no run has names all columns.
    return few if {*asked} <= {*few.columns} else _table(store, sweep)


def _entries(store: str) -> list[Entry]:
    from jinit import _database

    with _database.reading(store) as connection:
        return _database.sweeps(connection)


def _line(entry: Entry) -> str:
    started = time.strftime("%F %T", time.localtime(entry.started))
    return (
        f"{entry.number}  {started}  {entry.state}: {entry.computed} of {entry.planned} runs "
        f"computed  {entry.command}"
    )


def store_of(options: RunOptions) -> FileStore | None:
    """The store that ``--store`` names, checked; None without the option."""
    if options.store is None:
        for name in ("accept_environment", "mirror"):
            if getattr(options, name):
                raise errors.refusal(
                    f"--{name.replace('_', '-')}", getattr(options, name), "an option of --store",
                    "add --store runs.db",
                )  # fmt: skip
        return None
    from jinit.engine import FileStore

    return FileStore(options.store, options.accept_environment, options.mirror)


def how_to_go_on() -> str:
    """The line that names the command which computes what is missing."""
    from jinit.sweep import _stored

    return f"to go on: {_stored.command()}"
