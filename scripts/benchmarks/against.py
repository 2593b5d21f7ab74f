"""Times this build against another revision: one process each, in alternating rounds.

`python scripts/bench.py sweep --against REV` calls :func:`compare`. The other revision is unpacked
into a temporary folder and runs with the packages of this environment. A process does the work once
to compile, then once per line of its input, and answers with seconds of wall and of CPU time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import brought, contenders

ROOT = Path(__file__).parent.parent.parent
KINDS = (*brought.KINDS, "jit(vmap)")


@contextlib.contextmanager
def unpacked(rev: str) -> Iterator[Path]:
    """The files of a Git revision in a temporary folder."""
    packed = subprocess.run(["git", "archive", rev], cwd=ROOT, capture_output=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def compare(
    old: Path, works: dict[str, dict[str, int]], kinds: list[str], rounds: int
) -> list[dict[str, Any]]:
    """One row per size and kind; `slower` is the median of old time / new time over the rounds.

    At the sizes of width 128 and more only the built-in model is timed: the others take minutes.

    Args:
      old: the unpacked other revision.
      works: name → the fields of a `contenders.Work`.
      kinds: some of `KINDS`; `jit(vmap)` is a hand-written program, the same on both sides.
      rounds: number of rounds.
    """
    rows = []
    for name, work in works.items():
        for kind in kinds if work["width"] < 128 else kinds[:1]:
            row = {
                "size": name,
                "kind": kind,
                **_row({"old": old, "new": ROOT}, work, kind, rounds),
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def _row(sides: dict[str, Path], work: dict[str, int], kind: str, rounds: int) -> dict[str, Any]:
    processes = {side: _started(path, work, kind) for side, path in sides.items()}
    times: dict[str, list[list[float]]] = {side: [] for side in processes}
    try:
        cold = {side: _answer(process) for side, process in processes.items()}
        able = [side for side, answer in cold.items() if answer is not None]
        for number in range(rounds):
            order = able if number % 2 else able[::-1]
            for side in order:
                pipe = processes[side].stdin
                assert pipe is not None
                pipe.write("\n")
                pipe.flush()
                times[side].append(_answer(processes[side]) or [])
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    record = {"rounds": rounds, "cold_seconds": cold, "seconds": times}
    if len(able) < len(processes):  # the older revision may not take such models
        return record
    ratios = {
        unit: statistics.median(
            old[place] / new[place] for old, new in zip(times["old"], times["new"], strict=True)
        )
        for place, unit in enumerate(("wall", "cpu"))
    }
    return {"slower": ratios, **record}


def _started(path: Path, work: dict[str, int], kind: str) -> subprocess.Popen[str]:
    folders = os.pathsep.join(map(str, (path, ROOT / "scripts")))
    environment = os.environ | {"PYTHONPATH": folders, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["JINIT_NO_CACHE"] = "1"
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, __file__, json.dumps(work), kind],
        env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=None if path == ROOT else subprocess.DEVNULL,  # an older one may refuse such models
    )  # fmt: skip


def _answer(process: subprocess.Popen[str]) -> list[float] | None:
    """Seconds of wall and CPU time; None if the process ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    return json.loads(line) if line else None


def _work(work: dict[str, int], kind: str) -> Any:
    """A function that does the work of one round."""
    arrays = contenders.Work(**work)
    if kind == "jit(vmap)":
        return contenders.vmap_all(arrays)
    return brought.brought_sweep(arrays, kind)


def main() -> None:
    """One side: a line of seconds for the first round, then one per line of input."""
    work, kind = json.loads(sys.argv[1]), sys.argv[2]

    def seconds(function: Any) -> list[float]:
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        return [time.perf_counter() - wall, time.process_time() - cpu]

    once = _work(work, kind)
    print(json.dumps(seconds(once)), flush=True)
    for _ in sys.stdin:
        print(json.dumps(seconds(once)), flush=True)


if __name__ == "__main__":
    main()
