"""Clips gradients at a percentile of the norms of the steps so far (AutoClip)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jinit import errors
from jinit._switches import own_switches
from jinit.clipping._build import Clipped, transform
from jinit.clipping._norms import multiplier, norm, scaled, shrinkage, size
from jinit.typing import Array, PyTree

_MOST_NORMS = 100_000


class PercentileState(NamedTuple):
    """The norms that :func:`clip_by_percentile` has seen; in :attr:`ClipState.inner`.

    Attributes:
      norms: ``(history,)`` float32, the last norms, the oldest overwritten first; inf if unused.
      ascending: ``(history,)`` float32, the same norms in ascending order.
      seen: int32, number of norms so far.
    """

    norms: Array
    ascending: Array
    seen: Array


def clip_by_percentile(
    threshold: ArrayLike, *, history: int = 1000, on_nonfinite: str = "propagate"
) -> optax.GradientTransformation:
    """Clips by the common norm at a percentile of the norms so far: g · min(1, q/‖g‖₂).

    q is the percentile of the norms of the last ``history`` gradients, this one included,
    interpolated linearly. The first gradient is therefore never clipped; nor is any while q is 0.

    Args:
      threshold: the percentile, in (0, 100], for example 10; may be traced. At 100 nothing is
        clipped.
      history: number of norms that are kept, 1 to 100,000; default 1000. The article keeps all:
        give the number of steps, or more.
      on_nonfinite: as in :func:`clip_by_leaf_norm`. Norms that are not finite are not kept.

    Returns:
      An ``optax.GradientTransformation`` whose :attr:`ClipState.inner` is a
      :class:`PercentileState`.

    Raises:
      ValueError: a percentile outside (0, 100]; a history out of range.
      TypeError: integer gradients, when the transform is traced.

    Reference: Seetharaman, Wichern, Pardo & Le Roux 2020, algorithm 1.

    >>> clip = clip_by_percentile(50.0)
    >>> _, state = clip.update(jnp.array([3.0, 4.0]), clip.init(()))
    >>> clip.update(jnp.array([6.0, 8.0]), state)[0]  # the median of 5 and 10 is 7.5
    Array([4.5, 6. ], dtype=float32)
    """
    errors.check_number(
        "percentile threshold", threshold, low=0.0, high=100.0, open_low=True, fix="try 10.0"
    )
    errors.check_integer("history", history, low=1, high=_MOST_NORMS, fix="use 1000")
    with own_switches():  # no norm yet is inf
        unused = jnp.full((history,), jnp.inf, jnp.float32)
    none = PercentileState(unused, unused, jnp.zeros((), jnp.int32))
    return transform(_Percentile(history), threshold, on_nonfinite, none, remembers=True)


@dataclass(frozen=True)
class _Percentile:
    """The rule of :func:`clip_by_percentile`."""

    history: int

    def __call__(
        self, updates: PyTree, params: PyTree, threshold: tuple[ArrayLike, PercentileState]
    ) -> Clipped:
        percentile, state = threshold
        own = norm(updates).astype(jnp.float32)
        after = self._with(state, own)
        kept = jnp.isfinite(own)
        after = jax.tree.map(lambda new, old: jnp.where(kept, new, old), after, state)
        percentile = jnp.asarray(percentile, jnp.float32)
        bound = self._quantile(after, percentile / 100)
        # The percentile is 0 while gradients are; such a step passes, as a first step does.
        bound = jnp.where(kept & (percentile < 100) & (own > bound) & (bound > 0), bound, jnp.inf)
        common = multiplier(size(jax.tree.leaves(updates)), bound)
        return jax.tree.map(lambda g: scaled(g, common), updates), shrinkage(common), after

    def _with(self, state: PercentileState, own: Array) -> PercentileState:
        """Replaces the oldest norm, inf at first, by this one; the order is kept without a sort."""
        slot = state.seen % self.history
        oldest = state.norms[slot]
        # The norms between the two move by one place; each place takes its neighbour's norm.
        places = jnp.arange(self.history)
        gone = jnp.sum(state.ascending < oldest)
        shorter = jnp.where(
            places >= gone, jnp.roll(state.ascending, -1).at[-1].set(jnp.inf), state.ascending
        )
        before = jnp.roll(shorter, 1).at[0].set(-jnp.inf)
        ascending = jnp.where(shorter <= own, shorter, jnp.maximum(before, own))
        return PercentileState(state.norms.at[slot].set(own), ascending, state.seen + 1)

    def _quantile(self, state: PercentileState, share: Array) -> Array:
        used = jnp.minimum(state.seen, self.history)
        place = share * (used - 1).astype(jnp.float32)
        low = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, self.history - 1)
        high = jnp.minimum(low + 1, jnp.maximum(used - 1, 0))
        first, second = state.ascending[low], state.ascending[high]
        return first + (place - low) * (second - first)
