"""Draws a whole parameter tree by rules, each leaf from its own key."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from jinit import errors
from jinit.frameworks._layout import Layers
from jinit.initializers import NamedInitializer, Parts
from jinit.initializers._checks import check_key
from jinit.parameters._keys import equal_draws, fold_words, path_words
from jinit.parameters._norms import NormOf, kernel_of
from jinit.parameters._rules import Assignment, Rules, assign
from jinit.typing import Array, Initializer, Key, PyTree


def initialize(
    key: Key,
    shapes: PyTree,
    rules: Rules,
    *,
    host: str = "flax",
    layers: Layers | None = None,
    where: str | None = None,
) -> PyTree:
    """Draws a parameter tree by rules.

    The key of a leaf is ``key`` folded with the two halves of a 64-bit hash of the leaf's path.
    Adding, renaming or reordering other leaves does not change it.

    Args:
      key: one PRNG key; vmap over keys for many networks.
      shapes: a pytree of arrays or ``jax.ShapeDtypeStruct``, such as
        ``frameworks.shapes(model, x)`` for a model of any framework.
      rules: ordered mapping from path pattern to initializer, e.g.
        ``{"*/kernel": "he_normal", "*/bias": "zeros"}``. ``*`` crosses ``/``; the first matching
        pattern wins; ``"keep"`` keeps a leaf that is an array. A function of your own,
        ``init(key, shape, dtype)``, is called once for each kernel; inside ``jit`` and ``vmap`` one
        call may serve all leaves of a shape, so the function must then draw from its key. Or the
        name of a preset (:func:`jinit.frameworks.presets`): a framework's default initialization.
      host: the axis order of the kernels, one of :func:`jinit.frameworks.hosts`; the default is
        (receptive field…, in, out).
      layers: pattern → layer kind of the matching leaves; see :func:`jinit.parameters.assign`.
      where: a path pattern. Only matching leaves are drawn; the others are kept and must be
        arrays, but need no rule. :func:`jinit.parameters.reset_report` lists both. Default: draw
        all leaves.

    Returns:
      A tree of the same type with arrays of the shapes' dtypes.

    Raises:
      ValueError: a leaf without a rule, a rule without a leaf, an unknown name or host, a kept leaf
        that is only a shape, a kernel with unknown axes, a ``where`` that matches no leaf, values
        that a leaf's dtype cannot hold, a rule of your own that returns another shape or NaN.
      TypeError: ``key`` is not a key, ``rules`` is not a mapping, a leaf is not an array, a random
        rule for an integer leaf, a rule of your own that returns no array or another dtype.

    >>> shapes = {"out": {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}}
    >>> initialize(jax.random.key(0), shapes, {"*/kernel": "he_normal"})["out"]["kernel"].shape
    (4, 3)
    """
    check_key(key)
    assignments = assign(shapes, rules, host=host, layers=layers, where=where)
    leaves, tree = jax.tree.flatten(shapes)
    kept = _kept(assignments)
    for position in sorted(kept):
        _check_is_array(assignments[position].leaf, leaves[position])
    rules_used = [assignment.initializer for assignment in assignments]
    norms = {i: rule for i, rule in enumerate(rules_used) if isinstance(rule, NormOf)}
    drawn = [i for i in range(len(leaves)) if i not in kept and i not in norms]
    for group in equal_draws([assignments[position] for position in drawn]):
        positions = [drawn[number] for number in group]
        values = _draw(key, [assignments[position] for position in positions])
        for position, value in zip(positions, values, strict=True):
            leaves[position] = value
    paths = [assignment.leaf for assignment in assignments]
    for position, norm in norms.items():
        kernel = kernel_of(norm, paths)
        _check_is_array(paths[kernel], leaves[kernel])
        leaves[position] = norm.values(leaves[kernel], assignments[position].shape)
    return jax.tree.unflatten(tree, leaves)


def reset_report(
    shapes: PyTree,
    rules: Rules,
    *,
    where: str,
    host: str = "flax",
    layers: Layers | None = None,
) -> dict[str, tuple[str, ...]]:
    """Lists the leaves that ``initialize(…, where=where)`` draws and those that it keeps.

    Args:
      shapes, rules, where, host, layers: as for :func:`jinit.initialize`.

    Returns:
      ``{"reset": paths, "kept": paths}``, each in the tree's order.

    Raises:
      ValueError, TypeError: as :func:`jinit.initialize`.

    >>> shapes = {name: jax.ShapeDtypeStruct((2, 2), "float32") for name in ("body", "head")}
    >>> reset_report(shapes, {"*": "zeros"}, where="head")
    {'reset': ('head',), 'kept': ('body',)}
    """
    assignments = assign(shapes, rules, host=host, layers=layers, where=where)
    kept = _kept(assignments)
    paths = [assignment.leaf for assignment in assignments]
    return {
        "reset": tuple(path for position, path in enumerate(paths) if position not in kept),
        "kept": tuple(path for position, path in enumerate(paths) if position in kept),
    }


def _kept(assignments: Sequence[Assignment]) -> set[int]:
    """Positions of the leaves that ``where`` or a ``"keep"`` rule excludes from the draw."""
    return {i for i, assignment in enumerate(assignments) if assignment.initializer is None}


def _check_is_array(path: str, leaf: Array | jax.ShapeDtypeStruct) -> None:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise errors.refusal(
            f"leaf {path!r}",
            "a shape for a leaf that is kept",
            "an array for every leaf that 'keep' or where= keeps",
            "pass initialized parameters instead of jax.eval_shape(…), or name an initializer",
        )


def _draw(key: Key, assignments: Sequence[Assignment]) -> list[Array]:
    """The leaves of one group of :func:`equal_draws`, each from its own key."""
    first = assignments[0]
    keys = fold_words(key, path_words([assignment.leaf for assignment in assignments]))
    # One vmapped draw for all layers of a shape compiles once, not once per layer. Under vmap
    # threefry gives the same bits as separate draws; rbg does not.
    threefry = "threefry" in str(jax.random.key_impl(key))
    traced = isinstance(key, jax.core.Tracer)
    if not threefry or (_has_own_function(first.initializer) and not traced):
        return [one.draw(own) for one, own in zip(assignments, keys, strict=True)]
    return [first.draw(keys[0])] if len(assignments) == 1 else list(jax.vmap(first.draw)(keys))


def _has_own_function(initializer: Initializer | None) -> bool:
    """Whether a user's function draws: it may draw with another generator than JAX's."""
    parts = initializer.initializers if isinstance(initializer, Parts) else (initializer,)
    return any(not isinstance(part, NamedInitializer) for part in parts)
