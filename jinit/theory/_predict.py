"""Predicts an MLP's signals and gradients at initialization from the law of its weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import jax
import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit._examples import check_examples
from jinit._float64 import in_float64
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.findings import Finding
from jinit.theory._diagnosis import diagnose
from jinit.theory._finite_width import Fluctuations, fluctuations_from_table
from jinit.theory._fixed_points import DepthScales, depth_scales_from_table
from jinit.theory._propagation import Architecture, Propagation, Skips, propagate_from_table
from jinit.theory._tabulate import moment_table
from jinit.typing import Array, Initializer

_Computed: TypeAlias = tuple[Propagation, Fluctuations | None, DepthScales | None]


class EntryLaw(Protocol):
    """The distribution of one entry of a draw: :class:`jinit.initializers.Law`."""

    @property
    def distribution(self) -> str:
        """The family: ``"normal"``, ``"orthogonal"``, …."""

    @property
    def mean(self) -> float:
        """The mean of an entry."""

    @property
    def stddev(self) -> float:
        """The standard deviation of an entry."""


class HasLaw(Protocol):
    """An initializer that states the law of its entries, as those of jinit do."""

    def law(self, shape: tuple[int, ...], /) -> EntryLaw:
        """The law of one entry of a draw of this shape."""


class Network(Protocol):
    """The attributes that :func:`predict` reads; :class:`jinit.models.MLP` has them.

    Attributes:
      features: widths of the layers, the outputs last.
      activation: the activation of every hidden layer.
      residual, layer_norm, use_bias: as in the MLP.
      kernel_init, bias_init: initializers with a ``law``.
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
    """The prediction for a network, layer by layer; arrays are ``(layers,)`` in float64.

    Attributes:
      names: ``hidden_0 … output``, one per layer, the output layer last.
      fan_in, width: inputs and units of each layer.
      sigma_w, sigma_b: √(fan_in Var W) and √Var b.
      second_moment: E z² over networks, units and inputs, before LayerNorm.
      second_moment_band: ``(2, layers)``, the interval that holds 95 % of networks of this width;
        NaN for residual or normalized networks and for biases with a mean, which are predicted at
        infinite width only.
      correlation: correlation of z between two inputs.
      gradient: E‖∂L/∂z‖² relative to the output layer; inf if float64 overflows.
      gradient_band: ``(2, layers)``, as second_moment_band.
      scales: depth scales of the hidden layers after the first if the network is plain and these
        layers exist and have equal σ_w and σ_b, else None.
      findings: the faults; a single healthy finding if there are none.
      notes: what the theory leaves out for this network.
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


def predict(
    network: Network,
    x: int | Array | np.ndarray,
    *,
    kernel: HasLaw | Initializer | None = None,
    bias: HasLaw | Initializer | None = None,
) -> Prediction:
    """Expected lengths, correlations and gradients of every layer, without drawing any weights.

    A layer has σ_w = √(fan_in Var W), with Var W from the law of its initializer.

    Args:
      network: a :class:`jinit.models.MLP`.
      x: a batch ``(n, …)``, which gives the mean squared entry and the mean cosine of two inputs;
        or the number of input features, for uncorrelated inputs with E x² = 1.
      kernel, bias: initializers that have a ``law``; default: those of the network. Biases with a
        mean, such as constants, take seconds at their first use, unless LayerNorm subtracts it.

    Returns:
      :class:`Prediction`, in float64.

    Raises:
      ValueError: kernels with mean ≠ 0 or variance 0; biases whose mean differs between layers; an
        empty, all-zero or non-finite batch; an unknown activation, one that jumps.
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
            "network",
            type(network).__name__,
            "a jinit.models.MLP",
            "theory.propagate(…, architecture=…) takes other networks",
        )
    start, cosine, mean, features = _inputs(x)
    errors.check_bool("layer_norm", network.layer_norm)
    widths = [
        errors.check_integer("width", width, low=1, fix="use 64") for width in network.features
    ]
    if not widths:
        raise errors.refusal("features", (), "at least the output layer", "features=(64, 10)")
    fans = [features, *widths[:-1]]
    shapes = list(zip(fans, widths, strict=True))
    kernels = [_law(network.kernel_init if kernel is None else kernel, s, "kernel") for s in shapes]
    sigma_w = np.sqrt(fans) * _stddevs(kernels)
    sigma_b, shifts = _biases(network, network.bias_init if bias is None else bias, widths)
    q = float(sigma_w[0] ** 2 * start + sigma_b[0] ** 2)
    gap = float(sigma_w[0] ** 2 * start * (1 - cosine) / q) if q else 0.0
    architecture = Architecture(
        residual=network.residual,
        residual_first=network.residual and fans[0] == widths[0],
        normalized=network.layer_norm,
    )
    skips: Any = np.array([fan == width for fan, width in shapes], float)
    activation = network.activation
    if shifts[:-1].any() and not network.layer_norm:
        activation = _Shifted(activation, float(shifts[0]))
    orthogonal = all(law.distribution == "orthogonal" for law in kernels)
    propagation, fluctuations, scales = _computed(
        activation, shapes, (sigma_w, sigma_b), (q, gap), architecture, Skips(skips, mean),
        orthogonal,
    )  # fmt: skip
    propagation = _with_means(propagation, shifts)
    if shifts.any():
        fluctuations = None
    with np.errstate(divide="ignore"):
        log_length = np.log(np.asarray(propagation.q))
    names = (*(f"hidden_{i}" for i in range(len(widths) - 1)), "output")
    return Prediction(
        names=names,
        fan_in=np.asarray(fans),
        width=np.asarray(widths),
        sigma_w=sigma_w,
        sigma_b=sigma_b,
        second_moment=np.asarray(propagation.q),
        second_moment_band=_band(log_length, fluctuations.length if fluctuations else None),
        correlation=1 - np.asarray(propagation.gap),
        gradient=_exp(propagation.log_gradient),
        gradient_band=_band(
            propagation.log_gradient, fluctuations.gradient if fluctuations else None
        ),
        scales=scales,
        findings=diagnose(propagation, fluctuations, scales, names),
        notes=_notes(kernels, network, fluctuations, orthogonal),
    )


