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


def test_a_store_that_is_lost_comes_back_from_its_mirror(path, tmp_path):
    drive = tmp_path / "drive"
    fill(path, range(50), tile=10, mirror=drive)
    path.unlink()
    path.with_name("runs.db-wal").write_bytes(b"of the lost file")
    with pytest.warns(UserWarning, match="copied back from its mirror"):
        fill(path, seeds=range(50, 52), mirror=drive)
    assert runs(path) == runs(drive / "runs.db") == 52
    assert database.verify(path) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["drive", "runs.db"]
    # A folder that shows another file under this name gives no store.
    path.unlink()
    (drive / "runs.db").write_text("my notes")
    with pytest.raises(ValueError, match="SQLite file that jinit wrote"):
        fill(path, mirror=drive)
    assert not path.exists()
    assert (drive / "runs.db").read_text() == "my notes"


def test_a_copy_with_other_runs_is_not_replaced_but_merged(path, tmp_path):
    drive = tmp_path / "drive"
    fill(path, range(6), mirror=drive)
    path.unlink()
    fill(path, range(2), arm="ones")
    with pytest.raises(ValueError, match="6 runs that the store lacks") as refused:
        database.Writer(path, drive)
    assert f"jinit merge {path} {drive / 'runs.db'}" in str(refused.value)
    assert runs(drive / "runs.db") == 6
    database.merge(path, [drive / "runs.db"])
    fill(path, range(2, 4), arm="ones", mirror=drive)
    assert runs(drive / "runs.db") == 10


def test_two_stores_of_one_name_do_not_share_a_mirror(tmp_path):
    """Tasks of an array may all call their file ``runs.db`` and see one folder."""
    drive, stores = tmp_path / "drive", [tmp_path / name / "runs.db" for name in "ab"]
    for store in stores:
        store.parent.mkdir()
    late = database.Writer(stores[1], drive)
    fill(stores[0], mirror=drive)
    with late.transaction() as connection:
        database.begin_sweep(connection, planned=1, command="late", grid="{}", settings="{}",
                             machine="b")  # fmt: skip
    with pytest.raises(errors.StoreError, match="jinit merge"):
        late.close()
    assert runs(drive / "runs.db") == 4
    assert sorted(each.name for each in stores[1].parent.iterdir()) == ["runs.db"]


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
