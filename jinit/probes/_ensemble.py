"""Measures the profiles of many networks that differ only in the seed, in one compiled program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import jax
import numpy as np

from jinit import engine, errors
from jinit._examples import check_examples
from jinit.activations import ActivationLike
from jinit.engine import _executors
from jinit.frameworks import Captured, Layers
from jinit.parameters import initialize
from jinit.parameters._rules import Rules
from jinit.probes._losses import Loss
from jinit.probes._propagation import Profile, output_shapes, propagation
from jinit.typing import Array

_T = TypeVar("_T")


def ensemble(
    captured: Captured,
    rules: Rules,
    x: Array,
    loss: Loss,
    *,
    seeds: int | np.ndarray = 64,
    activation: ActivationLike | None = None,
    host: str | None = None,
    layers: Layers | None = None,
) -> Profile:
    """The profiles of many networks that differ only in the seed of their weights.

    Network i is drawn with the key ``jax.random.key(seeds[i])``. All networks run in one compiled
    program.

    Args:
      captured, x, loss, activation: as in :func:`propagation`.
      rules, host, layers: as in :func:`jinit.initialize`; host and layers default to those of the
        captured model.
      seeds: the number of networks, or their seeds ``(seeds,)``, 0 ≤ seed < 2³².

    Returns:
      A :class:`Profile` with NumPy arrays ``(seeds, layers)``.

    Raises:
      ValueError: as in :func:`propagation` and :func:`jinit.initialize`; no seeds or seeds out of
        range; an ``x`` that is not finite or does not fit the captured model. TypeError: an ``x``
        that is not an array of numbers, seeds that are no numbers.

    >>> from jinit.models import MLP
    >>> from jinit.frameworks import capture
    >>> from jinit.probes import random_projection
    >>> x = jax.random.normal(jax.random.key(1), (16, 4))
    >>> captured, loss = capture(MLP(features=(8, 3)), x), random_projection(jax.random.key(2))
    >>> profile = ensemble(captured, {"*/kernel": "he_normal", "*": "zeros"}, x, loss, seeds=3)
    >>> profile.gradient_norm.shape
    (3, 2)
    """
    if isinstance(seeds, int | np.integer):
        errors.check_integer("seeds", seeds, low=1, high=2**20, fix="use 64")
        seeds = np.arange(seeds)
    try:
        seeds = np.asarray(seeds)
    except (TypeError, ValueError):
        raise errors.wrong_type("seeds", seeds, "a list of integers", "use 64") from None
    if seeds.ndim != 1 or seeds.dtype.kind not in "iu" or not seeds.size:
        raise errors.refusal("seeds", seeds, "a list of integers", "use 64")
    for seed in (seeds.min(), seeds.max()):
        errors.check_seed(seed, "seeds", errors.SEED_LIMIT)
    check_examples(x, least=2, finite=True)
    output_shapes(captured, captured.params, x)
    host, layers = host or captured.host, captured.layouts if layers is None else layers
    # Refuse bad rules here, before a worker thread traces them.
    jax.eval_shape(
        lambda key: initialize(key, captured.params, rules, host=host, layers=layers),
        jax.random.key(0),
    )

    network = _Network(captured, _Hashable(rules), _Hashable(layers), loss, activation, host)
    machine = _executors.local()
    workers = len(machine.devices) if machine.platform == "cpu" else None
    rows = _rows(seeds.astype(np.uint32), workers)
    profiles = engine.run(network, rows, x, tile=2 if rows.shape[1] > 1 else None)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1])[: seeds.size], profiles)


def _rows(seeds: np.ndarray, workers: int | None) -> np.ndarray:
    """Seeds as ``(lanes, networks per lane)``, padded with the last seed.

    A CPU worker gets two lanes at a time and runs the networks of a lane one after the other. Each
    call gets fresh memory that the OS must zero. One call per two networks would spend a third of
    a deep network's time on that.
    """
    length = min(16, -(-seeds.size // (2 * workers))) if workers else 1
    return np.pad(seeds, (0, -seeds.size % length), mode="edge").reshape(-1, length)


@dataclass(frozen=True)
class _Hashable(Generic[_T]):
    """Makes a mapping hashable, so that the engine recognizes equal rules; str and None too."""

    value: _T

    def __hash__(self) -> int:
        return hash(tuple(self.value) if isinstance(self.value, Mapping) else self.value)


@dataclass(frozen=True)
class _Network:
    """``(seeds, x) -> Profile``; the engine compiles once for networks with equal fields."""

    captured: Captured
    rules: _Hashable[Rules]
    layers: _Hashable[Layers | None]
    loss: Loss
    activation: ActivationLike | None
    host: str

    def __call__(self, seeds: Array, x: Array) -> Profile:
        profiles: Profile = jax.lax.map(lambda seed: self._one(seed, x), seeds)
        return profiles

    def _one(self, seed: Array, x: Array) -> Profile:
        params = initialize(
            jax.random.key(seed),
            self.captured.params,
            self.rules.value,
            host=self.host,
            layers=self.layers.value,
        )
        return propagation(self.captured, params, x, self.loss, activation=self.activation)
