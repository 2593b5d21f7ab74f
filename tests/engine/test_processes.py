"""Processes that JAX connects run one sweep with the bits of one process, or end with an error."""

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import jax
import numpy as np
import pytest

from jinit import engine, errors
from jinit.engine import _environment, _executors, _group, _spread
from jinit.engine._group import Group
from jinit.engine._jobs import Job, only, prepare, run_many

FLAG = "--xla_force_host_platform_device_count=4"
BOTH = """
import json, sys
import jax

count, index, port = map(int, sys.argv[1:4])
if count > 1:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, index)
import jax.numpy as jnp
import numpy as np
import jinit
from jinit import engine

def walk(seed, drift):
    if index == 1 and "bad" in sys.argv:
        raise ValueError("a fault of one process")
    return {"end": jnp.cumsum(jnp.sin(seed + jnp.arange(100.0)) + drift)[-1]}

lanes = np.arange(33, dtype=np.uint32)
walked = engine.run(walk, lanes, 0.1, tile=2)["end"]
if "walk" in sys.argv:
    print("begun", flush=True)
    for _ in range(10_000):
        engine.run(walk, lanes, 0.1, tile=2)
tiles = []
grid = jinit.Grid(dataset="xor", initializer=("he_normal", "zeros"), depth=1, width=4, steps=4,
                  evaluations=2, seeds=int(sys.argv[4]))
table = jinit.run(grid, tile=2, store=f"runs{index}.db" if count > 1 else None,
                  progress=lambda event: tiles.append(event.kind))
print(json.dumps({"walk": walked.tobytes().hex(), "tiles": tiles.count("tile"),
                  "loss": np.asarray(table["test_loss"]).tobytes().hex(), "runs": len(table)}))
"""


def test_workers_are_refused_where_tiles_go_to_the_devices_of_all_processes(monkeypatch):
    monkeypatch.setattr(_group, "_current", object())
    job = Job(np.sin, np.ones(3, np.float32))
    with pytest.raises(errors.Refusal, match="workers: got 2"):
        run_many([job], workers=2)


