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
