"""Holds the registry of learning-rate schedules: the factor on the learning rate at each step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jinit import _specs, errors
from jinit._registry import Registry

__all__ = ["factors", "get", "names", "register"]

# The factors of a run are an input of its program; more of them would fill the memory.
_MOST_STEPS = 10**6

Factor: TypeAlias = Callable[[ArrayLike], ArrayLike]
"""``factor(step) -> factor``: step an int32 scalar from 0; the factor ≥ 0."""


class ScheduleFactory(Protocol):
    """Makes a schedule for runs of ``steps`` steps; options have defaults."""

    def __call__(self, steps: int, /) -> Factor: ...


@dataclass(frozen=True)
class Schedule:
    """A registered schedule with its options; ``str`` gives its spec string."""

    name: str
    options: tuple[tuple[str, float | tuple[float, ...]], ...] = ()

    def __str__(self) -> str:
        return _specs.write(self.name, self.options)


def _constant(steps: int) -> Factor:
    return optax.constant_schedule(1.0)


def _cosine(steps: int, final: float = 0.0) -> Factor:
    """½ (1 + cos(π step/steps)), from 1 to ``final`` (Loshchilov & Hutter 2017, equation 5)."""
    return optax.cosine_decay_schedule(1.0, steps, _share("final", final))


def _linear(steps: int, final: float = 0.0) -> Factor:
    """A straight line from 1 to ``final``."""
    return optax.linear_schedule(1.0, _share("final", final), steps)


def _step(steps: int, factor: float = 0.1, at: tuple[float, ...] = (0.5, 0.75)) -> Factor:
    """Times ``factor`` at these shares of the steps (He et al. 2016, section 4.2)."""
    errors.check_number("schedule step: factor", factor, low=0.0, open_low=True, fix="use 0.1")
    places = at if isinstance(at, tuple) else (at,)
    drops: dict[int, float] = {}
    for share in places:  # two shares of few steps may fall on one step
        step = round(_share("at", share) * steps)
        drops[step] = drops.get(step, 1.0) * float(factor)
    return optax.piecewise_constant_schedule(1.0, drops)


def _warmup_cosine(steps: int, warmup: float = 0.1, final: float = 0.0) -> Factor:
    """A line from 0 to 1 over a share of the steps, then a cosine to ``final``."""
    rise = min(round(_share("warmup", warmup) * steps), steps - 1)
    return optax.warmup_cosine_decay_schedule(
        0.0 if rise else 1.0, 1.0, rise, steps, _share("final", final)
    )


def _one_cycle(steps: int, peak_at: float = 0.3, start: float = 0.04) -> Factor:
    """A cosine from ``start`` to 1 at a share of the steps, then to start/10⁴ (Smith 2018)."""
    errors.check_number(
        "schedule one_cycle: start", start, low=0.0, high=1.0, open_low=True, fix="use 0.04"
    )
    # With a peak at the last step nothing would rise.
    errors.check_number("schedule one_cycle: peak_at", peak_at, low=0.0, high=0.999, fix="use 0.3")
    return optax.cosine_onecycle_schedule(steps, 1.0, float(peak_at), 1 / start, 1e4)


def _share(option: str, value: float) -> float:
    errors.check_number(f"schedule option {option}", value, low=0.0, high=1.0, fix="use a share")
    return float(value)


_REGISTRY: Registry[ScheduleFactory] = Registry(
    "schedule",
    "jinit.train.schedules.names()",
    {
        "constant": _constant,
        "cosine": _cosine,
        "linear": _linear,
        "step": _step,
        "warmup_cosine": _warmup_cosine,
        "one_cycle": _one_cycle,
    },
)


def names() -> tuple[str, ...]:
    """All schedule names, the built-in ones first.

    - ``constant``: 1.
    - ``cosine(final=0.0)``: ½ (1 + cos(π t)), t = step/steps, from 1 to ``final``.
    - ``linear(final=0.0)``: a straight line from 1 to ``final``.
    - ``step(factor=0.1, at=(0.5, 0.75))``: times ``factor`` at each of these shares of the steps.
    - ``warmup_cosine(warmup=0.1, final=0.0)``: a line from 0 to 1 over the share ``warmup``, then a
      cosine to ``final``.
    - ``one_cycle(peak_at=0.3, start=0.04)``: a cosine from ``start`` to 1 at the share ``peak_at``,
      then to start/10⁴.

    Reference: Loshchilov & Hutter 2017, equation 5 (cosine); Smith 2018 (one cycle); the values are
    those of optax's schedules of these names.

    >>> names()
    ('constant', 'cosine', 'linear', 'step', 'warmup_cosine', 'one_cycle')
    """
    return _REGISTRY.names()


def get(schedule: str | Factor) -> Schedule | Factor:
    """The schedule of a spec string; a callable is returned unchanged.

    Args:
      schedule: one of :func:`names`, alone or with options, ``"warmup_cosine(warmup=0.1)"``; or
        any ``step -> factor``.

    Returns:
      What :func:`factors` takes.

    Raises:
      ValueError: an unknown name or option, an option out of range.
      TypeError: neither a string nor a callable.

    >>> str(get("cosine( final = 0.1 )"))
    'cosine(final=0.1)'
    """
    if callable(schedule):
        return schedule
    parsed = _specs.parse(schedule, "schedule")
    factory: Callable[..., Factor] = _REGISTRY.get(parsed.name)
    spec = _specs.Spec(parsed.name, (2, *parsed.args), parsed.kwargs)
    bound = _specs.bind(spec, factory, "schedule", f"{parsed.name}")
    options = dict(list(bound.items())[1:])
    factory(2, **options)  # refuses options out of range
    return Schedule(parsed.name, tuple(options.items()))


def register(name: str, factory: ScheduleFactory) -> None:
    """Adds a schedule: afterwards :class:`jinit.Grid` and ``jinit sweep`` know its name.

    Args:
      name: an identifier not yet taken.
      factory: ``factory(steps, **options) -> (step -> factor)``; options are literals with
        defaults. Registering the same factory again changes nothing.

    Raises:
      TypeError: the factory is not callable.
      ValueError: the name is taken or is not an identifier.

    >>> register("half", lambda steps: lambda step: 0.5)
    >>> factors(get("half"), 3).tolist()
    [0.5, 0.5, 0.5]
    >>> _REGISTRY.remove("half")
    """
    _REGISTRY.register(name, factory)


def factors(schedule: str | Schedule | Factor, steps: int) -> np.ndarray:
    """The factor on the learning rate at each step.

    Args:
      schedule: from :func:`get`, or what :func:`get` takes.
      steps: steps of the run, 1 to 10⁶.

    Returns:
      ``(steps,)`` float32; entry i multiplies the learning rate of step i, counted from 0.

    Raises:
      ValueError: a factor that is negative, NaN or inf; more than 10⁶ steps.
      TypeError: a schedule that does not return one number per step.

    >>> factors("linear", 4).tolist()
    [1.0, 0.75, 0.5, 0.25]
    """
    errors.check_integer("steps with a schedule", steps, low=1, high=_MOST_STEPS, fix="fewer steps")
    made = get(schedule) if isinstance(schedule, str) else schedule
    if isinstance(made, Schedule):
        factory: Callable[..., Factor] = _REGISTRY.get(made.name)
        made = factory(steps, **dict(made.options))
    label = _specs.label(schedule)
    counts = jnp.arange(steps, dtype=jnp.int32)
    try:
        values = np.asarray(jax.vmap(made)(counts), np.float32)
    except (TypeError, ValueError, jax.errors.JAXTypeError):  # written for Python numbers
        values = np.asarray([made(int(count)) for count in counts], np.float32)
    if values.shape != (steps,):
        raise errors.wrong_type(
            f"schedule {label!r}", f"shape {values.shape[1:]} per step", "one number", "step -> 1.0"
        )
    bad = np.flatnonzero(~(values >= 0) | ~np.isfinite(values))
    if bad.size:
        raise errors.refusal(
            f"schedule {label!r}",
            f"{values[bad[0]]} at step {bad[0]}",
            "finite factors >= 0",
            "return the factor on the learning rate, which the grid gives",
        )
    return values
