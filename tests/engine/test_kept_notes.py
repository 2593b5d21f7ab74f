"""A program is found again without a trace only if everything that decides its code is the same."""

import functools
import itertools
import json
import math
import os
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinit import Grid, activations, engine, initializers, run
from jinit.engine import _described, _installed, _kept_notes, _program
from jinit.sweep import _costs
from jinit.train import losses

LANES = np.linspace(-1, 1, 4, dtype=np.float32)[:, None]
LEAKY = functools.partial(nn.leaky_relu, negative_slope=0.5)


@pytest.fixture(autouse=True)
def notes(folder, monkeypatch):
    """The notes in the folder of this test; the functions of other tests are in no package."""
    monkeypatch.setattr(_installed, "is_patched", lambda: False)
    return lambda: sorted(folder.glob("programs/*/note-*"))


def traces(function):
    """How often a process that has just started traces a function, and the results."""
    _program.forget()
    results = engine.run(function, LANES, workers=1)
    (program,) = _program._CACHE.values()
    return program.traces, results


def known_values():
    """Values that programs are made of: every registered one, with several arguments."""
    shapes = {"w": jax.ShapeDtypeStruct((4, 3), "float32")}
    values = [activations.get(name) for name in activations.names()]
    values += [losses.get(name, "binary") for name in ("hinge", "sigmoid_binary_cross_entropy")]
    values += [losses.get(None, task) for task in ("binary", "multiclass", "regression")]
    values += [initializers.get(name) for name in ("he_normal", "normal(2.0)", "normal(3.0)")]
    values += [nn.Dense(3), nn.Dense(4), nn.Dense(3, use_bias=False), nn.relu, nn.gelu, LEAKY]
    values += [functools.partial(nn.elu, alpha=0.25), functools.partial(nn.celu, alpha=0.25)]
    values += [functools.partial(nn.leaky_relu, negative_slope=s) for s in (0.1, 0.2)]
    values += [np.float32(1.0), np.float64(1.0), np.int8(1), 1, 1.0, True, "1", b"1", None, ()]
    values += [np.dtype("bfloat16"), np.dtype("float16"), jnp.float32, (1, (2,)), ((1, 2),), (1, 2)]
    values += [frozenset({1, 2}), frozenset({1, 3}), optax.sgd, optax.adam, math.sin, math.cos]
    values += [np.exp, np.log, nn.Dense(3).apply, nn.Dense(4).apply]
    values += [optax.clip(1.0).update, optax.clip(2.0).update, tuple(shapes)]
    return values


def test_descriptions_are_equal_exactly_where_values_are():
    values = known_values()
    described = [_described.described(value) for value in values]
    missing = [v for v, text in zip(values, described, strict=True) if text is None]
    assert not missing
    pairs = itertools.combinations(zip(values, described, strict=True), 2)
    same = [(a, b) for (a, first), (b, second) in pairs if first == second]
    assert all(a == b and type(a) is type(b) for a, b in same), same
    again = [_described.described(value) for value in known_values()]
    closures = [value for value in values if isinstance(value, types.FunctionType)]
    assert len(closures) >= 5
    assert again == described


