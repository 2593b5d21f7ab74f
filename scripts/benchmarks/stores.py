"""Times opening and comparing a store of many runs: `python scripts/bench.py store`."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.contenders import timed

import jinit

ARMS = (
    "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal",
    "lecun_uniform", "orthogonal", "zeros", "ones", "normal(0.1)", "normal(0.2)", "normal(0.3)",
)  # fmt: skip
RATES = (0.01, 0.03, 0.1, 0.3)


def measure(runs: int, repeats: int) -> dict[str, float]:
    """Median seconds of reading one metric from rows and from packs, and of comparing the arms."""
    with tempfile.TemporaryDirectory() as folder:
        packed, rows = Path(folder) / "packed.db", Path(folder) / "rows.db"
        build(packed, runs)
        shutil.copy(packed, rows)
        with contextlib.closing(sqlite3.connect(rows)) as connection, connection:
            connection.execute("delete from packs")
        table = read(packed)
        seconds: dict[str, list[float]] = {"rows": [], "packs": [], "compare": []}
        for _ in range(repeats):
            seconds["rows"].append(timed(lambda: read(rows)))
            seconds["packs"].append(timed(lambda: read(packed)))
            seconds["compare"].append(
                timed(lambda: jinit.compare(table, "test_accuracy", baseline=ARMS[0]))
            )
        found = {what: statistics.median(times) for what, times in seconds.items()}
        return {"runs": len(table), "bytes_a_run": packed.stat().st_size / len(table), **found}


def read(path: Path) -> jinit.Table:
    """The axes and one metric of all runs."""
    return jinit.read(path, columns=("test_accuracy",))


def build(path: Path, runs: int) -> None:
    """A store with one trained run of each arm and rate, and copies of its row for other seeds."""
    grid = jinit.Grid(
        dataset="xor", initializer=ARMS, learning_rate=RATES, width=4, steps=2, seeds=1
    )
    jinit.run(grid, store=path, progress=False)
    jinit.run(replace(grid, seeds=(runs,)), store=path, progress=False)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        names = [row[1] for row in connection.execute("pragma table_info(runs)")]
        changed = {
            "identity": "randomblob(16)",
            "seed": "seed + number",
            "test_accuracy": "(abs(random()) % 361) / 360.0",
        }
        kept = [name for name in names if name != "id"]
        fields = ", ".join(changed.get(name, f'"{name}"') for name in kept)
        kept = [f'"{name}"' for name in kept]
        copies = runs // (len(ARMS) * len(RATES)) - 1
        connection.execute(
            f"with recursive numbers(number) as (select 1 union all select number + 1 from numbers "
            f"where number < {copies}) insert into runs ({', '.join(kept)}) "
            f"select {fields} from numbers, runs where sweep = 1"
        )
    # Removing a sweep packs the columns of all others.
    subprocess.run(
        [sys.executable, "-m", "jinit", "rm", path, "--sweep", "2"],
        check=True,
        capture_output=True,
    )
