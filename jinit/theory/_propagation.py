"""Lengths, correlations and gradients through every layer, of plain and of residual networks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._correlations import reader
from jinit.theory._mean_field import check_sigmas
from jinit.theory._moments import Moments, pair, read
from jinit.theory._namespace import compiled, namespace, scan
from jinit.theory._tables import Table, floating, table
from jinit.typing import Array

_TINY = 1e-30


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Propagation:
    """A wide network, layer by layer; every array is ``(…, depth)``, layer 1 first.

    Attributes:
      q: variance of the pre-activations.
      gap: 1 − correlation of two inputs' pre-activations, accurate when the correlation is near 1.
      log_gradient: ln of the squared gradient at each layer's pre-activation, over the last one's.
    """

    q: Array
    gap: Array
    log_gradient: Array

    @property
    def correlation(self) -> Array:
        """Of the pre-activations of two different inputs, in [−1, 1]."""
        return 1 - self.gap


@dataclass(frozen=True)
class Architecture:
    """What a layer does beside W, b and φ; the default is nothing.

    Attributes:
      residual: h_l = h_{l−1} + branch_scale · φ(z_l), from the second layer on.
      residual_first: from the first, whose input then is as wide as the layer.
      branch_scale: factor of a residual branch, e.g. L^(−1/2).
      sigma_v: a residual branch ends linearly, branch_scale · V φ(z_l), V's entries N(0, σ_v²/n)
        (:class:`jinit.models.ResidualMLP`); None: it ends in φ.
      normalized: φ sees z_l standardized over units (LayerNorm at its start).

    Raises:
      ValueError: a negative scale, or one without residual=True. TypeError: not a number, or not
        True or False.
    """

    residual: bool = False
    residual_first: bool = False
    branch_scale: float = 1.0
    sigma_v: float | None = None
    normalized: bool = False

    def __post_init__(self) -> None:
        for name in ("residual", "residual_first", "normalized"):
            errors.check_bool(name, getattr(self, name))
        if self.residual_first and not self.residual:
            raise errors.refusal("residual_first", True, "residual=True", "set both")
        for name, default in (("branch_scale", 1.0), ("sigma_v", None)):
            value = getattr(self, name)
            if value is not None:
                errors.check_scalar(name, value, low=0.0, fix="use 1.0")
            if value != default and not self.residual:
                raise errors.refusal(name, value, "residual=True: no branch to scale", "set both")


def propagate(
    activation: ActivationLike,
    sigma_w: Any,
    sigma_b: Any = 0.0,
    *,
    depth: int,
    q: Any = 1.0,
    c: Any = 0.0,
    architecture: Architecture = Architecture(),
    tabulated: bool = False,
) -> Propagation:
    """Variances, correlations and gradients of the first ``depth`` layers of a network.

    q_{l+1} = V(q_l); c_{l+1} = C(c_l) at q_l; a squared gradient grows by σ_w² E φ′(√q_l z)² from
    layer l + 1 to layer l.

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced.
      depth: number of layers, ≥ 1.
      q, c: variance and correlation of the first layer's pre-activations.
      architecture: residual branches and their scale, LayerNorm; a plain network without.
      tabulated: reads correlations from a table (made once an activation, which takes seconds)
        instead of integrating at every layer: for many points. Relative error of the gap 1e-6 for
        c > −0.9 and √q ≤ 30, beyond which angles change as they do there.

    Returns:
      :class:`Propagation` with arrays ``(…, depth)``.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equations 3 to 5; Schoenholz et al. 2017, section 3.

    >>> found = propagate("relu", 2**0.5, depth=3)
    >>> [round(c, 3) for c in found.correlation.tolist()]
    [0.0, 0.318, 0.494]
    >>> branches = Architecture(residual=True, residual_first=True, sigma_v=1.0)
    >>> propagate("relu", 2**0.5, depth=4, architecture=branches).q.round(4).tolist()
    [1.0, 2.0, 4.0, 8.0]
    """
    if not isinstance(architecture, Architecture):
        raise errors.wrong_type(
            "architecture", architecture, "an Architecture", "Architecture(residual=True)"
        )
    check_sigmas(sigma_w, sigma_b, q=q, c=c)
    errors.check_integer("depth", depth, low=1, fix="use 10")
    errors.check_number("q", q, low=0.0, fix="a variance is >= 0")
    errors.check_number("c", c, low=-1.0, high=1.0, fix="a correlation is in [-1, 1]")
    if architecture.residual_first:
        # The stream follows from the first layer's pre-activations.
        errors.check_number("sigma_w", sigma_w, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    values = jnp.broadcast_arrays(*(floating(x) for x in (sigma_w, sigma_b, q, 1 - floating(c))))
    w, b = (jnp.broadcast_to(x, (depth, *x.shape)) for x in values[:2])
    return through(known, w, b, values[2], values[3], architecture, tabulated)


class _Stream(NamedTuple):
    """E h², E h and ½E(h₁ − h₂)² over units, for two inputs of one length."""

    square: Array
    mean: Array
    difference: Array


@compiled((0, 5, 6))
def through(
    known: Table,
    sigma_w: Array,
    sigma_b: Array,
    q: Array,
    gap: Array,
    architecture: Architecture,
    tabulated: bool = False,
) -> Propagation:
    """:func:`propagate` with a σ of its own for each layer, ``(depth, …)``, and skips.

    A residual stream adds squares, E h φ = E h E φ because a layer's weights do not know the stream
    (Yang & Schoenholz 2017, theorem 1); gradients add too.

    >>> one = jnp.ones(3)
    >>> plain = through(table("identity"), one, 0 * one, *jnp.array([1.0, 0.5]), Architecture())
    >>> skip = Architecture(residual=True)
    >>> grown = through(table("relu"), 2**0.5 * one, 0 * one, *jnp.array([1.0, 0.5]), skip)
    >>> plain.q.tolist(), [round(q, 3) for q in grown.q.tolist()]
    ([1.0, 1.0, 1.0], [1.0, 1.0, 2.637])
    """
    pair_at = reader(known) if tabulated else functools.partial(pair, known)
    xp = namespace(q)
    zero = xp.zeros_like(q)
    stream = _Stream(zero, zero, zero)
    if architecture.residual_first:
        square = xp.maximum(q - sigma_b[0] ** 2, 0.0) / sigma_w[0] ** 2
        stream = _Stream(square, zero, q * gap / sigma_w[0] ** 2)
    step = functools.partial(_layer, known, pair_at, architecture)

    def layer(state: Any, sigmas: Any) -> tuple[Any, tuple[Array, ...]]:
        q, gap, stream = state
        stream, slope = step(stream, q, gap)
        sigma_w, sigma_b = sigmas
        following = sigma_w**2 * stream.square + sigma_b**2
        # Where the signal has died or overflowed angles stay.
        ratio = sigma_w**2 * stream.difference / following
        apart = xp.where((following > 0) & xp.isfinite(ratio), xp.clip(ratio, 0.0, 2.0), gap)
        return (following, apart, stream), (q, gap, slope)

    # A layer's own σ made its q: the loop needs the next layer's, and the last one's is not used.
    after = tuple(xp.concatenate([x[1:], x[-1:]]) for x in (sigma_w, sigma_b))
    _, (lengths, gaps, slopes) = scan(layer, (q, gap, stream), after)
    log_gradient = _backward(slopes, sigma_w, architecture)
    return Propagation(*(xp.moveaxis(x, 0, -1) for x in (lengths, gaps, log_gradient)))


def _layer(
    known: Table,
    pair_at: Callable[[Moments, Array, Array], tuple[Array, Array]],
    architecture: Architecture,
    stream: _Stream,
    q: Array,
    gap: Array,
) -> tuple[_Stream, Array]:
    """The stream after one layer, and the squared slope of its branch at z."""
    xp = namespace(q)
    seen = xp.ones_like(q) if architecture.normalized else q
    at = read(known, seen)
    share = pair_at(at, xp.sqrt(xp.maximum(seen, _TINY)), gap)[0]
    scale = architecture.branch_scale if architecture.residual else 1.0
    slope = scale**2 * at.slope_second
    if architecture.normalized:
        slope = slope / xp.maximum(q, _TINY)
    branch = _Stream(scale**2 * at.second, scale * at.mean, scale**2 * seen * gap * share)
    if not architecture.residual:
        return branch, slope
    if architecture.sigma_v is not None:
        # V forgets the mean of φ.
        variance = architecture.sigma_v**2
        branch = _Stream(variance * branch.square, 0 * branch.mean, variance * branch.difference)
        slope = variance * slope
    square = stream.square + branch.square + 2 * stream.mean * branch.mean
    mean, difference = stream.mean + branch.mean, stream.difference + branch.difference
    return _Stream(square, mean, difference), slope


def _backward(slopes: Array, sigma_w: Array, architecture: Architecture) -> Array:
    """ln E‖∂L/∂z_l‖² over the last layer's, which is linear: its pre-activation is the output."""
    xp = namespace(slopes)

    def layer(at_h: Array, here: tuple[Array, Array]) -> tuple[Array, Array]:
        slope, sigma_w = here
        at_z = at_h + xp.log(slope)
        before = at_z + 2 * xp.log(sigma_w)
        return xp.logaddexp(at_h, before) if architecture.residual else before, at_z

    below = slopes[:-1], sigma_w[:-1]
    _, at_z = scan(layer, 2 * xp.log(sigma_w[-1]), below, reverse=True)
    log_gradient: Array = xp.concatenate([at_z, xp.zeros_like(slopes[:1])])
    return log_gradient
