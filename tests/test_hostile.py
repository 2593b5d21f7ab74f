"""Whatever a caller passes, an error is jinit's own: it says what, got, allowed and the fix."""

import contextlib
import fractions
import io
import traceback
import warnings
from collections import Counter
from pathlib import Path

import hostile
import jax
import numpy as np
import pytest

import jinit
from jinit import errors

OURS = (errors.Refusal, errors.MissingExtraError, errors.HangError)
X = hostile.X
PACKAGE = str(Path(errors.__file__).parent)


def place(error):
    """The line of jinit that let the error through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename.startswith(PACKAGE)]  # fmt: skip
    where = (
        f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].lineno}" if frames else ""
    )
    return f"{where} {type(error).__name__}: {str(error)[:90]!r}"


def raw_errors(room, count, seed):
    """Place and message → (how often, one call) of errors that are not jinit's."""
    calls = hostile.ROOMS[room]()
    draw = np.random.default_rng(seed)
    found, examples = Counter(), {}
    for number in range(count):
        function, good = calls[number % len(calls)]
        given = dict(good)
        names = [name for name in given if name not in hostile.KEPT]
        for name in draw.choice(names, min(len(names), 1 + (draw.random() < 0.2)), replace=False):
            given[name] = hostile.replaced(given[name], draw)
        changed = {name: value for name, value in given.items() if value is not good[name]}
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                function(**given)
        except OURS:
            pass
        except Exception as error:
            where = place(error)
            found[where] += 1
            name = getattr(function, "__name__", None) or function.func.__name__
            examples.setdefault(where, f"{name}({str(changed)[:200]})")
    return {where: (often, examples[where]) for where, often in found.items()}


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_errors_of_hostile_calls_are_ours():
    """At most one call in a thousand ends in an error of NumPy, JAX, Flax or Python."""
    found, count = {}, 1500
    for room in hostile.ROOMS:
        found |= raw_errors(room, count, seed=0)
    total = sum(often for often, _ in found.values())
    listed = "\n".join(f"{often} × {where} by {call}" for where, (often, call) in found.items())
    assert total <= 0.001 * count * len(hostile.ROOMS), listed


def test_the_fuzz_sees_an_error_that_is_not_ours(monkeypatch):
    """A call that raises KeyError is counted once each time, with its place and its arguments."""

    def broken(name):
        if name != "good":
            raise KeyError(name)

    monkeypatch.setitem(hostile.ROOMS, "broken", lambda: [(broken, {"name": "good"})])
    found = raw_errors("broken", 20, seed=0)
    assert sum(often for often, _ in found.values()) == 20
    assert all(call.startswith("broken(") for _, call in found.values())


@pytest.mark.slow
def test_good_calls_of_the_fuzz_work():
    """A call that fails with its good arguments would hide what its bad arguments do."""
    for room in ("statistics", "training"):
        for function, good in hostile.ROOMS[room]():
            function(**good)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: errors.check_number("σ", np.timedelta64(3, "s"), fix="1"), "σ: got .*timedelta"),
        (lambda: errors.check_number("σ", np.ones(2), fix="1"), "allowed: one number"),
        (lambda: errors.check_number("σ", fractions.Fraction(1, 3), fix="1"), "σ: got Fraction"),
        (lambda: errors.check_numbers("σ", np.array([1, "a"], object), fix="1"), "σ: got 'a'"),
        (lambda: errors.check_numbers("σ", hostile.KEY, fix="1"), "a finite number"),
        (lambda: errors.check_integer("n", np.timedelta64(3, "s"), low=1, fix="1"), "whole number"),
        (lambda: errors.check_fraction("α", 10**400, "use .5"), "α: got 1000"),
        (lambda: errors.check_fraction("α", np.timedelta64(3, "s"), "use .5"), "α: got .*time"),
        (lambda: errors.check_choice("mode", np.ones(2), ["a", "b"]), "mode array"),
        (lambda: jinit.sweep.run_key(0, 5), "purpose: got 5; allowed: text"),
        (lambda: jinit.sweep.run_key(np.arange(2), "init"), "jax.vmap over seeds"),
        (lambda: jinit.initialize(hostile.KEY, {1: X, "a": X}, {"*": "zeros"}), "cannot be sorted"),
        (lambda: jinit.initialize(hostile.KEY, {"kernel": X[0]}, {"*": "he_normal"}),
         "leaf 'kernel', rule"),
        (lambda: jinit.theory.propagate("relu", 1.0, depth=2, tabulated=()), "tabulated: got"),
        (lambda: jinit.theory.depth_scales("tanh", 10**400), "sigma_w: got 1000"),
        (lambda: jinit.engine.run("no function", X), "fn: got 'no function'"),
        (lambda: jinit.train.losses.get("hinge", "sums"), "task 'sums' is not known"),
        (lambda: errors.check_numbers("σ", np.float32, fix="1"), "σ: got <class"),
        (lambda: jinit.theory.length_map("relu", [[1, 2], [3]], 1.0), r"q: got \[\[1"),
        (lambda: jinit.theory.propagate("relu", 1.0, depth=2**64), "depth: got 1844"),
        (lambda: jinit.theory.fluctuations("relu", [10**400], 1.0), "width: got 1000"),
        (lambda: jinit.theory.predict(hostile.model(), hostile.SHAPE), "x: got ShapeDtypeStruct"),
        (lambda: jinit.probes.empirical_ntk(np.matmul, X[0], [[1, 2], [3]]), "x: got"),
        (lambda: jinit.probes.jacobian_singular_values(np.matmul, X[0], X[:0]), r"shape \(0, 3\)"),
        (lambda: hostile.ensemble(x=memoryview(b"abc")), "x: got <memory"),
        (lambda: hostile.ensemble(x=np.full((4, 3), np.inf)), "NaN or inf"),
        (lambda: hostile.ensemble(seeds=jax.random.split(hostile.KEY)), "seeds: got"),
        (lambda: hostile.ensemble(seeds=2**64), "seeds: got 1844"),
        (lambda: jinit.initializers.constant(np.array([1j])), "allowed: real numbers"),
        (lambda: jinit.initializers.constant(np.zeros(1, "i4,f4")), "allowed: real numbers"),
        (lambda: jinit.initializers.get(np.float32), "fix: call the class"),
        (lambda: jinit.data.from_arrays(X, hostile.Y, split=hostile.KEY), "split: got"),
        (lambda: jinit.Grid(gain=np.float32), "gain: got <class"),
        (lambda: jinit.Grid(gain=(hostile.KEY, hostile.KEY)), "gain: got"),
        (lambda: jinit.engine.run(abs, hostile.SHAPE), "lanes: got ShapeDtypeStruct"),
        (lambda: jinit.engine.run(abs, np.float32), "lanes: got <class"),
        (lambda: jinit.initialize(hostile.KEY, np.float32, {"*": "zeros"}), "allowed: an array"),
    ],
)  # fmt: skip
def test_hostile_values_are_refused_by_name(check, message):
    with pytest.raises(errors.Refusal, match=message):
        check()
