"""Computes the NNGP kernel and the neural tangent kernel (NTK) of an infinitely wide MLP."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.theory._checks import check_sigmas, floating
from jinit.theory._moments import read_moments
from jinit.theory._pair import integrate_pair
from jinit.theory._table import MomentTable
from jinit.theory._tabulate import moment_table
from jinit.typing import Array

_CLOSED = ("identity", "relu", "leaky_relu", "erf")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kernels:
    """Kernels of an MLP; entry (i, j) is about the outputs at inputs i and j.

    Attributes:
      nngp: ``(n, n)``, covariance of the outputs of random networks.
      ntk: ``(n, n)``, Σ ∂f(x_i)/∂θ ∂f(x_j)/∂θ, equal for all draws of a wide network.
    """

    nngp: Array
    ntk: Array


def kernels(
    activation: ActivationLike,
    x: ArrayLike,
    *,
    depth: int,
    sigma_w: ArrayLike = 2**0.5,
    sigma_b: ArrayLike = 0.0,
) -> Kernels:
    """NNGP and NTK of an MLP with ``depth`` hidden layers, in the NTK parameterization.

    K¹ = σ_w² x·x′/d + σ_b², Θ¹ = K¹; K ← σ_w² E[φ(u)φ(u′)] + σ_b², Θ ← K + σ_w² E[φ′(u)φ′(u′)] Θ
    with (u, u′) ~ N(0, K). relu, leaky_relu, erf and identity have closed forms; other activations
    need a two-dimensional quadrature for every layer and pair of inputs.

    Args:
      activation: a name, a spec string or an elementwise callable.
      x: ``(n, d)`` inputs; none may be zero if σ_b = 0.
      depth: number of hidden layers, ≥ 0.
      sigma_w: weights are N(0, σ_w²/fan_in); may be traced and differentiated.
      sigma_b: biases are N(0, σ_b²); may be traced and differentiated.

    Returns:
      :class:`Kernels` in x's dtype.

    Raises:
      ValueError: x of another rank, empty or not finite, an input of zeros with σ_b = 0, a σ that
        is not a scalar or out of range, an unknown activation, one that jumps. TypeError: complex
        inputs.

    Reference: Lee et al. 2018, equation 5; Jacot et al. 2018, theorem 1; Cho & Saul 2009.

    >>> relu = kernels("relu", jnp.eye(2) * 2**0.5, depth=3)
    >>> round(float(relu.nngp[0, 0]), 4), round(float(relu.ntk[0, 0]), 4)  # NTK: 2 (depth + 1)
    (2.0, 8.0)
    """
    x = floating(x, "x")
    if x.ndim != 2 or not x.size:
        raise errors.refusal("x", x.shape, "(inputs, features)", "x.reshape(len(x), -1)")
    errors.check_integer("depth", depth, low=0, high=10**6, fix="use 3")
    check_sigmas(sigma_w, sigma_b)
    _check_scalar(sigma_w=sigma_w, sigma_b=sigma_b)
    _check_inputs(x, floating(sigma_w), floating(sigma_b))
    dual = _dual(moment_table(activation))
    w, b = jnp.square(floating(sigma_w)), jnp.square(floating(sigma_b))
    start = w * jnp.matmul(x, x.T, precision="highest") / x.shape[1] + b

    def layer(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        nngp, ntk = state
        value, slope = dual(nngp)
        nngp = w * value + b
        return (nngp, nngp + w * slope * ntk), None

    (nngp, ntk), _ = jax.lax.scan(layer, (start, start), None, length=depth)
    return Kernels(nngp, ntk)


def _check_scalar(**numbers: ArrayLike) -> None:
    for name, value in numbers.items():
        if np.shape(value):
            raise errors.refusal(
                f"shape of {name}", np.shape(value), "one number", f"jax.vmap over {name}"
            )


def _check_inputs(x: Array, sigma_w: Array, sigma_b: Array) -> None:
    """Checks that every input reaches the output with a length > 0; tracers are not checked."""
    if any(isinstance(value, jax.core.Tracer) for value in (x, sigma_w, sigma_b)):
        return
    with np.errstate(over="ignore"):
        squares = (np.asarray(x) ** 2).sum(1)
    if not np.isfinite(squares).all():
        raise errors.refusal("x", "NaN, inf or too large", "finite inputs", "standardize the data")
    if float(sigma_b) == 0 and (float(sigma_w) == 0 or (squares == 0).any()):
        got = "sigma_w = 0" if float(sigma_w) == 0 else "an input of zeros"
        raise errors.refusal(
            "kernel", f"{got} and sigma_b = 0", "inputs that reach every layer", "use sigma_b > 0"
        )


def linearized_loss(
    ntk: ArrayLike, targets: ArrayLike, *, learning_rate: ArrayLike, steps: int
) -> Array:
    """Mean squared loss of gradient descent on a network with a constant kernel.

    For the loss ½ mean r² over m numbers, the residual r = f − y of each output obeys
    r_{t+1} = (1 − η Θ/m) r_t. It starts at −y, because the mean initial output over networks is 0.

    Args:
      ntk: ``(n, n)``, the kernel Θ.
      targets: ``(n,)`` or ``(n, outputs)``; m is their number of entries.
      learning_rate: η, ≥ 0; may be traced.
      steps: number of steps, ≥ 1.

    Returns:
      ``(steps + 1,)``: ½ mean r² before each step and after the last.

    Raises:
      ValueError: shapes that do not fit, a kernel that is not symmetric or not finite, a number out
        of range. TypeError: arrays that are not made of real numbers.

    Reference: Lee et al. 2019, equation 10; Jacot et al. 2018, section 5.

    >>> linearized_loss(jnp.eye(2) * 2, jnp.ones(2), learning_rate=0.5, steps=2).tolist()
    [0.5, 0.125, 0.03125]
    """
    ntk, targets = _symmetric("ntk", ntk), floating(targets, "targets")
    if targets.shape[:1] != ntk.shape[:1]:
        raise errors.refusal(
            "ntk and targets",
            (ntk.shape, targets.shape),
            "(n, n) and (n,)",
            "pass kernel and targets of the same inputs",
        )
    errors.check_integer("steps", steps, low=1, fix="use 100")
    errors.check_numbers("learning_rate", learning_rate, low=0.0, fix="use 0.1")
    _check_scalar(learning_rate=learning_rate)
    if not isinstance(targets, jax.core.Tracer) and not np.isfinite(np.asarray(targets)).all():
        raise errors.refusal("targets", "NaN or inf", "finite targets", "clean the data")
    n = ntk.shape[0]
    values, vectors = jnp.linalg.eigh(ntk)
    squares = (vectors.T @ targets.reshape(n, -1)) ** 2
    decay = jnp.abs(1 - learning_rate * values / targets.size)
    times = jnp.arange(steps + 1)[:, None]
    return (decay ** (2 * times) @ squares).sum(1) / (2 * targets.size)


def condition_number(kernel: ArrayLike) -> Array:
    """λ_max/λ_min of a kernel, proportional to the steps that learn the slowest direction.

    Args:
      kernel: ``(n, n)``, symmetric.

    Returns:
      A scalar ≥ 1; inf if the smallest eigenvalue is not positive.

    Raises:
      ValueError: the kernel is not square, not symmetric or not finite.
      TypeError: the kernel is not made of real numbers.

    >>> float(condition_number(jnp.diag(jnp.array([4.0, 1.0]))))
    4.0
    """
    values = jnp.linalg.eigvalsh(_symmetric("kernel", kernel))
    return jnp.where(values[0] > 0, values[-1] / values[0], jnp.inf)


def _symmetric(what: str, kernel: ArrayLike) -> Array:
    """The kernel as an array; checked to be finite and symmetric unless it is traced."""
    kernel = floating(kernel, what)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or not kernel.size:
        raise errors.refusal(what, kernel.shape, "(n, n)", "pass the kernel of n inputs")
    if not isinstance(kernel, jax.core.Tracer):
        values = np.asarray(kernel, np.float64)
        if not np.isfinite(values).all():
            raise errors.refusal(what, "NaN or inf", "a finite kernel", "clean the inputs")
        if np.abs(values - values.T).max(initial=0.0) > 1e-3 * np.abs(values).max(initial=0.0):
            raise errors.refusal(what, "not symmetric", "a kernel", "pass Θ or K, not a Jacobian")
    return kernel


def _dual(table: MomentTable) -> Callable[[Array], tuple[Array, Array]]:
    """Maps a covariance ``(n, n)`` of pre-activations to E[φ(u)φ(u′)] and E[φ′(u)φ′(u′)]."""
    kind = table.name.partition("(")[0]
    if kind not in _CLOSED or table is not moment_table(table.name):
        # A user's function may be named relu, but only registered activations have closed forms.
        return functools.partial(_quadrature, table)
    if kind != "erf":
        ends = in_float64(lambda: table.function(jnp.array([1.0, -1.0])))
        return functools.partial(_piecewise_linear, float(ends[0]), -float(ends[1]))
    return _erf


def _cosines(k: Array) -> tuple[Array, Array]:
    """√(k_ii k_jj) and 1 − k_ij/√(k_ii k_jj)."""
    length = jnp.sqrt(jnp.diagonal(k))
    sizes = length[:, None] * length
    gap = jnp.clip(1 - k / jnp.maximum(sizes, 1e-30), 0.0, 2.0)
    # The gap of an input with itself is exactly 0.
    return sizes, gap * (1 - jnp.eye(len(k), dtype=k.dtype))


def _piecewise_linear(right: float, left: float, k: Array) -> tuple[Array, Array]:
    """The dual of φ(x) = right·x (x > 0), left·x (x ≤ 0): ½(right+left) x + ½(right−left)|x|."""
    sizes, gap = _cosines(k)
    c, angle, sine = 1 - gap, *_arcsine(1 - gap, gap * (2 - gap))
    even, odd = (right - left) ** 2 / 4, (right + left) ** 2 / 4
    absolute, sign = 2 / math.pi * (sine + angle * c), 2 / math.pi * angle
    return sizes * (odd * c + even * absolute), odd + even * sign


def _erf(k: Array) -> tuple[Array, Array]:
    grown = jnp.sqrt(1 + 2 * jnp.diagonal(k))
    scale = grown[:, None] * grown
    c = 2 * k / scale
    # 1 − c² of an input with itself, without cancellation; two inputs cannot have a smaller one.
    least = (2 * scale - 1) / scale**2
    rest = jnp.maximum((1 - c) * (1 + c), least)
    angle, sine = _arcsine(c, jnp.where(jnp.eye(len(k), dtype=bool), least, rest))
    return 2 / math.pi * angle, 4 / math.pi / (scale * sine)


def _arcsine(c: Array, rest: Array) -> tuple[Array, Array]:
    """arcsin c and √(1 − c²), from c and 1 − c².

    XLA's own arcsin took half of a kernel's time on CPU. Here arcsin(√t)/√t is a polynomial on
    [0, ½], accurate to rounding; for c² > ½, arcsin |c| = π/2 − arcsin √(1 − c²).
    """
    degree = 9 if c.dtype == jnp.float32 else 21
    ratio = np.polynomial.Chebyshev.interpolate(
        lambda t: np.arcsin(np.sqrt(t)) / np.sqrt(t), degree, domain=[0.0, 0.5]
    )
    powers = ratio.convert(kind=np.polynomial.Polynomial).coef[::-1].tolist()
    equal = rest <= 0  # an input with itself, where √(1 − c²) has no derivative
    sine = jnp.where(equal, 0.0, jnp.sqrt(jnp.where(equal, 1.0, rest)))
    middle = rest >= 0.5
    argument = jnp.where(middle, c, sine)
    square = argument * argument
    short = argument * functools.reduce(lambda sum_, power: sum_ * square + power, powers)
    return jnp.where(middle, short, jnp.sign(c) * (math.pi / 2 - short)), sine


def _quadrature(table: MomentTable, k: Array) -> tuple[Array, Array]:
    n = len(k)
    rows, columns = jnp.triu_indices(n)
    square = jnp.diagonal(k)
    second, length = read_moments(table, square).second, jnp.sqrt(square)
    _, gap = _cosines(k)

    def at(pair: tuple[Array, ...]) -> tuple[Array, Array]:
        _, slope, value = integrate_pair(table, *pair)
        return value, slope

    pairs = second[rows], length[rows], length[columns], gap[rows, columns]
    values, slopes = jax.lax.map(at, pairs, batch_size=16)

    def full(x: Array) -> Array:
        upper = jnp.zeros((n, n), k.dtype).at[rows, columns].set(x)
        return upper + jnp.triu(upper, 1).T

    return full(values), full(slopes)
