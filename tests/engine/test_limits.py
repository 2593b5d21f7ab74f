"""What the engine may use and what it must refuse: numbers, memory, processes, signals."""

import os
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jinit import engine
from jinit.engine import _executors


def identity(x):
    return x


@pytest.mark.slow
@given(
    arrays.arrays(
        st.sampled_from([np.int64, np.uint64, np.int16, np.float64, np.complex128]),
        st.integers(1, 4),
    )
)
def test_lanes_come_back_or_are_refused(lanes):
    """The reference is the input: the identity must return it, up to float32's rounding."""
    kinds = {"i": np.int32, "u": np.uint32, "f": np.float32, "c": np.complex64}
    with np.errstate(over="ignore"):
        kept = lanes.astype(kinds[lanes.dtype.kind])
    wraps = lanes.dtype.kind in "iu" and not np.array_equal(kept.astype(lanes.dtype), lanes)
    if wraps or not np.array_equal(np.isfinite(kept), np.isfinite(lanes)):
        with pytest.raises(ValueError, match="values that"):
            engine.run(identity, lanes, tile=2, workers=1)
    elif lanes.dtype.kind in "iu":
        assert engine.run(identity, lanes, tile=2, workers=1).tolist() == lanes.tolist()
    else:
        found = engine.run(identity, lanes, tile=2, workers=1)
        np.testing.assert_allclose(found, lanes, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("beyond", [2**31, -(2**31) - 1, np.uint64(2**32), 1e39, -1e39, 1e39j])
def test_shared_arguments_beyond_their_dtype_are_refused(beyond):
    with pytest.raises(ValueError, match=r"shared arguments\[0\]"):
        engine.run(lambda x, y: x, np.arange(2), beyond)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: engine.run(abs, np.ones(3), store=False), "store: got False"),
        (lambda: engine.run(abs, np.ones(3), progress=3), "progress: got 3"),
        (lambda: engine.run(abs, np.ones(3), workers=2**32), "workers: got 4294967296"),
        (lambda: engine.run(abs, np.array(["2020-01-01"], "M8[D]")), "lanes: got 'dtype datetime"),
        (lambda: engine.run(abs, np.array(["a"])), "lanes: got 'dtype <U1"),
        (lambda: engine.run(lambda x, y: x, np.ones(2), 10**400), "shared arguments"),
        (lambda: engine.run(None, np.ones(3)), "fn: got None"),
        (lambda: engine.run(jax.random.key, np.arange(2)), "PRNG keys at the root"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(call, match):
    with pytest.raises((ValueError, TypeError), match=match):
        call()


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no long doubles here")
def test_long_doubles_are_refused():
    for dtype in (np.longdouble, np.clongdouble):
        with pytest.raises(TypeError, match="lanes: got 'dtype"):
            engine.run(abs, np.ones(3, dtype))


FORK = """
import os, sys, time
{before}
import jax.numpy as jnp
jnp.ones(3).sum().block_until_ready()
child = os.fork()
if child:
    started = time.monotonic()
    while time.monotonic() - started < 60 and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.05)
    raise SystemExit(time.monotonic() - started > 50)
from jinit import engine
import numpy as np
try:
    engine.run(abs, np.ones(3))
except ValueError as error:
    assert "spawn" in str(error), error
    os._exit(0)
"""


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("before", ["import jinit.engine", ""])
def test_a_forked_worker_is_told_at_once(before):
    command = [sys.executable, "-W", "ignore", "-c", FORK.format(before=before)]
    assert subprocess.run(command, timeout=100).returncode == 0


def test_memory_is_what_the_process_may_use(tmp_path, monkeypatch):
    groups = tmp_path / "cgroup"
    folder = tmp_path / "root" / "batch" / "job"
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("max\n")
    (folder.parent / "memory.max").write_text(f"{3 * 2**20}\n")
    groups.write_text("0::/batch/job\n")
    assert list(_executors._control_groups(groups, tmp_path / "root")) == [3 * 2**20]
    old = tmp_path / "root" / "memory" / "job"
    old.mkdir(parents=True)
    (old / "memory.limit_in_bytes").write_text(f"{2**21}\n")
    (old.parent / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    groups.write_text("5:cpu:/job\n4:memory:/job\n")
    assert list(_executors._control_groups(groups, tmp_path / "root")) == [2**21]
    monkeypatch.setattr(_executors, "_control_groups", lambda: iter([2**21]))
    assert _executors.host_memory() == 2**21


@pytest.mark.slow
def test_a_limit_of_the_process_counts_as_its_memory():
    limit = 200 * 2**30  # virtual memory: JAX alone reserves gigabytes
    code = ("import resource\n"
            f"resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
            "from jinit.engine import _executors\n"
            "print(*_executors._resource_limits())")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == [str(limit)], done.stderr


@pytest.mark.slow
def test_a_second_interrupt_ends_the_wait_and_a_third_loses_nothing():
    free, store = threading.Event(), engine.MemoryStore()

    def wait(values):
        if np.any(values >= 2):
            free.wait(60)
        return values

    def slow(x):
        shape = jax.ShapeDtypeStruct((), jnp.int32)
        return jax.pure_callback(wait, shape, x, vmap_method="expand_dims")

    def interrupt():
        for _ in range(3):
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)

    def first(event):
        if event.kind == "tile":
            sender.start()

    # What runs in the background has no handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.run(slow, np.arange(4, dtype=np.int32), tile=2, workers=1,
                       store=store, progress=first)  # fmt: skip
        lasted = time.monotonic() - start
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sender.join()
        signal.signal(signal.SIGINT, before)
        free.set()
    assert lasted < 10
    assert store.get("slow", 0).tolist() == [0, 1]
