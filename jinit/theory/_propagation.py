"""Propagates lengths, correlations and gradients through plain and residual networks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jinit import errors
from jinit.activations import ActivationLike
from jinit.theory._checks import check_sigmas, floating
from jinit.theory._moments import read_moments
from jinit.theory._namespace import jit_unless_numpy, namespace, scan
from jinit.theory._pair import PairReader, pair_moments
from jinit.theory._pair_table import tabulated_pair_moments
from jinit.theory._table import MomentTable
from jinit.theory._tabulate import moment_table
from jinit.typing import Array

_TINY = 1e-30


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Propagation:
    """Signals and gradients of a wide network; every array is ``(…, depth)``, layer 1 first.

    Attributes:
      q: variance of the pre-activations.
      gap: 1 − correlation of two inputs' pre-activations, accurate even if the gap is tiny.
      log_gradient: ln of the squared gradient at each layer's pre-activations, relative to the last
        layer.
    """

    q: Array
    gap: Array
    log_gradient: Array

    @property
    def correlation(self) -> Array:
        """Correlation of two inputs' pre-activations, ``(…, depth)``, in [−1, 1]."""
        return 1 - self.gap


@dataclass(frozen=True)
class Architecture:
    """Residual branches and normalization of a network; the default is a plain network.

    Attributes:
      residual: True for h_l = h_{l−1} + branch_scale · φ(z_l), from the second layer on.
      residual_first: True if the first layer has a residual branch too; its input then has the
        width of the layer.
      branch_scale: factor of a residual branch, e.g. L^(−1/2); ≥ 0. A layer without a residual
        branch has neither this factor nor V.
      sigma_v: if given, a branch ends linearly: branch_scale · V φ(z_l), with entries of V from
        N(0, σ_v²/n) (:class:`jinit.models.ResidualMLP`). None: the branch ends in φ.
      normalized: True if z_l is standardized over units before φ (LayerNorm at initialization).

    Raises:
      ValueError: a negative scale; a scale or residual_first without residual=True.
      TypeError: a scale that is not a number, a flag that is not True or False.

    >>> Architecture(residual=True, branch_scale=0.5).sigma_v is None
    True
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
            raise errors.refusal("residual_first", True, "only with residual=True", "set both")
        for name, default in (("branch_scale", 1.0), ("sigma_v", None)):
            value = getattr(self, name)
            if value is not None:
                errors.check_scalar(name, value, low=0.0, fix="use 1.0")
            if value != default and not self.residual:
                raise errors.refusal(
                    name, value, "only with residual=True: there is no branch to scale", "set both"
                )


def propagate(
    activation: ActivationLike,
    sigma_w: ArrayLike,
    sigma_b: ArrayLike = 0.0,
    *,
    depth: int,
    q: ArrayLike = 1.0,
    c: ArrayLike = 0.0,
    architecture: Architecture = Architecture(),
    tabulated: bool = False,
) -> Propagation:
    """Variances, correlations and gradients of the first ``depth`` layers of a network.

    In a plain network q_{l+1} = V(q_l) and c_{l+1} = C(c_l) at q_l; from layer l + 1 back to layer
    l, a squared gradient grows by a factor σ_w² E φ′(√q_l z)².

    Args:
      activation: a name, a spec string or an elementwise callable.
      sigma_w, sigma_b: ≥ 0, any shapes that broadcast; may be traced.
      depth: number of layers, ≥ 1.
      q, c: variance (≥ 0) and correlation (in [−1, 1]) of the first layer's pre-activations.
      architecture: residual branches and LayerNorm; default: a plain network.
      tabulated: True reads correlations from a table, which is faster for many points than an
        integral at every layer. Making the table takes seconds, once per activation. The relative
        error of the gap is 1e-6 for c > −0.9 and √q ≤ 30; a larger √q counts as 30.

    Returns:
      :class:`Propagation` with arrays ``(…, depth)``.

    Raises:
      ValueError: a number out of range, an unknown activation, one that jumps.

    Reference: Poole et al. 2016, equations 3 to 5; Schoenholz et al. 2017, section 3.

    >>> plain = propagate("relu", 2**0.5, depth=3)
    >>> [round(c, 3) for c in plain.correlation.tolist()]
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
    errors.check_integer("depth", depth, low=1, high=10**6, fix="use 10")
    errors.check_bool("tabulated", tabulated)
    errors.check_numbers("q", q, low=0.0, fix="a variance is >= 0")
    errors.check_numbers("c", c, low=-1.0, high=1.0, fix="a correlation is in [-1, 1]")
    if architecture.residual_first:
        # The residual stream is computed from the first layer's pre-activations, divided by σ_w².
        errors.check_numbers("sigma_w", sigma_w, low=0.0, open_low=True, fix="use 1.0")
    table = moment_table(activation)
    values = jnp.broadcast_arrays(*(floating(x) for x in (sigma_w, sigma_b, q, 1 - floating(c))))
    w, b = (jnp.broadcast_to(x, (depth, *x.shape)) for x in values[:2])
    return propagate_from_table(table, w, b, values[2], values[3], architecture, tabulated)


class Skips(NamedTuple):
    """The skip connections of a residual network.

    Attributes:
      layers: ``(depth,)``, 1 for a layer with a skip connection, else 0.
      mean: the mean entry of the first layer's inputs.
    """

    layers: Array
    mean: Array | float


