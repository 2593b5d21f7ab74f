"""Computes the factors by which residual branches start smaller in a deep stack.

Each function returns one paper's factors by role (first, inner or last layer of a branch, …).
:func:`residual_rules` turns them into rules for :func:`jinit.initialize`. :mod:`jinit.calibrate`
has ``fixup``, ``skipinit`` and ``rezero``, which apply their factors to parameters that are already
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from jinit import errors, initializers
from jinit.initializers import NamedInitializer, scaled_by
from jinit.initializers._exists import check_returned
from jinit.initializers._fans import check_shape
from jinit.typing import Array, DType, Initializer, Key, OutSharding, Shape


def fixup_factors(depth: int, branch_layers: int = 2) -> dict[str, float]:
    """Fixup: branch kernels × L^(−1/(2m − 2)); the last kernel of a branch and the head are 0.

    Args:
      depth: L, residual branches in the network, ≥ 1.
      branch_layers: m, layers in a branch, ≥ 2.

    Returns:
      Role → factor on the He σ: ``first``, ``inner`` and ``last`` layers of a branch, and ``head``,
      the output layer.

    Raises:
      ValueError: a count is out of range. TypeError: a count is not a whole number.

    Reference: Zhang, Dauphin & Ma 2019, section 3.

    >>> round(fixup_factors(16)["first"], 6)
    0.25
    """
    _check_depth("depth", depth)
    errors.check_integer("branch_layers", branch_layers, low=2, fix="use 2")
    factor = depth ** (-1 / (2 * branch_layers - 2))
    return {"first": factor, "inner": factor, "last": 0.0, "head": 0.0}


def skipinit_factors(depth: int) -> dict[str, float]:
    """SkipInit: ordinary branches, each multiplied by a learnable scalar that starts at 0.

    Args:
      depth: residual branches in the network, ≥ 1; the factors do not depend on it.

    Returns:
      Role → factor: 1 for ``first``, ``inner`` and ``head``, 0 for ``last``, which stands for the
      scalar.

    Raises:
      ValueError: ``depth`` is below 1. TypeError: ``depth`` is not a whole number.

    Reference: De & Smith 2020, section 3.

    >>> skipinit_factors(16)["last"]
    0.0
    """
    _check_depth("depth", depth)
    return {"first": 1.0, "inner": 1.0, "last": 0.0, "head": 1.0}


def rezero_factors(depth: int) -> dict[str, float]:
    """ReZero: the factors of :func:`skipinit_factors`, in a network without normalization.

    Args, Returns, Raises: as :func:`skipinit_factors`.

    Reference: Bachlechner et al. 2021, equation 1.

    >>> rezero_factors(4) == skipinit_factors(4)
    True
    """
    return skipinit_factors(depth)


def t_fixup_factors(encoder_layers: int, decoder_layers: int = 0) -> dict[str, float]:
    """T-Fixup: value, output and feed-forward kernels of a transformer without LayerNorm.

    Encoder: 0.67 N^(−1/4); decoder: (9 M)^(−1/4). Embeddings are drawn with σ = d^(−1/2), where d
    is their width, and multiplied by the same factors.

    Args:
      encoder_layers: N ≥ 1.
      decoder_layers: M ≥ 0.

    Returns:
      ``{"encoder": factor}``, and ``"decoder"`` if there are decoder layers.

    Raises:
      ValueError: a count is out of range. TypeError: a count is not a whole number.

    Reference: Huang et al. 2020, section 3.2.

    >>> round(t_fixup_factors(16)["encoder"], 6), round(t_fixup_factors(6, 9)["decoder"], 6)
    (0.335, 0.333333)
    """
    _check_depth("encoder_layers", encoder_layers)
    errors.check_integer("decoder_layers", decoder_layers, low=0, high=10**9, fix="use 0")
    factors = {"encoder": 0.67 * encoder_layers**-0.25}
    if decoder_layers:
        factors["decoder"] = (9 * decoder_layers) ** -0.25
    return factors


def deepnorm_factors(layers: int) -> dict[str, float]:
    """DeepNorm for an encoder-only or decoder-only stack: α · x + branch(x), kernels × β.

    α = (2N)^(1/4); β = (8N)^(−1/4), for feed-forward, value and output kernels drawn by Xavier
    normal.

    Args:
      layers: N ≥ 1.

    Returns:
      ``{"alpha": α, "beta": β}``.

    Raises:
      ValueError: N is below 1. TypeError: N is not a whole number.

    Reference: Wang et al. 2022, figure 2.

    >>> round(deepnorm_factors(8)["alpha"], 6), round(deepnorm_factors(2)["beta"], 6)
    (2.0, 0.5)
    """
    _check_depth("layers", layers)
    return {"alpha": (2 * layers) ** 0.25, "beta": (8 * layers) ** -0.25}


def gpt2_stddevs(layers: int, stddev: float = 0.02) -> dict[str, float]:
    """GPT-2: kernels have σ = 0.02, projections back to the residual stream 0.02/√(2L).

    Args:
      layers: L transformer blocks, two residual additions each.
      stddev: σ of all other kernels, > 0.

    Returns:
      Role → standard deviation: ``inner`` and ``last`` (the projections).

    Raises:
      ValueError: a number is out of range. TypeError: an argument is not a number.

    Reference: Radford et al. 2019, section 2.3.

    >>> round(gpt2_stddevs(2)["last"], 6)
    0.01
    """
    _check_depth("layers", layers)
    errors.check_number("stddev", stddev, low=0.0, open_low=True, fix="use 0.02")
    return {"inner": stddev, "last": stddev / math.sqrt(2 * layers)}


def residual_rules(
    roles: Mapping[str, str | tuple[str | None, ...]],
    factors: Mapping[str, float],
    initializer: str | NamedInitializer = "he_normal",
) -> dict[str, str | Initializer]:
    """Turns roles by path into rules by path; σ of a role's kernels is multiplied by its factor.

    Args:
      roles: ordered mapping from path pattern to a role in ``factors``. For a kernel that packs
        several, a tuple with the role of each block; None keeps a block as it is drawn:
        ``(None, None, "beta")`` scales v, but not q and k.
      factors: role → factor; 0 gives the rule ``zeros``.
      initializer: the initializer whose draws are multiplied; its mean must be 0.

    Returns:
      Rules for :func:`jinit.initialize`. Add a rule for the biases.

    Raises:
      ValueError: a role that has no factor, an unknown initializer.

    >>> roles = {"*/in/kernel": "first", "*/out/kernel": "last"}
    >>> residual_rules(roles, fixup_factors(16))["*/out/kernel"]
    'zeros'
    """
    base = initializers.get(initializer)
    for name, given in (("roles", roles), ("factors", factors)):
        if not isinstance(given, Mapping):
            raise errors.wrong_type(name, given, "a mapping", "{'*/out/kernel': 'last'}")

    def rule(role: str | None) -> str | Initializer:
        if role is None:
            return base
        if not isinstance(role, str) or role not in factors:
            raise errors.unknown_name("role", role, factors)
        factor = errors.check_number(f"factor of {role!r}", factors[role], low=0.0, fix="use 1.0")
        return "zeros" if factor == 0 else _times(base, factor)

    return {
        pattern: initializers.parts([rule(each) for each in role], along="blocks")
        if isinstance(role, tuple)
        else rule(role)
        for pattern, role in roles.items()
    }


def _times(initializer: Initializer, factor: float) -> Initializer:
    """The scaled initializer; a named one keeps a name and a law, which reports and audits use."""
    if not isinstance(initializer, NamedInitializer):
        return _of_function(initializer, factor)
    return scaled_by(initializer, factor)


def _of_function(function: Initializer, factor: float) -> Initializer:
    def init(
        key: Key, shape: Shape, dtype: DType = None, out_sharding: OutSharding = None
    ) -> Array:
        # A function of the user may take no sharding.
        given = () if out_sharding is None else (out_sharding,)
        value = function(key, shape, dtype, *given)
        wanted = getattr(value, "dtype", float) if dtype is None else dtype
        return factor * check_returned(function, value, check_shape(shape), wanted)

    return init


def _check_depth(name: str, count: int) -> None:
    errors.check_integer(name, count, low=1, high=10**9, fix="use 12")
