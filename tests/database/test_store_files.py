"""Files of stores: damaged, made up, full, gone, written twice, merged, verified."""

import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import jinit
from jinit import _database as database
from jinit import errors
from jinit._database import _open, _runs, _schema, _sweeps, _values, _whole

LAYOUT = database.Layout(
    (("initializer", "axis", "object"), ("seed", "axis", "int64"),
     ("learning_rate", "axis", "float64"), ("test_loss", "metric", "float32"),
     ("diverged", "metric", "bool")),
    ("test_loss",), (1, 4),
)  # fmt: skip
SETTINGS = (
    '{"grid": {"seeds": 4, "initializer": ["zeros", "ones"], "learning_rate": 0.1}, '
    '"backend": "cpu"}'
)
FIELDS = {"planned": 4, "command": "jinit sweep", "grid": "{}", "settings": SETTINGS,
          "machine": "here"}  # fmt: skip


def columns(seeds, arm="zeros", offset=0.0):
    seeds = np.asarray(seeds)
    return {
        "initializer": np.full(len(seeds), arm, object),
        "seed": seeds,
        "learning_rate": np.full(len(seeds), 0.1),
        "test_loss": (seeds / 7 + offset).astype(np.float32),
        "diverged": seeds % 2 == 1,
    }


def identities(seeds, arm):
    return [f"{arm}{seed}".encode().ljust(16, b".") for seed in seeds]


def fill(path, seeds=range(4), arm="zeros", offset=0.0, tile=2, mirror=None):
    """A store with these runs, as a sweep writes it."""
    writer = database.Writer(path, mirror)
    with writer.transaction() as connection:
        sweep = database.begin_sweep(connection, **FIELDS)
        database.add_columns(connection, LAYOUT)
        environment = database.registered(connection, "environments", b"e" * 16, {"settings": "{}"})
        program = database.registered(connection, "programs", b"p" * 16, {
            "environment": environment, "label": b"l" * 16, "name": "program", "tile": 2,
            "layout": LAYOUT.text()})  # fmt: skip
        first = database.next_run(connection)
    rows = database.RunRows(LAYOUT, sweep=sweep, program=program, machine="here")
    seeds = list(seeds)
    for start in range(0, len(seeds), tile):
        some = seeds[start : start + tile]
        curves = {"test_loss": np.array([[seed, np.nan] for seed in some], np.float32)}
        writer.put(rows.rows(first + start, identities(some, arm), columns(some, arm, offset),
                             curves, [{} for _ in some]))  # fmt: skip
    writer.close(database.end_sweep(sweep, "complete"))


def traced(monkeypatch):
    """The statements that connections run from now on."""
    statements, connect = [], _open._connect

    def connected(*arguments):
        connection = connect(*arguments)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(_open, "_connect", connected)
    return statements


