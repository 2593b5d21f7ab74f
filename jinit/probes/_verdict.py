"""Turns a profile into findings: evidence, threshold, source and fix for each fault."""

from __future__ import annotations

import numpy as np

from jinit import errors
from jinit.activations import ActivationLike
from jinit.findings import COLLAPSED, LARGE_CHANGE, Finding, healthy
from jinit.frameworks import Captured
from jinit.probes._fixes import CENTRED, at_zero, is_bounded, is_rectifier, scaled, scaled_rule
from jinit.probes._medians import Medians, medians_of
from jinit.probes._propagation import FLAT, Profile
from jinit.probes._purpose import ROUNDING, bypassed, gated
from jinit.probes._symmetry import NEAR

# Every threshold is defined here once, and messages print these constants. FLAT and NEAR belong to
# the measurements of `saturated` and `near_duplicates`.

# Smallest healthy ratio of E z² in a later layer to the first, and of ‖∂L/∂z‖ in the first hidden
# layer to the last; the largest healthy ratio is the reciprocal.
FORWARD = BACKWARD = 1 / LARGE_CHANGE
# Largest E z² of the first layer. Rules and standardized inputs keep |z| below 1,000; losses and
# gradients grow with z.
HUGE = 1e6
# Share of dead units. If two inputs have become parallel, symmetry alone turns half of all ReLUs
# off for the whole batch; a larger share has another cause.
DEAD = 0.6
# Share of saturated pre-activations.
SATURATED = 0.5
# Smaller squares leave float32, so that ratios of them say nothing.
SMALL = 1e-30
# Share of duplicate units, exact or near.
DUPLICATES = 0.5


def verdict(
    captured: Captured, profile: Profile, *, activation: ActivationLike | None = None
) -> list[Finding]:
    """Compares a profile with fixed thresholds; values are medians over seeds.

    If any network has values that are not finite, the verdict is an explosion; the evidence
    gives the share of such networks. The output layer may be small on purpose, so only the upper
    limit of E z² applies to it.

    Args:
      captured: the captured model, for the names of the layers.
      profile: of one network, ``(layers,)``, or of many, ``(seeds, layers)``.
      activation: the activation of the profile; fixes name rules for it. The finding ``saturated``
        requires an activation that is bounded on both sides: a ReLU that is off is not saturated.

    Returns:
      Findings, forward ones before backward ones, or a single ``"healthy"``. A network without
      hidden layers is healthy unless its numbers are not finite. Branches that start at 0 on
      purpose (Fixup, SkipInit, ReZero, LoRA) are healthy if signal and gradient go around them.

    Raises:
      ValueError: a profile with another number of layers.
      TypeError: an argument that is not a Captured or not a Profile.

    >>> import jax
    >>> from jinit import frameworks, probes
    >>> from jinit.models import MLP
    >>> x = jax.random.normal(jax.random.key(0), (32, 16))
    >>> captured, loss = frameworks.capture(MLP(features=(16, 16, 4)), x), probes.random_projection(
    ...     jax.random.key(1))
    >>> profile = probes.ensemble(captured, {"*": "zeros"}, x, loss, seeds=2, activation="relu")
    >>> [finding.kind for finding in verdict(captured, profile, activation="relu")]
    ['symmetric', 'vanishing forward']
    """
    if not isinstance(captured, Captured) or not isinstance(profile, Profile):
        raise errors.wrong_type(
            "verdict",
            (type(captured).__name__, type(profile).__name__),
            "a Captured and a Profile",
            "verdict(captured, ensemble(captured, …))",
        )
    names = tuple(layer.name for layer in captured.layers)
    if np.shape(profile.mean)[-1] != len(names):
        raise errors.refusal(
            "profile",
            f"{np.shape(profile.mean)[-1]} layers",
            f"{len(names)}, as in captured",
            "measure it with the same captured model",
        )
    medians = medians_of(names, profile)
    around = bypassed(medians, activation)
    medians = medians.without(around)
    larger, smaller = (scaled(how, activation, len(names) - 1) for how in ("larger", "smaller"))
    if small := _small_inputs(medians):
        return [small]
    candidates = [
        _symmetric(medians),
        _dead(medians, activation),
        *_forward(medians, larger, smaller),
        _collapsed(medians, activation),
        saturated := _saturated(medians, activation, smaller),
        _backward(medians, larger if saturated is None else smaller, smaller),
    ]
    findings = [finding for finding in candidates if finding is not None]
    return findings or [_healthy(medians, int(around.sum()), names[-1])]


