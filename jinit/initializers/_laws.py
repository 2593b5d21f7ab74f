"""Computes the distribution of one entry of a draw: moments, support and density."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np
from jax.typing import ArrayLike

from jinit.typing import Number

# Standard deviation of N(0, 1) truncated to ±2; the constant jax.nn.initializers divides by.
TRUNCATED_STDDEV = 0.87962566103423978
# √E|z|² of a complex normal z with E|z|² = 1 inside |z| < 2: |z|² is exponential, cut at 4.
COMPLEX_TRUNCATED_STDDEV = math.sqrt(1 - 4 * math.exp(-4) / (1 - math.exp(-4)))


@dataclass(frozen=True)
class Law:
    """The distribution of one entry of the array that an initializer draws.

    Attributes:
      distribution: the family. ``"deterministic"`` entries depend on their position and not on the
        key; a ``"mixture"`` entry follows one of ``components``.
      mean, stddev: the moments of one entry, or over all entries of a deterministic array; of a
        complex entry w, stddev is √E|w − mean|².
      low, high: the bounds of the support; of a complex entry, those of its real part, and ``high``
        bounds its modulus.
      size: for ``"orthogonal"``, the dimension n. An entry is ``high`` times a coordinate of a
        uniform point on the unit sphere in n dimensions. The real part of a complex entry is one
        of the 2 · n real coordinates of a complex point, and ``size`` is 2 · n.
      parent: for ``"truncated_normal"``, location and scale of the normal before truncation.
      components: for ``"mixture"``, pairs of weight and law.
      is_complex: True for an entry of a complex array, whose phase is uniform.

    >>> from jinit import initializers
    >>> initializers.normal(0.25).law((16, 8)).stddev
    0.25
    """

    distribution: Literal[
        "constant",
        "normal",
        "truncated_normal",
        "uniform",
        "rademacher",
        "beta",
        "orthogonal",
        "deterministic",
        "mixture",
    ]
    mean: float
    stddev: float
    low: float = -math.inf
    high: float = math.inf
    size: int = 0
    parent: tuple[float, float] = (0.0, 1.0)
    components: tuple[tuple[float, Law], ...] = ()
    is_complex: bool = False

    @property
    def is_drawn(self) -> bool:
        """True if entries depend on the key.

        >>> constant(0.0).is_drawn
        False
        """
        return self.distribution not in ("constant", "deterministic")

    def density(self, x: ArrayLike) -> np.ndarray:
        """The probability density at ``x``, in the shape of ``x``; of the real part if complex.

        Returns 0 for laws without a density (constants, deterministic arrays, ±σ), which a mixture
        therefore leaves out, and for orthogonal entries of size ≤ 2.

        >>> round(float(uniform(-0.5, 0.5).density(0.1)), 6)
        1.0
        """
        x = np.asarray(x, np.float64)
        inside = (x >= self.low) & (x <= self.high)
        if self.distribution == "mixture":
            return sum((w * law.density(x) for w, law in self.components), np.zeros_like(x))
        if self.is_complex and self.distribution != "orthogonal":
            return self._density_of_real_part(x)
        if self.distribution == "uniform":
            return inside / (self.high - self.low)
        if self.distribution == "normal":
            return _bell(x, self.mean, self.stddev)
        if self.distribution == "truncated_normal":
            centre, scale = self.parent
            low, high = ((bound - centre) / scale for bound in (self.low, self.high))
            return inside * _bell(x, centre, scale) / normal_mass(low, high)
        if self.distribution == "beta":  # Beta(2, 1) on (0, high)
            return inside * 2 * x / self.high**2
        if self.distribution == "orthogonal" and self.size > 2:
            n, t = self.size, np.clip(x / self.high, -1, 1)
            constant = math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2)) / math.sqrt(math.pi)
            return inside * constant * (1 - t**2) ** ((n - 3) / 2) / self.high
        return np.zeros_like(x)

    def _density_of_real_part(self, x: np.ndarray) -> np.ndarray:
        """The density on the complex plane, integrated over the imaginary part."""
        if self.distribution == "normal":
            return _bell(x, self.mean, self.stddev / math.sqrt(2))
        height = np.sqrt(np.clip(self.high**2 - x**2, 0, None))
        if self.distribution == "uniform":  # on the disk |w| < high
            return 2 * height / (math.pi * self.high**2)
        if self.distribution == "truncated_normal":  # E|z|² = scale² before the cut
            scale = self.parent[1]
            share = np.vectorize(math.erf, otypes=[float])(height / scale)
            return _bell(x, 0.0, scale / math.sqrt(2)) * share / -math.expm1(-4)
        return np.zeros_like(x)


def constant(value: float) -> Law:
    """Every entry is ``value``.

    >>> constant(2.0).stddev
    0.0
    """
    return Law("constant", value, 0.0, value, value)


def uniform(low: float, high: float) -> Law:
    """U[low, high): mean (low + high)/2, variance (high − low)²/12.

    >>> round(uniform(-1.0, 1.0).stddev, 6)
    0.57735
    """
    return Law("uniform", (low + high) / 2, (high - low) / math.sqrt(12), low, high)


def centred(distribution: str, stddev: float) -> Law:
    """Mean 0 and this standard deviation; a truncated normal is cut at ±2 σ of its parent.

    >>> round(centred("uniform", 1.0).high, 6)
    1.732051
    """
    if distribution == "normal":
        return Law("normal", 0.0, stddev)
    if distribution == "uniform":
        bound = math.sqrt(3) * stddev
        return Law("uniform", 0.0, stddev, -bound, bound)
    if distribution == "rademacher":
        return Law("rademacher", 0.0, stddev, -stddev, stddev)
    parent = stddev / TRUNCATED_STDDEV
    return Law("truncated_normal", 0.0, stddev, -2 * parent, 2 * parent, parent=(0.0, parent))


def truncated(location: float, scale: float, lower: float, upper: float) -> Law:
    """location + scale · z with z ~ N(0, 1) conditioned on lower < z < upper.

    >>> round(truncated(0.0, 1.0, -2.0, 2.0).stddev, 9)
    0.879625661
    """
    centre, spread = truncated_moments(lower, upper)
    return Law(
        "truncated_normal",
        location + scale * centre,
        scale * spread,
        location + scale * lower,
        location + scale * upper,
        parent=(location, scale),
    )


def mixture(components: list[tuple[float, Law]]) -> Law:
    """The law of an entry that follows one of several laws, given as pairs of weight and law.

    >>> mixture([(0.5, constant(0.0)), (0.5, constant(2.0))]).stddev
    1.0
    """
    laws = [law for _, law in components]
    if all(law == laws[0] for law in laws):
        return laws[0]
    largest = max(max(law.stddev, abs(law.mean)) for law in laws)
    unit = largest if 1e150 < largest < math.inf else 1.0  # the square of such a number overflows
    mean = sum(weight * (law.mean / unit) for weight, law in components)
    square = sum(
        weight * ((law.stddev / unit) ** 2 + (law.mean / unit) ** 2) for weight, law in components
    )
    low, high = min(law.low for law in laws), max(law.high for law in laws)
    spread = math.sqrt(max(0.0, square - mean**2)) * unit
    mean *= unit
    return Law("mixture", mean, spread, low, high, components=tuple(components))


def entries(values: np.ndarray) -> Law:
    """The law of a deterministic array: the moments over its entries.

    >>> entries(np.eye(2)).mean
    0.5
    """
    if not values.size:
        return constant(0.0)
    low, high = float(values.min()), float(values.max())
    if low == high:
        return constant(low)
    return Law("deterministic", float(values.mean()), float(values.std()), low, high)


def two_valued(height: float, positive: int, negative: int, size: int) -> Law:
    """The law of a deterministic array whose entries are +height, −height or 0.

    Args:
      height: the absolute value of an entry that is not 0.
      positive, negative: the number of entries of each sign.
      size: the number of all entries.

    >>> two_valued(1.0, 2, 0, 4) == entries(np.eye(2))
    True
    """
    if not size:
        return constant(0.0)
    counts = [(height, positive), (-height, negative), (0.0, size - positive - negative)]
    values = [value for value, count in counts if count > 0]
    low, high = min(values), max(values)
    if low == high:
        return constant(low)
    mean, square = (positive - negative) / size, (positive + negative) / size
    spread = abs(height) * math.sqrt(square - mean**2)
    return Law("deterministic", height * mean, spread, low, high)


def value_or_nan(number: Number) -> float:
    """The number as a float, or NaN if it is traced and has no value yet.

    >>> value_or_nan(2)
    2.0
    """
    return math.nan if isinstance(number, jax.core.Tracer) else float(number)


def times(law: Law, factor: float) -> Law:
    """The law of ``factor`` times an entry, for factor > 0.

    >>> times(uniform(-1.0, 1.0), 0.5).high
    0.5
    """
    return replace(
        law,
        mean=factor * law.mean,
        stddev=factor * law.stddev,
        low=factor * law.low,
        high=factor * law.high,
        parent=(factor * law.parent[0], factor * law.parent[1]),
        components=tuple((weight, times(part, factor)) for weight, part in law.components),
    )


def on_the_plane(law: Law) -> Law:
    """The law of a complex entry with the mean and standard deviation of a real, centred law.

    The phase is uniform. ``"uniform"`` fills a disk; ``"truncated_normal"`` is cut where the
    modulus is twice the parent's √E|z|².

    >>> round(on_the_plane(centred("uniform", 1.0)).high, 6)
    1.414214
    """
    if law.distribution == "mixture":
        parts = [(weight, on_the_plane(part)) for weight, part in law.components]
        return replace(mixture(parts), is_complex=True)
    if law.distribution == "uniform":
        radius = math.sqrt(2) * law.stddev
        return replace(law, low=-radius, high=radius, is_complex=True)
    if law.distribution == "truncated_normal":
        scale = law.stddev / COMPLEX_TRUNCATED_STDDEV
        bound = 2 * scale
        return replace(law, low=-bound, high=bound, parent=(0.0, scale), is_complex=True)
    if law.distribution == "orthogonal":
        return replace(law, size=2 * law.size, is_complex=True)
    return replace(law, is_complex=law.distribution == "normal")


def truncated_moments(lower: float, upper: float) -> tuple[float, float]:
    """Mean and standard deviation of N(0, 1) conditioned on lower < z < upper.

    mean = (φ(a) − φ(b))/Z and var = 1 + (a φ(a) − b φ(b))/Z − mean², Z = Φ(b) − Φ(a)
    (Johnson, Kotz & Balakrishnan 1994, equation 13.134).

    >>> round(truncated_moments(-2.0, 2.0)[1], 9)
    0.879625661
    """
    mass = normal_mass(lower, upper)
    density = [math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in (lower, upper)]
    mean = (density[0] - density[1]) / mass
    variance = 1 + (lower * density[0] - upper * density[1]) / mass - mean**2
    return mean, math.sqrt(max(0.0, variance))


def normal_mass(lower: float, upper: float) -> float:
    """P(lower < z < upper) for z ~ N(0, 1).

    Positive bounds are mirrored to the lower tail, where the difference loses no digits.

    >>> round(normal_mass(-1.0, 1.0), 6)
    0.682689
    """
    if lower > 0:
        lower, upper = -upper, -lower
    return (math.erfc(-upper / math.sqrt(2)) - math.erfc(-lower / math.sqrt(2))) / 2


def _bell(x: np.ndarray, mean: float, stddev: float) -> np.ndarray:
    return np.exp(-(((x - mean) / stddev) ** 2) / 2) / (stddev * math.sqrt(2 * math.pi))
