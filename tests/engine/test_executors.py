"""Tiles in other processes: the same bits, parts sent once, nothing lost when a worker is."""

import builtins
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import engine, errors
from jinit.engine import _environment, _remote, _serve
from jinit.engine._ray import check_answers, ray_executor
from jinit.train import schedules

LANES = np.arange(23, dtype=np.float32)
LARGE = np.random.default_rng(0).normal(size=(200, 100)).astype(np.float32)
SMALL = {"dataset": "xor", "depth": 1, "width": 4, "steps": 4, "evaluations": 2}


def travel(lane, x):
    return {"sum": jnp.sum(jnp.tanh(x * lane)), "process": jnp.float32(os.getpid())}


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as workers:
        yield workers


@pytest.fixture(autouse=True)
def forgetful():
    """Workers in this process start without jobs."""
    _serve._JOBS.clear()


class Here:
    """An executor that runs each task at once in this process; tests change its answers."""

    def __init__(self, change=lambda call, request, run: run(request)):
        self.requests, self.change = [], change

    def submit(self, fn, request):
        future = Future()
        self.requests.append(request)
        try:
            future.set_result(self.change(len(self.requests), request, fn))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.mark.slow
def test_a_process_pool_gives_the_bits_of_this_process(pool):
    found = engine.run(travel, LANES, LARGE, tile=4, executor=pool)
    local = engine.run(travel, LANES, LARGE, tile=4)
    np.testing.assert_array_equal(found["sum"], local["sum"])
    assert os.getpid() not in found["process"]

    factor = 3.0  # a function of no module, with a closure, and keys as lanes
    keys = jax.random.split(jax.random.key(0), 5)
    draw = lambda key: factor * jax.random.normal(key, (2,))  # noqa: E731
    np.testing.assert_array_equal(engine.run(draw, keys, executor=pool), engine.run(draw, keys))


@pytest.mark.full
def test_a_sweep_in_a_process_pool_is_the_same_table(pool):
    grid = jinit.Grid(**SMALL, seeds=9, initializer=("he_normal", "orthogonal"))
    kinds = []
    table = jinit.run(grid, executor=pool, progress=lambda event: kinds.append(event.kind))
    local = jinit.run(grid)
    for name in table.columns:
        np.testing.assert_array_equal(table[name], local[name])
    assert kinds[0] == "plan"
    assert (kinds.count("program"), kinds.count("tile")) == (1, 2)
    assert {**table.settings, "seconds": 0} == {**local.settings, "seconds": 0}


@pytest.mark.slow
def test_a_stored_sweep_goes_on_elsewhere_with_the_runs_that_it_lacks(tmp_path):
    """The lanes of the second call are those that the file lacks."""
    first = jinit.Grid(**SMALL, seeds=(0, 3), initializer=("he_normal", "orthogonal"))
    jinit.run(first, store=tmp_path / "runs.db")
    whole = jinit.Grid(**SMALL, seeds=7, initializer=("he_normal", "orthogonal"))
    done = []

    def count(event):
        done.append(event.runs * (event.kind == "tile"))

    table = jinit.run(whole, store=tmp_path / "runs.db", executor=Here(), progress=count)
    assert sum(done) == 10
    local = jinit.run(whole)
    for name in local.columns:
        np.testing.assert_array_equal(table[name], local[name])


def test_what_a_tile_raises_comes_back_with_its_type_and_place(pool):
    home = os.getpid()

    def broken(lane):
        if os.getpid() != home:
            raise errors.refusal("lane", "this", "another", "change it")
        return lane

    with pytest.raises(ValueError, match="lane: got 'this'") as caught:
        engine.run(broken, LANES, executor=pool)
    assert "while running tile" in caught.value.__notes__[-2]
    assert "'broken', in a worker" in caught.value.__notes__[-1]


@pytest.mark.full
def test_what_the_user_registered_is_known_to_the_workers(pool):
    schedules.register("thirds", lambda steps: lambda step: 1 / 3)
    try:
        grid = jinit.Grid(**SMALL, seeds=2, schedule="thirds")
        table = jinit.run(grid, executor=pool)
        np.testing.assert_array_equal(table["test_loss"], jinit.run(grid)["test_loss"])
    finally:
        schedules._REGISTRY.remove("thirds")


def test_a_worker_asks_once_for_the_job_and_once_for_the_data():
    executor = Here()
    for shift in (1.0, 2.0):
        engine.run(lambda lane, x, s=shift: jnp.sum(x) + lane + s, LANES, LARGE, tile=2,
                   executor=executor, workers=1)  # fmt: skip
    sizes = [sum(map(len, request.parts.values())) for request in executor.requests]
    assert sum(size > LARGE.nbytes for size in sizes) == 1  # the second job finds the data
    assert sum(size > 0 for size in sizes) == 2
    assert len(sizes) == 2 * (12 + 1)  # 12 tiles, and the one that asked


