"""Computes how lengths and gradients vary between networks of finite width.

With Gaussian weights, the pre-activations of a layer are N(0, q_l) given the previous layer, so q_l
is a Markov chain: q_{l+1} = σ_w² mean φ(√q_l z)² + σ_b², the mean over n_l units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.theory._checks import (
    Numbers,
    check_continuous,
    check_sigmas,
    check_signal,
    floating,
)
from jinit.theory._moments import read_moments
from jinit.theory._namespace import jit_unless_numpy, namespace, scan
from jinit.theory._table import MomentTable
from jinit.theory._tabulate import moment_table
from jinit.typing import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fluctuations:
    """Variances of logarithms over random networks, to first order in 1/width.

    Attributes:
      length: ``(layers,)``, variance of ln of a layer's mean squared pre-activation.
      gradient: ``(layers,)``, variance of ln of the squared gradient at a layer's pre-activations.
    """

    length: Array
    gradient: Array


@dataclass(frozen=True)
class FailureModes:
    """The two failure modes of a network at initialization (Hanin & Rolnick 2018).

    Attributes:
      log_mean_length: ln(E q_L / q_1); failure mode 1 if far from 0.
      length_variance: Var ln q_L of the last layer; failure mode 2 if above about 1.
      sum_inverse_width: Σ 1/n_l over hidden layers.
    """

    log_mean_length: float
    length_variance: float
    sum_inverse_width: float


def fluctuations(
    activation: ActivationLike,
    widths: Sequence[int],
    sigma_w: Numbers,
    sigma_b: Numbers = 0.0,
    *,
    q: Numbers = 1.0,
    orthogonal: bool = False,
    inputs: int | None = None,
) -> Fluctuations:
    """Variances over networks of the logarithms of each layer's length and gradient.

    Var ln q_{l+1} = (d ln V/d ln q)² Var ln q_l + σ_w⁴ (E φ⁴ − (E φ²)²)/(n_l q_{l+1}²). The length
    of layer l is a mean of n_l squares, which adds 2/n_l to Var ln q_l. The factor by which layer l
    multiplies a squared gradient has relative variance (3 E φ′⁴/(E φ′²)² − 1)/n_l and depends on
    q_l through d ln E φ′²/d ln q. For ReLU with He's weights, Var ln q_L = 5 Σ_{l<L} 1/n_l.

    Args:
      activation: a name, a spec string or an elementwise callable.
      widths: n_1 … n_L of the layers, the output layer last.
      sigma_w, sigma_b: ≥ 0; one number, or one per layer.
      q: variance of the first layer's pre-activations, > 0.
      orthogonal: True for orthogonal weights times σ_w. A matrix with at least as many outputs as
        inputs keeps lengths exactly, and only the activation makes them vary. A matrix from n to
        m < n units is a random projection, which adds a variance of 2 (n − m)/(m (n + 2)) to the
        squared length. For gradients, exchange outputs and inputs.
      inputs: n_0, the number of inputs of the first layer, used for orthogonal weights only;
        default n_1.

    Returns:
      :class:`Fluctuations`, arrays ``(layers,)``, to first order in 1/width. For (leaky) ReLU and
      linear layers the error is of second order; for other activations it is about 20 % of a
      variance near ½.

    Raises:
      ValueError: a width below 1, a number out of range or of another shape, an unknown activation,
        one that jumps. TypeError: widths that are not whole numbers, σ or q that are not numbers.

    Reference: Hanin & Rolnick 2018, theorem 5; Hanin 2018, theorem 1; Yang & Schoenholz 2017.

    >>> variances = fluctuations("relu", [50] * 11, 2**0.5)
    >>> round(float(variances.length[10] - 2 / 50), 4)  # 5 · 10/50
    1.0
    """
    if not isinstance(widths, list | tuple | range) and getattr(widths, "ndim", 0) != 1:
        raise errors.wrong_type("widths", widths, "one per layer", "widths=[64, 64, 10]")
    if not len(widths):
        raise errors.refusal("widths", tuple(widths), "at least one layer", "widths=[64, 64, 10]")
    errors.check_bool("orthogonal", orthogonal)
    for width in widths:
        errors.check_integer("width", width, low=1, high=2**53, fix="use 64")
    check_sigmas(sigma_w, sigma_b)
    errors.check_numbers("q", q, low=0.0, open_low=True, fix="use 1.0")
    table = moment_table(activation)
    check_continuous(table, "fluctuations")
    depth = len(widths)
    for name, value, allowed in (
        ("sigma_w", sigma_w, ((), (depth,))),
        ("sigma_b", sigma_b, ((), (depth,))),
        ("q", q, ((),)),
    ):
        if np.shape(value) not in allowed:
            text = " or ".join(map(str, allowed))
            raise errors.refusal(
                f"shape of {name}", np.shape(value), text, "jax.vmap over several networks"
            )
    check_signal(sigma_w, sigma_b)
    if inputs is not None:
        errors.check_integer("inputs", inputs, low=1, high=2**53, fix="use 64")
    n = jnp.asarray(widths, floating(q).dtype)
    fans = jnp.asarray([inputs or widths[0], *widths[:-1]], n.dtype)
    sigma_w, sigma_b = (jnp.broadcast_to(floating(x), (depth,)) for x in (sigma_w, sigma_b))
    return fluctuations_from_table(table, fans, n, sigma_w, sigma_b, floating(q), orthogonal)


@jit_unless_numpy((0, 6))
def fluctuations_from_table(
    table: MomentTable,
    fans: Array,
    n: Array,
    sigma_w: Array,
    sigma_b: Array,
    q: Array,
    orthogonal: bool,
) -> Fluctuations:
    """:func:`fluctuations` from a table, with arrays ``(layers,)``, without checks.

    ``fans`` are the inputs and ``n`` the units of each layer; q is a scalar array.
    """
    xp = namespace(q)
    # A Gaussian matrix adds a variance of 2/n; an orthogonal one leaves out these fractions of it.
    kept_forward = kept_backward = xp.zeros_like(n)
    if orthogonal:
        after = xp.concatenate([n[1:], n[-1:]])
        kept_forward, kept_backward = (1 - xp.maximum(x - n, 0) / (x + 2) for x in (fans, after))

    def layer(
        state: tuple[Array, Array], here: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        q, variance = state
        n, kept, kept_backward, own_b, sigma_w, sigma_b = here
        # An orthogonal matrix fixes only the part of z's squared length that does not come from
        # the biases, which are independent.
        kept = kept * (1 - own_b**2 / q).clip(0) ** 2
        step = 1e-3
        nearby = read_moments(table, q * xp.exp(step * xp.asarray([0.0, 1.0, -1.0], q.dtype)))
        at = jax.tree.map(lambda moment: moment[0], nearby)
        following = sigma_w**2 * at.second + sigma_b**2
        share = q * sigma_w**2 * at.growth / following
        noise = sigma_w**4 * (at.fourth - at.second**2) / following**2
        backward = 3 * at.slope_fourth / xp.maximum(at.slope_second, 1e-30) ** 2 - 1
        tilt = xp.log(nearby.slope_second[1] / nearby.slope_second[2]) / (2 * step)
        # φ² and φ′² of one unit are correlated: noise in the next length also moves this gradient.
        common = at.mixed / xp.maximum(at.second * at.slope_second, 1e-30) - 1
        common = common * sigma_w**2 * at.second / following
        # Orthogonal W fixes the squared lengths of z and of Wᵀ times the gradient, so the variance
        # that these lengths explain is subtracted.
        noise = noise - 2 * kept * share**2
        common = common - 2 * kept * share * tilt
        backward = backward - 2 * kept_backward - 2 * kept * tilt**2
        row = (
            variance + (1 - kept) * 2 / n,
            variance,
            backward / n,
            tilt,
            share,
            noise / n,
            common / n,
        )
        return (following, share**2 * variance + noise / n), row

    ahead = [xp.concatenate([x[1:], x[-1:]]) for x in (sigma_w, sigma_b)]
    _, rows = scan(layer, (q, xp.zeros_like(q)), (n, kept_forward, kept_backward, sigma_b, *ahead))

    def gradient(
        state: tuple[Array, Array], here: tuple[Array, ...]
    ) -> tuple[tuple[Array, Array], Array]:
        # With δ = ln q − E ln q: ln g_l = ln g_{l+1} + noise + tilt δ_l and
        # δ_{l+1} = share δ_l + fresh. So ln g_l depends on δ_l and on fresh noise of later layers.
        variance, response = state
        length, backward, tilt, share, fresh, common = here
        variance = variance + backward + response**2 * fresh + 2 * response * common
        response = response * share + tilt
        return (variance, response), variance + response**2 * length

    # The output layer is linear; the gradient at its pre-activations is that of the loss.
    hidden, zero = tuple(x[:-1] for x in rows[1:]), xp.zeros_like(q)
    _, below = scan(gradient, (zero, zero), hidden, reverse=True)
    return Fluctuations(rows[0], xp.concatenate([below, zero[None]]))


def failure_modes(
    activation: ActivationLike, widths: Sequence[int], sigma_w: Numbers, sigma_b: Numbers = 0.0
) -> FailureModes:
    """Computes how far mean lengths drift over the layers, and how far networks differ in length.

    Large values are failure modes 1 and 2. The first layer has q_1 = 1.

    Args:
      activation, widths, sigma_w, sigma_b: as :func:`fluctuations`; the output layer last.

    Returns:
      :class:`FailureModes`, computed in float64.

    Raises:
      ValueError: as :func:`fluctuations`. TypeError: as :func:`fluctuations`, or a traced number.

    Reference: Hanin & Rolnick 2018, theorems 1 and 5.

    >>> xavier = failure_modes("relu", [50] * 10 + [1], 1.0)  # each layer halves the mean
    >>> round(xavier.log_mean_length / np.log(2)), round(xavier.length_variance, 3)
    (-10, 1.0)
    """
    for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if isinstance(value, jax.core.Tracer):
            raise errors.wrong_type(
                name, value, "a number known before tracing", "use fluctuations"
            )
    variances = in_float64(
        lambda: fluctuations(activation, widths, sigma_w, sigma_b, q=jnp.ones(()))
    )
    table, depth = moment_table(activation), len(widths)

    def last_length() -> Array:
        q = jnp.ones(())
        w, b = (np.broadcast_to(np.asarray(x, float), (depth,)) for x in (sigma_w, sigma_b))
        # The variance of the first layer is given; each later layer maps it.
        for layer in range(1, depth):
            q = w[layer] ** 2 * read_moments(table, q).second + b[layer] ** 2
        return q

    with np.errstate(divide="ignore"):
        log_length = float(np.log(in_float64(last_length)))
    return FailureModes(
        log_length,
        float(variances.length[-1] - 2 / widths[-1]),
        float(np.sum(1 / np.asarray(widths[:-1], float))),
    )
