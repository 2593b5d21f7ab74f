"""Compares a leaf with draws of a rule that is a function, whose law is not known."""

from __future__ import annotations

import functools
import math

import jax
import numpy as np

from jinit.auditing._leaves import Leaf, Moments, moments
from jinit.parameters._rules import Assignment

# Draws with which a leaf is compared; Student's t has DRAWS − 1 degrees of freedom.
DRAWS = 8
# Half precision rounds σ by up to 0.4 %.
_ROUNDING = 0.005
_TEXTS = {"σ": "log σ {:.3g}", "mean": "mean/σ {:.3g}", "shape": "log(E|w|/σ) {:.3g}"}


def reference_draws(assignment: Assignment) -> list[np.ndarray]:
    """Draws of a rule, of the leaf's shape."""
    keys = jax.random.split(jax.random.key(0), DRAWS)
    return [np.asarray(assignment.draw(key)) for key in keys]


def is_deterministic(draws: list[np.ndarray]) -> bool:
    """Whether all draws are equal."""
    return all(np.array_equal(draw, draws[0], equal_nan=True) for draw in draws[1:])


def first_departure(leaf: Leaf, draws: list[np.ndarray], alpha: float) -> tuple[str, str] | None:
    """The first statistic of a leaf that departs from those of the draws, and its threshold.

    If the leaf follows the rule, its statistic T is one of DRAWS + 1 exchangeable numbers, and
    (T − mean)/(s √(1 + 1/DRAWS)) has Student's law, whatever the entries depend on. The statistics
    are log σ, the mean by σ, and log(E|w − mean|/σ), which tells families of laws apart.

    The caller replaces ``{rule}`` in the evidence by the name of the rule.

    Args:
      leaf: of finite entries.
      draws: from :func:`reference_draws`, finite.
      alpha: false-alarm rate of all statistics together.
    """
    sample, references = moments(leaf.entries), [moments(_wide(draw)) for draw in draws]
    middle = float(np.mean([reference.stddev for reference in references]))
    if leaf.values.size > 1 and middle and sample.stddev < 1e-6 * middle:
        return f"σ {sample.stddev:.3g}, but {{rule}} gives {middle:.3g}", "entries that differ"
    quantile = _student(1 - alpha / 6) * math.sqrt(1 + 1 / DRAWS)
    own = _statistics(leaf.entries, sample, middle)
    rows = [
        _statistics(_wide(draw), reference, middle)
        for draw, reference in zip(draws, references, strict=True)
    ]
    for name, value in own.items():
        usual = np.array([row[name] for row in rows])
        limit = quantile * float(usual.std(ddof=1)) + _ROUNDING
        if abs(value - usual.mean()) > limit:
            text = _TEXTS[name]
            given = float(usual.mean())
            evidence = f"{text.format(value)}, but {{rule}} gives {text.format(given)}"
            return evidence, f"|difference| <= {limit:.2g}, from {DRAWS} draws"
    return None


def _wide(draw: np.ndarray) -> np.ndarray:
    return draw.astype(np.complex128 if np.iscomplexobj(draw) else np.float64).ravel()


def _statistics(entries: np.ndarray, sample: Moments, scale: float) -> dict[str, float]:
    """log σ and log(E|w − mean|/σ), 0 if σ is 0; the mean by the draws' σ."""
    scale = scale or abs(sample.mean) or 1.0
    found = {"σ": 0.0, "mean": float(np.real(sample.mean)) / scale, "shape": 0.0}
    if sample.stddev:
        found["σ"] = math.log(sample.stddev)
        found["shape"] = math.log(float(np.abs(entries - sample.mean).mean()) / sample.stddev)
    return found


@functools.cache
def _student(probability: float) -> float:
    """The quantile of Student's t with 7 degrees of freedom (Abramowitz & Stegun, 26.7.3).

    >>> round(_student(0.975), 4)
    2.3646
    """
    low, high = 0.0, 1e6
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        angle = math.atan(middle / math.sqrt(DRAWS - 1))
        cosine = math.cos(angle)
        terms = 1 + 2 / 3 * cosine**2 + 8 / 15 * cosine**4
        below = 0.5 + (angle + math.sin(angle) * cosine * terms) / math.pi
        low, high = (middle, high) if below < probability else (low, middle)
    return (low + high) / 2
