"""Starts three Ray nodes, sweeps on them, kills one in between, and compares with this process.

Run inside a network namespace with loopback alone; test_executors.py does so.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

import jinit

ADDRESS = "127.0.0.1:6379"


def start(*options):
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1",
               "--object-store-memory=100000000", "--disable-usage-stats",
               "--node-ip-address=127.0.0.1", *options]  # fmt: skip
    subprocess.run(command, check=True, timeout=120, capture_output=True)


def processes(name):
    """Numbers of the processes with this name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() == name:
                found.append(int(folder.name))
        except OSError:
            continue
    return sorted(found)


def listening():
    """Addresses on which something listens, IPv4 and IPv6, as the kernel writes them."""
    rows = [line.split() for file in ("tcp", "tcp6")
            for line in Path("/proc/net", file).read_text().splitlines()[1:]]  # fmt: skip
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A"}


def main():
    start("--head", "--port=6379", "--include-dashboard=false")
    for _ in range(2):
        start(f"--address={ADDRESS}")
    nodes = processes("raylet")
    assert len(nodes) == 3, nodes
    grid = jinit.Grid(dataset="xor", initializer=("he_normal", "orthogonal"), depth=(1, 2),
                      width=4, steps=4, evaluations=2, seeds=48)  # fmt: skip
    tiles = []

    def kill_one(event):
        if event.kind == "tile":
            tiles.append(event.runs)
            if len(tiles) == 3:
                os.kill(nodes[-1], signal.SIGKILL)

    table = jinit.run(grid, executor=f"ray:{ADDRESS}", progress=kill_one)
    local = jinit.run(grid)
    assert len(table) == grid.runs == sum(tiles)
    for name in table.columns:
        np.testing.assert_array_equal(table[name], local[name])
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert listening() <= loopback, listening()
    print("one node killed, same bits, all on 127.0.0.1")


if __name__ == "__main__":
    main()