def test_a_lost_tile_is_sent_again_and_an_executor_that_loses_all_is_given_up():
    def loses(call, request, run):
        if call % 3 == 1:
            raise ConnectionError("the worker is gone")
        return run(request)

    found = engine.run(travel, LANES, LARGE, tile=4, executor=Here(loses))
    np.testing.assert_array_equal(found["sum"], engine.run(travel, LANES, LARGE, tile=4)["sum"])

    def always(call, request, run):
        raise ConnectionError("the worker is gone")

    executor = Here(always)
    with pytest.raises(ConnectionError, match="is gone"):
        engine.run(travel, LANES, LARGE, tile=32, executor=executor)
    assert len(executor.requests) == _remote._ATTEMPTS


def test_workers_with_other_versions_are_refused_with_the_difference(monkeypatch):
    here = _environment.environment()
    answers = iter([here, {**here, "jax": "0.1.2", "jax_enable_x64": True}])
    monkeypatch.setattr(_environment, "environment", lambda: next(answers))
    with pytest.raises(ValueError, match=r"jax '0.1.2' instead of .*jax_enable_x64 True") as caught:
        engine.run(travel, LANES, LARGE, executor=Here())
    assert "decide the numbers" in str(caught.value)


def test_workers_with_another_precision_of_products_are_refused(pool):
    said = "jax_default_matmul_precision None instead of 'highest'"
    with jax.default_matmul_precision("highest"), pytest.raises(ValueError, match=said):
        engine.run(travel, LANES, LARGE, executor=pool)


def test_finished_tiles_outlive_a_broken_pool_and_an_interruption():
    store = engine.MemoryStore()

    def breaks(call, request, run):
        if call == 4:
            raise BrokenProcessPool("a process in the process pool was terminated abruptly")
        return run(request)

    with pytest.raises(BrokenProcessPool) as caught:
        engine.run(travel, LANES, LARGE, tile=4, executor=Here(breaks), workers=1, store=store)
    assert "pass a new executor" in caught.value.__notes__[0]
    again = Here()
    engine.run(travel, LANES, LARGE, tile=4, executor=again, workers=1, store=store)
    assert {request.tile.index for request in again.requests} == {2, 3, 4, 5}


def test_an_interruption_waits_for_running_tiles_and_takes_the_others_back():
    begun, release = [], threading.Event()

    def slow(request):
        reply = _serve.serve(request)
        if not reply.missing:
            begun.append(request.tile.index)
        if len(begun) > 1:
            release.wait(10)
        return reply

    class Slow(ThreadPoolExecutor):
        def submit(self, fn, request):
            return super().submit(slow, request)

    def stop(event):
        if event.kind == "tile":
            threading.Timer(0.2, release.set).start()
            raise KeyboardInterrupt

    store = engine.MemoryStore()
    with Slow(1) as executor, pytest.raises(KeyboardInterrupt):
        engine.run(travel, LANES, LARGE, tile=2, executor=executor, workers=8, store=store,
                   progress=stop)  # fmt: skip
    kept = {tile for tile in range(12) if store.get("travel", tile) is not None}
    assert kept <= set(begun)
    assert len(kept) >= 2  # the finished one and the one that ran
    assert len(set(begun)) < 8


class Cluster:
    """An executor as that of Ray: a future can be cancelled at any time, and its work runs on."""

    def __init__(self, workers):
        self._max_workers, self._pool = workers, ThreadPoolExecutor(workers)
        self.futures, self.begun, self.release = [], [], threading.Event()

    def submit(self, fn, request):
        future = Future()
        self.futures.append(future)
        self._pool.submit(self._work, future, fn, request)
        return future

    def _work(self, future, fn, request):
        reply = fn(request)
        if not reply.missing:
            self.begun.append(request.tile.index)
            if self.begun[0] != request.tile.index:
                self.release.wait(10)
        if not future.cancelled():
            future.set_result(reply)


def interrupted_on(cluster, store, window):
    def stop(event):
        if event.kind == "tile":
            threading.Timer(0.2, cluster.release.set).start()
            raise KeyboardInterrupt

    with cluster._pool, pytest.raises(KeyboardInterrupt):
        engine.run(travel, LANES, LARGE, tile=2, executor=cluster, workers=window, store=store,
                   progress=stop)  # fmt: skip
    return {tile for tile in range(12) if store.get("travel", tile) is not None}


def test_an_interruption_keeps_the_running_tiles_of_futures_that_can_always_be_cancelled():
    """One tile is finished; two workers run one tile each, and the others are taken back."""
    cluster = Cluster(2)
    assert len(interrupted_on(cluster, engine.MemoryStore(), window=8)) == 3
    assert sum(future.cancelled() for future in cluster.futures) == 8 - 3


def test_an_executor_that_says_nothing_of_its_workers_finishes_what_was_sent():
    cluster = Cluster(2)
    cluster._max_workers = None
    assert len(interrupted_on(cluster, engine.MemoryStore(), window=5)) == 5


