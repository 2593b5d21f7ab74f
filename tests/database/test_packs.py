"""Columns that are kept packed beside their rows."""

import contextlib
import random
import sqlite3
import zlib

import numpy as np
import pytest
from test_store_files import LAYOUT, fill, traced

import jinit
from jinit import _database as database
from jinit import errors
from jinit._database import _packs, _schema


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(_packs, "BATCH", 16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def ask(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement, values).fetchall()


def number_of_packs(path):
    return ask(path, "select count(*) from packs")[0][0]


def read(path):
    return jinit.read(path, columns=("test_loss", "diverged"))


def assert_same(table, other):
    for name in table.columns:
        assert table[name].dtype == other[name].dtype
        np.testing.assert_array_equal(table[name], other[name])


def test_packed_columns_are_those_of_the_rows(path, monkeypatch):
    fill(path, range(20))
    fill(path, range(25), arm="ones", offset=np.nan)
    fill(path, range(20, 26))
    # The last 3 of 51 rows are in no pack; the second and the third batch have rows of two sweeps.
    assert ask(path, "select distinct last from packs order by 1") == [(16,), (32,), (48,)]
    assert number_of_packs(path) == 5 * (1 + len(LAYOUT.names))
    found, whole = read(path), jinit.read(path)
    assert len(found) == 51
    assert np.isnan(found.select(initializer="ones")["test_loss"]).all()
    assert_same(found, whole)
    assert database.verify(path) == []
    monkeypatch.setattr(_packs, "covered", lambda connection: 0)
    assert_same(read(path), found)


def test_packs_are_read_and_only_those_of_the_columns_asked_for(path):
    fill(path, range(32))
    ask(path, "update packs set data = x'00' where name = 'diverged'")
    assert len(jinit.read(path, columns=("test_loss",))) == 32
    with pytest.raises(errors.Refusal, match=r"packed column 'diverged'.*run jinit verify"):
        read(path)
    assert "packs: column 'diverged' up to run 16 is not that of the rows" in database.verify(path)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from runs where id = 7",
        "delete from runs where id = 16",
        "update runs set checksum = checksum + 1, test_loss = 5 where id = 7",
    ],
)
def test_packs_of_rows_that_have_changed_are_not_used_and_are_made_anew(path, statement):
    fill(path, range(40))
    ask(path, statement)
    ask(path, "delete from curves where run not in (select id from runs)")
    rows = ask(path, "select test_loss from runs order by seed")
    assert read(path)["test_loss"].tolist() == [float(np.float32(value)) for (value,) in rows]
    assert any("packs: not those of the rows" in problem for problem in database.verify(path))
    fill(path, range(40, 60))
    assert not any("packs" in problem for problem in database.verify(path))
    assert ask(path, "select sum(runs) from packs where name = 'id'") == [(48,)]
    assert read(path)["test_loss"][: len(rows)].tolist() == [
        float(np.float32(value)) for (value,) in rows
    ]


def test_sweeps_that_are_removed_and_stores_that_are_merged_have_the_packs_of_their_rows(path):
    fill(path, range(20))
    fill(path, range(20), arm="ones")
    other = path.with_name("other.db")
    fill(other, range(20, 40))
    database.remove(path, [2])
    assert set(read(path)["initializer"]) == {"zeros"}
    database.merge(path, [other])
    assert read(path)["seed"].tolist() == list(range(40))
    for each in (path, other):
        assert number_of_packs(each)
        assert database.verify(each) == []


def test_a_store_without_packs_gets_them(path):
    fill(path, range(40))
    before = read(path)
    ask(path, "drop table packs")
    ask(path, "pragma user_version = 1")
    assert_same(read(path), before)
    assert number_of_packs(path) == 0
    fill(path, range(40, 41))
    assert ask(path, "pragma user_version") == [(_schema.VERSION,)]
    assert number_of_packs(path)
    assert database.verify(path) == []


