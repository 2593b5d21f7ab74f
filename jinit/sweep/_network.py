"""Defines the pure function that trains one network; a sweep maps it over its lanes.

The function is a frozen dataclass with ``__call__``. Equal instances are equal functions, so the
engine reuses the program that it compiled for an earlier sweep.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jinit import _prng, errors
from jinit.data import Dataset
from jinit.engine._divided import OnceTraced, parts_of
from jinit.engine._known import is_known
from jinit.engine._traced import Traced
from jinit.models import Model
from jinit.sweep._watch import Watched, curves
from jinit.train import FitConfig, StatefulApply, fit, losses, optimizers
from jinit.train._muon import Matrix
from jinit.train._named import Optimizer
from jinit.train._own import OwnOptimizer
from jinit.train._softened import softened
from jinit.train._traced_optimizer import ByStep, TracedOptimizer
from jinit.typing import Apply, Array, Key, Number, PyTree

# By default TPUs multiply in bfloat16 and recent GPUs in TF32.
PRECISION = "highest"
# In place of the user's model, where only the rest of a network counts.
_NO_MODEL = Model(shapes=jnp.shape, apply=jnp.dot, name="")
# The float32 scalars of a lane.
LANE_NUMBERS = (
    "learning_rate",
    "momentum",
    "weight_decay",
    "clip_threshold",
    "gain",
    "label_noise",
    "label_smoothing",
)


def traced(apply: Apply | StatefulApply) -> Apply | StatefulApply | None:
    """A model's function that is traced once per set of shapes; None if it never changes.

    >>> traced(jnp.dot) is None
    True
    """
    if is_known(apply):
        return None
    if isinstance(apply, StatefulApply):
        return dataclasses.replace(
            apply, train=Traced(apply.train), evaluate=Traced(apply.evaluate)
        )
    return Traced(apply)


def run_key(seed: ArrayLike, purpose: str) -> Key:
    """The PRNG key of a run for one purpose.

    The threefry key fold_in(fold_in(key(0), seed), 32-bit hash of the purpose). A seed and a
    purpose give the same key in every version of jinit.

    Args:
      seed: ``0 ≤ seed < 2**32``; may be a traced uint32.
      purpose: ``"init"`` (weights), ``"own"`` (the model's own start), ``"data"`` (data order),
        ``"dropout"`` (the network's noise in training), ``"label_noise"``, ``"calibrate"``, or any
        other string.

    Returns:
      A typed key, shape ().

    Raises:
      ValueError, TypeError: a seed that is not one number in range, a purpose that is not text.

    >>> run_key(3, "init").shape
    ()
    """
    if not isinstance(purpose, str):
        raise errors.wrong_type("purpose", purpose, "text", "pass 'init'")
    if not isinstance(seed, jax.core.Tracer):
        if getattr(seed, "shape", ()) != () or str(getattr(seed, "dtype", "")).startswith("key"):
            raise errors.wrong_type("seed", seed, "one whole number", "jax.vmap over seeds")
        number: Any = seed.item() if hasattr(seed, "item") else seed
        seed = errors.check_seed(number, limit=errors.SEED_LIMIT)
    root = jax.random.key(0, impl="threefry2x32")
    folded = jax.random.fold_in(root, jnp.asarray(seed, jnp.uint32))
    return jax.random.fold_in(folded, _word(purpose))


def leaf_words(seeds: np.ndarray, purpose: str, words: np.ndarray) -> np.ndarray:
    """The words of the leaves' keys, computed on the host: no program has to be compiled.

    Args:
      seeds: one per network, ``(networks,)``.
      purpose: as for :func:`run_key`.
      words: of the leaves' paths, ``(leaves, 2)`` uint32, see :func:`path_words`.

    Returns:
      ``(networks, leaves, 2)`` uint32: those of ``fold_words(run_key(seed, purpose), words)``.
    """
    roots = np.zeros((len(seeds), 2), np.uint32)
    keys = _prng.folded(_prng.folded(roots, seeds), np.array([_word(purpose)], np.uint32))
    keys = _prng.folded(keys[:, None], words[None, :, 0])
    return _prng.folded(keys, words[None, :, 1])


def _word(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=4).digest(), "little")


@dataclass(frozen=True)
class TrainNetwork:
    """``(lane, dataset) -> metrics``: one whole training run.

    A lane holds ``params``, ``state`` (of the network), ``data_seed``, the float32 scalars of
    ``LANE_NUMBERS``, and the flag ``calibrated``, which the metrics return unchanged.

    Attributes:
      model: the parameter shapes and the apply function.
      loss, optimizer: the registered objects rather than their names, so that a compiled program is
        reused only for equal objects.
      clip: name of the clip rule, or None; the threshold is in the lane.
      config: steps, batch size, evaluations, target accuracy.
      decays, noisy: whether the program contains weight decay and label noise.
      scaled: positions of the leaves that the gain multiplies; () if the program has no gain.
      smooths: whether the labels of training steps are smoothed.
      weights: the weight of each class in training steps; () for none.
      traced: the model's function, if it is the user's, from :func:`traced`.
      scheduled: whether the lane holds ``schedule``, the factors on the learning rate by step.
      generator: that of the data set, by which the engine sees whether the function has changed.
      decayed, matrices: as in :func:`jinit.train.optimizers.make`.
      watch: probes at every evaluation, see :func:`jinit.sweep._watch.curves`.
      keeps: whether the metrics hold ``parameters``, those of the last evaluation, or a pair of
        parameters and state for a network with state.
    """

    model: Model
    loss: losses.Loss
    optimizer: Optimizer | OwnOptimizer | TracedOptimizer
    clip: str | None
    config: FitConfig
    decays: bool
    noisy: bool
    scaled: tuple[int, ...] = ()
    scheduled: bool = False
    generator: Any = None
    decayed: tuple[bool, ...] | None = None
    matrices: tuple[Matrix | None, ...] | None = None
    watch: Watched = ()
    smooths: bool = False
    weights: tuple[float, ...] = ()
    keeps: bool = False
    traced: Apply | StatefulApply | None = field(default=None, compare=False)

    @property
    def apply(self) -> Apply | StatefulApply:
        """The model's function, traced once per set of shapes if it is the user's."""
        return self.model.apply if self.traced is None else self.traced

    def divided(self) -> tuple[Hashable, tuple[Traced, ...]] | None:
        """The network without the user's functions, and their traces; None if they do not part."""
        of_user = (self.traced, self.loss, self.optimizer)
        (apply, loss, optimizer), parts = parts_of(of_user)
        model = self.model if self.traced is None else _NO_MODEL
        rest = dataclasses.replace(self, model=model, traced=None, loss=loss, optimizer=optimizer)
        # Probes may call the model itself.
        calls = bool(self.watch) and self.traced is not None
        return ((rest, apply), parts) if parts and not calls and is_known(rest) else None

    def once_traced(self, once: OnceTraced) -> TrainNetwork:
        """The same network, whose optimizer is traced once per set of shapes if it may change."""
        optimizer = self.optimizer
        if not isinstance(optimizer, TracedOptimizer) and not is_known(optimizer):
            optimizer = TracedOptimizer.of(
                optimizer,
                once,
                decays=self.decays,
                decayed=self.decayed,
                matrices=self.matrices,
            )
        return dataclasses.replace(self, optimizer=optimizer)

    def __call__(self, lane: Mapping[str, Any], data: Dataset) -> dict[str, Array]:
        params, seed = lane["params"], lane["data_seed"]
        if self.scaled:
            leaves, tree = jax.tree.flatten(params)
            for position in self.scaled:
                leaves[position] = leaves[position] * lane["gain"]
            params = jax.tree.unflatten(tree, leaves)
        if self.noisy:
            data = _with_label_noise(data, lane["label_noise"], run_key(seed, "label_noise"))
        rate = lane["learning_rate"]
        if self.scheduled:
            rate = ByStep(rate, lane["schedule"])
        optimizer = optimizers.make(
            self.optimizer,
            rate,
            momentum=lane["momentum"],
            weight_decay=lane["weight_decay"] if self.decays else 0.0,
            clip=self.clip,
            clip_threshold=lane["clip_threshold"],
            decayed=self.decayed,
            matrices=self.matrices,
        )
        apply = self.apply
        if isinstance(apply, StatefulApply):
            apply = apply.starting(lane["state"], run_key(seed, "dropout"))
        with jax.default_matmul_precision(PRECISION):
            end, metrics = fit(
                params,
                data,
                run_key(seed, "data"),
                apply=apply,
                loss=self.objective(lane["label_smoothing"]),
                optimizer=optimizer,
                config=self.config,
                watch=self._watched(data) if self.watch else None,
            )
        if self.keeps:
            stateful = bool(jax.tree.leaves(end.model_state))
            pair = (end.evaluated, end.model_state)
            metrics["parameters"] = pair if stateful else end.evaluated
        probed = metrics.pop("watched", {})
        metrics |= {f"curve_{name}": values for name, values in probed.items()}
        return metrics | {"calibrated": lane["calibrated"]}

    def _watched(self, data: Dataset) -> Callable[[PyTree], PyTree]:
        return lambda params: curves(self.watch, self.model, params, data)

    def objective(self, smoothing: Number) -> losses.Loss:
        """The loss, with smoothed labels and class weights in training steps."""
        if not (self.smooths or self.weights):
            return self.loss
        return softened(self.loss, smoothing if self.smooths else None, self.weights)


def lane_shapes(
    shapes: PyTree, state: PyTree = (), scheduled_steps: int | None = None
) -> dict[str, Any]:
    """One lane of :class:`TrainNetwork` as a ``jax.ShapeDtypeStruct`` tree.

    Args:
      shapes, state: the trees of the parameters and of the network's state.
      scheduled_steps: number of steps if the learning rate has a schedule, else None.

    >>> sorted(lane_shapes({}))[:3]
    ['calibrated', 'clip_threshold', 'data_seed']
    """
    scalar = jax.ShapeDtypeStruct((), np.dtype(np.float32))
    seed = jax.ShapeDtypeStruct((), np.dtype(np.uint32))
    flag = jax.ShapeDtypeStruct((), np.dtype(bool))
    scalars = dict.fromkeys(LANE_NUMBERS, scalar)
    lane = {"params": shapes, "state": state, "calibrated": flag, "data_seed": seed, **scalars}
    if scheduled_steps is not None:
        lane["schedule"] = jax.ShapeDtypeStruct((scheduled_steps,), np.dtype(np.float32))
    return lane


def _with_label_noise(data: Dataset, share: Array, key: Key) -> Dataset:
    """Replaces each training label with probability ``share`` by a uniformly drawn class."""
    replace, draw = jax.random.split(key)
    y = jnp.asarray(data.y_train)
    random = jax.random.randint(draw, y.shape, 0, data.outputs, y.dtype)
    noisy = jnp.where(jax.random.uniform(replace, y.shape) < share, random, y)
    if data.ignores:
        noisy = jnp.where(y < 0, y, noisy)
    return dataclasses.replace(data, y_train=noisy)
