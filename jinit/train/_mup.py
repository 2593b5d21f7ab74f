"""Computes learning-rate factors of the maximal update parametrization."""

from __future__ import annotations

from jinit import errors

ROLES = ("input", "hidden", "output")
OPTIMIZERS = ("adam", "sgd")


def mup_learning_rate(role: str, fan_in: float, fan_out: float, optimizer: str = "adam") -> float:
    """The factor on the base learning rate of a layer under the maximal update parametrization.

    With n = fan_in and m = fan_out, the factor for Adam is 1 for input layers and biases, and 1/n
    for hidden and output layers; for SGD it is m for input layers and biases, m/n for hidden
    layers, which is 1 if both widths are equal, and 1/n for the output layer. The matching initial
    weights are :func:`jinit.initializers.mup`.

    Args:
      role: ``"input"`` (biases too), ``"hidden"`` or ``"output"``.
      fan_in, fan_out: n and m of the layer, > 0.
      optimizer: ``"adam"`` or ``"sgd"``.

    Returns:
      A dimensionless factor.

    Raises:
      ValueError: the role or the optimizer is unknown, or a fan is not positive.

    Reference: Yang et al. 2022, table 3; Yang, Simon & Bernstein 2023, section 5 (m/n).

    >>> mup_learning_rate("hidden", 100, 100), mup_learning_rate("input", 10, 100, "sgd")
    (0.01, 100.0)
    """
    errors.check_choice("mup role", role, ROLES)
    errors.check_choice("optimizer", optimizer, OPTIMIZERS)
    for name, fan in (("fan_in", fan_in), ("fan_out", fan_out)):
        errors.check_number(name, fan, low=0.0, open_low=True, fix="pass the layer's fans")
    factors = {
        ("input", "adam"): 1.0,
        ("hidden", "adam"): 1 / fan_in,
        ("output", "adam"): 1 / fan_in,
        ("input", "sgd"): float(fan_out),
        ("hidden", "sgd"): fan_out / fan_in,
        ("output", "sgd"): 1 / fan_in,
    }
    return factors[role, optimizer]
