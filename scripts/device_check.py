"""Checks and times jinit on the device of this machine; writes one JSON file.

    python scripts/device_check.py --out h100.json   # at most 6 minutes on one GPU
    python scripts/device_check.py --small           # seconds, on CPU, to try the program itself

What is checked: a lane has the same bits alone, in another order and beside diverging neighbours.
What is timed: runs per second at 64, 1,000 and 10,000 lanes of width 32, 64 and 128, beside a plain
`jit(vmap)` of a hand-written step and a PyTorch loop. Numbers under "model" are computed from data
sheets, not measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import itertools
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from benchmarks import contenders
from benchmarks.contenders import Work

import jinit

# Data sheets: float32 TFLOP/s outside tensor cores or by passes of the matrix unit, memory in GiB,
# its bandwidth in TB/s. TPUs multiply in bfloat16; a float32 product at the highest precision
# takes six passes, so their float32 peak is a sixth.
DEVICES = {
    "H100 SXM": {"tflops": 67.0, "memory_gib": 80, "bandwidth": 3.35},
    "TPU v5e": {"tflops": 197.0 / 6, "memory_gib": 16, "bandwidth": 0.82},
    "TPU v6e": {"tflops": 918.0 / 6, "memory_gib": 32, "bandwidth": 1.64},
}
SIZES = [(lanes, width) for width in (32, 64, 128) for lanes in (64, 1_000, 10_000)]
DEPTH, BATCH = 3, 32


def independence(small: bool) -> dict[str, bool]:
    """Whether a lane's bits are those of the lane alone, permuted, beside diverging neighbours."""
    lanes = 8 if small else 64
    grid = jinit.Grid(
        initializer="he_normal", width=32, depth=DEPTH, steps=10 if small else 100, seeds=lanes
    )

    def bits(grid: jinit.Grid, initializer: str = "he_normal") -> dict[int, list[np.ndarray]]:
        table = jinit.run(grid, tile=lanes, progress=False).select(initializer=initializer)
        names = ("train_loss", "test_loss", "test_accuracy", "gradient_norm")
        columns = [np.asarray(table[name]) for name in names]
        return {int(s): [c[i] for c in columns] for i, s in enumerate(table["seed"])}

    def same(one: dict[int, list[np.ndarray]], other: dict[int, list[np.ndarray]]) -> bool:
        shared = one.keys() & other.keys()
        return bool(shared) and all(
            np.array_equal(one[seed], other[seed], equal_nan=True) for seed in shared
        )

    together = bits(grid)
    shuffled = tuple(int(seed) for seed in np.random.default_rng(0).permutation(lanes))
    wild = ("normal(stddev=1000000.0)", "he_normal")
    beside = dataclasses.replace(grid, initializer=wild)
    broken = jinit.run(beside, tile=lanes, progress=False).select(initializer=wild[0])["diverged"]
    return {
        "alone": same(together, bits(dataclasses.replace(grid, seeds=(lanes - 1,)))),
        "permuted": same(together, bits(dataclasses.replace(grid, seeds=shuffled))),
        "beside diverging neighbours": same(together, bits(beside)),
        "the neighbours diverged": bool(np.all(broken)),
    }


def speeds(small: bool, deadline: float) -> list[dict[str, Any]]:
    """Runs per second at each size until the deadline (of `time.monotonic`)."""
    makers = {"jinit": contenders.jinit_sweep, "jit(vmap)": contenders.vmap_all}
    if importlib.util.find_spec("torch") is not None:
        makers["torch loop"] = contenders.torch_loop
    rows = []
    peak = contenders.peak()
    for lanes, width in [(8, 32)] if small else SIZES:
        work = Work(lanes, width, DEPTH, BATCH, 5 if small else 300, hand_tile=2)
        row: dict[str, Any] = {"lanes": lanes, "width": width, "steps": work.steps, "peak": peak}
        for name, make in makers.items():
            if time.monotonic() > deadline:
                row[name] = "not measured: the time was up"
                continue
            run = make(work)
            start = time.perf_counter()
            run()
            cold = time.perf_counter() - start
            seconds = statistics.median(run() for _ in range(3))
            row[name] = {
                "cold_seconds": cold,
                "runs_per_second": lanes / seconds,
                "of_float32_peak": work.gflop / seconds / peak,
            }
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def host_bytes() -> dict[str, float]:
    """Bytes per run between host and device, computed from shapes: parameters in, results out."""
    planned = jinit.plan(jinit.Grid(width=64, depth=DEPTH, seeds=64))
    leaves = jax.tree.leaves(planned.programs[0].shapes)
    return {
        "in": sum(leaf.size * leaf.dtype.itemsize for leaf in leaves),
        "out": planned.result_bytes / planned.runs,
    }


def model() -> dict[str, Any]:
    """Lower bounds of seconds from FLOPs and from memory traffic, computed, for 10,000 runs."""
    work = Work(10_000, 64, DEPTH, BATCH, 1_000, hand_tile=2)
    dims = work.dims
    weights = sum(a * b + b for a, b in itertools.pairwise(dims))
    # A step reads and writes the parameters, and writes and reads the gradient.
    traffic = work.runs * work.steps * 4 * weights * 4
    carried = work.runs * 4 * weights * 3 / 2**30
    found = {}
    for name, device in DEVICES.items():
        found[name] = {
            **device,
            "seconds_by_flops": work.gflop / 1e3 / device["tflops"],
            "seconds_by_memory_traffic": traffic / 1e12 / device["bandwidth"],
            "carried_gib": carried,
            "fits": carried < 0.5 * device["memory_gib"],
        }
    how = "computed from data sheets, not measured: 10,000 runs × 1,000 steps, width 64, depth 3"
    return {"how": how, "devices": found}


def main() -> None:
    """Parses the arguments, measures, writes the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a machine with a CPU")
    parser.add_argument("--minutes", type=float, default=6.0, help="time limit (default 6)")
    parser.add_argument("--out", default="device-check.json", help="JSON file")
    arguments = parser.parse_args()
    deadline = time.monotonic() + 60 * 0.8 * arguments.minutes
    start = time.perf_counter()
    device = jax.local_devices()[0]
    record: dict[str, Any] = {
        "device": device.device_kind,
        "platform": device.platform,
        "accelerator": "none: everything ran on the CPU" if device.platform == "cpu" else "yes",
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "small": arguments.small,
        "independence": independence(arguments.small),
        "computed_bytes_per_run": host_bytes(),
        "speeds": speeds(arguments.small, deadline),
        "model": model(),
    }
    record["seconds"] = time.perf_counter() - start
    Path(arguments.out).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"{arguments.out} written")
    if not all(record["independence"].values()):
        raise SystemExit("lanes are not independent: see independence in the file")


if __name__ == "__main__":
    main()
