"""Optimizers with options as spec strings: against optax, in sweeps, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit.train import optimizers
from jinit.train._named import Optimizer
from jinit.train._options import _SHARE, options_of

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.2])}
GRADIENTS = [jax.tree.map(lambda p, s=s: jnp.sin(3 * p + s), PARAMS) for s in range(8)]


def path(transform):
    """The parameters after each of eight updates."""
    params, state, found = PARAMS, transform.init(PARAMS), []
    for gradient in GRADIENTS:
        updates, state = transform.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        found.append(params)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("adamw(b2=0.5, eps=0.1)", lambda: optax.adamw(0.1, 0.7, 0.5, 0.1, weight_decay=0.0)),
        ("lamb(b2=0.5)", lambda: optax.lamb(0.1, 0.7, 0.5, weight_decay=0.0)),
        ("lion(b2=0.5)", lambda: optax.lion(0.1, 0.7, 0.5, weight_decay=0.0)),
        ("rmsprop(decay=0.5)", lambda: optax.rmsprop(0.1, 0.5)),
        ("adagrad(initial_accumulator_value=2)", lambda: optax.adagrad(0.1, 2)),
        ("novograd(b2=0.5)", lambda: optax.novograd(0.1, 0.7, 0.5)),
    ],
)
def test_options_are_those_of_optax(spec, expected):
    found = path(optimizers.make(spec, 0.1, momentum=0.7))
    np.testing.assert_allclose(found, path(expected()), rtol=2e-5, atol=1e-6)


def rows():
    names = (name for name in optimizers.names() if name != "muon")
    return [pytest.param(name, id=name) for name in names if options_of(optimizers.get(name))]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", rows())
@pytest.mark.slow
def test_defaults_written_out_change_nothing_and_every_other_value_does(name):
    known = options_of(optimizers.get(name))
    plain = path(optimizers.make(name, 0.1))
    written = ", ".join(f"{option}={value!r}" for option, value in known.items())
    np.testing.assert_array_equal(path(optimizers.make(f"{name}({written})", 0.1)), plain)
    for option, value in known.items():
        share = 0.95 if value > 0.97 else 0.3 if value > 0.4 else 0.9
        other = share if _SHARE.fullmatch(option) else value + 1
        changed = path(optimizers.make(f"{name}({option}={other})", 0.1))
        assert np.abs(changed - plain).max() > 1e-6, option


def test_a_registered_optimizer_has_options_too():
    def factory(momentum, *, scale=2.0, flag=True):
        return optax.chain(optax.trace(momentum), optax.scale(scale))

    assert options_of(Optimizer(factory, momentum=True)) == {"scale": 2.0}


@pytest.mark.slow
def test_arms_with_options_are_programs_whose_column_shows_the_spec():
    grid = jinit.Grid(dataset="xor", optimizer=("adam", "adam( b2 = .5 )"), seeds=2)
    assert grid.optimizer == ("adam", "adam(b2=0.5)")
    labels = [one.labels["optimizer"] for one in jinit.plan(grid).programs]
    assert sorted(labels) == ["adam", "adam(b2=0.5)"]


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("adamw(beta=0.9)", r"adamw\(beta=0.9\).*these options: b2=0.999, eps=1e-08"),
        ("adamw(b1=0.9)", r"Grid\(momentum=0.9\)"),
        ("adamw(weight_decay=0.1)", r"Grid\(weight_decay=0.1\)"),
        ("adamw(0.9)", "options by name: b2=0.999"),
        ("adamw(b2=1.5)", "b2 of optimizer 'adamw'.*1.5"),
        ("adamw(eps=-1.0)", "eps of optimizer 'adamw'"),
        ("adamw(b2=high)", "b2 of optimizer 'adamw'.*high"),
        ("sgd(nesterov=True)", "no options"),
        ("adamv(b2=0.9)", "did you mean 'adam"),
        ("adamw(b2=0.9", "a name with literal arguments"),
        (("adamw", "adamw(b2=0.999)"), r"adamw and adamw\(b2=0.999\).*values that differ"),
    ],
)
def test_bad_options_are_refused(spec, match):
    with pytest.raises((ValueError, TypeError), match=match):
        jinit.Grid(optimizer=spec)


@pytest.mark.parametrize("clip", [optax.clip_by_global_norm, optax.clip(1.0)])
def test_a_clip_of_optax_is_refused_with_the_two_ways_that_take_it(clip):
    with pytest.raises(TypeError, match=r"register\('mine', factory\).*optimizer="):
        jinit.Grid(clip=clip)