def runs(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("select count(*) from runs").fetchone()[0]
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


def test_what_was_written_is_read_with_its_dtypes(path):
    fill(path, range(3))
    fill(path, range(5), arm="ones")
    table = jinit.read(path)
    expected = {name: np.concatenate([columns(range(3))[name], columns(range(5), "ones")[name]])
                for name in LAYOUT.names}  # fmt: skip
    for name, column in expected.items():
        assert table[name].dtype == column.dtype
        assert table[name].tolist() == column.tolist()
    assert table.axes == ("initializer", "seed", "learning_rate")
    np.testing.assert_array_equal(table.curves["test_loss"][:3], [[0, np.nan], [1, np.nan],
                                                                  [2, np.nan]])  # fmt: skip
    assert table.settings["grid"]["seeds"] == 5
    assert database.verify(path) == []
    few = jinit.read(path, columns=("test_loss",))
    assert few["test_loss"].tolist() == table["test_loss"].tolist()
    assert "diverged" not in few.columns
    with pytest.raises(ValueError, match="no_metric"):
        jinit.read(path, columns=("no_metric",))


def test_of_a_large_store_only_what_is_asked_for_is_read(path, monkeypatch):
    """An axis of one value is read once; rows hold the axes that vary and the column asked."""
    fill(path, range(300), tile=100)
    fill(path, range(300), arm="ones", tile=100)
    statements = traced(monkeypatch)
    table = jinit.read(path, columns=("diverged",))
    whole = jinit.read(path)
    for name in table.columns:
        assert table[name].dtype == whole[name].dtype
        assert table[name].tolist() == whole[name].tolist()
    rows, once = [text for text in statements if text.startswith('SELECT "id", ')][:2]
    assert rows.startswith('SELECT "id", "initializer", "seed", "diverged" FROM')
    assert once == 'SELECT "id", "learning_rate" FROM runs WHERE id = 1'


def test_an_axis_is_read_once_only_where_all_grids_have_one_plain_value():
    def entry(grid):
        return _sweeps.Entry(1, 0.0, None, "complete", 4, 4, "", {"grid": grid})

    one = {"gain": 1.0, "depth": 2, "clip": None, "initializer": {"mine": "f", "other": "g"}}
    other = one | {"depth": 3, "gain": [1.0]}
    assert _whole._single_valued([entry(one)]) == {"gain", "depth", "clip"}
    assert _whole._single_valued([entry(one), entry(other)]) == {"clip"}
    assert _whole._single_valued([entry(one), entry(None)]) == set()


def test_numbers_are_those_of_sql(path):
    fill(path, range(4))
    connection = sqlite3.connect(path)
    query = "select avg(test_loss), sum(diverged), typeof(diverged), typeof(seed) from runs"
    mean, count, *kinds = connection.execute(query).fetchone()
    connection.close()
    assert mean == pytest.approx(columns(range(4))["test_loss"].astype(float).mean(), rel=1e-12)
    assert (count, kinds) == (2, ["integer", "integer"])


def losses(table):
    return dict(zip(table["seed"].tolist(), table["test_loss"].tolist(), strict=True))


@pytest.mark.parametrize("damages", [50])  # tests/faults.py makes 2,000
def test_any_damaged_byte_is_found_or_harmless(path, tmp_path, damages):
    fill(path, range(40))
    expected, whole = jinit.read(path), path.read_bytes()
    rng, found = random.Random(0), 0
    for number in range(damages):
        broken = tmp_path / f"broken{number}.db"
        content = bytearray(whole)
        kind = number % 3
        place = rng.randrange(len(content))
        if kind == 0:
            content[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[place : place + 64] = rng.randbytes(64)
        else:
            del content[place:]
        broken.write_bytes(content)
        try:
            table = jinit.read(broken)
        except (errors.Refusal, OSError):
            found += 1
        else:
            # What is read is right, or nothing at all.
            rows = losses(expected)
            assert losses(table).items() <= rows.items()
            if table["test_loss"].tolist() != expected["test_loss"].tolist():
                assert database.verify(broken)
    assert found >= damages / 4


def test_a_changed_value_is_found_by_its_checksum(path):
    fill(path)
    for statement in (
        "update runs set test_loss = test_loss + 1 where id = 2",
        "update curves set \"values\" = x'0000000000000000' where run = 3",
        "delete from curves where run = 1",
        "update programs set tile = 4",
        "update sweeps set command = 'rm -rf /'",
        "update runs set missing = 'x' where id = 4",
    ):
        broken = path.with_name("broken.db")
        shutil.copy(path, broken)
        connection = sqlite3.connect(broken)
        connection.execute(statement)
        connection.commit()
        connection.close()
        assert database.verify(broken), statement


@pytest.mark.parametrize(
    "script",
    [
        "create view spy as select 1",
        "create trigger spy after insert on runs begin delete from runs; end",
        "create table more (x)",
        "create index spy on runs (abs(seed))",
        "drop table curves",
        "alter table runs add column x generated always as (hex(zeroblob(1e9)))",
        "alter table sweeps add column more",
        "pragma application_id = 7",
        "pragma user_version = 99",
        "pragma user_version = 0",
        "drop table columns; create view columns as with recursive n(i) as (select 1 union all "
        "select i from n) select * from n",
    ],
)
def test_a_file_that_somebody_made_up_gives_our_error(path, script):
    fill(path)
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    for use in (jinit.read, database.Writer):
        with pytest.raises(errors.Refusal, match="store"):
            use(path)
    assert database.verify(path)


NOW = _schema.VERSION
STEPS = {
    NOW: ("ALTER TABLE sweeps ADD COLUMN note TEXT",),
    NOW + 1: ("UPDATE sweeps SET state = 'stopped'", "ALTER TABLE jobs ADD COLUMN note TEXT"),
}


def later_version(monkeypatch, steps=STEPS, version=NOW + 2):
    """As if the tables had changed twice since the files of today."""
    tables = dict(_schema.TABLES)
    for name in ("sweeps", "jobs"):
        tables[name] = f"{tables[name][:-1]}, note TEXT)"
    monkeypatch.setattr(_schema, "TABLES", tables)
    monkeypatch.setattr(_schema, "VERSION", version)
    monkeypatch.setattr(_schema, "MIGRATIONS", steps)


def version_of(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("pragma user_version").fetchone()[0]


@pytest.mark.parametrize("way", ["read", "write"])
def test_a_store_of_an_older_version_is_brought_to_this_one(path, monkeypatch, way):
    fill(path)
    before = jinit.read(path)
    later_version(monkeypatch)
    if way == "write":
        fill(path, range(4, 8))
    table = jinit.read(path)
    assert version_of(path) == NOW + 2
    assert len(table) == (8 if way == "write" else 4)
    assert table.select(seed=range(4))["test_loss"].tolist() == before["test_loss"].tolist()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select state, note from sweeps limit 1").fetchone() == (
            "stopped", None,
        )  # fmt: skip
    assert database.verify(path) == []


@pytest.mark.parametrize(
    "steps",
    [
        {NOW: STEPS[NOW]},
        {**STEPS, NOW + 1: (STEPS[NOW + 1][0], "ALTER TABLE no x")},
        {**STEPS, NOW + 1: STEPS[NOW + 1][:1]},
    ],
)
def test_a_migration_that_fails_changes_nothing(path, monkeypatch, steps):
    fill(path)
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        later_version(patch, steps)
        for use in (jinit.read, database.Writer):
            with pytest.raises((errors.Refusal, errors.StoreError), match="store"):
                use(path)
    assert path.read_bytes() == content
    assert len(jinit.read(path)) == 4


def test_an_older_store_with_a_trigger_runs_nothing(path, monkeypatch):
    fill(path)
    script = "create trigger spy after update on sweeps begin delete from runs; end"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    later_version(monkeypatch)
    with pytest.raises(errors.Refusal, match="allowed: a store that jinit wrote"):
        jinit.read(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from runs").fetchone() == (4,)
    assert version_of(path) == NOW


def test_an_older_store_that_cannot_be_written_is_refused(path, monkeypatch):
    fill(path)
    later_version(monkeypatch)
    connect = _open._connect
    monkeypatch.setattr(_open, "_connect", lambda path, mode: connect(path, "ro"))
    with pytest.raises(errors.Refusal, match="brought to this version"):
        jinit.read(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "match"),
    [
        ("update programs set layout = '{}'", "layout"),
        ("update programs set layout = ?", "layout"),
        ("update sweeps set settings = '['", "settings"),
        ("update runs set seed = 'many'", "damaged"),
    ],
)
def test_made_up_contents_give_our_error(path, statement, match):
    fill(path)
    connection = sqlite3.connect(path)
    huge = LAYOUT.text().replace("[1, 4]", f"[{', '.join(['1'] * 2_000_000)}]")
    connection.execute(statement, (huge,) if "?" in statement else ())
    connection.commit()
    connection.close()
    with pytest.raises(errors.Refusal, match=match):
        jinit.read(path)


@pytest.mark.parametrize("content", [b"", b"no database at all" * 99, b"SQLite format 3\0" * 99])
def test_a_file_that_is_no_store_is_left_alone(path, content):
    path.write_bytes(content)
    with pytest.raises(errors.Refusal):
        jinit.read(path)
    if content:
        with pytest.raises(errors.Refusal):
            database.Writer(path)
        assert path.read_bytes() == content


HOLD = """
import sys, time
from jinit import _database as database
try:
    writer = database.Writer(sys.argv[1])
except ValueError as error:
    print(error)
else:
    print("mine", flush=True)
    sys.stdin.read()
    writer.close()
"""


def hold(path):
    return subprocess.Popen([sys.executable, "-c", HOLD, str(path)], text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_of_several_writers_one_wins_and_the_others_are_told_who(path, processes):
    racing = [hold(path) for _ in range(processes)]
    said = [process.stdout.readline() for process in racing]
    winners = [process for process, line in zip(racing, said, strict=True) if line == "mine\n"]
    assert len(winners) == 1
    for line in said:
        assert line == "mine\n" or f"process {winners[0].pid} on" in line
    with pytest.raises(ValueError, match=f"process {winners[0].pid} on .* since 20"):
        database.Writer(path)
    winners[0].kill()
    for process in racing:
        process.communicate()
    fill(path)  # a writer that was killed owns nothing
    assert runs(path) == 4


def test_a_reader_sees_what_is_committed_while_a_sweep_writes(path):
    writer = database.Writer(path)
    seen = []
    try:
        with writer.transaction() as connection:
            database.begin_sweep(connection, **FIELDS)
        with database.reading(path) as connection:
            seen += database.sweeps(connection)
    finally:
        writer.close()
    assert [entry.state for entry in seen] == ["running"]
    with database.reading(path) as connection:
        assert [entry.state for entry in database.sweeps(connection)] == ["killed"]


def test_a_vanished_file_stops_the_writer_with_a_clear_error(path):
    writer = database.Writer(path)
    path.unlink()
    with pytest.raises(errors.StoreError, match="vanished"), writer.transaction() as connection:
        database.begin_sweep(connection, **FIELDS)
    writer.put([])
    with pytest.raises(errors.StoreError, match="vanished"):
        writer.close()
    with pytest.raises(errors.StoreError, match="vanished"):
        writer.put([])


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
import test_store_files
test_store_files.fill(sys.argv[1], range(10))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    test_store_files.fill(sys.argv[1], range(10, 5_000), tile=100)
except OSError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_committed(path, request):
    done = subprocess.run([sys.executable, "-c", FULL, str(path), str(request.path.parent)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert "store" in done.stdout
    assert runs(path) >= 10
    assert database.verify(path) == []
    assert set(range(10)) <= set(jinit.read(path, sweep=1)["seed"].tolist())


def test_merging_takes_all_or_nothing(path, tmp_path):
    other, third = tmp_path / "other.db", tmp_path / "third.db"
    fill(other, range(4))
    fill(third, range(2, 8))
    assert database.merge(path, [other, third]) == (8, 2)
    assert database.merge(path, [other]) == (0, 4)
    assert database.verify(path) == []
    assert sorted(jinit.read(path)["seed"]) == [*range(8)]
    wrong = tmp_path / "wrong.db"
    fill(wrong, range(6, 9), offset=1.0)
    with pytest.raises(ValueError, match="seed=6"):
        database.merge(path, [wrong])
    assert runs(path) == 8
    for sources in ([], [path], [other, other], [tmp_path / "none.db"]):
        with pytest.raises(ValueError, match="store"):
            database.merge(path, sources)


def test_removing_a_sweep_removes_its_runs_and_curves(path):
    fill(path)
    fill(path, range(4, 6))
    assert database.remove(path, [1]) == 4
    assert database.verify(path) == []
    assert jinit.read(path)["seed"].tolist() == [4, 5]
    with pytest.raises(ValueError, match="sweep"):
        database.remove(path, [7])


def test_a_mirror_gets_a_whole_file(path, tmp_path):
    fill(path, mirror=tmp_path / "drive")
    copy = tmp_path / "drive" / "runs.db"
    assert database.verify(copy) == []
    assert jinit.read(copy)["test_loss"].tolist() == jinit.read(path)["test_loss"].tolist()
    assert [entry.name for entry in copy.parent.iterdir()] == ["runs.db"]
    with pytest.raises(ValueError, match="mirror"):
        database.Writer(path, path.parent)


def test_sweeps_of_different_settings_are_not_one_table(path, monkeypatch):
    fill(path)
    other = SETTINGS.replace('"cpu"', '"tpu"')
    monkeypatch.setitem(FIELDS, "settings", other)
    fill(path, range(4, 7))
    with pytest.raises(ValueError, match="sweep=2"):
        jinit.read(path)
    assert jinit.read(path, sweep=1)["seed"].tolist() == [0, 1, 2, 3]
    assert jinit.read(path, sweep=2).settings["backend"] == "tpu"


@pytest.mark.slow
def test_a_store_of_many_runs_is_small_and_opening_it_reads_few_columns(path):
    fill(path, range(20_000), tile=1000)
    connection = sqlite3.connect(path)
    size = "select sum(pgsize) from dbstat where name not like '%curves%'"
    try:
        used = connection.execute(size).fetchone()[0]
        assert used <= 600 * 20_000
    except sqlite3.OperationalError:
        assert path.stat().st_size <= 700 * 20_000  # SQLite without dbstat; with the curves
    finally:
        connection.close()
    statements = []
    with database.reading(path) as connection:
        connection.set_trace_callback(statements.append)
        single = {"initializer", "learning_rate"}
        few = _whole._part(connection, 1, LAYOUT, [1], ("test_loss",), single, packed=0)
        connection.set_trace_callback(None)
    assert len(few.places) == 20_000
    assert len(statements) == 2  # the rows of what varies, and the first row
    assert statements[0].startswith('SELECT "id", "seed", "test_loss" FROM runs')
    assert not any("diverged" in text or "curves" in text for text in statements)


def test_names_that_sql_confuses_are_refused():
    for name in ("id", "Identity", "", "x" * 101, "a\0b"):
        with pytest.raises(ValueError, match="column"):
            _schema.column_type(name, "f")


def test_threads_may_hand_over_tiles_and_a_group_is_committed_soon(path):
    writer = database.Writer(path)
    with writer.transaction() as connection:
        connection.execute("insert into meta values ('kept', '0')")
    statement = "insert into meta values (?, ?)"
    threads = [threading.Thread(target=writer.put, args=([(statement, [(f"n{k}", "x")])],))
               for k in range(8)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 10
    count = 0
    while count < 8 and time.monotonic() < deadline:
        with database.reading(path) as connection:
            count = connection.execute("select count(*) from meta where value = 'x'").fetchone()[0]
    assert count == 8
    writer.close()


def test_checksums_tell_names_and_values_apart():
    sums = {_values.checksum(pairs) for pairs in (
        [("a", 1)], [("a", 2)], [("b", 1)], [("a", "1")], [("a", b"1")], [("a", 1.5)],
        [("a", 1), ("b", 1)], [])}  # fmt: skip
    assert len(sums) == 8


def test_a_commit_that_a_kill_cut_short_is_undone_by_the_next_reader(path, tmp_path):
    fill(path, range(2_000), tile=500)
    expected = losses(jinit.read(path))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma cache_size = 1")  # changed pages go to the file before the commit
    connection.execute("begin")
    connection.execute("update runs set test_loss = -1")
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in ("runs.db", "runs.db-journal"):
        shutil.copy(path.with_name(name), cut / name)
    connection.execute("rollback")
    connection.close()
    assert losses(jinit.read(cut / "runs.db")) == expected
    assert database.verify(cut / "runs.db") == []


@pytest.mark.slow
def test_duckdb_reads_a_store_without_a_network(path):
    reason = "DuckDB's reader of SQLite is not installed: pip install jinit[dev]"
    duckdb = pytest.importorskip("duckdb", reason=reason)
    package = pytest.importorskip("duckdb_extension_sqlite_scanner", reason=reason)
    (reader,) = Path(package.__file__).parent.rglob("sqlite_scanner.duckdb_extension")
    fill(path, range(8))
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{reader}'")
        connection.execute(f"ATTACH '{path}' AS store (TYPE sqlite, READ_ONLY)")
        query = "select seed, test_loss, diverged from store.runs order by seed"
        found = connection.execute(query).fetchall()
    table = jinit.read(path)
    assert [row[0] for row in found] == list(range(8))
    assert [row[1] for row in found] == table["test_loss"].astype(float).tolist()
    assert [bool(row[2]) for row in found] == table["diverged"].tolist()


def test_a_sweep_that_ended_after_it_was_merged_has_its_end(path, tmp_path):
    other, query = tmp_path / "other.db", "SELECT ended, state FROM sweeps"
    fill(other)
    with sqlite3.connect(other) as connection:
        ended = connection.execute(query).fetchall()
        connection.execute("UPDATE sweeps SET ended = NULL, state = 'running'")
    database.merge(path, [other])
    with sqlite3.connect(other) as connection:
        connection.execute("UPDATE sweeps SET ended = ?, state = ?", ended[0])
    database.merge(path, [other])
    with sqlite3.connect(path) as connection:
        assert connection.execute(query).fetchall() == ended
    assert ended[0][0] is not None


def test_more_columns_than_a_store_may_have_are_refused_before_they_are_written(path, monkeypatch):
    monkeypatch.setattr(_runs, "MOST_COLUMNS", 8)
    with pytest.raises(ValueError, match="columns of a store"):
        fill(path)
