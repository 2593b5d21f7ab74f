"""Holds the registry of optimizers and makes optax transforms whose numbers may be traced.

A sweep over learning rates is therefore one compiled program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import optax

from jinit import _specs, clipping, errors
from jinit._registry import Registry
from jinit.clipping._rules import make as make_clip
from jinit.train._muon import Matrix
from jinit.train._named import BUILT_IN, NOT_OFFERED, Numbers, Optimizer
from jinit.train._options import with_options
from jinit.train._own import OptimizerFor, OwnOptimizer
from jinit.train._traced_optimizer import TracedOptimizer
from jinit.train.schedules import Factor
from jinit.typing import Array

__all__ = ["get", "make", "names", "register"]

_REGISTRY = Registry("optimizer", "jinit.train.optimizers.names()", BUILT_IN, item_type=Optimizer)


def names() -> tuple[str, ...]:
    """All optimizer names, the built-in ones first.

    The update is −learning_rate · (rescaled gradient + weight_decay · w) except where a line says
    otherwise; the momentum is β₁ of the Adam family. Values are those of optax's optimizers of
    these names at optax's defaults, which differ from other libraries where a line says so.

    - ``sgd``, ``momentum`` (m ← momentum · m + g), ``nesterov``; ``sign_sgd``, ``signum`` (sign of
      the gradient, of its mean). Of these, weight decay is L2 regularization in ``sgd`` only.
    - ``adam``, ``adamw``: the same; weight decay is decoupled in both.
    - ``nadam``, ``nadamw``: Nesterov's look-ahead without Dozat's decay schedule of β₁: the first
      step divides by 1 − β₁², in PyTorch by a product of scheduled β₁.
    - ``adamax``, ``adamaxw``, ``amsgrad`` (the maximum of the corrected second moments; PyTorch
      corrects the maximum), ``radam``, ``adabelief``, ``yogi``, ``adopt``, ``ademamix``; ``adan``
      (options b1, b2 and b3 in place of a momentum).
    - ``rmsprop``: second moments with decay 0.9 from 0, no correction: the first step is
      g/√(0.1 g² + 1e-8), √10 times that of Adam; PyTorch's decay is 0.99. ``adagrad``: from 0.1.
    - ``adadelta``: weight decay is added to the gradient, before the rescaling.
    - ``lion``: sign of momentum · m + (1 − momentum) · g; m decays with 0.99.
    - ``lamb``: Adam + weight decay, times ‖w‖/‖update‖ of each leaf.
    - ``lars``: gradient + weight decay, times 0.001 ‖w‖/‖update‖ of each leaf; momentum acts last,
      on steps that contain the learning rate. ``novograd``: weight decay is inside the momentum.
    - ``adafactor``: no momentum; the learning rate is relative to the RMS of each leaf (≥ 1e-3),
      the update is clipped at RMS 1; weight decay is multiplied by the learning rate.
    - ``sm3``: the momentum averages rescaled gradients. ``fromage``: no momentum, no weight decay.
    - ``muon``: hidden kernels move along the orthogonal factor of their Nesterov momentum, times
      √max(1, out/in); biases, norms, embeddings, input and output layers follow Adam, with the
      same numbers. The layer says which axes are in and out, so attention's ``(in, heads, size)``
      is one matrix in × heads·size, and each block of a packed kernel a matrix of its own. The
      source's momentum is 0.95, the grid's default 0.9.
    - ``schedule_free_sgd``, ``schedule_free_adamw``: gradients at the mixture
      y = momentum · x + (1 − momentum) · z of the average x and the fast iterate z; evaluations and
      results are those of x; the momentum must be > 0.

    Reference: Loshchilov & Hutter 2019 (decoupled decay); Dozat 2016; Reddi et al. 2018; Liu et al.
    2020 (RAdam); Zhuang et al. 2020 (AdaBelief); Zaheer et al. 2018 (Yogi); Taniguchi et al. 2024
    (ADOPT); Pagliardini et al. 2024 (AdEMAMix); Xie et al. 2022 (Adan); Chen et al. 2023 (Lion);
    You et al. 2017, 2020 (LARS, LAMB); Ginsburg et al. 2019 (NovoGrad); Shazeer & Stern 2018
    (Adafactor); Anil et al. 2019 (SM3); Bernstein et al. 2020 (Fromage); Jordan et al. 2024 (Muon);
    Defazio et al. 2024 (schedule-free).

    >>> names()[:7]
    ('sgd', 'momentum', 'nesterov', 'adam', 'adamw', 'rmsprop', 'sign_sgd')
    """
    return _REGISTRY.names()


def get(name: str | OptimizerFor) -> Optimizer | OwnOptimizer:
    """The optimizer with this name, or the one that a function makes.

    Args:
      name: one of :func:`names`, alone or with its own numbers, ``"adamw(b2=0.99)"``; or a function
        ``(learning_rate, **numbers) -> optax transform``, which gets those of ``momentum`` and
        ``weight_decay`` that it takes. Numbers of a spec string are compiled into the program.

    Returns:
      What :func:`make` takes.

    Raises:
      ValueError: an unknown name or number; an optimizer of optax that jinit does not offer, with
        the reason.

    >>> get("rmsprop").momentum, get("adamw(b2=0.99)").options
    (False, (('b2', 0.99),))
    """
    if callable(name):
        return OwnOptimizer(name)
    if isinstance(name, str) and "(" in name:
        spec = _specs.parse(name, "optimizer")
        row = get(spec.name)
        assert isinstance(row, Optimizer)
        return with_options(row, spec)
    if isinstance(name, str) and name in NOT_OFFERED and name not in _REGISTRY:
        reason, fix = NOT_OFFERED[name]
        allowed = f"a name of jinit.train.optimizers.names(); not this one, because {reason}"
        raise errors.refusal("optimizer", name, allowed, fix)
    return _REGISTRY.get(name)


def register(
    name: str, factory: Callable[..., optax.GradientTransformation], *, momentum: bool = False
) -> None:
    """Adds an optimizer: afterwards ``make``, :class:`jinit.Grid` and ``jinit sweep`` know it.

    Args:
      name: an identifier not yet taken.
      factory: returns an optax transform that rescales the gradient; the learning rate and its
        sign are applied later. Called as ``factory(momentum)``, the momentum possibly traced, or
        as ``factory()`` if ``momentum`` is False. Registering the same factory again changes
        nothing.
      momentum: whether ``factory`` takes a momentum; default False. Its other arguments that have
        numbers as defaults are options of the spec string.

    Raises:
      TypeError: the factory is not callable; ``momentum`` is not True or False.
      ValueError: the name is taken or is not an identifier.

    >>> register("soft_sign", lambda: optax.stateless_with_tree_map(lambda g, w: g / (1 + abs(g))))
    >>> updates, _ = (soft := make("soft_sign", 0.1)).update(4.0, soft.init(1.0), 1.0)
    >>> round(float(updates), 6)
    -0.08
    >>> _REGISTRY.remove("soft_sign")
    """
    if not callable(factory):
        raise errors.wrong_type(
            f"optimizer {name!r}", factory, "a callable", "pass a factory such as optax.trace"
        )
    optimizer = Optimizer(factory, errors.check_bool("momentum", momentum))
    _REGISTRY.register(name, optimizer)


def make(
    optimizer: str | Optimizer | OwnOptimizer | TracedOptimizer,
    learning_rate: float | Array | Factor,
    *,
    momentum: float | Array = 0.9,
    weight_decay: float | Array = 0.0,
    clip: str | None = None,
    clip_threshold: float | Array = 1.0,
    decayed: Sequence[bool] | None = None,
    matrices: Sequence[Matrix | None] | None = None,
) -> optax.GradientTransformation:
    """clip → optimizer → weight decay → −learning rate, as one optax transform.

    The clip comes first, acts on the raw gradient, and counts the steps that it changes. Weight
    decay is added to the rescaled update and then multiplied by the learning rate, except where
    :func:`names` says otherwise.

    Args:
      optimizer: one of :func:`names`, a spec string, or what :func:`get` returns.
      learning_rate: > 0; may be traced; or a function of the number of earlier updates.
      momentum: decay of the momentum, β₁ of Adam and its kin; in [0, 1); default 0.9; may be
        traced. Optimizers without momentum ignore the value.
      weight_decay: coefficient ≥ 0; may be traced. With the default 0.0, AdamW equals Adam (the
        default of optax's AdamW is 1e-4). Optimizers without weight decay ignore the value.
      clip: a rule of :mod:`jinit.clipping`, or None.
      clip_threshold: the threshold of the clip; default 1.0; may be traced.
      decayed: which leaves decay, one flag per leaf in the order of ``jax.tree.leaves``; default
        None: all, as in optax, PyTorch and Keras.
      matrices: which leaves are hidden kernels; only ``"muon"`` needs them, and a sweep finds them.

    Returns:
      An ``optax.GradientTransformation``.

    Raises:
      ValueError: an unknown name; a number out of range.

    Reference: Pascanu et al. 2013 (clip first); Loshchilov & Hutter 2019 (decoupled decay).

    >>> updates, _ = (sgd := make("sgd", 0.1)).update(2.0, sgd.init(1.0), 1.0)
    >>> round(float(updates), 6)
    -0.2
    """
    chosen = get(optimizer) if isinstance(optimizer, str) else optimizer
    if not isinstance(chosen, Optimizer | OwnOptimizer | TracedOptimizer):
        raise errors.wrong_type("optimizer", optimizer, "a name of names()", "use 'adam'")
    if not callable(learning_rate):
        errors.check_number("learning_rate", learning_rate, low=0.0, open_low=True, fix="try 0.1")
    errors.check_number("momentum", momentum, low=0.0, high=0.999999, fix="try 0.9")
    errors.check_number("weight_decay", weight_decay, low=0.0, fix="use 0.0 or more")
    if isinstance(learning_rate, np.integer):  # the negative of an unsigned number wraps
        learning_rate = float(learning_rate)
    clips = []
    if clip is not None:
        clips = [clipping.with_clip_statistics(make_clip(clip, clip_threshold))]
    numbers = Numbers(learning_rate, momentum, weight_decay, decayed, matrices)
    return optax.chain(*clips, *chosen.transforms(numbers))
