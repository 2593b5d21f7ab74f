"""The settings of a table name everything that changes its numbers."""

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np
import pytest

import jinit
from jinit import results
from jinit.data import from_arrays
from jinit.sweep import _checks
from jinit.sweep._settings import fingerprint

SMALL = {"dataset": "xor", "depth": 1, "width": 4, "steps": 4, "evaluations": 2, "seeds": 3}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 3)).astype(np.float32), RNG.integers(0, 2, 60)


def settings(**how):
    found = dict(jinit.run(jinit.Grid(**SMALL), **how).settings)
    found.pop("seconds")
    return found


@pytest.mark.full
def test_the_width_of_a_tile_and_switches_of_jax_are_settings(monkeypatch):
    plain = settings()
    assert settings(tile=2) != plain
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert settings()["environment"]["NVIDIA_TF32_OVERRIDE"] == "0"
    monkeypatch.undo()
    assert settings() == plain
    for name, other in (("jax_threefry_partitionable", False), ("jax_random_seed_offset", 3)):
        before = getattr(jax.config, name)
        jax.config.update(name, other)
        try:
            assert settings()["jax"][name] == other
        finally:
            jax.config.update(name, before)
    assert json.loads(json.dumps(plain)) == plain


class Network(nn.Module):
    units: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.tanh(nn.Dense(self.units)(x)))


@pytest.mark.full
def test_own_models_and_arrays_are_named_and_the_defaults_of_the_grid_are_not():
    grid = jinit.Grid(steps=4, evaluations=2, seeds=2, loss="softmax_cross_entropy")
    found = jinit.run(grid, model=Network(), data=(X, Y)).settings
    assert found["model"]["name"] == "Network"
    assert "units = 4" in found["model"]["repr"]
    assert found["model"]["parameters"]["Dense_0/kernel"] == [[4, 2], "float32"]
    assert found["grid"]["dataset"] == "arrays"
    assert [found["grid"][axis] for axis in ("activation", "depth", "width")] == [None] * 3
    other = jinit.run(grid, model=Network(), data=(X + 1e-3 * (X[0] == X), Y)).settings
    assert other["data"] != found["data"]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("change", ["bit", "shape", "dtype", "order", "split"])
def test_a_fingerprint_changes_with_every_change_of_the_data(change):
    data = from_arrays(X, Y, X, Y, standardize=False)
    changed = X.copy()
    if change == "bit":
        changed[3, 1] = np.nextafter(changed[3, 1], np.float32(9))
    others = {
        "bit": lambda: from_arrays(changed, Y, X, Y, standardize=False),
        "shape": lambda: from_arrays(X.reshape(60, 3, 1), Y, X.reshape(60, 3, 1), Y,
                                     standardize=False),
        "dtype": lambda: dataclasses.replace(data, y_train=data.y_train.astype(np.int64)),
        "order": lambda: from_arrays(X[::-1], Y[::-1], X, Y, standardize=False),
        "split": lambda: from_arrays(X[:50], Y[:50], X[50:], Y[50:], standardize=False),
    }  # fmt: skip
    assert fingerprint(others[change]()) != fingerprint(data)
    assert fingerprint(from_arrays(X.copy(), Y, X, Y, standardize=False)) == fingerprint(data)


@pytest.mark.full
def test_more_seeds_join_the_first_and_other_settings_are_refused(tmp_path):
    axes = {**SMALL, "initializer": ("he_normal", "zeros")}
    whole = jinit.run(jinit.Grid(**axes | {"seeds": 6}))
    first = jinit.run(jinit.Grid(**axes))
    more = jinit.run(jinit.Grid(**axes | {"seeds": (3, 4, 5)}))
    first.write(tmp_path / "first.parquet")
    joined = results.concat([results.read(tmp_path / "first.parquet"), more])
    order = np.lexsort([joined["seed"], joined["initializer"]])
    for name in ("initializer", "seed", "test_loss", "steps_to_target", "where"):
        assert joined[name][order].tolist() == whole[name].tolist()
    np.testing.assert_array_equal(joined.curves["test_loss"][order], whole.curves["test_loss"])
    assert joined.settings["grid"]["seeds"] == [0, 1, 2, 3, 4, 5]
    longer = jinit.run(jinit.Grid(**axes | {"seeds": (3, 4), "evaluations": 3}))
    with pytest.raises(ValueError, match="curve_steps of the tables"):
        results.concat([first, longer])
    narrow = jinit.run(jinit.Grid(**axes | {"seeds": (3, 4)}), tile=2)
    with pytest.raises(ValueError, match=r"tile\.[^;]*: 16 and 2;") as caught:
        results.concat([first, narrow])
    assert str(caught.value).count(" and ") <= 4
    assert len(results.concat([first, narrow], ignore=["tile"])) == 10


@pytest.mark.slow
def test_results_beyond_the_memory_are_refused_before_training(monkeypatch):
    grid = jinit.Grid(**SMALL | {"seeds": 10**6, "steps": 10**5, "evaluations": 10**4})
    with pytest.raises(ValueError, match="memory of the results of 1,000,000 runs"):
        jinit.plan(grid)
    needed = _checks.COPIES * jinit.plan(jinit.Grid(**SMALL)).result_bytes
    monkeypatch.setattr(_checks._executors, "host_memory", lambda: needed - 1)
    with pytest.raises(ValueError, match="that this process may use"):
        jinit.plan(jinit.Grid(**SMALL))
