"""A measurement beside what theory expects: layer by layer, and where the two part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.findings import Finding, healthy
from jinit.probes._propagation import Profile
from jinit.theory import Prediction

# Beyond the standard error: the next orders of depth/width, which wide-network theory omits.
_ERRORS, _SLACK = 4.0, 0.25


@dataclass(frozen=True)
class Beside:
    """Means over networks and what theory expects, ``(layers,)`` each.

    Attributes:
      names: of the layers.
      second_moment, expected_second_moment: E z².
      correlation, expected_correlation: of two inputs.
      gradient, expected_gradient: E‖∂L/∂z‖² over the output layer's.
      findings: one for each quantity that leaves theory, at the first layer where it does; a
        single ``ok`` one if none does.
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
    """Holds measured networks against theory.

    A quantity parts from theory where its mean over networks is off by more than 4 standard errors
    and a quarter of what is expected.

    Args:
      profile: from :func:`jinit.probes.ensemble`, ``(seeds, layers)``, at least two seeds.
      prediction: from :func:`jinit.theory.predict`, of the same network and inputs.

    Returns:
      :class:`Beside`.

    Raises:
      ValueError: another number of layers, a single network.

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
            "profile", f"{square.shape[1]} layers", f"{len(prediction.names)}, the prediction's",
            "probe and predict the same network",
        )  # fmt: skip
    slope = np.asarray(profile.gradient_norm, np.float64) ** 2
    slope = slope / slope[:, -1:].mean(0)
    correlation = np.asarray(profile.correlation, np.float64)
    pairs = (
        ("E z²", square, prediction.second_moment),
        ("‖∂L/∂z‖²", slope, prediction.gradient),
        ("correlation", correlation, prediction.correlation),
    )
    departures = [
        _departure(what, seen, expected, prediction.names) for what, seen, expected in pairs
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
        findings or (healthy("as theory expects, at every layer"),),
    )


def _departure(
    what: str, seen: np.ndarray, expected: np.ndarray, names: tuple[str, ...]
) -> Finding | None:
    mean, error = seen.mean(0), seen.std(0, ddof=1) / len(seen) ** 0.5
    # A correlation is a share of 1; the others have a scale of their own.
    slack = _SLACK * (1.0 if what == "correlation" else np.abs(expected))
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(mean - expected) <= _ERRORS * error + slack)
    if not off.any():
        return None
    at = int(np.argmax(off))
    return Finding(
        f"{what} leaves theory",
        names[at],
        f"measured {mean[at]:.3g} ± {error[at]:.1g}, expected {expected[at]:.3g}",
        f"{_ERRORS:g} standard errors and {_SLACK:g} of the expected value",
        fix="check that the network draws what the prediction assumes; narrow networks differ most",
    )
