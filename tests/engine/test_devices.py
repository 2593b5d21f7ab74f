"""Tiles go to all devices that are asked for, with the same bits, and have a constant width."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jinit
from jinit import engine
from jinit.engine import _convolutions, _cost, _executors, _tiles
from jinit.engine._convolutions import with_fast_convolutions
from jinit.engine._cost import LaneBytes
from jinit.sweep import _checks, _costs

FLAG = "--xla_force_host_platform_device_count=8"
EIGHT = """
import json, threading
import jax, jax.numpy as jnp, numpy as np
import jinit
from jinit import engine
from jinit.engine._program import Program

grid = jinit.Grid(dataset="xor", initializer="he_normal", depth=1, width=4, steps=4,
                  evaluations=2, seeds=33)
devices, used, lock = jax.local_devices(), [], threading.Lock()
call = Program.__call__

def recorded(self, lanes, shared, device=None):
    if shared and self.name.startswith(("dataset=", "walk")):
        with lock:
            used.append(str(None if device is None else device.id))
    return call(self, lanes, shared, device)

Program.__call__ = recorded

def trained(**how):
    used.clear()
    table = jinit.run(grid, tile=2, progress=False, **how)
    bits = [np.asarray(table[name]).tobytes().hex() for name in ("test_loss", "train_loss")]
    return {"bits": bits, "used": list(used), "settings": table.settings["devices"]}

def walk(seed, drift):
    return jnp.cumsum(jnp.sin(seed + jnp.arange(100.0)) + drift)[-1]

def walked(**how):
    used.clear()
    found = engine.run(walk, np.arange(33, dtype=np.uint32), 0.1, tile=2, **how)
    return {"bits": found.tobytes().hex(), "used": list(used)}

def interrupted():
    store, kinds = engine.MemoryStore(), []
    def stop(event):
        kinds.append(event.kind)
        if kinds.count("tile") == 3:
            raise KeyboardInterrupt
    try:
        walked(workers=devices, store=store, progress=stop)
    except KeyboardInterrupt:
        kept = sum(store.get("walk", tile) is not None for tile in range(17))
    return {"kept": kept, **walked(workers=devices, store=store)}