class _Stream(NamedTuple):
    """The residual stream h over units: E h², E h and ½E(h₁ − h₂)² for inputs of equal length."""

    square: Array
    mean: Array
    difference: Array


@jit_unless_numpy((0, 5, 6))
def propagate_from_table(
    table: MomentTable,
    sigma_w: Array,
    sigma_b: Array,
    q: Array,
    gap: Array,
    architecture: Architecture,
    tabulated: bool = False,
    skips: Skips | None = None,
) -> Propagation:
    """:func:`propagate` from a table, with σ of each layer ``(depth, …)``, without checks.

    Without ``skips`` every layer but the first has a skip connection, the first has one if
    ``architecture.residual_first``, and the inputs have mean 0.

    For a residual stream, E (h + φ)² = E h² + E φ² + 2 E h E φ, because a layer's weights are
    independent of the stream (Yang & Schoenholz 2017, theorem 1). The squared gradients of stream
    and branch add.
    """
    read_pair: PairReader = functools.partial(pair_moments, table)
    if tabulated:
        read_pair = tabulated_pair_moments(table)
    xp = namespace(q)
    zero = xp.zeros_like(q)
    if skips is None:
        first = 1.0 if architecture.residual_first else 0.0
        depth = len(sigma_w)
        skips = Skips(xp.where(np.arange(depth) > 0, 1.0, first).astype(q.dtype), zero)
    stream = _Stream(zero, zero, zero)
    if architecture.residual_first:
        square = xp.maximum(q - sigma_b[0] ** 2, 0.0) / sigma_w[0] ** 2
        stream = _Stream(square, zero + skips.mean, q * gap / sigma_w[0] ** 2)
    step = functools.partial(_layer, table, read_pair, architecture)

    def layer(
        state: tuple[Array, Array, _Stream], sigmas: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array, _Stream], tuple[Array, Array, Array]]:
        q, gap, stream = state
        sigma_w, sigma_b, skip = sigmas
        stream, slope = step(stream, q, gap, skip)
        following = sigma_w**2 * stream.square + sigma_b**2
        # After a signal has died or overflowed, the gap stays constant.
        ratio = sigma_w**2 * stream.difference / following
        next_gap = xp.where((following > 0) & xp.isfinite(ratio), xp.clip(ratio, 0.0, 2.0), gap)
        return (following, next_gap, stream), (q, gap, slope)

    # Layer l maps its q with the σ of layer l + 1; the last result of this map is not used.
    after = tuple(xp.concatenate([x[1:], x[-1:]]) for x in (sigma_w, sigma_b))
    after = (*after, skips.layers)
    _, (lengths, gaps, slopes) = scan(layer, (q, gap, stream), after)
    log_gradient = _backward(slopes, sigma_w, skips.layers, architecture)
    return Propagation(*(xp.moveaxis(x, 0, -1) for x in (lengths, gaps, log_gradient)))


def _layer(
    table: MomentTable,
    read_pair: PairReader,
    architecture: Architecture,
    stream: _Stream,
    q: Array,
    gap: Array,
    skip: Array,
) -> tuple[_Stream, Array]:
    """The residual stream after one layer, and the squared slope of its branch at z.

    ``skip`` is 1 if the layer has a skip connection, else 0.
    """
    xp = namespace(q)
    variance = xp.ones_like(q) if architecture.normalized else q
    at = read_moments(table, variance)
    ratio = read_pair(at, xp.sqrt(xp.maximum(variance, _TINY)), gap)[0]
    scale = xp.where(skip > 0, architecture.branch_scale, 1.0) if architecture.residual else 1.0
    slope = scale**2 * at.slope_second
    if architecture.normalized:
        slope = slope / xp.maximum(q, _TINY)
    branch = _Stream(scale**2 * at.second, scale * at.mean, scale**2 * variance * gap * ratio)
    if not architecture.residual:
        return branch, slope
    if architecture.sigma_v is not None:
        # V has mean 0, so the mean of φ does not reach the stream.
        v = xp.where(skip > 0, architecture.sigma_v**2, 1.0)
        mean = xp.where(skip > 0, 0 * branch.mean, branch.mean)
        branch = _Stream(v * branch.square, mean, v * branch.difference)
        slope = v * slope
    stream = _Stream(*(xp.where(skip > 0, x, xp.zeros_like(x)) for x in stream))
    square = stream.square + branch.square + 2 * stream.mean * branch.mean
    mean, difference = stream.mean + branch.mean, stream.difference + branch.difference
    return _Stream(square, mean, difference), slope


def _backward(slopes: Array, sigma_w: Array, skips: Array, architecture: Architecture) -> Array:
    """ln of E‖∂L/∂z_l‖² relative to the last layer, whose pre-activations are the output."""
    xp = namespace(slopes)

    def layer(at_h: Array, here: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        slope, sigma_w, skip = here
        at_z = at_h + xp.log(slope)
        before = at_z + 2 * xp.log(sigma_w)
        both = xp.logaddexp(at_h, before) if architecture.residual else before
        return xp.where(skip > 0, both, before), at_z

    below = slopes[:-1], sigma_w[:-1], skips[:-1]
    _, at_z = scan(layer, 2 * xp.log(sigma_w[-1]), below, reverse=True)
    log_gradient: Array = xp.concatenate([at_z, xp.zeros_like(slopes[:1])])
    return log_gradient
