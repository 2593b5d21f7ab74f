"""The mirror of a store is a whole store at every moment, whatever happens to a copy."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from test_store_files import LAYOUT, columns, fill, identities, runs

from jinit import _database as database
from jinit import errors
from jinit._database import _mirror


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def half(source, target, size):
    """Copies half of a file, then the drive is gone."""
    whole = source.read()
    target.write(whole[: len(whole) // 2])
    raise OSError(5, "Input/output error")


def test_a_copy_that_stops_half_way_leaves_the_one_before(path, tmp_path, monkeypatch):
    drive = tmp_path / "drive"
    fill(path, mirror=drive)
    monkeypatch.setattr(_mirror.shutil, "copyfileobj", half)
    with pytest.raises(errors.StoreError, match="mirror"):
        fill(path, arm="ones", mirror=drive)
    assert runs(path) == 8
    assert runs(drive / "runs.db") == 4
    assert database.verify(drive / "runs.db") == []
    assert [each.name for each in drive.iterdir()] == ["runs.db"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["drive", "runs.db"]


def test_a_second_close_copies_nothing(path, tmp_path):
    drive = tmp_path / "drive"
    writer = database.Writer(path, drive)
    writer.close()
    (drive / "runs.db").unlink()
    writer.close()
    assert not (drive / "runs.db").exists()


SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_store_files import fill
from jinit._database import _mirror
def dies(source, target, size):
    target.write(source.read()[:5000])
    target.flush()
    os._exit(9)
_mirror.shutil.copyfileobj = dies
fill(Path(sys.argv[2]), arm="ones", mirror=sys.argv[3])
"""


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_copy_leaves_the_one_before(path, tmp_path):
    drive = tmp_path / "drive"
    fill(path, mirror=drive)
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", SCRIPT, here, path, drive], check=False)
    assert done.returncode == 9
    assert runs(drive / "runs.db") == 4
    assert database.verify(drive / "runs.db") == []
    assert len(list(drive.iterdir())) == 2
    fill(path, seeds=range(4, 6), mirror=drive)
    assert [each.name for each in drive.iterdir()] == ["runs.db"]
    assert runs(drive / "runs.db") == 10


@pytest.mark.slow
def test_a_slow_drive_delays_no_commit(path, tmp_path, monkeypatch):
    """While one copy is on its way, finished runs are committed, and no second copy begins."""
    copied, go, copies = shutil.copyfileobj, threading.Event(), []

    def slow(source, target, size):
        copies.append(time.monotonic())
        go.wait(20)
        copied(source, target, size)

    monkeypatch.setattr(_mirror.shutil, "copyfileobj", slow)
    monkeypatch.setattr(_mirror, "SECONDS", 0.0)
    drive = tmp_path / "drive"
    fill(path)
    writer = database.Writer(path, drive)
    with writer.transaction() as connection:
        program = database.registered(connection, "programs", b"p" * 16, {})
    rows = database.RunRows(LAYOUT, sweep=1, program=program, machine="here")
    curve = {"test_loss": [[0.0, 1.0]]}
    for seed in (10, 11):
        before = runs(path)
        writer.put(rows.rows(seed, identities([seed], "zeros"), columns([seed]), curve, [{}]))
        for _ in range(200):
            if runs(path) > before:
                break
            time.sleep(0.05)
        assert runs(path) == before + 1
    assert len(copies) == 1
    assert not (drive / "runs.db").exists()
    go.set()
    writer.close()
    assert runs(drive / "runs.db") == 6
    assert database.verify(drive / "runs.db") == []
