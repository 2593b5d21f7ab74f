"""What an MLP will do at its start, layer by layer, from the law of its weights alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jinit import errors
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.findings import LARGE_CHANGE, Finding, healthy
from jinit.theory._finite_width import Fluctuations, spreading
from jinit.theory._propagation import Architecture, Propagation, through
from jinit.theory._settled import DepthScales, settled_scales
from jinit.theory._tables import table
from jinit.typing import Array

_PARALLEL = 1e-3


class Network(Protocol):
    """What is read of a network; :class:`jinit.models.MLP` has it.

    Attributes:
      features: widths, the outputs last.
      activation: after every hidden layer.
      residual, layer_norm, use_bias: as the MLP's.
      kernel_init, bias_init: initializers with a ``law``, or a constant 0 for the bias.
    """

    features: tuple[int, ...]
    activation: ActivationLike
    residual: bool
    layer_norm: bool
    use_bias: bool
    kernel_init: Any
    bias_init: Any


@dataclass(frozen=True)
class Prediction:
    """One row a layer, the output layer last; arrays are ``(layers,)`` in float64.

    Attributes:
      names: ``hidden_0 … output``.
      fan_in, width: of each layer.
      sigma_w, sigma_b: √(fan_in Var W) and √Var b.
      second_moment: E z² over networks, units and inputs.
      second_moment_band: ``(2, layers)``, where 95 % of networks of this width lie; NaN where the
        theory has no width (residual or normalized networks).
      correlation: of z between two inputs.
      gradient: E‖∂L/∂z‖² over the output layer's; inf beyond float64.
      gradient_band: ``(2, layers)``, as second_moment_band.
      scales: depth scales of the hidden layers if there are two alike, else None.
      findings: forward before backward; a single ``ok`` one if nothing is wrong.
      notes: what the theory leaves out here.
    """

    names: tuple[str, ...]
    fan_in: np.ndarray
    width: np.ndarray
    sigma_w: np.ndarray
    sigma_b: np.ndarray
    second_moment: np.ndarray
    second_moment_band: np.ndarray
    correlation: np.ndarray
    gradient: np.ndarray
    gradient_band: np.ndarray
    scales: DepthScales | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def predict(network: Network, x: Any, *, kernel: Any = None, bias: Any = None) -> Prediction:
    """Expected lengths, correlations and gradients of every layer, before anything is drawn.

    Args:
      network: an MLP; its layers' fans give σ_w = √(fan_in Var W) by the law of ``kernel``.
      x: a batch ``(n, …)``, of which the mean squared entry and the mean cosine are used; or the
        number of input features, then of unit second moment and uncorrelated.
      kernel, bias: initializers that have a ``law``; the default are the network's own.

    Returns:
      :class:`Prediction`, in float64.

    Raises:
      ValueError: kernels whose mean is not 0 or whose variance is, an unknown activation.
      TypeError: another model, an initializer without a law, an x of another type.

    Reference: Poole et al. 2016; Schoenholz et al. 2017; Hanin & Rolnick 2018.

    >>> from types import SimpleNamespace as Net
    >>> class Law: mean, stddev, distribution = 0.0, (2 / 64) ** 0.5, "normal"
    >>> he = Net(law=lambda shape: Law)
    >>> net = Net(features=(64, 64, 64), activation="relu", residual=False, layer_norm=False,
    ...           use_bias=False, kernel_init=he, bias_init=None)
    >>> predict(net, 64).second_moment.round(3).tolist()
    [2.0, 2.0, 2.0]
    """
    if not hasattr(network, "features"):
        raise errors.wrong_type(
            "network", type(network).__name__, "a jinit.models.MLP",
            "describe other networks to theory.propagate(…, architecture=…)",
        )  # fmt: skip
    start, cosine, features = _inputs(x)
    errors.check_bool("layer_norm", network.layer_norm)
    widths = [
        errors.check_integer("width", width, low=1, fix="use 64") for width in network.features
    ]
    if not widths:
        raise errors.refusal("features", (), "at least the output layer", "features=(64, 10)")
    fans = [features, *widths[:-1]]
    shapes = list(zip(fans, widths, strict=True))
    kernels = [_law(network.kernel_init if kernel is None else kernel, s, "kernel") for s in shapes]
    sigma_w = np.sqrt(fans) * _deviations(kernels)
    sigma_b = np.zeros(len(widths))
    if network.use_bias:
        given = network.bias_init if bias is None else bias
        biases = [_law(given, (width,), "bias") for width in widths]
        # A constant bias shifts all units alike; as a second moment it is the same.
        sigma_b = np.hypot([law.stddev for law in biases], [law.mean for law in biases])
    q = float(sigma_w[0] ** 2 * start + sigma_b[0] ** 2)
    gap = float(sigma_w[0] ** 2 * start * (1 - cosine) / q) if q else 0.0
    architecture = Architecture(
        residual=network.residual,
        residual_first=network.residual and fans[0] == widths[0],
        normalized=network.layer_norm,
    )
    orthogonal = all(law.distribution == "orthogonal" for law in kernels)
    found, spread, scales = _computed(
        network.activation, fans, widths, sigma_w, sigma_b, (q, gap), architecture, orthogonal
    )
    with np.errstate(divide="ignore"):
        log_length = np.log(np.asarray(found.q))
    names = (*(f"hidden_{i}" for i in range(len(widths) - 1)), "output")
    return Prediction(
        names=names,
        fan_in=np.asarray(fans),
        width=np.asarray(widths),
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        second_moment=np.asarray(found.q),
        second_moment_band=_band(log_length, None if spread is None else spread.length),
        correlation=1 - np.asarray(found.gap),
        gradient=_exp(found.log_gradient),
        gradient_band=_band(found.log_gradient, None if spread is None else spread.gradient),
        scales=scales,
        findings=_findings(found, spread, scales, names),
        notes=_notes(kernels, network, spread, orthogonal),
    )


def _inputs(x: Any) -> tuple[float, float, int]:
    """Mean squared entry, mean cosine between inputs, and the number of features."""
    if isinstance(x, int | np.integer) and not isinstance(x, bool):
        return 1.0, 0.0, errors.check_integer("x", x, low=1, fix="pass the number of features")
    if not hasattr(x, "shape") or len(x.shape) < 2:
        raise errors.wrong_type("x", x, "a batch (n, …) or a number of features", "pass 64")
    if not x.size:
        raise errors.refusal("x", f"shape {x.shape}", "at least one input", "pass real data")
    flat = np.asarray(x, np.float64).reshape(len(x), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        square = float((flat**2).mean())
    if not math.isfinite(square):
        raise errors.refusal("x", "NaN, inf or too large", "finite inputs", "clean the data")
    if square == 0:
        raise errors.refusal("x", "all zeros", "inputs that are not all zero", "pass real data")
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.maximum(length, 1e-300)
    n = len(flat)
    cosine = (unit @ unit.T).sum() - (unit**2).sum()
    return square, float(np.clip(cosine / (n * (n - 1)), -1, 1)) if n > 1 else 1.0, flat.shape[1]


def _law(initializer: Any, shape: tuple[int, ...], what: str) -> Any:
    if not hasattr(initializer, "law"):
        raise errors.wrong_type(
            what, initializer, "an initializer with a law", "jinit.initializers.get('he_normal')"
        )
    return initializer.law(shape)


def _deviations(laws: Sequence[Any]) -> np.ndarray:
    for law in laws:
        if abs(law.mean) > 1e-3 * law.stddev or not law.stddev > 0:
            raise errors.refusal(
                "kernel law", f"mean {law.mean:g}, standard deviation {law.stddev:g}",
                "mean 0 and a positive deviation: the theory is of random weights",
                "probe such a network instead: jinit probe",
            )  # fmt: skip
    return np.array([law.stddev for law in laws])


def _computed(
    activation: ActivationLike,
    fans: Sequence[int],
    widths: Sequence[int],
    sigma_w: np.ndarray,
    sigma_b: np.ndarray,
    start: tuple[float, float],
    architecture: Architecture,
    orthogonal: bool,
) -> tuple[Propagation, Fluctuations | None, DepthScales | None]:
    """Layers, their variances at finite width, and depth scales where all layers are alike."""
    alike = len(widths) > 2 and max(np.ptp(sigma_w[1:-1]), np.ptp(sigma_b[1:-1])) < 1e-9
    plain = not (architecture.residual or architecture.normalized)
    known = table(activation)
    # NumPy's, for which nothing is compiled but the integral over two inputs.
    numbers: Any = [np.asarray(x, float) for x in (fans, widths, sigma_w, sigma_b, *start)]
    n_in, n, w, b, q, gap = numbers

    def computed() -> tuple[Propagation, Fluctuations | None, DepthScales | None]:
        with np.errstate(all="ignore"):
            return (
                through(known, w, b, q, gap, architecture),
                spreading(known, n_in, n, w, b, q, orthogonal) if plain else None,
                settled_scales(known, w[1], b[1], np.maximum(q, 1e-6)) if plain and alike else None,
            )

    return in_float64(computed)


def _exp(logarithm: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(logarithm))


def _band(log_mean: Any, variance: Array | None) -> np.ndarray:
    """Where 95 % of networks lie: log-normal with this mean."""
    if variance is None:
        return np.full((2, len(log_mean)), np.nan)
    deviation = np.sqrt(np.maximum(np.asarray(variance), 0.0))
    with np.errstate(invalid="ignore"):
        ends = np.asarray(log_mean) - deviation**2 / 2 + np.outer([-1.96, 1.96], deviation)
    return _exp(ends)


def _findings(
    found: Propagation,
    spread: Fluctuations | None,
    scales: DepthScales | None,
    names: tuple[str, ...],
) -> tuple[Finding, ...]:
    q, gap = (np.asarray(x)[:-1] for x in (found.q, found.gap))
    findings = []
    unknown = np.isnan([found.q, found.gap, found.log_gradient]).any(0)
    if unknown.any():
        findings.append(
            Finding(
                "not known",
                names[int(np.argmax(unknown))],
                "its moments cannot be integrated (the activation varies or grows too fast there, "
                "or they are infinite)",
                fix="measure the network instead: jinit probe",
            )
        )
    if len(q) > 1:
        findings += _changes(q, np.asarray(found.log_gradient)[:-1], names)
        if gap[-1] < _PARALLEL * max(gap[0], 1e-12):
            findings.append(
                Finding(
                    "collapsed",
                    names[len(q) - 1],
                    "inputs become parallel: 1 - correlation falls from "
                    f"{gap[0]:.2g} to {gap[-1]:.2g}",
                    f"{_PARALLEL:g} of the first layer's",
                    "Schoenholz et al. 2017, section 3",
                    "weights on the edge of chaos, or a residual network",
                )
            )
        if scales is not None and float(scales.trainable_depth) < len(q):
            depth = float(scales.trainable_depth)
            findings.append(
                Finding(
                    "too deep",
                    names[len(q) - 1],
                    f"trainable to about {depth:.3g} layers (6 xi_c); this has {len(q)}",
                    "6 xi_c",
                    "Schoenholz et al. 2017, section 5",
                    "weights on the edge of chaos, or fewer layers",
                )
            )
        if spread is not None and spread.length[-2] > 1:
            findings.append(
                Finding(
                    "networks differ",
                    names[len(q) - 1],
                    "the variance of ln E z² over seeds reaches "
                    f"{spread.length[-2]:.2g}; wider layers lower it",
                    "1",
                    "Hanin & Rolnick 2018, theorem 5",
                    "wider layers",
                )
            )
    return tuple(findings) or (healthy("nothing vanishes, explodes or collapses"),)


def _changes(q: np.ndarray, log_gradient: np.ndarray, names: tuple[str, ...]) -> list[Finding]:
    """Signals and gradients whose squares change too much between the first and last layer."""
    last = len(q) - 1
    with np.errstate(divide="ignore"):
        forward, backward = np.log(q[-1]) - np.log(q[0]), log_gradient[0] - log_gradient[-1]
    findings = []
    for change, direction, what, start, end in (
        (forward, "forward", "the signal", names[0], names[last]),
        (backward, "backward", "the gradient", names[last], names[0]),
    ):
        if abs(change) > math.log(LARGE_CHANGE):
            kind, verb = ("exploding", "explodes") if change > 0 else ("vanishing", "vanishes")
            findings.append(
                Finding(
                    f"{kind} {direction}",
                    end,
                    f"{what} {verb}: its square changes by a factor {_power(change)} "
                    f"from {start} to {end}",
                    f"a factor between {1 / LARGE_CHANGE:g} and {LARGE_CHANGE:g}",
                    "He et al. 2015, section 2.2; Schoenholz et al. 2017, section 4",
                    "the activation's own rule: 'scaled_for(activation=…)'; "
                    "'jinit recommend' measures what suits a depth",
                )
            )
    return findings


def _power(change: float) -> str:
    return f"10^{change / math.log(10):.3g}"


def _notes(
    kernels: Sequence[Any], network: Network, spread: Fluctuations | None, orthogonal: bool
) -> tuple[str, ...]:
    notes = []
    if spread is None:
        notes.append("bands are for plain networks: a residual or normalized one has none here")
    elif max(np.max(spread.length), np.max(spread.gradient)) > 1:
        notes.append("bands are first order in 1/width: networks as narrow as this stray further")
    if orthogonal:
        notes.append("orthogonal weights: means as for independent ones of the same variance")
    elif any(law.distribution not in ("normal", "truncated_normal") for law in kernels):
        notes.append("weights are not normal: true in the limit of wide layers")
    if network.layer_norm:
        notes.append("normalization: scale 1 and shift 0, as at the start")
    return tuple(notes)
