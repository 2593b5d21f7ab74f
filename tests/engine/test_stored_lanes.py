"""``engine.run`` with a store on disk: any pure function, lane by lane."""

import os
import sqlite3
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import _database as database
from jinit import engine, errors

RNG = np.random.default_rng(0)
LANES = {"w": RNG.normal(size=(11, 3)).astype(np.float32), "n": np.arange(11, dtype=np.int32)}
X = RNG.normal(size=(5, 3)).astype(np.float32)


def both(lane, x):
    y = jnp.tanh(x @ lane["w"])
    return {"y": y, "half": y.sum().astype(jnp.bfloat16), "n": lane["n"] > 3}


def take(rows):
    return {name: leaf[rows] for name, leaf in LANES.items()}


def computed(lanes, path, *shared, fn=both, **options):
    """The result and the number of lanes that were run."""
    events = []
    found = engine.run(fn, lanes, *shared, store=path, tile=2, progress=events.append, **options)
    return found, sum(e.tile.stop - e.tile.start for e in events if e.tile)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for mine, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        assert mine.tobytes() == theirs.tobytes()


@pytest.mark.slow
def test_only_missing_lanes_run_and_the_bits_are_those_of_one_run(tmp_path):
    path, whole = tmp_path / "results.db", engine.run(both, LANES, X, tile=2)
    found, ran = computed(take(slice(0, 5)), path, X)
    assert ran == 5
    found, ran = computed(LANES, path, X)
    assert ran == 6
    assert_same(found, whole)
    found, ran = computed(take([7, 2, 2, 10]), path, X)
    assert ran == 0
    assert_same(found, jax.tree.map(lambda leaf: leaf[[7, 2, 2, 10]], whole))
    assert database.verify(path) == []


@pytest.mark.slow
def test_another_function_shared_argument_or_width_is_another_result(tmp_path):
    path = tmp_path / "results.db"
    computed(LANES, path, X)
    assert computed(LANES, path, X)[1] == 0
    assert computed(LANES, path, X + 1)[1] == 11
    assert computed(LANES, path, X, fn=lambda lane, x: 2 * both(lane, x)["y"])[1] == 11
    events = []
    engine.run(both, LANES, X, store=path, tile=4, progress=events.append)
    assert sum(event.kind == "tile" for event in events) == 3


def test_an_interrupted_call_goes_on(tmp_path):
    path, seen = tmp_path / "results.db", []

    def stop(event):
        seen.append(event.kind)
        if seen.count("tile") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run(both, LANES, X, store=path, tile=2, workers=1, progress=stop)
    connection = sqlite3.connect(path)
    kept = connection.execute("select count(*) from results").fetchone()[0]
    connection.close()
    assert kept >= 6
    found, ran = computed(LANES, path, X)
    assert ran == 11 - kept
    assert_same(found, engine.run(both, LANES, X, tile=2))


@pytest.mark.slow
def test_keys_are_lanes(tmp_path):
    keys = jax.random.split(jax.random.key(0), 5)
    path = tmp_path / "results.db"
    found, ran = computed(keys, path, fn=jax.random.normal)
    assert ran == 5
    again, ran = computed(keys, path, fn=jax.random.normal)
    assert ran == 0
    assert_same(again, found)


def test_stores_merge(tmp_path):
    paths = [tmp_path / f"{name}.db" for name in "abc"]
    computed(take(slice(0, 6)), paths[0], X)
    computed(take(slice(4, 11)), paths[1], X)
    database.merge(paths[2], paths[:2])
    assert database.verify(paths[2]) == []
    assert computed(LANES, paths[2], X)[1] == 0


def test_what_cannot_be_known_again_is_refused(tmp_path):
    path = tmp_path / "results.db"

    def calls(x):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(lambda v: v, shape, x, vmap_method="expand_dims")

    with pytest.raises(errors.Refusal, match="Python"):
        engine.run(calls, np.ones(3, np.float32), store=path)
    with pytest.raises(errors.Refusal, match="accept_environment"):
        engine.run(both, LANES, X, store=engine.FileStore(path, accept_environment=True))
    with pytest.raises(errors.Refusal, match="store"):
        engine.run(both, LANES, X, store="results.txt")
    assert computed(LANES, path, X)[1] == 11


def test_a_function_that_is_only_called_a_callback_has_a_store(tmp_path):
    @jax.jit
    def my_callback(x):
        return 2 * x

    lanes = np.arange(3, dtype=np.float32)
    result = engine.run(my_callback, lanes, store=tmp_path / "results.db")
    np.testing.assert_array_equal(result, 2 * lanes)


@pytest.mark.full
def test_the_fingerprint_of_a_program_is_the_same_in_every_process(tmp_path):
    code = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jinit import initializers
from jinit.engine._program import Program
table = jnp.arange(300.0)
def fn(x, y):
    def step(c, i):
        return jnp.where(c > 0, jax.nn.gelu(c) + y[i % 3], jax.nn.softplus(c)) + table[i], None
    c = jax.lax.scan(step, x, jnp.arange(5))[0]
    return {"b": c, "a": jax.random.normal(jax.random.key(c.astype(jnp.uint32)), (3,))}
if sys.argv[1] == "warm":
    jax.jit(lambda x: jax.nn.gelu(jnp.where(x > 0, x, jax.nn.softplus(x))))(1.0)
one, three = jax.ShapeDtypeStruct((), "float32"), jax.ShapeDtypeStruct((3,), "float32")
print(Program(fn, one, (three,), width=4, name=sys.argv[1]).fingerprint())
"""
    found = {
        subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True,
                       check=True, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for how, seed in (("cold", "1"), ("warm", "2"))
    }  # fmt: skip
    assert len(found) == 1
