"""Computes the Gaussian moments of an activation, on which all theory of wide networks rests.

E[φ(u)^k] and E[φ′(u)^k] for u ~ N(0, q) are tabulated over √q once per activation, in float64, and
interpolated from the nearest nodes. :func:`moments` is an ordinary JAX function of q.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import jax
import numpy as np
from jax.typing import ArrayLike

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._checks import floating
from jinit.theory._namespace import jit_unless_numpy, namespace
from jinit.theory._table import MomentTable
from jinit.theory._tabulate import moment_table
from jinit.typing import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Moments:
    """Moments of φ(u), u ~ N(0, q); every array has the shape of q.

    Attributes:
      mean: E φ.
      second: E φ².
      fourth: E φ⁴.
      slope_second: E φ′²; inf if φ jumps.
      slope_fourth: E φ′⁴; inf if φ jumps.
      curvature_second: E φ″²; inf if φ or φ′ jumps.
      mixed: E φ² φ′²; inf if φ jumps.
      growth: d E φ² / dq, also if φ has kinks, where it differs from E[φ′² + φφ″]; NaN if φ jumps.
    """

    mean: Array
    second: Array
    fourth: Array
    slope_second: Array
    slope_fourth: Array
    curvature_second: Array
    mixed: Array
    growth: Array


def moments(activation: ActivationLike, q: ArrayLike) -> Moments:
    """Moments of φ and its derivatives under N(0, q).

    Args:
      activation: a name, a spec string or any elementwise callable, with or without kinks.
      q: variance of the pre-activations, ≥ 0, any shape; may be traced.

    Returns:
      :class:`Moments` in q's dtype, float32 or wider. Relative error 1e-8 in float64 and 2e-6 in
      float32 for q ≤ 10⁶; beyond, a power law is extrapolated. If a moment vanishes as q → 0 (E φ′²
      of ``cos``), or φ is 0 up to a kink, errors are relative to the moment at q = 1. NaN where the
      activation varies faster than the quadrature resolves (``sin`` at √q > 30), where the integral
      has mass at |u| > 10 √q (E e⁴ᵘ at q > 2), and where a moment is infinite.

    Raises:
      ValueError: a negative q, an unknown activation. TypeError: the activation is not elementwise.

    Reference: Poole et al. 2016, equations 3 and 5.

    >>> relu = moments("relu", 4.0)
    >>> round(float(relu.second), 5), round(float(relu.slope_second), 5)
    (2.0, 0.5)
    """
    errors.check_numbers("q", q, low=0.0, fix="a variance is >= 0")
    return read_moments(moment_table(activation), floating(q))


@jit_unless_numpy((0,))
def read_moments(table: MomentTable, q: Array) -> Moments:
    """:func:`moments` from the table of an activation, without checks."""
    xp = namespace(q)
    s = xp.sqrt(xp.maximum(q, 1e-30))
    columns = xp.moveaxis(table.rows(s), -1, 0)
    m1, m2, m3, m4, slope_second, slope_fourth, curvature, growth, tilt, mix1, mix2 = columns
    zero, kink, s = table.at_zero, table.kink_at_zero, xp.where(q > 0, s, 0.0)
    # Uses powers of q where possible, because √q has no derivative at q = 0.
    d1, d2, d3, d4 = kink * s + q * m1, q * m2, s**3 * m3, q**2 * m4
    mean, second, fourth, mixed = d1, table.second(d1, d2), d4, q * mix2
    if zero:
        mean = zero + d1
        fourth = zero**4 + 4 * zero**3 * d1 + 6 * zero**2 * d2 + 4 * zero * d3 + d4
        mixed = zero**2 * slope_second + 2 * zero * s * mix1 + mixed
        growth = growth + zero * (tilt + (kink / s if kink else 0.0))
    infinite = xp.full_like(s, np.inf)
    continuous = Moments(
        mean=mean,
        second=second,
        fourth=fourth,
        slope_second=slope_second,
        slope_fourth=slope_fourth,
        curvature_second=infinite if table.slope_jumps else curvature,
        mixed=mixed,
        growth=growth,
    )
    if table.jump is None:
        return continuous
    # At a jump φ′ is a point mass, whose square is not integrable.
    return dataclasses.replace(
        continuous,
        slope_second=infinite,
        slope_fourth=infinite,
        mixed=infinite,
        growth=infinite * 0,
    )