@pytest.mark.slow
def test_a_pool_that_does_not_answer_is_a_hang():
    class Silent:
        def submit(self, fn, request):
            return Future()

    with pytest.raises(errors.HangError, match=r"tile 0 of program 'travel', .* and 2 more"):
        engine.run(travel, LANES, LARGE, tile=4, executor=Silent(), hang_after=0.3)


def test_this_process_handles_two_thousand_tiles_in_a_second():
    """Processor time, because other processes run here, too; 65,000 tiles/s when measured."""
    tiles = 5_000

    def nothing(call, request, run):
        return _serve.Reply(np.zeros(request.tile.stop - request.tile.start, np.float32))

    start = time.process_time()
    lanes = np.zeros(2 * tiles, np.float32)
    found = engine.run(lambda lane: lane + 1, lanes, tile=2, executor=Here(nothing))
    assert len(found) == 2 * tiles
    assert time.process_time() - start < tiles / 2_000


def test_executors_that_cannot_work_are_refused_at_once():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as forked:
        for executor, match in ((forked, "spawn"), ("slurm", "'ray:host:port'"), (3, "submit")):
            with pytest.raises((ValueError, TypeError), match=match):
                engine.run(travel, LANES, LARGE, executor=executor)


def test_without_cloudpickle_a_local_function_is_refused_with_the_fix(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "cloudpickle":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TypeError, match="pip install cloudpickle"):
        engine.run(lambda lane: lane, LANES, executor=Here())
    assert len(engine.run(travel, LANES, LARGE, executor=Here())["sum"]) == 23


@pytest.mark.slow
def test_an_address_that_is_silent_closed_or_of_something_else_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ValueError, match="no answer"):
            check_answers(address, seconds=0.2)
        assert time.monotonic() - start < 2

        def say_something_else():
            with silent.accept()[0] as connection:
                connection.send(b"HTTP/1.1 400 Bad")

        silent.accept()[0].close()  # the connection of the first check
        answer = threading.Thread(target=say_something_else)
        answer.start()
        with pytest.raises(ValueError, match="not Ray's"):
            check_answers(address)
        answer.join()
    for wrong in (address, "nowhere", "127.0.0.1:99999"):
        with pytest.raises(ValueError, match=r"refused|host:port"):
            engine.run(travel, LANES, LARGE, executor=f"ray:{wrong}")


def test_a_cluster_that_the_environment_names_must_answer(monkeypatch):
    """Ray itself would wait for ever; what is no address is left to Ray."""
    begun = []
    ray = types.SimpleNamespace(
        is_initialized=lambda: False, shutdown=lambda: None,
        init=lambda **options: begun.append(options), cluster_resources=lambda: {"CPU": 2},
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", ray)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    for named in (address, f"ray://{address}", "nowhere"):
        monkeypatch.setenv("RAY_ADDRESS", named)
        with pytest.raises(ValueError, match="RAY_ADDRESS: got"), ray_executor(None, "cpu"):
            pass
    assert not begun
    for named in ("", "auto", "local", "other://place"):
        monkeypatch.setenv("RAY_ADDRESS", named)
        with ray_executor(None, "cpu"):
            pass
    assert len(begun) == 4


@pytest.mark.full
def test_dask_gives_the_same_bits():
    distributed = pytest.importorskip("distributed")
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
from distributed import Client, LocalCluster
from jinit import engine
from test_executors import LANES, LARGE, travel

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1",
                      dashboard_address=None) as cluster, Client(cluster) as client:
        found = engine.run(travel, LANES, LARGE, tile=4, executor=client.get_executor())
    np.testing.assert_array_equal(found["sum"], engine.run(travel, LANES, LARGE, tile=4)["sum"])
    print(len(set(found["process"].tolist())), "processes")
"""
    assert distributed
    done = run_script(code, "on_dask")
    assert "2 processes" in done or "1 processes" in done


def run_script(code, name, *before):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.py")
        path.write_text(code)
        done = subprocess.run([*before, sys.executable, str(path)], capture_output=True, text=True,
                              timeout=280)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.full
def test_a_ray_cluster_that_loses_a_node_in_mid_sweep_gives_the_same_table():
    """Three nodes in a network that ends at this machine; one is killed."""
    pytest.importorskip("ray")
    isolated = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child",
                "--mount-proc"]  # fmt: skip
    possible = (
        shutil.which("unshare")
        and not subprocess.run([*isolated, "true"], capture_output=True).returncode
    )
    if not possible:
        assert not os.environ.get("CI"), "namespaces must be allowed here"
        pytest.skip("this machine allows no network namespaces")
    script = Path(__file__).parent / "ray_cluster.py"
    inside = f"ip link set lo up && exec {sys.executable} {script}"
    done = subprocess.run([*isolated, "bash", "-c", inside], capture_output=True, text=True,
                          timeout=280)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "one node killed, same bits, all on 127.0.0.1" in done.stdout