def _small_inputs(m: Medians) -> Finding | None:
    """Reports inputs whose squares leave float32, which no rule for weights mends."""
    if not m.names or not (m.second_moment[0] < SMALL and m.kernel_norm[0] > 1e-3):
        return None
    return Finding(
        "small inputs",
        m.names[0],
        f"E z² is {m.second_moment[0]:.2g} in the first layer, though its kernel has norm "
        f"{m.kernel_norm[0]:.2g}",
        f"{SMALL:g}",
        "LeCun et al. 1998, section 4.3",
        "standardized inputs, e.g. (x - x.mean(0)) / x.std(0)",
    )


def _symmetric(m: Medians) -> Finding | None:
    if not m.names:
        return None
    for shares, shown in (
        (
            m.duplicates,
            "share weights and bias with another unit: both compute the same, and training "
            "separates them only if their outgoing weights differ",
        ),
        (
            m.near_duplicates,
            f"have weights and bias within {NEAR:.0%} of another unit's: both compute nearly the "
            "same, and training separates them slowly",
        ),
    ):
        if shares.max() >= DUPLICATES:
            worst = int(np.argmax(shares))
            return Finding(
                "symmetric",
                m.names[worst],
                f"{shares[worst]:.0%} of the units {shown}",
                f"{DUPLICATES:.0%} of a layer's units",
                "Goodfellow, Bengio & Courville 2016, section 8.4",
                "draw the kernel at random, e.g. 'he_normal'",
            )
    return None


def _forward(m: Medians, larger: str, smaller: str) -> list[Finding | None]:
    if m.all_finite_forward.min() < 1:
        return [_overflow("exploding forward", m, m.all_finite_forward, "second moment", smaller)]
    if not m.names:
        return []
    moments = m.second_moment
    first = moments[0]
    text = f"between {FORWARD:g} and {1 / FORWARD:g} times E z² of the first hidden layer"
    source = "He et al. 2015, section 2.2; Hanin & Rolnick 2018, theorem 5"
    if first > HUGE:
        shown, text = f"E z² is {first:.2g} in the first layer", f"{HUGE:g}"
        fix = f"standardized inputs, or {smaller}"
        return [Finding("exploding forward", m.names[0], shown, text, source, fix)]
    if not moments.min() > FORWARD * first:
        layer = int(np.argmax(~(moments > FORWARD * first)))
        shown = f"E z² falls from {first:.2g} to {moments[layer]:.2g} at this layer"
        if not first > 0:
            shown = "E z² is 0"
        return [Finding("vanishing forward", m.names[layer], shown, text, source, larger)]
    moments = m.all_second_moment
    if moments.max() > first / FORWARD:
        layer = int(np.argmax(moments > first / FORWARD))
        shown = f"E z² grows from {first:.2g} to {moments[layer]:.2g} at this layer"
        return [Finding("exploding forward", m.all_names[layer], shown, text, source, smaller)]
    return []


def _collapsed(m: Medians, activation: ActivationLike | None) -> Finding | None:
    if not m.names or m.all_finite_forward.min() < 1 or not m.second_moment.min() > 0:
        return None
    if m.second_moment.min() <= FORWARD * m.second_moment[0]:
        return None  # Reported as vanishing.
    share = m.input_variance / m.second_moment
    lost = (share < COLLAPSED * share[0]) | (share < ROUNDING)
    if not lost.any():
        return None
    layer = int(np.argmax(lost))
    if not m.kernel_norm[layer] > 0:
        fix = "draw the kernel at random, e.g. 'he_normal': a layer of zeros ignores its inputs"
    elif not layer:
        fix = "inputs that differ, or smaller biases"
    elif activation is None or at_zero(activation):
        fix = CENTRED
    else:
        fix = f"zero biases and {scaled_rule(activation)}"
    return Finding(
        "collapsed",
        m.names[layer],
        f"only {share[layer]:.1g} of E z² differs between inputs ({share[0]:.1g} in the first "
        f"layer), though E z² is {m.second_moment[layer]:.2g}",
        f"{COLLAPSED:g} of the first layer's share, and {ROUNDING:g} (float32 rounding)",
        "Schoenholz et al. 2017, section 3 (ordered phase: correlations go to 1)",
        fix,
    )


