"""What a profile means: named findings with evidence, threshold, source and a fix."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.findings import LARGE_CHANGE, Finding, healthy
from jinit.frameworks._capture import Captured
from jinit.probes._propagation import Profile

# Of the last hidden layer over the first.
FORWARD = BACKWARD = 1 / LARGE_CHANGE
# Where two inputs have become parallel half of all ReLUs are off for the whole batch by symmetry
# alone; a share beyond that has another cause.
DEAD = 0.6
SATURATED = 0.5
# Share of z's second moment that still tells inputs apart, relative to the first layer's.
COLLAPSED = 1e-3
# Of float32: less is rounding error of equal values.
_NOTHING = 1e-12
# No |z| beyond 1,000 comes from a rule and standardized inputs; losses and gradients have its size.
HUGE = 1e6
DUPLICATES = 0.5


def verdict(
    captured: Captured, profile: Profile, *, activation: ActivationLike | None = None
) -> list[Finding]:
    """Reads a profile; medians over seeds are held against fixed thresholds.

    One network that is not finite is enough for an explosion; its evidence says how many are. The
    output layer may be small on purpose, but not larger than hidden layers may be.

    Args:
      captured: names the layers.
      profile: of one network, ``(layers,)``, or of many, ``(seeds, layers)``.
      activation: what the profile was made with; ``saturated`` is looked for only where it is
        bounded on both sides (a ReLU that is off is no saturation), and fixes name its own rule.

    Returns:
      Findings, forward before backward; a single ``"healthy"`` where there is nothing else. A
      network without hidden layers is healthy unless its numbers are not finite.

    Raises:
      ValueError: a profile with another number of layers. TypeError: no profile.

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
            "verdict", (type(captured).__name__, type(profile).__name__),
            "a Captured and a Profile", "verdict(captured, ensemble(captured, …))",
        )  # fmt: skip
    names = [layer.name for layer in captured.layers]
    if np.shape(profile.mean)[-1] != len(names):
        raise errors.refusal(
            "profile", f"{np.shape(profile.mean)[-1]} layers", f"{len(names)}: those of captured",
            "make it with the same captured model",
        )  # fmt: skip
    medians = _Medians(names, profile)
    larger, smaller = (_scaled(how, activation, len(names) - 1) for how in ("larger", "smaller"))
    found = [
        _symmetric(medians),
        _dead(medians, activation),
        *_forward(medians, larger, smaller),
        _collapsed(medians, activation),
        saturated := _saturated(medians, activation, smaller),
        _backward(medians, larger if saturated is None else smaller, smaller),
    ]
    findings = [finding for finding in found if finding is not None]
    return findings or [_healthy(medians)]


class _Medians:
    """Medians over seeds by attribute; hidden layers only, but for ``finite``."""

    def __init__(self, names: list[str], profile: Profile) -> None:
        self.names = names[:-1]
        self._profile = profile
        whole = np.asarray(profile.second_moment), np.asarray(profile.gradient_norm)
        # Share of networks in which a layer is finite.
        self.finite_forward, self.finite_backward = (
            np.isfinite(part.reshape(-1, len(names))).mean(0) for part in whole
        )
        self.all_names = names
        self.output_kernel_norm = float(self.with_output("kernel_norm")[-1])

    def with_output(self, name: str) -> np.ndarray:
        values = np.asarray(getattr(self._profile, name), np.float64)
        with np.errstate(invalid="ignore"):
            return np.median(values.reshape(-1, values.shape[-1]), axis=0)

    def __getattr__(self, name: str) -> np.ndarray:
        return self.with_output(name)[:-1]


def _symmetric(m: _Medians) -> Finding | None:
    if not m.names:
        return None
    for shares, shown in (
        (m.duplicates, "have another unit's weights and bias: they compute the same, and part only "
                       "as far as the weights behind them differ"),
        (m.near_duplicates, "lie within 1 % of another unit's weights and bias: they compute "
                            "nearly the same, and part slowly"),
    ):  # fmt: skip
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


def _forward(m: _Medians, larger: str, smaller: str) -> list[Finding | None]:
    if m.finite_forward.min() < 1:
        return [_overflow("exploding forward", m, m.finite_forward, "second moment", smaller)]
    if not m.names:
        return []
    moments = m.second_moment
    first = moments[0]
    text = f"between a factor of {FORWARD:g} and {1 / FORWARD:g} of the first hidden layer"
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
    moments = m.with_output("second_moment")
    if moments.max() > first / FORWARD:
        layer = int(np.argmax(moments > first / FORWARD))
        shown = f"E z² grows from {first:.2g} to {moments[layer]:.2g} at this layer"
        return [Finding("exploding forward", m.all_names[layer], shown, text, source, smaller)]
    return []


