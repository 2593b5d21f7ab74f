"""Defines what a named optimizer is, and the built-in ones, each a row that makes optax transforms.

Most rows rescale the gradient; weight decay and −learning rate follow. The others make the whole
update, because their papers put the decay or the learning rate elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from jinit.train._muon import Matrix, scale_by_muon
from jinit.train.schedules import Factor
from jinit.typing import Array, PyTree

Transforms: TypeAlias = list[optax.GradientTransformation]


@dataclass(frozen=True)
class Numbers:
    """The hyperparameters of one optimizer; they may be traced.

    Attributes:
      learning_rate: > 0, or a function of the number of earlier updates.
      momentum: in [0, 1).
      weight_decay: coefficient ≥ 0; the Python number 0 leaves the decay out of the program.
      decayed: one flag per leaf, in the order of ``jax.tree.leaves``; None: all leaves decay.
      matrices: one :class:`Matrix` per hidden kernel and None for each other leaf, in the same
        order; None if nobody has said which leaves are hidden kernels.
    """

    learning_rate: float | Array | Factor
    momentum: float | Array = 0.9
    weight_decay: float | Array = 0.0
    decayed: Sequence[bool] | None = None
    matrices: Sequence[Matrix | None] | None = None

    def mask(self, params: PyTree) -> PyTree:
        """The flags of the leaves that decay, as a tree."""
        leaves, tree = jax.tree.flatten(params)
        flags = [True] * len(leaves) if self.decayed is None else list(self.decayed)
        return jax.tree.unflatten(tree, flags)

    def decay(self) -> Transforms:
        """Adds weight_decay · w to the update of each leaf that decays."""
        if isinstance(self.weight_decay, int | float) and self.weight_decay == 0:
            return []
        mask = None if self.decayed is None else self.mask
        return [optax.add_decayed_weights(self.weight_decay, mask)]

    def rate(self) -> optax.GradientTransformation:
        """Times −learning rate."""
        return optax.scale_by_learning_rate(self.learning_rate)


@dataclass(frozen=True)
class Optimizer:
    """A named optimizer.

    Attributes:
      factory: makes the optax transform that rescales a gradient into an update without its
        learning rate: ``factory(momentum)``, or ``factory()`` for an optimizer without momentum;
        or, of ``whole`` rows, all transforms of the optimizer: ``factory(numbers)``.
      momentum: whether the optimizer has a momentum.
      weight_decay: whether the optimizer has a weight decay.
      whole: whether ``factory`` takes :class:`Numbers`.
      averages: whether evaluations use averaged parameters, which needs a momentum > 0.
      matrices: whether the optimizer must know which leaves are hidden kernels.
      options: numbers that the factory takes by name, instead of its defaults.

    >>> len(Optimizer(optax.trace, momentum=True).transforms(Numbers(0.1)))
    2
    """

    factory: Callable[..., optax.GradientTransformation | Transforms]
    momentum: bool
    weight_decay: bool = True
    whole: bool = False
    averages: bool = False
    matrices: bool = False
    options: tuple[tuple[str, float], ...] = ()

    def transforms(self, numbers: Numbers) -> Transforms:
        """The transforms of the optimizer, in their order."""
        options = dict(self.options)
        if self.whole:
            made = self.factory(numbers, **options)
            return made if isinstance(made, list) else [made]
        momentum = (numbers.momentum,) if self.momentum else ()
        rescaled = self.factory(*momentum, **options)
        assert not isinstance(rescaled, list)
        return [rescaled, *numbers.decay(), numbers.rate()]


def _signum(momentum: float | Array) -> optax.GradientTransformation:
    return optax.chain(optax.ema(momentum, debias=False), optax.scale_by_sign())


def _adan(
    *, b1: float = 0.98, b2: float = 0.92, b3: float = 0.99, eps: float = 1e-8
) -> optax.GradientTransformation:
    return optax.scale_by_adan(b1, b2, b3, eps, eps_root=1e-8)


def _ademamix(momentum: float | Array, *, alpha: float = 5.0) -> optax.GradientTransformation:
    return optax.contrib.scale_by_ademamix(momentum, alpha=alpha)


def _lion(momentum: float | Array, *, b2: float = 0.99) -> optax.GradientTransformation:
    return optax.scale_by_lion(momentum, b2)


def _adadelta(numbers: Numbers, *, rho: float = 0.9, eps: float = 1e-6) -> Transforms:
    return [*numbers.decay(), optax.scale_by_adadelta(rho, eps), numbers.rate()]


def _lamb(numbers: Numbers, *, b2: float = 0.999, eps: float = 1e-6) -> Transforms:
    adam = optax.scale_by_adam(numbers.momentum, b2, eps)
    return [adam, *numbers.decay(), optax.scale_by_trust_ratio(), numbers.rate()]


def _lars(numbers: Numbers, *, trust_coefficient: float = 0.001) -> Transforms:
    ratio = optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient)
    return [*numbers.decay(), ratio, numbers.rate(), optax.trace(numbers.momentum)]


def _novograd(numbers: Numbers, *, b2: float = 0.25, eps: float = 1e-6) -> Transforms:
    inner = optax.scale_by_novograd(numbers.momentum, b2, eps, weight_decay=numbers.weight_decay)

    def update(
        updates: PyTree, state: optax.OptState, params: PyTree = None
    ) -> tuple[PyTree, optax.OptState]:
        # The decay is inside, and the parameters serve for nothing else.
        flags = numbers.mask(params)
        kept = jax.tree.map(lambda p, flag: p if flag else jnp.zeros_like(p), params, flags)
        return inner.update(updates, state, kept)

    return [optax.GradientTransformation(inner.init, update), numbers.rate()]


def _adafactor(
    *, decay_rate: float = 0.8, clipping_threshold: float = 1.0
) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_factored_rms(decay_rate=decay_rate),
        optax.clip_by_block_rms(clipping_threshold),
        optax.scale_by_param_block_rms(),
    )


def _fromage(numbers: Numbers) -> Transforms:
    return [optax.fromage(numbers.learning_rate)]


def _muon(numbers: Numbers) -> Transforms:
    rescaled = scale_by_muon(numbers.momentum, numbers.matrices)
    return [rescaled, *numbers.decay(), numbers.rate()]


def _schedule_free(rescaled: optax.GradientTransformation, numbers: Numbers) -> Transforms:
    base = optax.chain(rescaled, *numbers.decay(), numbers.rate())
    return [optax.contrib.schedule_free(base, numbers.learning_rate, b1=numbers.momentum)]


def _schedule_free_sgd(numbers: Numbers) -> Transforms:
    return _schedule_free(optax.identity(), numbers)


def _schedule_free_adamw(numbers: Numbers, *, b2: float = 0.999, eps: float = 1e-8) -> Transforms:
    second = optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True)
    return _schedule_free(second, numbers)


_nadam = partial(optax.scale_by_adam, nesterov=True)

BUILT_IN: dict[str, Optimizer] = {
    "sgd": Optimizer(optax.identity, momentum=False),
    "momentum": Optimizer(optax.trace, momentum=True),
    "nesterov": Optimizer(partial(optax.trace, nesterov=True), momentum=True),
    "adam": Optimizer(optax.scale_by_adam, momentum=True),
    "adamw": Optimizer(optax.scale_by_adam, momentum=True),
    "rmsprop": Optimizer(optax.scale_by_rms, momentum=False),
    "sign_sgd": Optimizer(optax.scale_by_sign, momentum=False),
    "signum": Optimizer(_signum, momentum=True),
    "adagrad": Optimizer(optax.scale_by_rss, momentum=False),
    "adadelta": Optimizer(_adadelta, momentum=False, whole=True),
    "nadam": Optimizer(_nadam, momentum=True),
    "nadamw": Optimizer(_nadam, momentum=True),
    "adamax": Optimizer(optax.scale_by_adamax, momentum=True),
    "adamaxw": Optimizer(optax.scale_by_adamax, momentum=True),
    "amsgrad": Optimizer(optax.scale_by_amsgrad, momentum=True),
    "radam": Optimizer(optax.scale_by_radam, momentum=True),
    "adabelief": Optimizer(optax.scale_by_belief, momentum=True),
    "yogi": Optimizer(optax.scale_by_yogi, momentum=True),
    "adan": Optimizer(_adan, momentum=False),
    "adopt": Optimizer(optax.contrib.scale_by_adopt, momentum=True),
    "ademamix": Optimizer(_ademamix, momentum=True),
    "lion": Optimizer(_lion, momentum=True),
    "lamb": Optimizer(_lamb, momentum=True, whole=True),
    "lars": Optimizer(_lars, momentum=True, whole=True),
    "novograd": Optimizer(_novograd, momentum=True, whole=True),
    "adafactor": Optimizer(_adafactor, momentum=False),
    "sm3": Optimizer(optax.scale_by_sm3, momentum=True),
    "fromage": Optimizer(_fromage, momentum=False, weight_decay=False, whole=True),
    "muon": Optimizer(_muon, momentum=True, whole=True, matrices=True),
    "schedule_free_sgd": Optimizer(_schedule_free_sgd, momentum=True, whole=True, averages=True),
    "schedule_free_adamw": Optimizer(
        _schedule_free_adamw, momentum=True, whole=True, averages=True
    ),
}

_OWN = "jinit.Grid(optimizer=lambda learning_rate: …), if you want this optimizer all the same"
_ITSELF = "the optimizer sets the learning rate itself, and the grid's would only multiply it"
_NEEDS_VALUES = "the optimizer needs the loss besides the gradient"
_NOISE = "all runs would get the same noise"
_GAMES = "the optimizer is meant for games"
_COVERED = "another name covers its use"

# Optimizers of optax that have no row: the reason, and what to do instead.
NOT_OFFERED: dict[str, tuple[str, str]] = {
    "rprop": (
        "optax 0.2.8 gives out the step of the call before",
        "'sign_sgd', or an update function of your own",
    ),
    "noisy_sgd": (_NOISE, "'sgd' with a small batch_size"),
    "dpsgd": (_NOISE, "clip='per_example(1.0)'"),
    "sophia": ("the optimizer needs estimates of the Hessian", "'adamw' or 'lion'"),
    "sam": ("the optimizer needs a second gradient at each step", "another optimizer"),
    "lbfgs": (_NEEDS_VALUES, _OWN),
    "polyak_sgd": (_NEEDS_VALUES, _OWN),
    "momo": (_NEEDS_VALUES, _OWN),
    "momo_adam": (_NEEDS_VALUES, _OWN),
    "optimistic_adam": (_GAMES, _OWN),
    "optimistic_adam_v2": (_GAMES, _OWN),
    "optimistic_gradient_descent": (_GAMES, _OWN),
    "prodigy": (_ITSELF, _OWN),
    "dadapt_adamw": (_ITSELF, _OWN),
    "dog": (_ITSELF, _OWN),
    "dowg": (_ITSELF, _OWN),
    "cocob": (_ITSELF, _OWN),
    "mechanize": (_ITSELF, _OWN),
    "acprop": (_COVERED, _OWN),
    "galore": (_COVERED, _OWN),
    "madgrad": (_COVERED, _OWN),
    "simplified_ademamix": (_COVERED, _OWN),
}
