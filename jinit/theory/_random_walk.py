"""Computes exactly how one critical layer of finite width changes the length of a signal."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln, polygamma

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import get as get_activation


def log_length(activation: str, width: int) -> tuple[float, float]:
    """Mean and variance of ln of the factor by which one critical layer changes a squared length.

    The logarithms of several layers add.

    ReLU (σ_w² = 2): (2/n) χ²_k with k ~ Bin(n, ½), given k > 0: E ln = ln(4/n) + E ψ(k/2), Var ln =
    E ψ′(k/2) + Var ψ(k/2). Linear (σ_w² = 1): χ²_n/n.

    Args:
      activation: ``"relu"`` or ``"identity"``.
      width: n, from 1 to 10⁷.

    Returns:
      (mean, variance), exact.

    Raises:
      ValueError: another activation, a width below 1.

    Reference: Hanin & Rolnick 2018, section 3; Sussillo & Abbott 2014, section 3.

    >>> mean, variance = log_length("relu", 50)
    >>> round(10 * mean, 6), round(10 * variance, 6)  # ten layers
    (-0.517388, 1.081681)
    """
    errors.check_integer("width", width, low=1, high=10**7, fix="use 64")
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
    """The gain g with which the mean log squared length stays the same from layer to layer.

    g² = σ_w² exp(−E ln factor) from :func:`log_length`, exact. The initializer ``random_walk`` uses
    the paper's fits, √2 exp(1.2/(max(N, 6) − 2.4)) and exp(1/(2N)).

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