def test_a_damaged_row_stays_a_row_and_stops_no_writer(path):
    fill(path, range(14))
    ask(path, "update runs set seed = 'many' where id = 3")
    fill(path, range(14, 40))
    assert number_of_packs(path) == 0
    assert len(ask(path, "select id from runs")) == 40
    with pytest.raises(errors.Refusal, match="seed"):
        read(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("data = 7", "packed column 'test_loss'"),
        ("data = substr(data, 1, length(data) - 1)", "packed column 'test_loss'"),
        ("runs = 15", "packed column 'test_loss'"),
        ("runs = 2000000000", "packed column 'test_loss'"),
    ],
)
def test_made_up_packs_give_our_error(path, change, match):
    fill(path, range(32))
    ask(path, f"update packs set {change} where name = 'test_loss' and last = 32")
    with pytest.raises(errors.Refusal, match=match):
        read(path)
    assert any("packs: column 'test_loss'" in problem for problem in database.verify(path))


@pytest.mark.parametrize("texts", ["[7]", "{}", "[[]]", "[", "[]"])
def test_texts_of_a_pack_are_checked(path, texts):
    fill(path, range(16))
    head = texts.encode()
    raw = len(head).to_bytes(4, "little") + head + bytes(32)
    ask(path, "update packs set data = ? where name = 'initializer'", zlib.compress(raw))
    with pytest.raises(errors.Refusal, match="packed column 'initializer'"):
        read(path)
    assert any("'initializer'" in problem for problem in database.verify(path))


@pytest.mark.full
def test_a_million_runs_are_small_and_are_read_from_packs(path, monkeypatch):
    monkeypatch.undo()  # batches as they are
    arms, half = ("zeros", "ones"), 500_000
    for arm, offset in zip(arms, (0.0, 1.0), strict=True):
        fill(path, range(half), arm=arm, offset=offset, tile=128)
    # The curve of one metric has two points: 44 bytes a run.
    assert path.stat().st_size < 600 * 2 * half
    packed = ask(path, "select sum(runs) from packs where name = 'id'")[0][0]
    assert packed == 2 * half // _packs.BATCH * _packs.BATCH
    statements = traced(monkeypatch)
    table = jinit.read(path, columns=("test_loss",))
    assert len(table) == 2 * half
    rows = [text for text in statements if "test_loss" in text and "FROM runs" in text]
    assert rows
    assert all(text.endswith(f"AND id > {packed}") for text in rows)
    assert not any("diverged" in text for text in statements)
    expected = np.concatenate([np.arange(half) / 7, np.arange(half) / 7 + 1]).astype(np.float32)
    for arm, losses in zip(arms, (expected[:half], expected[half:]), strict=True):
        np.testing.assert_array_equal(table.select(initializer=arm)["test_loss"], losses)
    (found,) = jinit.compare(table, "test_loss", baseline="zeros")
    assert found.verdict == "loses"
    assert found.result.pairs == half


@pytest.mark.slow
def test_any_damaged_byte_of_a_pack_is_found_or_harmless(path):
    fill(path, range(80))
    expected, rng = read(path)["test_loss"].tolist(), random.Random(0)
    query = "select rowid, data from packs where name in ('seed', 'test_loss', 'id')"
    packs, said = ask(path, query), []
    for number in range(60):
        row, data = rng.choice(packs)
        broken = bytearray(data)
        place = rng.randrange(len(broken))
        if number % 3:
            broken[place] ^= 1 << rng.randrange(8)
        else:
            del broken[place:]
        ask(path, "update packs set data = ? where rowid = ?", bytes(broken), row)
        try:
            assert read(path)["test_loss"].tolist() == expected
        except errors.Refusal as error:
            said.append(str(error))
        ask(path, "update packs set data = ? where rowid = ?", data, row)
    assert len(said) >= 50
    assert all("run jinit verify" in text for text in said)
