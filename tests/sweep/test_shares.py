"""Shares of a sweep: together they are the whole, and each can be compared."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jinit
from jinit import results

ROOT = Path(__file__).parents[2]
WHOLE = {"dataset": "xor", "initializer": ("he_normal", "zeros"), "depth": 1, "width": 4,
         "steps": 4, "evaluations": 2, "seeds": 7}  # fmt: skip
FLAGS = ["--dataset", "xor", "--initializer", "he_normal", "zeros", "--depth", "1", "--width", "4",
         "--steps", "4", "--evaluations", "2", "--seeds", "7"]  # fmt: skip


@pytest.mark.slow
@given(st.integers(1, 40), st.data())
def test_every_seed_is_in_one_share(seeds, data):
    grid = jinit.Grid(seeds=seeds, initializer=("he_normal", "zeros"))
    of = data.draw(st.integers(1, seeds))
    shares = [grid.share(number, of) for number in range(1, of + 1)]
    assert sorted(seed for share in shares for seed in share.seed_values) == list(range(seeds))
    sizes = [len(share.seed_values) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(share.values("initializer") == grid.values("initializer") for share in shares)


@pytest.mark.parametrize("wrong", [(0, 4), (5, 4), (1, 8), (1, 0), (1.5, 4)])
def test_a_share_out_of_range_is_refused(wrong):
    with pytest.raises((ValueError, TypeError), match="share"):
        jinit.Grid(seeds=7).share(*wrong)


@pytest.mark.full
def test_an_array_job_joined_is_the_whole_sweep_bitwise(tmp_path):
    """The shares run as processes with the variables that Slurm sets."""
    command = tmp_path / "jinit"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m jinit "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}",
                   "SHARES": str(tmp_path / "shares"), "SLURM_ARRAY_TASK_COUNT": "2",
                   "PYTHONPATH": str(ROOT)}  # fmt: skip
    tasks = [
        subprocess.Popen(
            ["bash", str(ROOT / "scripts" / "seed_sweep.sbatch"), *FLAGS],
            env={**environment, "SLURM_ARRAY_TASK_ID": str(number)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in (1, 2)
    ]  # fmt: skip
    for task in tasks:
        _, said = task.communicate(timeout=250)
        assert task.returncode == 0, said
    files = sorted((tmp_path / "shares").glob("*.parquet"))
    joined = results.concat([results.read(file) for file in files])
    whole = jinit.run(jinit.Grid(**WHOLE))
    assert len(joined) == len(whole) == 14

    def order(table):
        return np.lexsort((table["seed"], table["initializer"].astype(str)))

    for name in whole.columns:
        np.testing.assert_array_equal(joined[name][order(joined)], whole[name][order(whole)])
    for name in whole.curves:
        np.testing.assert_array_equal(
            joined.curves[name][order(joined)], whole.curves[name][order(whole)]
        )
