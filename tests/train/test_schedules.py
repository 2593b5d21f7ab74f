"""Schedules against optax's own, and what a schedule may not be."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jinit.train import schedules
from jinit.train.schedules import _REGISTRY

STEPS = 40
OPTAX = {
    "constant": optax.constant_schedule(1.0),
    "cosine": optax.cosine_decay_schedule(1.0, STEPS),
    "cosine(final=0.1)": optax.cosine_decay_schedule(1.0, STEPS, 0.1),
    "linear": optax.linear_schedule(1.0, 0.0, STEPS),
    "linear(0.5)": optax.linear_schedule(1.0, 0.5, STEPS),
    "step": optax.piecewise_constant_schedule(1.0, {20: 0.1, 30: 0.1}),
    "step(factor=0.5, at=0.25)": optax.piecewise_constant_schedule(1.0, {10: 0.5}),
    "warmup_cosine": optax.warmup_cosine_decay_schedule(0.0, 1.0, 4, STEPS),
    "warmup_cosine(warmup=0.5, final=0.2)": optax.warmup_cosine_decay_schedule(
        0.0, 1.0, 20, STEPS, 0.2
    ),
    "one_cycle": optax.cosine_onecycle_schedule(STEPS, 1.0),
}


def test_every_schedule_is_covered():
    assert {spec.partition("(")[0] for spec in OPTAX} == set(schedules.names())


@pytest.mark.slow
@pytest.mark.parametrize("spec", OPTAX)
@pytest.mark.sampled(3)
def test_factors_are_those_of_optax(spec):
    exact = [float(OPTAX[spec](step)) for step in range(STEPS)]
    np.testing.assert_allclose(schedules.factors(spec, STEPS), exact, rtol=1e-5, atol=1e-7)
    assert (
        schedules.factors(str(schedules.get(spec)), STEPS).tolist()
        == schedules.factors(schedules.get(spec), STEPS).tolist()
    )
    assert schedules.factors(spec, 1).shape == (1,)


def test_drops_that_fall_on_one_step_are_both_made():
    np.testing.assert_allclose(schedules.factors("step", 3), [1, 1, 0.01])
    twice = schedules.factors("step(at=(0.5, 0.5))", 4)
    np.testing.assert_allclose(twice, [1, 1, 0.01, 0.01])


def test_any_function_of_the_step_is_a_schedule():
    traced = schedules.factors(lambda step: jnp.where(step < 2, 1.0, 0.5), 4)
    plain = schedules.factors(lambda step: 1.0 if step < 2 else 0.5, 4)
    assert traced.tolist() == plain.tolist() == [1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("schedule", "error", "match"),
    [
        ("cosin", ValueError, "did you mean 'cosine'"),
        ("cosine(alpha=0.1)", ValueError, "arguments"),
        ("cosine(final=2)", ValueError, "final: got 2"),
        ("step(factor=0)", ValueError, "factor: got 0"),
        ("step(at=(0.5, 1.5))", ValueError, "at: got 1.5"),
        ("one_cycle(start=0)", ValueError, "start: got 0"),
        ("one_cycle(peak_at=1.0)", ValueError, "peak_at: got 1"),
        (0.1, TypeError, "schedule: got 0.1"),
        (lambda step: -1.0, ValueError, "-1.0 at step 0"),
        (lambda step: jnp.log(step * 1.0), ValueError, "-inf at step 0"),
        (lambda step: jnp.ones(2), TypeError, "one number"),
    ],
)
def test_bad_schedules(schedule, error, match):
    with pytest.raises(error, match=match):
        schedules.factors(schedules.get(schedule), 5)


def test_a_registered_schedule_has_a_name():
    schedules.register("half", lambda steps, factor=0.5: lambda step: factor)
    try:
        assert schedules.factors("half(factor=0.25)", 2).tolist() == [0.25, 0.25]
    finally:
        _REGISTRY.remove("half")
    with pytest.raises(ValueError, match="fewer steps"):
        schedules.factors("cosine", 10**7)
