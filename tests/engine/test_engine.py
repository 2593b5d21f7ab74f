"""Tests the engine: independent lanes, one compile per program, no lost tile, no silent hang."""

import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jinit import _switches, engine, errors
from jinit.engine import _cost, _executors, _jobs, _tiles
from jinit.engine._cost import LaneBytes
from jinit.engine._jobs import Job, run_many
from jinit.engine._program import Program

RNG = np.random.default_rng(0)
LANES = {"w": RNG.normal(size=(23, 8, 8)).astype(np.float32), "rate": np.linspace(0, 0.5, 23)}
X = RNG.normal(size=(16, 8)).astype(np.float32)


def descend(lane, x):
    """Ten steps of gradient descent in a scan."""

    def step(w, _):
        gradient = jax.grad(lambda w: jnp.mean(jnp.tanh(x @ w) ** 2))(w)
        return w - lane["rate"] * gradient, jnp.sum(w * w)

    return jax.lax.scan(step, lane["w"], None, length=10)


def take(rows):
    return jax.tree.map(lambda leaf: leaf[rows], LANES)


def equal(a, b, same=np.testing.assert_array_equal):
    for left, right in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        same(left, right)


@pytest.fixture(scope="module")
def reference():
    return engine.run(descend, LANES, X, tile=4, workers=1)


@pytest.mark.slow
def test_run_is_vmap(reference):
    lanes = {"w": LANES["w"], "rate": LANES["rate"].astype(np.float32)}
    expected = jax.jit(jax.vmap(descend, in_axes=(0, None)))(lanes, X)
    for ours, exact in zip(*map(jax.tree.leaves, (reference, expected)), strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(st.integers(0, 22), min_size=1, max_size=23), st.integers(1, 2))
def test_a_lane_is_the_same_anywhere_with_anyone_on_any_worker(
    reference, assert_same_bits, rows, workers
):
    found = engine.run(descend, take(rows), X, tile=4, workers=workers)
    equal(found, jax.tree.map(lambda leaf: leaf[rows], reference), assert_same_bits)


@pytest.mark.slow
def test_other_widths_agree_to_rounding(reference):
    for width in (2, 8, 16):
        found = engine.run(descend, LANES, X, tile=width)
        for ours, exact in zip(*map(jax.tree.leaves, (found, reference)), strict=True):
            np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-5)


def test_a_program_compiles_once_whatever_the_number_of_lanes():
    events = []

    def double(lane):
        return lane * 2

    for count in (3, 5, 40):
        engine.run(double, np.arange(count), tile=4, progress=events.append)
    assert [event.kind for event in events].count("compiled") == 1