def _dead(m: Medians, activation: ActivationLike | None) -> Finding | None:
    if not m.names or activation is None or not is_rectifier(activation):
        return None
    # If z is 0 everywhere, this kernel or an earlier layer is at fault.
    dead = np.where(m.second_moment > 0, m.dead, 0.0)
    if not dead.max() > DEAD:
        return None
    layer = int(np.argmax(dead > DEAD))
    return Finding(
        "dead units",
        m.names[layer],
        f"{m.dead[layer]:.0%} of the units have φ′ = 0 at every input",
        f"{DEAD:.0%} (symmetry alone turns half off if inputs have become parallel)",
        "Lu et al. 2020, section 2",
        "zero or small positive biases, or 'leaky_relu'",
    )


def _saturated(m: Medians, activation: ActivationLike | None, smaller: str) -> Finding | None:
    if not m.names or activation is None or not is_bounded(activation):
        return None
    # Symmetry alone turns half of all relu6 units off; the threshold applies to the other half.
    limit = (1 + SATURATED) / 2 if is_rectifier(activation) else SATURATED
    if not np.nanmax(m.saturated, initial=0.0) > limit:
        return None
    layer = int(np.argmax(m.saturated > limit))
    return Finding(
        "saturated",
        m.names[layer],
        f"|φ′| is at most {FLAT:.0%} of its largest value at {m.saturated[layer]:.0%} of all units "
        "and inputs",
        f"{limit:.0%}",
        "Glorot & Bengio 2010, section 3",
        smaller,
    )


def _backward(m: Medians, more: str, smaller: str) -> Finding | None:
    if m.all_finite_forward.min() < 1:
        return None  # Reported as exploding forward.
    if m.all_finite_backward.min() < 1:
        return _overflow("exploding backward", m, m.all_finite_backward, "gradient", smaller)
    m = m.without(gated(m))
    if len(m.names) < 2:
        return None
    norms = m.gradient_norm
    if not m.output_kernel_norm > 0:
        return None  # An output layer of zeros is a choice: gradients flow after its first step.
    ratio = norms[0] / norms[-1] if norms[-1] > 0 else 0.0
    threshold = f"a ratio between {BACKWARD:g} and {1 / BACKWARD:g}"
    shown = (
        f"‖∂L/∂z‖ of the first hidden layer is {norms[0]:.2g}, of the last {norms[-1]:.2g}: "
        f"a ratio of {ratio:.2g}"
    )
    source = "Glorot & Bengio 2010, section 4.2; Schoenholz et al. 2017, section 4"
    if ratio <= BACKWARD:
        return Finding("vanishing backward", m.names[0], shown, threshold, source, more)
    if ratio >= 1 / BACKWARD:
        return Finding("exploding backward", m.names[0], shown, threshold, source, smaller)
    return None


def _overflow(kind: str, m: Medians, finite: np.ndarray, what: str, fix: str) -> Finding:
    layer = int(np.argmax(finite < 1))
    shown = f"the {what} is not finite in {1 - finite[layer]:.0%} of the networks"
    return Finding(kind, m.all_names[layer], shown, "finite numbers", "IEEE 754", fix)


def _healthy(m: Medians, around: int, output: str) -> Finding:
    branches = f"{around} layer{'s' * (around > 1)} of branches that start at 0"
    if not m.names:
        return healthy(f"no hidden layers except {branches}" if around else "no hidden layers",
                       where=output)  # fmt: skip
    forward = m.second_moment[-1] / m.second_moment[0]
    shown = f"E z² last/first {forward:.2g}"
    m = m.without(gated(m))
    if len(m.names) > 1 and m.gradient_norm[-1] > 0:
        shown += f", ‖∂L/∂z‖ first/last {m.gradient_norm[0] / m.gradient_norm[-1]:.2g}"
    if around:
        shown += f"; {branches}: the signal goes around them"
    return healthy(shown, where=m.names[-1] if m.names else output)
