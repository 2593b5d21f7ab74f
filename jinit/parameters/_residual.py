"""Rules for residual networks: how much smaller a branch must start in a deep stack.

Each function gives the factors of one paper by role; multiply a kernel's σ by them, or use
:func:`residual_rules` to have it done by path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from jinit import errors, initializers
from jinit.initializers import NamedInitializer, scaled_by
from jinit.typing import Initializer


def fixup(depth: int, branch_layers: int = 2) -> dict[str, float]:
    """Fixup: branch kernels × L^(−1/(2m − 2)), the last of a branch and the head 0.

    Args:
      depth: L, residual branches in the network, ≥ 1.
      branch_layers: m, layers in a branch, ≥ 2.

    Returns:
      Role → factor on the He σ: ``first`` and ``inner`` layers of a branch, its ``last``, ``head``.

    Raises:
      ValueError: counts out of range.

    Reference: Zhang, Dauphin & Ma 2019, section 3.

    >>> round(fixup(16)["first"], 6)
    0.25
    """
    _check(depth)
    errors.check_integer("branch_layers", branch_layers, low=2, fix="use 2")
    factor = depth ** (-1 / (2 * branch_layers - 2))
    return {"first": factor, "inner": factor, "last": 0.0, "head": 0.0}


def skipinit(depth: int) -> dict[str, float]:
    """SkipInit: ordinary branches times a learnable scalar that starts at 0 (``last`` here).

    Reference: De & Smith 2020, section 3.

    >>> skipinit(16)["last"]
    0.0
    """
    _check(depth)
    return {"first": 1.0, "inner": 1.0, "last": 0.0, "head": 1.0}


def rezero(depth: int) -> dict[str, float]:
    """ReZero: as SkipInit, with a scalar 0 on every branch and no normalization.

    Reference: Bachlechner et al. 2021, equation 1.

    >>> rezero(4) == skipinit(4)
    True
    """
    return skipinit(depth)


def t_fixup(encoder_layers: int, decoder_layers: int = 0) -> dict[str, float]:
    """T-Fixup: value, output and feed-forward kernels of a transformer without LayerNorm.

    Encoder: 0.67 N^(−1/4); decoder: (9 M)^(−1/4); embeddings are drawn with σ = d^(−1/2) and
    multiplied by the same factors.

    Args:
      encoder_layers, decoder_layers: N ≥ 1 and M ≥ 0.

    Raises:
      ValueError: counts out of range.

    Reference: Huang et al. 2020, section 3.2.

    >>> round(t_fixup(16)["encoder"], 6), round(t_fixup(6, 9)["decoder"], 6)
    (0.335, 0.333333)
    """
    _check(encoder_layers)
    errors.check_integer("decoder_layers", decoder_layers, low=0, fix="use 0")
    factors = {"encoder": 0.67 * encoder_layers**-0.25}
    if decoder_layers:
        factors["decoder"] = (9 * decoder_layers) ** -0.25
    return factors


def deepnorm(layers: int) -> dict[str, float]:
    """DeepNorm for an encoder-only or decoder-only stack: x · α + branch, kernels × β.

    α = (2N)^(1/4); feed-forward, value and output kernels × β = (8N)^(−1/4) on Xavier normal.

    Args:
      layers: N ≥ 1.

    Raises:
      ValueError: N < 1.

    Reference: Wang et al. 2022, figure 2.

    >>> round(deepnorm(8)["alpha"], 6), round(deepnorm(2)["beta"], 6)
    (2.0, 0.5)
    """
    _check(layers)
    return {"alpha": (2 * layers) ** 0.25, "beta": (8 * layers) ** -0.25}


def gpt2_residual(layers: int, stddev: float = 0.02) -> dict[str, float]:
    """GPT-2: every kernel N(0, 0.02²), projections back to the stream 0.02/√(2L).

    Args:
      layers: L transformer blocks, two residual additions each.
      stddev: of all other kernels, > 0.

    Returns:
      Standard deviations: ``inner`` and ``last`` (the projections).

    Raises:
      ValueError: numbers out of range.

    Reference: Radford et al. 2019, section 2.3.

    >>> round(gpt2_residual(2)["last"], 6)
    0.01
    """
    _check(layers)
    errors.check_number("stddev", stddev, low=0.0, open_low=True, fix="use 0.02")
    return {"inner": stddev, "last": stddev / math.sqrt(2 * layers)}


def residual_rules(
    roles: Mapping[str, str],
    factors: Mapping[str, float],
    initializer: str | NamedInitializer = "he_normal",
) -> dict[str, str | Initializer]:
    """Rules by path from roles by path: σ of each role's kernels times its factor.

    Args:
      roles: ordered mapping from path pattern to a role in ``factors``.
      factors: role → factor; 0 makes zeros.
      initializer: what the factors multiply; it must draw around 0.

    Returns:
      Rules for :func:`jinit.initialize`; add one for the biases.

    Raises:
      ValueError: a role that has no factor, an unknown initializer.

    >>> rules = residual_rules({"*/in/kernel": "first", "*/out/kernel": "last"}, fixup(16))
    >>> rules["*/out/kernel"]
    'zeros'
    """
    base = initializers.get(initializer)
    rules: dict[str, str | Initializer] = {}
    for pattern, role in roles.items():
        if role not in factors:
            raise errors.unknown_name("role", role, factors, "the factors' keys:")
        factor = factors[role]
        rules[pattern] = "zeros" if factor == 0 else _times(base, factor)
    return rules


def _times(initializer: Initializer, factor: float) -> Initializer:
    """A scaled initializer with a law and a name, so that reports and audits can read it."""
    if not isinstance(initializer, NamedInitializer):
        return lambda key, shape, dtype=None, out_sharding=None: (
            factor * initializer(key, shape, dtype, out_sharding)
        )
    return scaled_by(initializer, factor)


def _check(depth: int) -> None:
    errors.check_integer("depth", depth, low=1, fix="count the residual branches")