def test_two_threads_compile_a_program_once():
    program = Program(
        lambda x: x + 1, jax.ShapeDtypeStruct((), jnp.float32), (), width=2, name="once"
    )
    threads = [threading.Thread(target=program.compile) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert program.traces == 1


def test_many_jobs_interleave_and_come_back_in_order():
    made = [Job(lambda x, k=k: x * k, np.arange(7 + k), name=f"job {k}", tile=2) for k in range(5)]
    seen = []
    found = run_many(made, workers=2, progress=seen.append)
    for k, result in enumerate(found):
        np.testing.assert_array_equal(result, np.arange(7 + k) * k)
    kinds = [event.kind for event in seen]
    assert kinds.count("compiled") == 5
    assert kinds.count("job") == 5
    assert sum(e.tile.stop - e.tile.start for e in seen if e.kind == "tile") == 7 + 8 + 9 + 10 + 11


def test_workers_run_at_the_same_time():
    both = threading.Barrier(2, timeout=60)

    def meet(x):
        return jax.pure_callback(
            lambda v: (both.wait(), np.asarray(v))[1],
            jax.ShapeDtypeStruct((), jnp.int32),
            x,
            vmap_method="expand_dims",
        )

    found = engine.run(meet, np.arange(4, dtype=np.int32), tile=2, workers=2)
    np.testing.assert_array_equal(found, np.arange(4))


@pytest.mark.slow
def test_a_hang_becomes_an_error_that_names_program_and_tile():
    free = threading.Event()

    def stuck(x):
        return jax.pure_callback(
            lambda v: (free.wait(60), np.asarray(v))[1],
            jax.ShapeDtypeStruct((), jnp.int32),
            x,
            vmap_method="expand_dims",
        )

    start = time.monotonic()
    with pytest.raises(
        errors.HangError, match=r"running tile 0 \(lanes 0 to 1\) of program 'stuck'"
    ):
        engine.run(stuck, np.arange(4, dtype=np.int32), tile=2, workers=1, hang_after=1.5)
    assert time.monotonic() - start < 20
    free.set()


def test_a_store_in_memory_keeps_no_buffer_of_jax():
    store, whole = engine.MemoryStore(), np.arange(4.0)
    store.put("job", 0, {"view": whole[:3], "own": whole})
    kept = store.get("job", 0)
    assert kept["view"].flags.owndata
    np.testing.assert_array_equal(kept["view"], whole[:3])
    assert kept["own"] is whole


def test_an_error_says_where_and_finished_tiles_stay():
    store = engine.MemoryStore()

    def check(values):
        if np.any(values >= 6):
            raise RuntimeError("lane 6 is bad")
        return values

    def fails(x):
        return jax.pure_callback(
            check, jax.ShapeDtypeStruct((), jnp.int32), x, vmap_method="expand_dims"
        )

    with pytest.raises(Exception, match="lane 6 is bad") as caught:
        engine.run(fails, np.arange(8, dtype=np.int32), tile=2, workers=1, store=store)
    assert "while running tile 3 (lanes 6 to 7) of program 'fails'" in caught.value.__notes__
    np.testing.assert_array_equal(store.get("fails", 0), [0, 1])


def test_a_store_is_resumed_without_recomputing():
    store, calls = engine.MemoryStore(), []

    def stop_after(event):
        calls.append(event.kind)
        if calls.count("tile") == 3:
            raise KeyboardInterrupt

    def double(x):
        return 2 * x

    with pytest.raises(KeyboardInterrupt):
        engine.run(double, np.arange(12), tile=2, workers=1, store=store, progress=stop_after)
    kept = sum(store.get("double", tile) is not None for tile in range(6))
    assert kept >= 3
    seen = []
    found = engine.run(double, np.arange(12), tile=2, store=store, progress=seen.append)
    np.testing.assert_array_equal(found, 2 * np.arange(12))
    assert sum(event.kind == "tile" for event in seen) == 6 - kept


def test_user_errors_at_trace_time_keep_their_type():
    def wrong(x):
        raise ValueError("not traceable")

    with pytest.raises(ValueError, match="not traceable"):
        engine.run(wrong, np.arange(4), tile=2)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: engine.run(abs, {"a": np.ones(3), "b": np.ones(4)}), "one leading lane axis"),
        (lambda: engine.run(abs, np.float32(3)), "one leading lane axis"),
        (lambda: engine.run(abs, {}), "one leading lane axis"),
        (lambda: engine.run(abs, np.ones(3), tile=1), "tile: got 1"),
        (lambda: engine.run(abs, np.ones(3), workers=0), "workers: got 0"),
        (lambda: engine.run(abs, np.ones(3), hang_after=0), "hang_after: got 0"),
        (
            lambda: run_many([Job(abs, np.ones(2)), Job(abs, np.ones(2))]),
            "each name once",
        ),
    ],
)
def test_bad_input(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_tile_width_is_a_pure_function_of_bytes_and_platform():
    sizes = map(LaneBytes, (1, 10**5, 3 * 10**5, 10**7))
    assert [_tiles.tile_width(size, "cpu") for size in sizes] == [16, 8, 2, 2]
    assert _tiles.tile_width(LaneBytes(10**5), "gpu") == 512
    assert _tiles.tile_width(LaneBytes(10**8), "gpu") == 8


def test_cost_is_read_off_the_jaxpr():
    a = jax.ShapeDtypeStruct((8, 4), jnp.float32)

    def looped(a):
        return jax.lax.scan(lambda c, _: (c @ a.T @ a, None), a, None, length=5)[0]

    assert _cost.matmul_flops(looped, a) == 5 * 2 * (8 * 4 * 8 + 8 * 8 * 4)
    assert _cost.lane_bytes(looped, a, ()).carried == 8 * 4 * 4
    seed = jax.ShapeDtypeStruct((), jnp.uint32)

    def makes_its_own(seed):
        w = jax.random.normal(jax.random.key(seed), (50, 50))
        return jax.lax.fori_loop(0, 3, lambda i, w: w * 2, w).sum()

    assert _cost.lane_bytes(makes_its_own, seed, ()).carried == 50 * 50 * 4 + 4


def test_convolutions_are_counted():
    x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    k = jax.ShapeDtypeStruct((3, 3, 3, 5), jnp.float32)

    def conv(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert _cost.matmul_flops(conv, x, k) == 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)


@pytest.mark.slow
def test_several_devices_share_the_work(monkeypatch):
    devices = tuple(jax.local_devices())
    assert len(devices) == 2, "tests run with two host devices"
    machine = _executors.Workers("gpu", devices, True, 2**30)
    monkeypatch.setattr(_executors, "local", lambda workers=None: machine)
    found = engine.run(descend, LANES, X, tile=4)
    monkeypatch.undo()
    equal(found, engine.run(descend, LANES, X, tile=4))


def test_lanes_made_on_demand_are_only_made_once():
    class Squares:
        count = 5
        lane = jax.ShapeDtypeStruct((), jnp.int32)

        def __init__(self):
            self.taken = []

        def programs(self, width):
            return ()

        def take(self, numbers, device):
            self.taken.append(numbers.tolist())
            return (numbers**2).astype(np.int32)

    source = Squares()
    found = _jobs.run_many([_jobs.Job(lambda x: x + 1, source, tile=2)], workers=1)[0]
    np.testing.assert_array_equal(found, np.arange(5) ** 2 + 1)
    assert source.taken == [[0, 1], [2, 3], [4, 4]]


@pytest.mark.full
@pytest.mark.timeout(240)
def test_batched_qr_on_two_threads_does_not_hang():
    from jinit import initializers

    draw = initializers.orthogonal()

    def layers(seed):
        keys = jax.random.split(jax.random.key(seed), 4)
        return jnp.stack([draw(key, (24, 24)) for key in keys])

    for repetition in range(200):
        seeds = np.arange(16, dtype=np.uint32) + repetition
        found = engine.run(layers, seeds, tile=4, workers=2, hang_after=60)
    product = found[0, 0].T @ found[0, 0]
    np.testing.assert_allclose(product, np.eye(24), atol=1e-5)


def test_a_store_holds_one_job_of_a_name():
    store, lanes = engine.MemoryStore(), np.arange(3.0, dtype=np.float32)

    def double(x):
        return 2 * x

    engine.run(double, lanes, store=store)
    np.testing.assert_array_equal(engine.run(double, lanes, store=store), 2 * lanes)
    for fn, others in ((lambda x: x, lanes), (double, lanes + 1)):
        fn.__name__ = "double"
        with pytest.raises(ValueError, match="store of job 'double'"):
            engine.run(fn, others, store=store)


@pytest.mark.slow
def test_keys_are_lanes_and_no_lanes_are_refused():
    keys = jax.random.split(jax.random.key(0), 5)
    found = engine.run(jax.random.normal, keys)
    np.testing.assert_allclose(found, jax.vmap(jax.random.normal)(keys), rtol=1e-6)
    with pytest.raises(ValueError, match="lanes: got 'none'"):
        engine.run(lambda x: x, np.zeros((0, 3)))


@pytest.mark.parametrize("options", [{}, {"tile": 2}, {"store": "lanes.db"}])
@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: 1.0 if x > 0 else 2.0, "function '<lambda>': got .TracerBoolConversionError.*"),
        (lambda x: np.sin(x), "function '<lambda>': got .TracerArrayConversionError.*jax.numpy"),
        (lambda x: "text", "result of '<lambda>': got 'a value of type str'; allowed: arrays"),
    ],
)
def test_functions_that_cannot_be_traced_are_refused(function, match, options, tmp_path):
    if "store" in options:
        options = {"store": tmp_path / options["store"]}
    with pytest.raises(errors.Refusal, match=match):
        engine.run(function, np.arange(3.0, dtype=np.float32), **options)


def test_errors_of_the_function_itself_are_its_own():
    with pytest.raises(ZeroDivisionError):
        engine.run(lambda x: x * (1 / 0), np.arange(3.0, dtype=np.float32))


def test_functions_that_read_other_arguments_are_other_programs(tmp_path):
    """JAX leaves unused arguments out of the code that it compiles."""
    lanes = {"x": np.arange(4.0, dtype=np.float32), "y": np.full(4, 7, np.float32)}
    for options in ({}, {"store": tmp_path / "lanes.db"}):
        for name in ("x", "y"):
            found = engine.run(lambda lane, name=name: 2 * lane[name], lanes, **options)
            np.testing.assert_array_equal(found, 2 * lanes[name])
    for length in (3, 5):
        found = engine.run(lambda lane, unused: lane + 1, lanes["x"], np.zeros(length))
        np.testing.assert_array_equal(found, lanes["x"] + 1)


def test_a_switch_of_a_block_holds_in_the_threads_that_compute():
    lanes = np.linspace(0, 1, 8)
    with _switches.entered({"enable_x64": True}):
        found = engine.run(lambda lane: lane / 3, lanes)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, lanes / 3)
    assert engine.run(lambda lane: lane / 3, lanes.astype(np.float32)).dtype == np.float32