@dataclass(frozen=True)
class _Shifted:
    """φ(z + mean): the activation of pre-activations whose biases have this mean."""

    activation: ActivationLike
    mean: float

    def __call__(self, z: Array) -> Array:
        shifted: Array = get_activation(self.activation).function(z + self.mean)
        return shifted


def _biases(
    network: Network, initializer: HasLaw | Initializer, widths: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation and mean of the biases of each layer."""
    if not network.use_bias:
        return np.zeros(len(widths)), np.zeros(len(widths))
    laws = [_law(initializer, (width,), "bias") for width in widths]
    # A mean that is only a rounding error needs no table of its own.
    means = np.array([law.mean if abs(law.mean) > 1e-9 * law.stddev else 0.0 for law in laws])
    if len(set(means[:-1].tolist())) > 1 and not network.layer_norm:
        raise errors.refusal(
            "bias law",
            f"means {means[:-1].min():g} to {means[:-1].max():g}",
            "one mean in all hidden layers",
            "measure the network instead: jinit probe",
        )
    return np.array([law.stddev for law in laws], float), means


def _with_means(propagation: Propagation, means: np.ndarray) -> Propagation:
    """The propagation of z with means of the biases, from that of z without them."""
    q = np.asarray(propagation.q)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(means == 0, 1.0, q / (q + means**2))
        gap: Any = np.asarray(propagation.gap) * np.where(np.isinf(q), 1.0, share)
    return Propagation(q + means**2, gap, propagation.log_gradient)


def _inputs(x: int | Array | np.ndarray) -> tuple[float, float, float, int]:
    """Mean squared entry, mean cosine between inputs, mean entry, and the number of features."""
    if isinstance(x, int | np.integer) and not isinstance(x, bool):
        return 1.0, 0.0, 0.0, errors.check_integer("x", x, low=1, fix="pass the number of features")
    if not isinstance(x, np.ndarray | jax.Array) or len(x.shape) < 2:
        raise errors.wrong_type("x", x, "a batch (n, …) or a number of features", "pass 64")
    check_examples(x)
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
    cosine = float(np.clip(cosine / (n * (n - 1)), -1, 1)) if n > 1 else 1.0
    return square, cosine, float(flat.mean()), flat.shape[1]


def _law(initializer: HasLaw | Initializer, shape: tuple[int, ...], what: str) -> EntryLaw:
    if not hasattr(initializer, "law"):
        raise errors.wrong_type(
            what, initializer, "an initializer with a law", "jinit.initializers.get('he_normal')"
        )
    return initializer.law(shape)


def _stddevs(laws: Sequence[EntryLaw]) -> np.ndarray:
    for law in laws:
        if abs(law.mean) > 1e-3 * law.stddev or not law.stddev > 0:
            raise errors.refusal(
                "kernel law",
                f"mean {law.mean:g}, standard deviation {law.stddev:g}",
                "mean 0 and a positive standard deviation: the theory assumes random weights",
                "measure the network instead: jinit probe",
            )
    return np.array([law.stddev for law in laws])


def _computed(
    activation: ActivationLike,
    shapes: Sequence[tuple[int, int]],
    sigmas: tuple[np.ndarray, np.ndarray],
    start: tuple[float, float],
    architecture: Architecture,
    skips: Skips,
    orthogonal: bool,
) -> _Computed:
    """The layers, their fluctuations at finite width, and depth scales if all layers are alike."""
    alike = len(shapes) > 2 and max(np.ptp(sigma[1:-1]) for sigma in sigmas) < 1e-9
    plain = not (architecture.residual or architecture.normalized)
    table = moment_table(activation)
    # NumPy arrays: only the integral over two inputs is then compiled.
    numbers: Any = [np.asarray(x, float) for x in (*zip(*shapes, strict=True), *sigmas, *start)]
    n_in, n, w, b, q, gap = numbers

    def computed() -> _Computed:
        with np.errstate(all="ignore"):
            propagation = propagate_from_table(table, w, b, q, gap, architecture, False, skips)
            if not plain:
                return propagation, None, None
            fluctuations = fluctuations_from_table(table, n_in, n, w, b, q, orthogonal)
            if not alike:
                return propagation, fluctuations, None
            scales = depth_scales_from_table(table, w[1], b[1], np.maximum(q, 1e-6))
            return propagation, fluctuations, scales

    return in_float64(computed)


def _exp(logarithm: ArrayLike) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(logarithm))


def _band(log_mean: np.ndarray | Array, variance: Array | None) -> np.ndarray:
    """The central 95 % of a log-normal distribution with this mean; NaN if ``variance`` is None."""
    if variance is None:
        return np.full((2, len(log_mean)), np.nan)
    deviation = np.sqrt(np.maximum(np.asarray(variance), 0.0))
    with np.errstate(invalid="ignore"):
        ends = np.asarray(log_mean) - deviation**2 / 2 + np.outer([-1.96, 1.96], deviation)
    return _exp(ends)


def _notes(
    kernels: Sequence[EntryLaw],
    network: Network,
    fluctuations: Fluctuations | None,
    orthogonal: bool,
) -> tuple[str, ...]:
    notes = []
    if fluctuations is None:
        what = "has biases with a mean"
        if network.residual or network.layer_norm:
            what = "is residual or normalized"
        notes.append(f"bands are for plain networks only: this one {what}")
    elif max(np.max(fluctuations.length), np.max(fluctuations.gradient)) > 1:
        notes.append("bands are first order in 1/width: networks this narrow vary more")
    if orthogonal:
        notes.append("orthogonal weights: means are those of independent weights of equal variance")
    elif any(law.distribution not in ("normal", "truncated_normal") for law in kernels):
        notes.append("weights are not normal: the prediction holds in the limit of wide layers")
    if network.layer_norm:
        notes.append("normalization: scale 1 and shift 0, as at initialization")
    return tuple(notes)
