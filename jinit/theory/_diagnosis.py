"""Turns a prediction into findings: signals or gradients that vanish, explode or collapse."""

from __future__ import annotations

import math

import numpy as np

from jinit.findings import COLLAPSED, LARGE_CHANGE, Finding, healthy
from jinit.theory._finite_width import Fluctuations
from jinit.theory._fixed_points import DepthScales, depth_formula
from jinit.theory._propagation import Propagation


def diagnose(
    propagation: Propagation,
    fluctuations: Fluctuations | None,
    scales: DepthScales | None,
    names: tuple[str, ...],
) -> tuple[Finding, ...]:
    """The faults of the layers ``names``, or one healthy finding if there are none.

    A fault that :func:`jinit.probes.verdict` reports too has the same kind there.
    """
    findings = _unresolved(propagation, names)
    last = len(names) - 2  # the last hidden layer
    if last > 0:
        lengths, log_gradient = (
            np.asarray(x)[:-1] for x in (propagation.q, propagation.log_gradient)
        )
        findings += _changes(lengths, log_gradient, names)
        findings += _parallel(np.asarray(propagation.gap)[:-1], names[last])
        findings += _too_deep(scales, last + 1, names[last])
        findings += _scattered(fluctuations, names[last])
    return tuple(findings) or (healthy("nothing vanishes, explodes or collapses"),)


def _unresolved(propagation: Propagation, names: tuple[str, ...]) -> list[Finding]:
    columns = propagation.q, propagation.gap, propagation.log_gradient
    unresolved = np.isnan(columns).any(0)
    if not unresolved.any():
        return []
    return [
        Finding(
            "not known",
            names[int(np.argmax(unresolved))],
            "the moments of the activation cannot be integrated (the activation varies or grows "
            "too fast, or the moments are infinite)",
            fix="measure the network instead: jinit probe",
        )
    ]


def _changes(
    lengths: np.ndarray, log_gradient: np.ndarray, names: tuple[str, ...]
) -> list[Finding]:
    """Findings on signals and gradients that change too much over the hidden layers."""
    last = len(lengths) - 1
    with np.errstate(divide="ignore"):
        forward = np.log(lengths[-1]) - np.log(lengths[0])
    # The norm of the gradient, as verdicts compare it; log_gradient is of its square.
    backward = (log_gradient[0] - log_gradient[-1]) / 2
    findings = []
    for change, direction, what, size, start, end in (
        (forward, "forward", "the signal", "square", names[0], names[last]),
        (backward, "backward", "the gradient", "norm", names[last], names[0]),
    ):
        if abs(change) > math.log(LARGE_CHANGE):
            kind, verb = ("exploding", "explodes") if change > 0 else ("vanishing", "vanishes")
            findings.append(
                Finding(
                    f"{kind} {direction}",
                    end,
                    f"{what} {verb}: its {size} changes by a factor {_power(change)} "
                    f"from {start} to {end}",
                    f"a factor between {1 / LARGE_CHANGE:g} and {LARGE_CHANGE:g}",
                    "He et al. 2015, section 2.2; Schoenholz et al. 2017, section 4",
                    "the rule for the activation: 'scaled_for(activation=…)'; "
                    "'jinit recommend' measures which initializer suits a depth",
                )
            )
    return findings


def _power(change: float) -> str:
    return f"10^{change / math.log(10):.3g}"


def _parallel(gap: np.ndarray, last: str) -> list[Finding]:
    # The first layer tells nothing of one example, or of equal examples.
    if not gap[0] > 1e-12 or not gap[-1] < COLLAPSED * gap[0]:
        return []
    return [
        Finding(
            "collapsed",
            last,
            f"inputs become parallel: 1 - correlation falls from {gap[0]:.2g} to {gap[-1]:.2g}",
            f"{COLLAPSED:g} of the first layer's 1 - correlation",
            "Schoenholz et al. 2017, section 3 (ordered phase: correlations go to 1)",
            "weights on the edge of chaos, or a residual network",
        )
    ]


def _too_deep(scales: DepthScales | None, depth: int, last: str) -> list[Finding]:
    if scales is None or not float(scales.trainable_depth) < depth:
        return []
    trainable, formula = float(scales.trainable_depth), depth_formula(scales)
    return [
        Finding(
            "too deep",
            last,
            f"trainable to about {trainable:.3g} hidden layers ({formula}); "
            f"this network has {depth}",
            f"{formula} layers",
            "Schoenholz et al. 2017, section 5",
            "weights on the edge of chaos, or fewer layers",
        )
    ]


def _scattered(fluctuations: Fluctuations | None, last: str) -> list[Finding]:
    if fluctuations is None or not fluctuations.length[-2] > 1:
        return []
    return [
        Finding(
            "networks differ",
            last,
            f"the variance of ln E z² over seeds reaches {fluctuations.length[-2]:.2g}",
            "a variance of 1",
            "Hanin & Rolnick 2018, theorem 5",
            "wider layers",
        )
    ]
