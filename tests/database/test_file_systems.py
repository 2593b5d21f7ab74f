"""Where a store lies decides whether SQLite may keep a write-ahead log beside it."""

import contextlib
import sqlite3

import pytest

from jinit import _database as database
from jinit._database import _file_system

MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/me/fast tmpfs rw 0 0
drive /content/My\\040Drive fuse.drive rw 0 0
new /new newfs rw 0 0
/dev/sdb1 /covered xfs rw 0 0
server:/x /covered cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "trusted", "in_memory"),
    [("/etc/x", "ext4", True, False), ("/home/me/runs.db", "nfs4", False, False),
     ("/home/me/fast/runs.db", "tmpfs", True, True), ("/homeless", "ext4", True, False),
     ("/content/My Drive/runs.db", "fuse.drive", False, False),
     ("/new/runs.db", "newfs", False, False), ("/covered/runs.db", "cifs", False, False)],
)  # fmt: skip
def test_the_innermost_mount_decides(path, kind, trusted, in_memory, tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    # Folders that this machine lacks count as there.
    monkeypatch.setattr(_file_system.Path, "exists", lambda self: True)
    monkeypatch.setattr(_file_system.os, "statvfs", lambda path: None)
    found = _file_system.file_system(path, mounts)
    assert (found.kind, found.trusted, found.in_memory) == (kind, trusted, in_memory)


def test_a_system_that_does_not_list_its_mounts_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(_file_system.sys, "platform", "other")
    found = _file_system.file_system(tmp_path, tmp_path / "none")
    assert (found.kind, found.trusted) == ("unknown", False)


@pytest.mark.parametrize(("trusted", "journal"), [(True, "wal"), (False, "delete")])
def test_a_store_has_a_write_ahead_log_only_where_locks_are_trusted(
    tmp_path, monkeypatch, trusted, journal
):
    where = database.FileSystem("ext4" if trusted else "newfs", "/", trusted, False, 2**31)
    monkeypatch.setattr(_file_system, "file_system", lambda path: where)
    writer = database.Writer(tmp_path / "runs.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "runs.db")) as reader:
        assert reader.execute("PRAGMA journal_mode").fetchone()[0] == journal
    writer.close()
