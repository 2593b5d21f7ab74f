"""Runs the coordinate check: measures at several widths how far training moves each layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinit import engine, errors
from jinit.frameworks import Captured, capture
from jinit.parameters import initialize
from jinit.parameters._rules import Rules
from jinit.probes._losses import Loss, check_loss
from jinit.stats import Interval, bootstrap
from jinit.typing import Array, ModelLike, PyTree

RulesOfWidth = Callable[[int], Rules]


@dataclass(frozen=True)
class CoordinateCheck:
    """How far training moves each layer at each width.

    Attributes:
      widths: ``(widths,)``.
      layers: names of the layers, the output layer last.
      change: ``(widths, seeds, layers)``, the root mean square of (z after the steps − z before).
      slopes: ``(layers,)``, d log change / d log width: the mean over seeds with its 95 % interval.
        A layer with slope 0 moves equally far at every width. With a slope above 0 the change
        explodes with width, with a slope below 0 it vanishes.
    """

    widths: np.ndarray
    layers: tuple[str, ...]
    change: np.ndarray
    slopes: tuple[Interval, ...]


def coordinate_check(
    model: Callable[[int], ModelLike],
    widths: Sequence[int],
    rules: Rules | RulesOfWidth,
    x: Array,
    loss: Loss,
    *,
    optimizer: optax.GradientTransformation | Callable[[int], optax.GradientTransformation],
    steps: int = 1,
    seeds: int = 16,
) -> CoordinateCheck:
    """Trains models of several widths on one batch and measures how far each layer moves.

    Args:
      model: ``model(width)`` returns a model that :func:`jinit.frameworks.capture` opens.
      widths: at least two widths, ascending by factors of about 2.
      rules: the rules that draw the weights, or ``rules(width)``.
      x: ``(batch, …)``, the batch of every step.
      loss: ``loss(outputs) -> scalar``, a mean over the batch.
      optimizer: an optax transform, or ``optimizer(width)`` if the learning rate depends on width.
      steps: number of optimizer steps, ≥ 1.
      seeds: number of networks per width, ≥ 2; every width has the same seeds.

    Returns:
      A :class:`CoordinateCheck`.

    Raises:
      ValueError: fewer than two widths, no steps, fewer than two seeds; layers that differ between
        widths; a change that is 0 or not finite.
      TypeError: a model or loss that is not callable, or an optimizer that is neither callable nor
        an optax transform.

    Reference: Yang et al. 2022, appendix D.1; Yang, Simon & Bernstein 2023, condition 1.

    >>> from jinit.models import MLP
    >>> from jinit.probes import random_projection
    >>> x = jax.random.normal(jax.random.key(1), (8, 16))
    >>> check = coordinate_check(
    ...     lambda width: MLP(features=(width, width, 4), activation="tanh"), (32, 64),
    ...     {"*/kernel": "lecun_normal", "*/bias": "zeros"}, x,
    ...     random_projection(jax.random.key(2)), optimizer=optax.sgd(0.1), seeds=4)
    >>> check.layers, check.change.shape
    (('hidden_0', 'hidden_1', 'output'), (2, 4, 3))
    """
    widths = [errors.check_integer("widths", width, low=1, fix="use 64") for width in widths]
    errors.check_integer("steps", steps, low=1, fix="use 1")
    check_loss(loss)
    if not callable(model):
        raise errors.wrong_type("model", model, "model(width)", "lambda width: MLP((width, 10))")
    if not (callable(optimizer) or hasattr(optimizer, "update")):
        raise errors.wrong_type(
            "optimizer", optimizer, "an optax transform, or optimizer(width)", "optax.sgd(0.1)"
        )
    errors.check_integer("seeds", seeds, low=2, fix="use 16")
    if len(set(widths)) < 2:
        raise errors.refusal(
            "widths", widths, "at least two different widths", "use (64, 128, 256)"
        )
    changes, names = [], []
    for width in widths:
        captured = capture(model(width), x)
        names.append(tuple(layer.name for layer in captured.layers))
        move = _Move(
            captured,
            rules(width) if callable(rules) else rules,
            loss,
            # An optax transform is a named tuple and not callable.
            optimizer(width) if callable(optimizer) else optimizer,
            steps,
        )
        changes.append(engine.run(move, np.arange(seeds, dtype=np.uint32), x))
    if len(set(names)) > 1:
        raise errors.refusal(
            "layers", set(names), "the same at every width", "change nothing but the width"
        )
    change = np.stack(changes)
    bad = ~(np.isfinite(change) & (change > 0))
    if bad.any():
        worst = names[0][int(bad.any((0, 1)).argmax())]
        moved = np.isfinite(change).all() and (change[..., -1] > 0).all()
        if moved and not change[..., :-1].any() and len(names[0]) > 1:
            raise errors.refusal(
                "steps",
                f"{steps}, in which only the output layer moves",
                "steps in which every layer gets a gradient: an output layer of zeros passes none "
                "in the first",
                f"steps={steps + 2}",
            )
        raise errors.refusal(
            "change",
            f"0, NaN or inf at {worst}",
            "finite and above 0",
            "lower the learning rate, or give every layer a gradient",
        )
    centred = np.log(widths) - np.log(widths).mean()
    slopes = np.einsum("w,wsl->sl", centred, np.log(change)) / (centred**2).sum()
    intervals = tuple(bootstrap(column, np.mean) for column in slopes.T)
    return CoordinateCheck(np.asarray(widths), names[0], change, intervals)


@dataclass(frozen=True, eq=False)
class _Move:
    """``(seed, x) -> (layers,)`` root mean square change of each layer's pre-activation."""

    captured: Captured
    rules: Rules
    loss: Loss
    optimizer: optax.GradientTransformation
    steps: int

    def __call__(self, seed: Array, x: Array) -> Array:
        params = initialize(
            jax.random.key(seed),
            self.captured.params,
            self.rules,
            host=self.captured.host,
            layers=self.captured.layouts,
        )

        def objective(params: PyTree) -> Array:
            return self.loss(self.captured.apply(params, x, None)[0])

        def step(_: Array, state: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            params, memory = state
            updates, memory = self.optimizer.update(jax.grad(objective)(params), memory, params)
            return optax.apply_updates(params, updates), memory

        start = (params, self.optimizer.init(params))
        moved, _ = jax.lax.fori_loop(0, self.steps, step, start)
        before, after = (self.captured.apply(p, x, None)[1] for p in (params, moved))
        changes = []
        for layer in self.captured.layers:
            gap = after[layer.value] - before[layer.value]
            gap = gap if layer.index is None else gap[layer.index]
            changes.append(jnp.sqrt((gap.astype(jnp.float32) ** 2).mean()))
        return jnp.stack(changes)
