"""Decides which initializer draws each leaf of a model in a sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import jax
import numpy as np

from jinit import errors, frameworks, parameters
from jinit.frameworks import Layers
from jinit.frameworks._layers import host_of
from jinit.frameworks._modes import call_of, mode_flags
from jinit.frameworks._paths import leaf_name, path_of
from jinit.frameworks._table import conventions_of, find
from jinit.models import MLP, Model
from jinit.parameters._leaves import TreeLeaf, tree_leaves
from jinit.parameters._norms import NORM
from jinit.parameters._patterns import matches
from jinit.parameters._rules import KEEP, Assignment
from jinit.sweep._arms import OWN
from jinit.sweep._grid import Grid
from jinit.sweep._roles import escaped, roles_of, with_roles
from jinit.typing import Array, Initializer, PyTree

InitializerLike: TypeAlias = str | Initializer

RulesFor: TypeAlias = Callable[[InitializerLike, InitializerLike], Mapping[str, InitializerLike]]
"""``rules(initializer, bias_initializer) -> rules`` for :func:`jinit.initialize`."""

_KERNELS = ("kernel", "recurrent")
# Targets of a leaf besides a fixed initializer.
KERNEL, BIAS, _KEEP = "initializer", "bias initializer", "keep"


@dataclass(frozen=True, eq=False)
class Given:
    """Values that training starts from instead of the model's own.

    Attributes:
      leaves: one array per leaf of the parameter tree, in the tree's order.
      state: the network's first state, a pytree; None for the model's own.
      fingerprint: changes with any bit of both.
    """

    leaves: tuple[np.ndarray, ...]
    state: PyTree | None
    fingerprint: str


@dataclass(frozen=True)
class ModelLeaves:
    """The parameters of a model and what its layers say about them.

    Attributes:
      model: the model.
      x: an example batch.
      shapes: the parameter tree, leaves ``jax.ShapeDtypeStruct``.
      leaves: its leaves with their layouts.
      own: paths of the leaves for which the model has values of its own.
      host: the axis order of the kernels.
      layers: the layer kinds, as for :func:`jinit.initialize`; None if leaf names are enough.
      given: the values that training starts from; None for the model's own.
    """

    model: Model
    x: Array
    shapes: PyTree
    leaves: tuple[TreeLeaf, ...]
    own: frozenset[str]
    host: str
    layers: Layers | None
    given: Given | None = None

    @classmethod
    def of(cls, model: Model, x: Array, layers: Layers | None) -> ModelLeaves:
        """Asks a model for its parameters and its layers.

        Args:
          model: the model.
          x: an example batch.
          layers: pattern → layer kind, in addition to what the model says and instead of it.
        """
        tree = model.shapes(x)
        given = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        shapes = jax.tree.map(
            lambda leaf: (
                jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf
            ),
            tree,
        )
        host, own = "flax", frozenset[str]()
        if model.start is not None:
            # Functions of the user have values where their shapes are arrays.
            own = frozenset(
                path
                for path, leaf in given.items()
                if model.source is not None or not isinstance(leaf, jax.ShapeDtypeStruct)
            )
        if model.source is not None and type(model.source) is not MLP:
            host = host_of(model.source)
            layers = _merged(_layers_of(model, x), layers)
        leaves = tuple(tree_leaves(shapes, host, layers))
        return cls(model, x, shapes, leaves, own, host, layers)

    @property
    def scaled(self) -> tuple[int, ...]:
        """Positions of what the grid's gain multiplies: kernels, and norms that kernels have.

        A kernel g v/|v| under a weight norm has the length g, whatever the length of v is. A kernel
        that its layer divides by a norm, as in spectral normalization, has always the same size.
        """
        return tuple(
            i
            for i, leaf in enumerate(self.leaves)
            if _is_norm(leaf) or (_is_kernel(leaf) and not _is_rescaled(leaf))
        )

    @property
    def targets(self) -> set[str | None]:
        """What draws the leaves by default."""
        return {_target(self, leaf) for leaf in self.leaves}


def default_rules(
    leaves: ModelLeaves, initializer: InitializerLike, bias_initializer: InitializerLike
) -> dict[str, InitializerLike]:
    """Rules: kernels → initializer, biases → bias initializer; other leaves keep their own start.

    In jinit's own MLP, scales start at 1 and shifts at 0.

    Raises:
      ValueError: a kernel of a layer that jinit does not know; another leaf that is only a shape.

    >>> from jinit.models import functional
    >>> shapes = {"out": {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}}
    >>> model = functional(shapes, lambda params, x: x @ params["out"]["kernel"])
    >>> default_rules(ModelLeaves.of(model, jax.numpy.ones((1, 4)), None), "he_normal", "zeros")
    {'*/kernel': 'he_normal'}
    """
    targets = {leaf.path: _known_target(leaves, leaf) for leaf in leaves.leaves}
    by_name: dict[str, Counter[str]] = {}
    for path, target in targets.items():
        by_name.setdefault(leaf_name(path), Counter())[target] += 1
    usual = {name: counts.most_common(1)[0][0] for name, counts in by_name.items()}
    # Leaves with the target that is usual for their name share a pattern, which comes later.
    rules: dict[str, str] = {
        escaped(path): target
        for path, target in targets.items()
        if target != usual[leaf_name(path)]
    }
    rules |= {f"*/{escaped(name)}": target for name, target in usual.items()}
    drawn: dict[str, InitializerLike] = {KERNEL: initializer, BIAS: bias_initializer}
    return {pattern: drawn.get(target, target) for pattern, target in rules.items()}


def rules_for(
    leaves: ModelLeaves,
    rules: RulesFor | None,
    initializer: InitializerLike,
    bias_initializer: InitializerLike,
) -> dict[str, InitializerLike]:
    """All rules of one arm: the user's or the defaults, roles filled in, other leaves kept.

    The arm ``"own"`` keeps what it would draw.
    """
    if rules is None and leaves.given is None:
        chosen = default_rules(leaves, initializer, bias_initializer)
    else:
        named = {} if rules is None else dict(rules(initializer, bias_initializer))
        chosen = named | {
            escaped(leaf.path): KEEP
            for leaf in leaves.leaves
            if leaf.path in leaves.own
            and not any(matches(pattern, leaf.path) for pattern in named)
            and not _follows_a_draw(leaf, named)
        }
    chosen = {p: KEEP if _is_own(rule) else rule for p, rule in chosen.items()}
    paths = [leaf.path for leaf in leaves.leaves]
    return with_roles(chosen, paths, lambda what: roles_of(leaves.model, leaves.x, what))


def _follows_a_draw(leaf: TreeLeaf, rules: Mapping[str, InitializerLike]) -> bool:
    """Whether a leaf holds the norms of a kernel that a rule draws; it then follows the kernel."""
    if leaf.layout is None or not _is_norm(leaf):
        return False
    return any(matches(p, leaf.layout.of) for p, rule in rules.items() if rule != KEEP)


def _is_own(rule: InitializerLike) -> bool:
    return isinstance(rule, str) and rule == OWN


def assignments(leaves: ModelLeaves, rules: Mapping[str, InitializerLike]) -> list[Assignment]:
    """What :func:`rules_for` means for each leaf.

    Raises:
      ValueError: as :func:`jinit.parameters.assign`; a kept leaf without values of its own.
    """
    assigned = parameters.assign(leaves.shapes, rules, host=leaves.host, layers=leaves.layers)
    for one in assigned:
        if one.initializer is None and one.leaf not in leaves.own:
            raise errors.refusal(
                f"leaf {one.leaf!r}",
                "'keep'",
                "an initializer, because the model gives a shape and no values",
                "give the leaf a rule with an initializer, or pass arrays as shapes",
            )
    return assigned


def scaled_by_gain(grid: Grid, leaves: ModelLeaves, rules: RulesFor | None) -> tuple[int, ...]:
    """Positions of the kernels that the grid's gain multiplies: not those that the user gave.

    Raises:
      ValueError: the gain would multiply nothing.
    """
    if all(value == 1 for value in grid.values("gain")):
        return ()
    scaled = leaves.scaled
    if leaves.given is not None:
        kernel, bias = (grid.values(axis)[0] for axis in ("initializer", "bias_initializer"))
        assigned = assignments(leaves, rules_for(leaves, rules, kernel, bias))
        scaled = tuple(i for i in scaled if assigned[i].initializer is not None)
    if not scaled:
        raise errors.refusal(
            "gain",
            grid.values("gain"),
            f"1 for {leaves.model.name}, which has no drawn kernel whose size has an effect",
            "leave the axis out, or name the kernels: layers={'path/of/the/kernel': 'dense'}",
        )
    return scaled


def _target(leaves: ModelLeaves, leaf: TreeLeaf) -> str | None:
    """What draws a leaf by default; None if nothing does."""
    name = leaf_name(leaf.path)
    kernels = conventions_of(leaves.host).kernels
    # Without layers the layout is that of any leaf of this rank, so only the name tells a kernel.
    if _is_kernel(leaf) and (leaves.layers is not None or name in kernels):
        return KERNEL
    if leaf.layout is not None and leaf.layout.kind == "bias":
        return BIAS
    if _is_norm(leaf):
        return NORM  # the scale of a weight norm follows the drawn kernel
    if type(leaves.model.source) is MLP:
        return {"scale": "ones", "shift": "zeros"}.get(name)
    if leaf.path not in leaves.own:
        return None
    if leaf.layout is None and name in kernels:
        raise errors.refusal(
            f"leaf {leaf.path!r} of shape {tuple(leaf.value.shape)}",
            "a kernel of a layer that jinit does not know",
            "its layer kind, because the fans depend on it",
            f"layers={{{leaf.path!r}: 'dense'}}, or rules= with 'keep' for this leaf",
        )
    return _KEEP


def _known_target(leaves: ModelLeaves, leaf: TreeLeaf) -> str:
    """As :func:`_target`; refuses a leaf that nothing draws."""
    target, shape = _target(leaves, leaf), tuple(leaf.value.shape)
    if target is None:
        kind = f"layers={{{leaf.path!r}: 'dense'}} for a kernel, " if len(shape) > 1 else ""
        raise errors.refusal(
            f"leaf {leaf.path!r} of shape {shape}",
            "no rule and no value",
            "a start for each leaf, because its name does not say how the model uses it",
            f"{kind}an array in place of the shape, or a rule: rules=lambda kernel, bias: "
            f"{{{leaf.path!r}: 'ones', …}}",
        )
    return target


def _is_kernel(leaf: TreeLeaf) -> bool:
    return leaf.layout is not None and leaf.layout.kind in _KERNELS


def _is_rescaled(leaf: TreeLeaf) -> bool:
    return leaf.layout is not None and leaf.layout.rescaled


def _is_norm(leaf: TreeLeaf) -> bool:
    return leaf.layout is not None and leaf.layout.kind == "norm"


def _layers_of(model: Model, x: Array) -> Layers:
    framework = find(model.source)
    if framework is None or not framework.needs_inputs:
        return frameworks.layers(model.source, x)
    # These layers exist only in a call, which may need its flags.
    flags = mode_flags(call_of(model.source), training=True)
    open_flags = {f: on for f, on in flags.items() if getattr(model.source, f, None) is None}
    return frameworks.layers(model.source, x, keywords=open_flags)


def _merged(own: Layers, given: Layers | None) -> Layers:
    """The model's layers, without those that the user's patterns describe, and the user's."""
    if given is None:
        return own
    if not isinstance(given, Mapping):
        raise errors.wrong_type(
            "layers", given, "a mapping from pattern to layer", "{'*/kernel': 'dense'}"
        )
    rest = {p: v for p, v in own.items() if not any(matches(pattern, p) for pattern in given)}
    return {**rest, **given}
