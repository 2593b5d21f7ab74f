"""Describes an initializer for one shape: the law, its source, and a summary of a real draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import numpy as np

from jinit import errors
from jinit.initializers import _registry
from jinit.initializers._base import NamedInitializer
from jinit.initializers._fans import Fans, KernelAxes, check_shape
from jinit.initializers._laws import Law
from jinit.typing import Shape

MOST_ENTRIES = 10**8
BINS = 24


@dataclass(frozen=True)
class DrawSummary:
    """Four statistics of a draw, to be compared with its law.

    Attributes:
      minimum, maximum, mean: of the draw's entries; of their real parts if the draw is complex.
      stddev: the population standard deviation; √E|w − mean|² if the draw is complex.
    """

    minimum: float
    maximum: float
    mean: float
    stddev: float


@dataclass(frozen=True)
class Description:
    """An initializer explained for one shape.

    Attributes:
      spec: the canonical spec string.
      formula: the law in symbols.
      reference: author, year and equation of the law.
      shape: the described shape.
      fans: fan_in and fan_out of the kernel (of its first block if it is fused), computed from the
        initializer's axes and roles; None below rank 2.
      law: expected mean, standard deviation and bounds.
      draw: a summary of one real draw.
      spread: pairs ``(fan_in, expected stddev)`` for 1/4, 1, 4 and 16 times the inputs; empty if
        the standard deviation does not depend on the inputs.
      histogram: counts of the draw in 24 equal bins from minimum to maximum.
    """

    spec: str
    formula: str
    reference: str
    shape: tuple[int, ...]
    fans: Fans | None
    law: Law
    draw: DrawSummary
    spread: tuple[tuple[int, float], ...]
    histogram: tuple[int, ...]


def describe(spec: str | NamedInitializer, shape: Shape, *, seed: int = 0) -> Description:
    """The formula, fans, expected mean, σ and bounds of an initializer, and a real draw's summary.

    Args:
      spec: a spec string or a named initializer.
      shape: ``(receptive field…, in, out)``, at most 10⁸ entries.
      seed: seed of the draw, ``0 ≤ seed < 2**32``.

    Returns:
      A :class:`Description`.

    Raises:
      ValueError: the name is unknown, the initializer cannot serve the shape, or the seed is out of
        range.
      TypeError: the initializer has no name, so its law is not known.

    >>> description = describe("fan_in_uniform", (10, 1000))
    >>> round(description.law.high, 3), round(description.law.stddev, 2)
    (0.316, 0.18)
    """
    initializer = _registry.get(spec)
    if not isinstance(initializer, NamedInitializer):
        raise errors.wrong_type(
            "initializer",
            spec,
            "an initializer with a law",
            "register a factory that returns one, such as lambda: initializers.normal(0.1)",
        )
    errors.check_seed(seed, limit=errors.SEED_LIMIT)
    shape = check_shape(shape)
    law = initializer.law(shape)
    if math.prod(shape) > MOST_ENTRIES:
        raise errors.refusal(
            "shape", shape, f"at most {MOST_ENTRIES:,} entries to draw", "describe a smaller layer"
        )
    drawn = np.asarray(initializer(jax.random.key(seed), shape)).ravel()
    wide = np.complex128 if np.iscomplexobj(drawn) else np.float64
    drawn = drawn.astype(wide)
    values = drawn.real
    if not values.size:
        raise errors.refusal("shape", shape, "sizes >= 1", "describe a shape with entries")
    # 0.5*he_normal has the registry row of he_normal.
    factor, times, name = initializer.name.rpartition("*")
    row, kernel = _registry.row(name), KernelAxes.among(dict(initializer.arguments))
    return Description(
        spec=str(initializer),
        formula=f"{factor} × ({row.formula})" if times else row.formula,
        reference=row.reference,
        shape=shape,
        fans=kernel.fans(kernel.blocks(shape)[0]) if len(shape) > 1 else None,
        law=law,
        draw=DrawSummary(*map(float, (values.min(), values.max(), values.mean(), drawn.std()))),
        spread=_spread(initializer, kernel, shape),
        histogram=_histogram(values),
    )


def _histogram(values: np.ndarray) -> tuple[int, ...]:
    """Counts in equal bins from minimum to maximum; values that are all alike are in the middle."""
    low, high = float(values.min()), float(values.max())
    # In units of the largest value: the width of bins of 1e300 would be infinite.
    size = max(abs(low), abs(high)) or 1.0
    if high / size - low / size < BINS * np.finfo(float).eps:
        return tuple(values.size * (place == BINS // 2) for place in range(BINS))
    return tuple(int(count) for count in np.histogram(values / size, bins=BINS)[0])


def _spread(
    initializer: NamedInitializer, kernel: KernelAxes, shape: tuple[int, ...]
) -> tuple[tuple[int, float], ...]:
    """Pairs (fan_in, expected σ) for 1/4, 1, 4 and 16 times the inputs of the shape."""
    if len(shape) < 2:
        return ()
    # The inputs of a transposed layer lie along the axis named out.
    named = kernel.out_axis if kernel.transposed else kernel.in_axis
    if not isinstance(named, int) and not named:
        return ()
    axis = (named if isinstance(named, int) else named[0]) % len(shape)
    pairs = {}
    for power in (-1, 0, 1, 2):
        size = max(1, round(shape[axis] * 4.0**power))
        wider = (*shape[:axis], size, *shape[axis + 1 :])
        try:
            fan_in = round(kernel.fans(kernel.blocks(wider)[0]).fan_in)
            pairs[fan_in] = initializer.law(wider).stddev
        except ValueError:  # no kernel of this size, for example delta_orthogonal with in > out
            continue
    own = initializer.law(shape).stddev
    constant = all(math.isclose(stddev, own) for stddev in pairs.values())
    return () if constant else tuple(pairs.items())
