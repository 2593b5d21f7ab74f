"""What finite width adds: how far one network's lengths and gradients stray from their means.

With Gaussian weights the pre-activations of a layer are N(0, q_l) given the layer before, so q_l is
a Markov chain: q_{l+1} = σ_w² mean φ(√q_l z)² + σ_b², z of n_l units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln, polygamma

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.theory._mean_field import check_sigmas, check_signal
from jinit.theory._moments import read
from jinit.theory._namespace import compiled, namespace, scan
from jinit.theory._tables import Table, check_continuous, floating, table
from jinit.typing import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Fluctuations:
    """Variances of logarithms over networks, first order in 1/width; each ``(layers,)``.

    Attributes:
      length: of the mean squared pre-activation of a layer.
      gradient: of the squared gradient at a layer's pre-activation.
    """

    length: Array
    gradient: Array


@dataclass(frozen=True)
class FailureModes:
    """The two ways a network fails at its start (Hanin & Rolnick 2018).

    Attributes:
      log_mean_length: ln of E q_L / q_1: failure mode 1 where it is far from 0.
      length_variance: variance of ln of the length at the end: failure mode 2 where above about 1.
      sum_inverse_width: Σ 1/n_l over hidden layers.
    """

    log_mean_length: float
    length_variance: float
    sum_inverse_width: float


def fluctuations(
    activation: ActivationLike,
    widths: Sequence[int],
    sigma_w: Any,
    sigma_b: Any = 0.0,
    *,
    q: Any = 1.0,
    orthogonal: bool = False,
    inputs: int | None = None,
) -> Fluctuations:
    """How much lengths and gradients vary from network to network, layer by layer.

    Var ln q_{l+1} = (d ln V/d ln q)² Var ln q_l + σ_w⁴ (E φ⁴ − (E φ²)²)/(n_l q_{l+1}²), plus 2/n_l
    for the mean of n_l squares; a gradient's factor has variance (3 E φ′⁴/(E φ′²)² − 1)/n_l, and
    follows q_l with d ln E φ′²/d ln q. He's ReLU: 5 Σ 1/n_l.

    Args:
      activation: a name, a spec string or an elementwise callable.
      widths: n_1 … n_L of the layers, the output layer last.
      sigma_w, sigma_b: ≥ 0; one number, or one per layer.
      q: variance of the first layer's pre-activations, > 0.
      orthogonal: weights are orthogonal (times σ_w): a matrix with at least as many outputs as
        inputs then keeps a length exactly, and only the activation makes it vary; one that narrows
        from n to m projects at random, 2 (n − m)/(m (n + 2)) of the length's square. Backward
        likewise, outputs and inputs exchanged.
      inputs: n_0, of the first layer, which matter to orthogonal weights alone; None: as many as
        it has units.

    Returns:
      :class:`Fluctuations`, arrays ``(layers,)``. First order: exact for (leaky) ReLU and linear
      layers up to the next power of 1/width, else off by about a fifth where the values reach ½.

    Raises:
      ValueError: a width below 1, a number out of range or of another shape, an unknown activation.
      TypeError: widths or numbers that are none.

    Reference: Hanin & Rolnick 2018, theorem 5; Hanin 2018, theorem 1; Yang & Schoenholz 2017.

    >>> found = fluctuations("relu", [50] * 11, 2**0.5)
    >>> round(float(found.length[10] - 2 / 50), 4)  # 5 · 10/50
    1.0
    """
    if not hasattr(widths, "__len__"):
        raise errors.wrong_type("widths", widths, "one per layer", "widths=[64, 64, 10]")
    if not len(widths):
        raise errors.refusal("widths", tuple(widths), "at least one layer", "widths=[64, 64, 10]")
    for width in widths:
        errors.check_integer("width", width, low=1, fix="use 64")
    check_sigmas(sigma_w, sigma_b)
    errors.check_number("q", q, low=0.0, open_low=True, fix="use 1.0")
    known = table(activation)
    check_continuous(known, "fluctuations")
    depth = len(widths)
    for name, value, allowed in (
        ("sigma_w", sigma_w, ((), (depth,))), ("sigma_b", sigma_b, ((), (depth,))), ("q", q, ((),))
    ):  # fmt: skip
        if np.shape(value) not in allowed:
            text = " or ".join(map(str, allowed))
            raise errors.refusal(
                f"shape of {name}", np.shape(value), text, "jax.vmap over several networks"
            )
    check_signal(sigma_w, sigma_b)
    if inputs is not None:
        errors.check_integer("inputs", inputs, low=1, fix="use 64")
    n = jnp.asarray(widths, floating(q).dtype)
    fans = jnp.asarray([inputs or widths[0], *widths[:-1]], n.dtype)
    sigma_w, sigma_b = (jnp.broadcast_to(floating(x), (depth,)) for x in (sigma_w, sigma_b))
    return spreading(known, fans, n, sigma_w, sigma_b, floating(q), orthogonal)


@compiled((0, 6))
def spreading(
    known: Table,
    fans: Array,
    n: Array,
    sigma_w: Array,
    sigma_b: Array,
    q: Array,
    orthogonal: bool,
) -> Fluctuations:
    """:func:`fluctuations` from a table that is at hand, with arrays ``(layers,)``, unchecked.

    >>> n, one, zero = jnp.full(3, 50.0), jnp.ones(3), jnp.zeros(3)
    >>> found = spreading(table("identity"), n, n, one, zero, one[0], False)
    >>> [round(variance, 3) for variance in found.length.tolist()]
    [0.04, 0.08, 0.12]
    """
    xp = namespace(q)
    # How much of the 2/n by which a Gaussian matrix lets a length vary an orthogonal one does not.
    forth = back = xp.zeros_like(n)
    if orthogonal:
        after = xp.concatenate([n[1:], n[-1:]])
        forth, back = (1 - xp.maximum(x - n, 0) / (x + 2) for x in (fans, after))

    def layer(state: tuple[Array, Array], here: tuple[Array, ...]) -> tuple[Any, tuple[Array, ...]]:
        q, variance = state
        n, kept, back, own_b, sigma_w, sigma_b = here
        # Biases are independent: of z's squared length that of W times the layer below is fixed.
        kept = kept * (1 - own_b**2 / q).clip(0) ** 2
        step = 1e-3
        nearby = read(known, q * xp.exp(step * xp.asarray([0.0, 1.0, -1.0], q.dtype)))
        at = jax.tree.map(lambda moment: moment[0], nearby)
        following = sigma_w**2 * at.second + sigma_b**2
        share = q * sigma_w**2 * at.growth / following
        noise = sigma_w**4 * (at.fourth - at.second**2) / following**2
        backward = 3 * at.slope_fourth / xp.maximum(at.slope_second, 1e-30) ** 2 - 1
        tilt = xp.log(nearby.slope_second[1] / nearby.slope_second[2]) / (2 * step)
        # φ² and φ′² of the same units: what makes the next length fresh moves this gradient too.
        common = at.mixed / xp.maximum(at.second * at.slope_second, 1e-30) - 1
        common = common * sigma_w**2 * at.second / following
        # What the squared lengths of z and of Wᵀ times the gradient explain of these is fixed.
        noise = noise - 2 * kept * share**2
        common = common - 2 * kept * share * tilt
        backward = backward - 2 * back - 2 * kept * tilt**2
        seen = (
            variance + (1 - kept) * 2 / n,
            variance,
            backward / n,
            tilt,
            share,
            noise / n,
            common / n,
        )
        return (following, share**2 * variance + noise / n), seen

    ahead = [xp.concatenate([x[1:], x[-1:]]) for x in (sigma_w, sigma_b)]
    _, seen = scan(layer, (q, xp.zeros_like(q)), (n, forth, back, sigma_b, *ahead))

    def gradient(state: tuple[Array, Array], here: tuple[Array, ...]) -> tuple[Any, Array]:
        # ln g_l = ln g_{l+1} + noise + tilt δ_l and δ_{l+1} = share δ_l + fresh, δ = ln q − E ln q:
        # ln g_l responds to δ_l itself and to everything fresh above it.
        variance, response = state
        length, backward, tilt, share, fresh, common = here
        variance = variance + backward + response**2 * fresh + 2 * response * common
        response = response * share + tilt
        return (variance, response), variance + response**2 * length

    # The output layer is linear: its gradient is the loss's own.
    rest, zero = tuple(x[:-1] for x in seen[1:]), xp.zeros_like(q)
    _, below = scan(gradient, (zero, zero), rest, reverse=True)
    return Fluctuations(seen[0], xp.concatenate([below, zero[None]]))


def failure_modes(
    activation: ActivationLike, widths: Sequence[int], sigma_w: Any, sigma_b: Any = 0.0
) -> FailureModes:
    """Both failure modes as numbers: a mean length that moves, and a length that varies.

    Args:
      activation, widths, sigma_w, sigma_b: as :func:`fluctuations`; the output layer last.

    Returns:
      :class:`FailureModes`, computed in float64.

    Raises:
      ValueError: as :func:`fluctuations`. TypeError: a traced number.

    Reference: Hanin & Rolnick 2018, theorems 1 and 5.

    >>> found = failure_modes("relu", [50] * 10 + [1], 1.0)  # Xavier halves it a layer
    >>> round(found.log_mean_length / math.log(2)), round(found.length_variance, 3)
    (-10, 1.0)
    """
    for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if isinstance(value, jax.core.Tracer):
            raise errors.wrong_type(name, value, "a number that is known", "use fluctuations")
    found = in_float64(lambda: fluctuations(activation, widths, sigma_w, sigma_b, q=jnp.ones(())))
    known, depth = table(activation), len(widths)

    def last_length() -> Array:
        q = jnp.ones(())
        w, b = (np.broadcast_to(np.asarray(x, float), (depth,)) for x in (sigma_w, sigma_b))
        # The first layer's pre-activations are given; each later layer maps their variance.
        for layer in range(1, depth):
            q = w[layer] ** 2 * read(known, q).second + b[layer] ** 2
        return q

    with np.errstate(divide="ignore"):
        log_length = float(np.log(in_float64(last_length)))
    return FailureModes(
        log_length,
        float(found.length[-1] - 2 / widths[-1]),
        float(np.sum(1 / np.asarray(widths[:-1], float))),
    )


def log_length(activation: str, width: int) -> tuple[float, float]:
    """Mean and variance of ln of the factor by which one critical layer changes a squared length.

    ReLU (σ_w² = 2): (2/n) χ²_k with k ~ Bin(n, ½), given k > 0: E ln = ln(4/n) + E ψ(k/2), Var ln =
    E ψ′(k/2) + Var ψ(k/2). Linear (σ_w² = 1): χ²_n/n. Layers add.

    Args:
      activation: ``"relu"`` or ``"identity"``.
      width: n, ≥ 1.

    Returns:
      (mean, variance), exact.

    Raises:
      ValueError: another activation, a width below 1.

    Reference: Hanin & Rolnick 2018, section 3; Sussillo & Abbott 2014, section 3.

    >>> mean, variance = log_length("relu", 50)
    >>> round(10 * mean, 6), round(10 * variance, 6)  # ten layers
    (-0.517388, 1.081681)
    """
    errors.check_integer("width", width, low=1, fix="use 64")
    name = get_activation(activation).name
    errors.check_choice("log_length activation", name, ("relu", "identity"))

    def exact() -> tuple[float, float]:
        n = float(width)
        if name == "identity":
            return float(digamma(n / 2)) + math.log(2 / n), float(polygamma(1, n / 2))
        k = jnp.arange(1.0, width + 1)
        log_choose = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
        weights = jnp.exp(log_choose - n * math.log(2))
        weights = weights / weights.sum()
        mean = (weights * digamma(k / 2)).sum()
        spread = (weights * (digamma(k / 2) - mean) ** 2).sum()
        return (
            float(mean) + math.log(4 / n),
            float((weights * polygamma(1, k / 2)).sum() + spread),
        )

    return in_float64(exact)


def random_walk_gain(activation: str, width: int) -> float:
    """g with E ln of a layer's change of squared length 0: the exact one of Sussillo & Abbott.

    g² = σ_w² exp(−E ln factor) from :func:`log_length`. The initializer ``random_walk`` has the
    paper's fits, √2 exp(1.2/(max(N, 6) − 2.4)) and exp(1/(2N)).

    Args:
      activation: ``"relu"`` or ``"identity"``.
      width: N, ≥ 1.

    Returns:
      g; weights are N(0, g²/N).

    Raises:
      ValueError: another activation, a width below 1.

    Reference: Sussillo & Abbott 2014, section 3.

    >>> round(random_walk_gain("identity", 100), 7), round(random_walk_gain("relu", 100), 7)
    (1.0050293, 1.4323036)
    """
    mean, _ = log_length(activation, width)
    critical = 2.0 if get_activation(activation).name == "relu" else 1.0
    return math.sqrt(critical * math.exp(-mean))
