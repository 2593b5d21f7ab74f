"""Compares a measured profile with theory and reports the first layer at which they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.findings import Finding, healthy
from jinit.probes._propagation import Profile
from jinit.theory._predict import Prediction

# A difference counts beyond 4 standard errors plus a quarter of the expected value. The quarter
# covers the higher orders of depth/width, which wide-network theory omits.
_ERRORS, _SLACK = 4.0, 0.25


@dataclass(frozen=True)
class Beside:
    """Means over the measured networks and the values that theory expects, ``(layers,)`` each.

    Attributes:
      names: names of the layers.
      second_moment, expected_second_moment: E z².
      correlation, expected_correlation: mean cosine between the z of two inputs.
      gradient, expected_gradient: E‖∂L/∂z‖² divided by E‖∂L/∂z‖² of the output layer.
      findings: one finding per quantity that differs from theory, at the first layer where it
        differs; a single finding with ``ok`` True if none differs.
    """

    names: tuple[str, ...]
    second_moment: np.ndarray
    expected_second_moment: np.ndarray
    correlation: np.ndarray
    expected_correlation: np.ndarray
    gradient: np.ndarray
    expected_gradient: np.ndarray
    findings: tuple[Finding, ...]


def beside(profile: Profile, prediction: Prediction) -> Beside:
    """Compares measured networks with the prediction of theory.

    A quantity differs if |mean over networks − expected| > 4 standard errors + a quarter of the
    expected value (for a correlation: + 0.25).

    Args:
      profile: from :func:`jinit.probes.ensemble`, ``(seeds, layers)``, at least two seeds.
      prediction: from :func:`jinit.theory.predict`, for the same network and inputs.

    Returns:
      A :class:`Beside`.

    Raises:
      ValueError: a profile of a single network, or with another number of layers.

    >>> import jax
    >>> from jinit import frameworks, initializers, probes, theory
    >>> from jinit.models import MLP
    >>> x = jax.random.normal(jax.random.key(0), (16, 64))
    >>> model, kernel = MLP(features=(64,) * 4 + (8,)), initializers.get("he_normal")
    >>> captured, loss = frameworks.capture(model, x), probes.random_projection(jax.random.key(1))
    >>> rules = {"*/kernel": kernel, "*/bias": "zeros"}
    >>> profile = probes.ensemble(captured, rules, x, loss, seeds=32)
    >>> beside(profile, theory.predict(model, x, kernel=kernel)).findings[0].ok
    True
    """
    square = np.asarray(profile.second_moment, np.float64)
    if square.ndim != 2 or len(square) < 2:
        raise errors.refusal("profile", square.shape, "(seeds, layers), seeds >= 2", "seeds=64")
    if square.shape[1] != len(prediction.names):
        raise errors.refusal(
            "profile",
            f"{square.shape[1]} layers",
            f"{len(prediction.names)}, as in the prediction",
            "probe and predict the same network",
        )
    slope = np.asarray(profile.gradient_norm, np.float64) ** 2
    slope = slope / slope[:, -1:].mean(0)
    correlation = np.asarray(profile.correlation, np.float64)
    pairs = (
        ("E z²", square, prediction.second_moment),
        ("‖∂L/∂z‖²", slope, prediction.gradient),
        ("correlation", correlation, prediction.correlation),
    )
    departures = [
        _departure(quantity, measured, expected, prediction.names)
        for quantity, measured, expected in pairs
    ]
    findings = tuple(finding for finding in departures if finding is not None)
    return Beside(
        prediction.names,
        square.mean(0),
        prediction.second_moment,
        correlation.mean(0),
        prediction.correlation,
        slope.mean(0),
        prediction.gradient,
        findings or (healthy("agrees with theory at every layer"),),
    )


def _departure(
    quantity: str, measured: np.ndarray, expected: np.ndarray, names: tuple[str, ...]
) -> Finding | None:
    """The finding at the first layer where the mean differs from theory; None if there is none."""
    mean, error = measured.mean(0), measured.std(0, ddof=1) / len(measured) ** 0.5
    # A correlation lies in [−1, 1]; the other quantities have a scale of their own.
    absolute = quantity == "correlation"
    slack = _SLACK * (1.0 if absolute else np.abs(expected))
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(mean - expected) <= _ERRORS * error + slack)
    if not off.any():
        return None
    at = int(np.argmax(off))
    return Finding(
        f"{quantity} differs from theory",
        names[at],
        f"measured {mean[at]:.3g} ± {error[at]:.1g}, expected {expected[at]:.3g}",
        f"{_ERRORS:g} standard errors + {_SLACK:g}{'' if absolute else ' of the expected value'}",
        fix="draw the network as the prediction assumes; narrow networks differ most from theory",
    )