def _collapsed(m: _Medians, activation: ActivationLike | None) -> Finding | None:
    if not m.names or m.finite_forward.min() < 1 or not m.second_moment.min() > 0:
        return None
    if m.second_moment.min() <= FORWARD * m.second_moment[0]:
        # Nothing is left to tell apart: that is vanishing.
        return None
    share = m.input_variance / m.second_moment
    lost = (share < COLLAPSED * share[0]) | (share < _NOTHING)
    if not lost.any():
        return None
    layer = int(np.argmax(lost))
    if not m.kernel_norm[layer] > 0:
        fix = "draw the kernel at random, e.g. 'he_normal': a layer of zeros forgets its inputs"
    elif not layer:
        fix = "inputs that differ, or smaller biases"
    elif activation is None or _at_zero(activation):
        fix = _CENTRED
    else:
        fix = f"zero biases and {_scaled_rule(activation)}"
    return Finding(
        "collapsed",
        m.names[layer],
        f"only {share[layer]:.1g} of E z² differs between inputs ({share[0]:.1g} in the first "
        f"layer), though E z² is {m.second_moment[layer]:.2g}",
        f"{COLLAPSED:g} of the first layer's share, and more than rounding",
        "Schoenholz et al. 2017, section 3 (ordered phase: correlations go to 1)",
        fix,
    )


def _dead(m: _Medians, activation: ActivationLike | None) -> Finding | None:
    if not m.names or activation is None or not _is_rectifier(activation):
        return None
    # Where z is 0 everywhere the fault lies further up.
    dead = np.where(m.second_moment > 0, m.dead, 0.0)
    if not dead.max() > DEAD:
        return None
    layer = int(np.argmax(dead > DEAD))
    return Finding(
        "dead units",
        m.names[layer],
        f"{m.dead[layer]:.0%} of the units have φ′ = 0 at every input",
        f"{DEAD:.0%} (half are off by symmetry where inputs have become parallel)",
        "Lu et al. 2020, section 2",
        "zero or small positive biases, or 'leaky_relu'",
    )


def _saturated(m: _Medians, activation: ActivationLike | None, smaller: str) -> Finding | None:
    if not m.names or activation is None or not _is_bounded(activation):
        return None
    # Half of relu6 is off by symmetry; the threshold is on the other half.
    limit = (1 + SATURATED) / 2 if _is_rectifier(activation) else SATURATED
    if not np.nanmax(m.saturated, initial=0.0) > limit:
        return None
    layer = int(np.argmax(m.saturated > limit))
    return Finding(
        "saturated",
        m.names[layer],
        f"|φ′| is below 5 % of its largest value at {m.saturated[layer]:.0%} of all units and "
        "inputs",
        f"{limit:.0%}",
        "Glorot & Bengio 2010, section 3",
        smaller,
    )


def _backward(m: _Medians, more: str, smaller: str) -> Finding | None:
    if m.finite_forward.min() < 1:
        return None  # Said already.
    if m.finite_backward.min() < 1:
        return _overflow("exploding backward", m, m.finite_backward, "gradient", smaller)
    if len(m.names) < 2:
        return None
    norms = m.gradient_norm
    if not m.output_kernel_norm > 0:
        return None  # A zero output layer on purpose: gradients arrive after its first step.
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


def _overflow(kind: str, m: _Medians, finite: np.ndarray, what: str, fix: str) -> Finding:
    place = int(np.argmax(finite < 1))
    layer = m.all_names[place]
    shown = f"the {what} is not finite in {1 - finite[place]:.0%} of the networks"
    return Finding(kind, layer, shown, "finite numbers", "IEEE 754", fix)


def _healthy(m: _Medians) -> Finding:
    if not m.names:
        return healthy("no hidden layers", where=m.all_names[-1])
    forward = m.second_moment[-1] / m.second_moment[0]
    shown = f"E z² last/first {forward:.2g}"
    if len(m.names) > 1 and m.gradient_norm[-1] > 0:
        shown += f", ‖∂L/∂z‖ first/last {m.gradient_norm[0] / m.gradient_norm[-1]:.2g}"
    return healthy(shown, where=m.names[-1])


def _is_rectifier(activation: ActivationLike) -> bool:
    """Whether φ is flat on the negative side, as ReLU and relu6 are."""
    return float(jax.grad(get_activation(activation).function)(-0.5)) == 0


def _is_bounded(activation: ActivationLike) -> bool:
    phi = get_activation(activation)
    ends = np.asarray([float(phi(jnp.float32(z))) for z in (-1e6, 1e6)])
    return bool((np.abs(ends) < 1e3).all())


def _at_zero(activation: ActivationLike) -> float:
    return abs(float(get_activation(activation)(jnp.float32(0))))


def _scaled(how: str, activation: ActivationLike | None, depth: int) -> str:
    """The fix of a scale that is lost in hidden layers."""
    if activation is None:
        return f"a {how} σ_w: the activation's own rule, 'scaled_for(activation=…)'"
    if _at_zero(activation) and depth > _FEW:
        return _CENTRED
    return f"a {how} σ_w: {_scaled_rule(activation)}"


def _scaled_rule(activation: ActivationLike) -> str:
    # A function of the user's has no name that a spec string could use.
    name = activation if isinstance(activation, str) else "…"
    return f"'scaled_for(activation={name})'; 'jinit recommend' measures what suits a depth"


# Constant outputs add up: beyond a few layers they are all that is left, whatever σ_w.
_FEW = 4
_CENTRED = (
    "an activation with φ(0) = 0 (tanh for sigmoid, gelu for softplus) and its own rule, "
    "'scaled_for(activation=…)': through many layers no σ_w keeps inputs apart otherwise"
)