@pytest.mark.slow
def test_a_backend_that_does_not_start_is_an_error_of_ours():
    code = "import numpy as np; from jinit import engine; engine.run(lambda x: x, np.arange(3))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
        env={**os.environ, "JAX_PLATFORMS": "tpu", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.stderr.splitlines()[-1].startswith("jinit.errors.ValueRefusal: JAX backend: got")


def started(count, index, port, folder, *words):
    return subprocess.Popen(
        [sys.executable, "-c", BOTH, str(count), str(index), str(port), *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, "XLA_FLAGS": FLAG, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def both(folder, *words):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return [started(2, index, port, folder, *words) for index in (0, 1)]


def answers(processes):
    said = [process.communicate(timeout=280) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(said), said
    return [json.loads(out.splitlines()[-1]) for out, _ in said]


@pytest.mark.full
def test_two_processes_of_four_devices_give_the_bits_of_one_process(tmp_path):
    """13 seeds of two arms in tiles of two are 13 tiles for eight devices: two padded rounds."""
    (alone,) = answers([started(1, 0, 0, tmp_path, 13)])
    first, second = answers(both(tmp_path, 13))
    assert first["walk"] == second["walk"] == alone["walk"]
    assert first["loss"] == second["loss"] == alone["loss"]
    assert first["runs"] == second["runs"] == alone["runs"] == 26
    # The first process writes and reports.
    assert (tmp_path / "runs0.db").exists()
    assert not (tmp_path / "runs1.db").exists()
    assert (first["tiles"], second["tiles"]) == (13, 0)
    # What the file holds is not trained again: only the two lanes of one more seed are.
    first, second = answers(both(tmp_path, 14))
    assert first["runs"] == second["runs"] == 28
    assert first["tiles"] == 1


def by_address():
    """The words and the environment of each of two commands that are told where to meet."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{listener.getsockname()[1]}/2"
    return [(("--distributed", f"{where}/{number}"), {}) for number in (0, 1)]


def by_slurm():
    """The same for two commands that Slurm starts: JAX reads its variables."""
    for job in range(os.getpid() % 4096, 2**13):
        port = job % 2**12 + 2**16 - 2**12  # where the processes of this job meet
        # A port that is taken: the next job number has another one.
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            break
    shared = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    return [
        (
            ("--distributed", "auto"),
            {**shared, "SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)},
        )
        for number in (0, 1)
    ]


@pytest.mark.full
@pytest.mark.parametrize("way", [by_address, by_slurm])
def test_two_commands_write_the_table_of_one(way, tmp_path):
    """Both end with success, so each left JAX's coordinator in order."""
    flags = ["--dataset", "xor", "--initializer", "he_normal", "zeros", "--depth", "1", "--width",
             "4", "--steps", "4", "--evaluations", "2", "--seeds", "7", "--tile", "2"]  # fmt: skip

    def command(out, words=(), variables=None):
        line = [sys.executable, "-m", "jinit", "sweep", *flags, "--devices", "2", "--out", out]
        own = {"XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path), **(variables or {})}
        return subprocess.Popen([*line, *words], cwd=tmp_path, env=os.environ | own, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip

    together = [command(f"{number}.csv", *how) for number, how in enumerate(way())]
    together.append(command("alone.csv"))
    said = [process.communicate(timeout=280) for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], said
    assert said[1][0] == ""
    assert not (tmp_path / "1.csv").exists()
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()


@pytest.mark.full
def test_a_process_that_stops_ends_the_others_with_its_error(tmp_path):
    said = [process.communicate(timeout=200)[1] for process in both(tmp_path, 2, "bad")]
    assert "process 1 of 2 stopped: ValueError: a fault of one process" in said[0]
    assert "ValueError: a fault of one process" in said[1]


@pytest.mark.full
def test_a_process_that_is_killed_ends_the_other_with_an_error(tmp_path):
    """After 30 s by jinit; JAX's own shutdown may then wait for 100 s until it counts as lost."""
    first, second = both(tmp_path, 2, "walk")
    assert first.stdout.readline() == second.stdout.readline() == "begun\n"
    second.send_signal(signal.SIGKILL)
    _, said = first.communicate(timeout=200)
    second.communicate()
    assert first.returncode != 0
    assert "no sign of life" in said or "heartbeat" in said, said[-2000:]


class Table:
    """The coordinator's table of keys, in one process."""

    def __init__(self):
        self.keys = {}

    def key_value_set_bytes(self, key, value, allow_overwrite=False):
        assert allow_overwrite or key not in self.keys
        assert len(value) <= 2**20
        self.keys[key] = value

    def blocking_key_value_get_bytes(self, key, timeout_in_ms):
        if key not in self.keys:
            time.sleep(timeout_in_ms / 10_000)
            raise RuntimeError("DEADLINE_EXCEEDED")
        return self.keys[key]

    def key_value_dir_get_bytes(self, key):
        return [item for item in list(self.keys.items()) if item[0].startswith(key + "/")]

    def key_value_delete(self, key):
        for name in [name for name in self.keys if name == key or name.startswith(key + "/")]:
            del self.keys[name]


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(_group, "_BEAT", 10.0)
    table = Table()
    groups = [Group(table, index, 2, "run") for index in (0, 1)]
    yield table, *groups
    for group in groups:
        group.close()


def test_what_is_said_is_heard_in_pieces(two):
    table, first, second = two
    for data in (b"", b"a", os.urandom(2**20), os.urandom(2**21 + 1)):
        second.say("tiles/0", data)
        assert first.hear("tiles/0", 1.0) == data
        first.forget("tiles/0")
        assert not any("tiles" in key for key in table.keys)


def test_errors_and_silence_of_another_process_end_a_wait(two, monkeypatch):
    _, first, second = two
    with pytest.raises(errors.HangError, match=r"nothing came .* for 0\.05 s"):
        first.hear("never", 0.05)
    start = time.monotonic()
    with pytest.raises(errors.HangError, match="nothing came"):
        first.hear("never", 20.0, given_up=lambda: True)
    assert time.monotonic() - start < 10
    monkeypatch.setattr(_group, "LOST_AFTER", 0.3)
    with pytest.raises(errors.HangError, match="process 1 of 2 gave no sign of life"):
        first.hear("never", 20.0)
    second.fail(KeyboardInterrupt("stop"))
    with pytest.raises(RuntimeError, match="process 1 of 2 stopped: KeyboardInterrupt: stop"):
        first.hear("never", 20.0)


def test_the_first_process_leaves_after_the_others(two):
    """The coordinator is in it, and JAX aborts a process that loses the coordinator."""
    _, first, second = two
    first.fail(KeyboardInterrupt())
    leaves = threading.Timer(0.2, second.fail, [RuntimeError("process 0 stopped")])
    leaves.start()
    start = time.monotonic()
    first.wait_until_others_stop(20.0)
    assert 0.1 < time.monotonic() - start < 10
    leaves.join()


class Alone:
    """A group of one process."""

    first, index, count = True, 0, 1

    def same(self, value, patience):
        return value


def line(x, y):
    return {"y": np.float32(2) * x + y}


def test_a_mesh_of_all_devices_gives_the_bits_of_threads():
    """Two host devices: four tiles are two rounds; a store holds the fifth."""
    lanes, shift = np.arange(9, dtype=np.float32), np.float32(0.1)
    expected = engine.run(line, lanes, shift, tile=2)["y"]
    store, events = engine.MemoryStore(), []
    store.put("line", 1, "kept")
    task = prepare(Job(line, lanes, (shift,), name="line", tile=2), _executors.local(1))
    works = [_spread.Work(task, line, (shift,))]
    _spread.run_spread(works, store, Alone(), only=only, hang_after=1.0, progress=events.append)
    for tile in (0, 2, 3, 4):
        found = store.get("line", tile)["y"]
        np.testing.assert_array_equal(found, expected[2 * tile :][:2])
    assert store.get("line", 1) == "kept"
    assert [event.kind for event in events] == ["compiled", *["tile"] * 4, "job"]


def test_an_interruption_keeps_the_round_that_runs():
    """The second of three rounds runs when the first one is reported."""

    def stop(event):
        if event.kind == "tile":
            raise KeyboardInterrupt

    lanes, shift, store = np.arange(9, dtype=np.float32), np.float32(0.1), engine.MemoryStore()
    task = prepare(Job(line, lanes, (shift,), name="line", tile=2), _executors.local(1))
    works = [_spread.Work(task, line, (shift,))]
    assert jax.device_count() == 2
    with pytest.raises(KeyboardInterrupt):
        _spread.run_spread(works, store, Alone(), only=only, hang_after=1.0, progress=stop)
    expected = engine.run(line, lanes, shift, tile=2)["y"]
    for tile in range(4):
        np.testing.assert_array_equal(store.get("line", tile)["y"], expected[2 * tile :][:2])
    assert store.get("line", 4) is None


@pytest.mark.parametrize("said", [True, False])
def test_what_is_computed_is_kept_where_another_process_stops(said, two):
    """Two tiles, one for each process; the other one may have said its part before it stopped."""
    _, first, second = two
    if said:
        second.say("tiles/0/0/1", pickle.dumps([(1, "theirs")]))
    second.fail(KeyboardInterrupt())
    with pytest.raises(RuntimeError, match="process 1 of 2 stopped") as stopped:
        first.check()
    task = prepare(Job(line, np.ones(4, np.float32), (), name="line", tile=2), _executors.local(1))
    places = np.array([jax.devices()[0], types.SimpleNamespace(process_index=1)])
    mesh, store = types.SimpleNamespace(devices=places), engine.MemoryStore()
    spread = _spread._Spread(_spread.Work(task, line, ()), 0, (0, 1), mesh, first, 20.0)
    spread._drain([(0, 1)], {0: jax.numpy.arange(2.0)}, store, stopped.value)
    np.testing.assert_array_equal(store.get("line", 0), [0.0, 1.0])
    assert store.get("line", 1) == ("theirs" if said else None)


def test_a_process_in_the_middle_of_its_rounds_notices_that_another_one_stopped(two):
    _, first, second = two
    task = prepare(Job(line, np.ones(2, np.float32), (), name="line", tile=2), _executors.local(1))
    mesh = types.SimpleNamespace(devices=np.array([types.SimpleNamespace(process_index=0)]))
    spread = _spread._Spread(_spread.Work(task, line, ()), 0, (0,), mesh, second, 20.0)
    spread._finish(0, (0,), None, engine.MemoryStore())
    first.fail(ValueError("bad"))
    with pytest.raises(RuntimeError, match="process 0 of 2 stopped: ValueError: bad"):
        spread._finish(0, (0,), None, engine.MemoryStore())


def test_processes_with_other_jobs_are_refused():
    task = prepare(Job(abs, np.ones(3), name="one", tile=2), _executors.local(1))
    works = [_spread.Work(task, abs, ())]
    environment = _environment.environment()
    _spread._check(works, [_spread._Order("one", 2, None, ())], environment)
    for name, width, other in (("two", 2, {}), ("one", 4, {}), ("one", 2, {"jax": "0.1"})):
        order = _spread._Order(name, width, None, ())
        with pytest.raises(ValueError, match="start the same program in all processes"):
            _spread._check(works, [order], environment | other)