print(json.dumps({
    "sweep": {"threads": trained(workers=1), "eight": trained(workers=devices, store="runs.db"),
              "again": trained(workers=devices[:2], store="runs.db")},
    "walk": {"threads": walked(workers=1), "one": walked(workers=devices[:1]),
             "two": walked(workers=devices[:2]), "interrupted": interrupted()},
}))
"""


@pytest.mark.full
def test_eight_devices_train_the_bits_of_one(tmp_path):
    """Which of the eight devices gets one of 17 tiles is left to time; most of them do."""
    done = subprocess.run(
        [sys.executable, "-c", EIGHT], capture_output=True, text=True, timeout=280, cwd=tmp_path,
        env={**os.environ, "XLA_FLAGS": FLAG, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for runs in found.values():
        assert all(one["bits"] == runs["threads"]["bits"] for one in runs.values())
        assert runs["threads"]["used"] == ["None"] * 17
    trained, walked = found["sweep"], found["walk"]
    assert len(set(trained["eight"]["used"])) > 3
    assert trained["eight"]["settings"] == [f"cpu:{number}" for number in range(8)]
    # The store knows no devices: nothing is trained twice.
    assert trained["again"]["used"] == []
    assert walked["one"]["used"] == ["0"] * 17
    assert set(walked["two"]["used"]) == {"0", "1"}
    assert walked["interrupted"]["kept"] >= 3
    assert len(walked["interrupted"]["used"]) == 17 - walked["interrupted"]["kept"]


@pytest.mark.slow
def test_devices_are_workers():
    devices = jax.local_devices()
    machine = _executors.local(devices)
    assert machine.devices == tuple(devices)
    assert machine.device_names == tuple(f"cpu:{device.id}" for device in devices)
    assert _executors.local(3).device_names == ("cpu:0",)
    lanes = np.arange(7, dtype=np.float32)
    found = engine.run(lambda x: jnp.sin(x), lanes, tile=2, workers=devices)
    np.testing.assert_array_equal(found, engine.run(lambda x: jnp.sin(x), lanes, tile=2, workers=1))
    planned = jinit.plan(jinit.Grid(dataset="xor", depth=1, seeds=33), workers=devices)
    assert planned.devices == machine.device_names
    assert (planned.tiles, planned.programs[0].tiles) == (3, 3)
    assert planned.programs[0].padded_flops * 33 == planned.flops * 48


@pytest.mark.parametrize(
    ("workers", "match"),
    [
        ((), "workers: got 'no device'"),
        ("cpu", "a number, or devices of JAX"),
        ([0, 1], "a number, or devices of JAX"),
        (jax.devices() * 2, "each once"),
    ],
)
def test_what_is_no_device_is_refused(workers, match):
    with pytest.raises((ValueError, TypeError), match=match):
        engine.run(abs, np.ones(3), workers=workers)


BYTES = st.integers(0, 2**40)


@pytest.mark.slow
@given(BYTES, BYTES, BYTES, st.sampled_from(["cpu", "gpu", "tpu", "metal"]))
def test_the_width_of_a_tile_is_a_power_of_two_that_fits(carried, windows, peak, platform):
    """The limits are those of the documented rule, computed here with integers."""
    width = _tiles.tile_width(LaneBytes(carried, windows, peak), platform)
    cpu = platform == "cpu"
    budgets = ((2**20, carried), (2**21, windows)) if cpu else ((2**30, carried), (2**32, peak))
    widest = 16 if cpu else 512 if platform == "gpu" else 128

    def fits(lanes):
        return lanes <= widest and all(lanes * max(needed, 1) <= most for most, needed in budgets)

    assert width.bit_count() == 1
    assert width == 2 or fits(width)
    assert not fits(2 * width)


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_more_seeds_and_more_devices_keep_the_width_on_accelerators(monkeypatch, platform):
    """Stored runs match later ones only if the width is the same."""
    widths = set()
    for seeds, devices, memory in ((2, 1, None), (64, 8, 2**34), (5000, 4, 2**37)):
        machine = _executors.Workers(platform, (None,) * devices, True, memory)
        monkeypatch.setattr(_executors, "local", lambda workers, machine=machine: machine)
        planned = jinit.plan(jinit.Grid(dataset="digits", depth=2, width=32, seeds=seeds))
        widths.add(planned.programs[0].tile)
        assert planned.tiles == -(-seeds // planned.programs[0].tile)
    assert widths == {512 if platform == "gpu" else 128}


def test_a_tile_that_exceeds_a_device_is_refused():
    machine = SimpleNamespace(platform="gpu", memory_bytes=2**30)
    _checks.check_memory(2**30, 9, machine, "xor")
    with pytest.raises(ValueError, match="of a device"):
        _checks.check_memory(2**30 + 1, 9, machine, "xor")


def test_the_tiles_of_all_threads_share_the_memory_of_a_cpu(monkeypatch):
    monkeypatch.setattr(_executors, "host_memory", lambda: 2**30)
    eight = SimpleNamespace(platform="cpu", devices=(None,) * 8)
    _checks.check_memory(2**27, 9, eight, "xor")
    _checks.check_memory(2**28, 4, eight, "xor")
    with pytest.raises(ValueError, match=r"5 tiles at once.*1\.2 GiB.*workers=1"):
        _checks.check_memory(2**28, 5, eight, "xor")


def convolved(size, channels):
    """Shapes of a loss of one convolution: kernel and images."""
    kernel = jax.ShapeDtypeStruct((3, 3, channels, channels), jnp.float32)
    images = jax.ShapeDtypeStruct((32, size, size, channels), jnp.float32)

    def slope(kernel, images):
        def loss(kernel):
            out = jax.lax.conv_general_dilated(
                images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return jnp.square(out).mean()

        return jax.grad(with_fast_convolutions(loss))(kernel)

    return slope, kernel, images


def test_windows_of_convolutions_count_in_the_width_and_in_memory():
    slope, kernel, images = convolved(16, 32)
    lane = _cost.lane_bytes(slope, kernel, (images,))
    assert lane.windows == 32 * 16 * 16 * (9 * 32) * 4
    assert _tiles.tile_width(lane, "cpu") == 2  # 9.4 MB each, at most 2 MiB
    assert _tiles.tile_width(LaneBytes(lane.carried), "cpu") == 16
    assert _costs.working_bytes(lane, "cpu") == 4 * lane.carried + lane.windows


def test_convolutions_of_large_images_stay_as_they_are():
    for size, rewritten in ((16, True), (128, False)):
        slope, kernel, images = convolved(size, 32)
        lane = _cost.lane_bytes(slope, kernel, (images,))
        text = str(jax.make_jaxpr(slope)(kernel, images))
        assert ("conv_general_dilated[" not in text) == rewritten
        assert (0 < lane.windows <= _convolutions.MOST_BYTES) == rewritten


def test_the_peak_counts_what_is_alive_at_once():
    """By hand: x, then a and b of 400 bytes each, then their sum, while a and b are there."""
    x = jax.ShapeDtypeStruct((100,), jnp.float32)

    def function(x):
        a, b = jnp.sin(x), jnp.cos(x)
        return (a + b).sum()

    assert _cost.lane_bytes(function, x, ()).peak == 400 + 3 * 400
    looped = lambda x: jax.lax.fori_loop(0, 9, lambda _, c: jnp.sin(c) + jnp.cos(c), x)  # noqa: E731
    assert 400 + 3 * 400 <= _cost.lane_bytes(looped, x, ()).peak <= 400 + 5 * 400
