"""Times whole sweeps in processes of their own: the quickstart's command, and a wide grid.

The quickstart runs twice with one folder of compiled programs, empty at first: cold, then a second
time. Each record has seconds of wall and of CPU time; the quickstart's also when the first program
was finished and its rows could be read.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
QUICKSTART = (
    "sweep --dataset digits --initializer zeros normal(stddev=0.01) normal(stddev=1.0) "
    "fan_in_uniform glorot_uniform he_normal orthogonal --activation relu tanh --depth 8 16 "
    "--width 32 --batch-size 32 --learning-rate 0.1 --steps 300 --baseline glorot_uniform"
)
WIDE = """
import json, os, resource, sys, time
import jax
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: compiled.append(seconds) if "compile_duration" in name else None
)
import jinit
small = sys.argv[1] == "small"
grid = jinit.Grid(
    initializer=(
        "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform",
        "lecun_normal", "orthogonal", "normal(stddev=0.05)", "truncated_normal(stddev=0.05)",
        "uniform(scale=0.1)", "fan_in_uniform", "zeros",
    )[: 2 if small else 12],
    activation=("relu", "tanh", "gelu")[: 1 if small else 3],
    depth=(2, 4, 8, 16)[: 1 if small else 4],
    learning_rate=(0.01, 0.03, 0.1, 0.3, 1.0)[: 2 if small else 5],
    width=32, steps=5 if small else 100, seeds=8,
)
start, imports = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
table = jinit.run(grid, progress=lambda event: None)
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "runs": len(table), "seconds": wall, "cpu_seconds": used.ru_utime + used.ru_stime,
    "import_cpu_seconds": imports.ru_utime + imports.ru_stime,
    "compile_seconds": sum(compiled), "cores": len(os.sched_getaffinity(0)),
    "peak_mib": used.ru_maxrss / 1024,
}))
"""


def compare(old: Path, *, small: bool, rounds: int) -> dict[str, Any]:
    """Records of both grids for both sides, in alternating rounds.

    Args:
      old: the unpacked other revision.
      small: whether to run tiny grids, to try the program itself.
      rounds: of each; the order of the sides alternates.
    """
    sides = {"old": old, "new": ROOT}
    record: dict[str, Any] = {"quickstart": {side: [] for side in sides}}
    record["wide"] = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides) if number % 2 else list(sides)[::-1]:
            record["quickstart"][side].append(quickstart(sides[side], small=small))
            record["wide"][side].append(wide(sides[side], small=small))
            print(side, json.dumps(record["quickstart"][side][-1]), flush=True)
            print(side, json.dumps(record["wide"][side][-1]), flush=True)
    return record


def quickstart(source: Path, *, small: bool) -> dict[str, dict[str, float]]:
    """The command cold and a second time: seconds, CPU seconds, seconds to the first rows."""
    words = [*QUICKSTART.split(), "--seeds", "2" if small else "64"]
    words += ["--depth", "2", "--steps", "5"] if small else []
    with tempfile.TemporaryDirectory() as folder:
        return {name: _timed(source, words, folder) for name in ("cold", "second")}


def wide(source: Path, *, small: bool) -> dict[str, float]:
    """The wide grid in a cold process, its shares of compiling and of idle cores."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", WIDE, "small" if small else "whole"]
        answer = subprocess.run(
            command,
            env=_environment(source, folder),
            cwd=source,
            capture_output=True,
            check=True,
            text=True,
        )
    return with_shares(json.loads(answer.stdout.splitlines()[-1]))


def with_shares(record: dict[str, float]) -> dict[str, float]:
    """The record, with the shares of the cores' time in the sweep that compiled or was idle.

    ``seconds`` and the shares are those of the sweep; ``cpu_seconds`` are the whole process's.
    """
    whole = record["cores"] * record["seconds"]
    busy = record["cpu_seconds"] - record["import_cpu_seconds"]
    shares = {"compile_share": record["compile_seconds"] / whole, "idle_share": 1 - busy / whole}
    return record | {name: max(0.0, share) for name, share in shares.items()}


def _timed(source: Path, words: list[str], folder: str) -> dict[str, float]:
    start, first = time.perf_counter(), 0.0
    process = subprocess.Popen(
        [sys.executable, "-m", "jinit", *words], env=_environment(source, folder), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=source,
    )  # fmt: skip
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if not first and re.search(r" after \d+ s:", line):
            first = time.perf_counter() - start
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError("".join(said))
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "first_rows": first,
        "peak_mib": used.ru_maxrss / 1024,
    }


# Python looks for modules in the working folder first, so that this is the side's own, too.
def _environment(source: Path, folder: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("JAX_")}
    kept.pop("JINIT_NO_CACHE", None)
    return kept | {"PYTHONPATH": str(source), "JINIT_CACHE_DIR": folder, "PYTHONUNBUFFERED": "1"}