@pytest.mark.parametrize(
    "value",
    [
        lambda x: x, np.zeros(2), [1], {"a": 1}, {1}, functools.partial(nn.elu, np.ones(1)),
        jnp.zeros(2), (1, [2]), nn.Dense(3, kernel_init=lambda *args: 0), object(), os.environ,
        "text".upper, type("Mine", (), {}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_may_change_or_is_unfamiliar_has_no_description(value):
    assert _described.described(value) is None


def test_code_of_equal_names_is_told_apart():
    def made(source):
        found = {"__name__": "jinit.train"}
        exec(source, found)
        return found["f"]

    texts = ["f = lambda x: x + 1", "f = lambda x: x + 2", "f = lambda x: x - 1",
             "f = lambda x, y=1: x + y", "f = lambda x, y=2: x + y",
             "f = lambda x: (lambda: x + 1)", "f = lambda x: (lambda: x + 2)"]  # fmt: skip
    described = [_described.described(made(text)) for text in texts]
    assert None not in described
    assert len(set(described)) == len(texts)
    assert described[0] == _described.described(made("\n" + texts[0]))


def test_the_next_process_neither_traces_nor_compiles(monkeypatch):
    first, expected = traces(LEAKY)
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *args: pytest.fail("compiled"))
    second, found = traces(LEAKY)
    assert (first, second) == (1, 0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("change", ["function", "switch", "shape", "source", "patched"])
def test_another_program_is_traced(monkeypatch, change):
    traces(LEAKY)
    function = LEAKY
    if change == "function":
        function = functools.partial(nn.leaky_relu, negative_slope=0.25)
    elif change == "switch":
        monkeypatch.setattr(_kept_notes, "switches", lambda: {"other": 1})
    elif change == "shape":
        monkeypatch.setitem(globals(), "LANES", np.ones((4, 2), np.float32))
    elif change == "source":
        monkeypatch.setattr(_installed, "source", lambda: "edited")
    else:
        monkeypatch.setattr(_installed, "is_patched", lambda: True)
    assert traces(function)[0] == 1


@pytest.mark.slow
def test_programs_that_call_lapack_are_traced():
    """Lowering such a call prepares the library: a program loaded without it ends the process."""
    inverse = functools.partial(jnp.linalg.inv)
    for _ in range(2):
        _program.forget()
        engine.run(inverse, np.eye(2, dtype=np.float32)[None], workers=1)
        assert [program.traces for program in _program._CACHE.values()] == [1]


def test_a_damaged_note_is_traced_again(notes):
    traces(LEAKY)
    (note,) = notes()
    whole = note.read_text()
    for content in ("", "{}", "[]", whole[:-9], whole.replace('"file": "', '"file": "x')):
        note.write_text(content)
        assert traces(LEAKY)[0] == 1
        assert note.read_text() == whole
    for file in note.parent.glob("[!n]*"):
        file.unlink()
    assert traces(LEAKY)[0] == 1


def test_a_note_that_names_another_program_is_not_believed(notes):
    _, expected = traces(LEAKY)
    (note,) = notes()
    traces(functools.partial(nn.leaky_relu, negative_slope=0.25))
    names = [json.loads(each.read_text())["fact"]["file"] for each in notes()]
    mine = json.loads(note.read_text())["fact"]["file"]
    (other,) = set(names) - {mine}
    note.write_text(note.read_text().replace(mine, other))
    count, found = traces(LEAKY)
    assert count == 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_the_costs_of_a_sweep_are_kept(monkeypatch):
    grid = Grid(dataset="xor", initializer="he_normal", depth=1, width=5, steps=2, seeds=2)
    first = run(grid, progress=False)
    _costs._kept_costs.cache_clear()
    _program.forget()
    monkeypatch.setattr(_costs, "_traced_costs", lambda *args: pytest.fail("traced"))
    again = run(grid, progress=False)
    np.testing.assert_array_equal(first["test_loss"], again["test_loss"])
    assert first.settings["tile"] == again.settings["tile"]


def mine_as(function):
    return activations.Activation("kept_mine", function, kinks=())


@pytest.mark.slow
def test_a_name_that_stands_for_another_function_is_another_program():
    settings = {"dataset": "xor", "depth": 2, "width": 5, "steps": 5, "seeds": 2}
    found = []
    for function in (jnp.tanh, jnp.sin):
        _costs._kept_costs.cache_clear()
        _program.forget()
        activations.register("kept_mine", functools.partial(mine_as, function))
        try:
            grid = Grid(activation="kept_mine", **settings)
            found.append(run(grid, progress=False)["test_loss"])
        finally:
            activations._REGISTRY.remove("kept_mine")
    assert (found[0] != found[1]).all()


def test_an_edited_package_has_another_digest(tmp_path, monkeypatch):
    package = types.ModuleType("optax")
    (tmp_path / "inner").mkdir()
    for name in ("__init__.py", "inner/a.py"):
        (tmp_path / name).write_text("x = 1\n")
    package.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(__import__("sys").modules, "optax", package)
    digests = []
    for text in ("x = 1\n", "x = 12\n"):
        (tmp_path / "inner" / "a.py").write_text(text)
        digests.append(_installed.source.__wrapped__())
    os.utime(tmp_path / "inner" / "a.py", (1, 1))
    digests.append(_installed.source.__wrapped__())
    (tmp_path / "inner" / "b.py").write_text("")
    digests.append(_installed.source.__wrapped__())
    assert len(set(digests)) == 4


def mine(x):
    return x


@pytest.mark.parametrize("place", [(optax, "adam"), (jax.nn, "relu"), (nn.Dense, "__call__")])
def test_a_function_that_a_script_replaces_is_seen(place, monkeypatch):
    monkeypatch.undo()
    foreign = {each for each in _installed._functions() if _installed._is_foreign(each)}
    assert not [each for each in foreign if each.__module__ == __name__]
    monkeypatch.setattr(*place, mine)
    assert mine in set(_installed._functions())
    assert _installed._is_foreign(mine)
    assert _installed.is_patched()


def test_functions_of_packages_are_not_foreign():
    assert not _installed._is_foreign(functools.wraps)
    assert not _installed._is_foreign(optax.adam)
    assert not _installed._is_foreign(pytest.fixture)
