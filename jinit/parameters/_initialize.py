"""Draws a whole parameter tree by rules, each leaf from a key of its own."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np

from jinit import errors
from jinit.frameworks._layout import Layers
from jinit.initializers._base import check_key
from jinit.parameters._rules import Assignment, Rules, assign, matches
from jinit.typing import Array, Key, PyTree


def initialize(
    key: Key,
    shapes: PyTree,
    rules: Rules,
    *,
    host: str = "flax",
    layers: Layers | None = None,
    where: str | None = None,
) -> PyTree:
    """A parameter tree drawn by rules.

    The key of a leaf is ``key`` folded twice with a 64-bit hash of the leaf's path: adding,
    renaming or reordering other leaves never changes it.

    Args:
      key: one PRNG key; vmap over keys for many networks.
      shapes: a pytree of arrays or ``jax.ShapeDtypeStruct``: ``jax.eval_shape(model.init, …)``, an
        nnx state, an Equinox module's arrays, or ``frameworks.shapes(model, x)``.
      rules: ordered mapping from path pattern to initializer, e.g.
        ``{"*/kernel": "he_normal", "*/bias": "zeros"}``; ``*`` crosses ``/``; first match wins;
        ``"keep"`` keeps a leaf that is an array. Or a preset: ``"torch"``, ``"keras"``, ….
      host: whose axis order the kernels follow; ``"flax"``: (receptive field…, in, out).
      layers: what the leaves are; see :func:`jinit.parameters.assign`.
      where: re-initialize only the leaves that match this pattern and keep the others, which must
        be arrays; :func:`reset_report` says which is which.

    Returns:
      A tree of the same type with arrays of the shapes' dtypes.

    Raises:
      ValueError: a leaf without a rule, a rule without a leaf, an unknown name or host, a kept leaf
        that is only a shape, a kernel whose axes nobody named, a ``where`` that matches no leaf.
      TypeError: not a key, rules that are not a mapping, a leaf that is not an array.

    >>> shapes = {"out": {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}}
    >>> initialize(jax.random.key(0), shapes, {"*/kernel": "he_normal"})["out"]["kernel"].shape
    (4, 3)
    """
    check_key(key)
    leaves, tree = jax.tree.flatten(shapes)
    assignments = assign(shapes, rules, host=host, layers=layers)
    keep = _kept_by(where, assignments)
    drawn: list[Any] = [None] * len(leaves)
    for members in _groups(assignments, keep).values():
        if members[0][1].initializer is None or members[0][0] in keep:
            for index, assignment in members:
                drawn[index] = _kept(assignment, leaves[index])
            continue
        for (index, _), value in zip(members, _draw(key, members), strict=True):
            drawn[index] = value
    return jax.tree.unflatten(tree, drawn)


def reset_report(
    shapes: PyTree,
    rules: Rules,
    *,
    where: str,
    host: str = "flax",
    layers: Layers | None = None,
) -> dict[str, tuple[str, ...]]:
    """Which leaves ``initialize(…, where=where)`` draws anew and which it leaves alone.

    Args:
      shapes, rules, where, host, layers: as :func:`initialize`.

    Returns:
      ``{"reset": paths, "kept": paths}``.

    Raises:
      ValueError: as :func:`initialize`.

    >>> shapes = {name: jax.ShapeDtypeStruct((2, 2), "float32") for name in ("body", "head")}
    >>> reset_report(shapes, {"*": "zeros"}, where="head")
    {'reset': ('head',), 'kept': ('body',)}
    """
    assignments = assign(shapes, rules, host=host, layers=layers)
    keep = _kept_by(where, assignments)
    keep |= {i for i, assignment in enumerate(assignments) if assignment.initializer is None}
    paths = [assignment.leaf for assignment in assignments]
    return {
        "reset": tuple(path for i, path in enumerate(paths) if i not in keep),
        "kept": tuple(path for i, path in enumerate(paths) if i in keep),
    }


def leaf_key(key: Key, path: str) -> Key:
    """The key of the leaf at ``path``: the same for ever, whatever else the tree holds.

    >>> leaf_key(jax.random.key(0), "output/kernel").shape
    ()
    """
    return fold_words(key, path_words([path]))[0]


def path_words(paths: list[str]) -> np.ndarray:
    """A 64-bit hash of each path as two words, ``(len(paths), 2)`` uint32.

    >>> path_words(["output/kernel"]).shape
    (1, 2)
    """
    digests = [hashlib.blake2b(path.encode(), digest_size=8).digest() for path in paths]
    return np.array([np.frombuffer(digest, "<u4") for digest in digests], np.uint32)


def fold_words(key: Key, words: Any) -> Key:
    """``key`` folded twice for each row of ``words``: keys ``(len(words),)``.

    One vmapped fold compiles once; a fold per leaf would compile once per leaf.

    >>> fold_words(jax.random.key(0), path_words(["a", "b"])).shape
    (2,)
    """
    return jax.vmap(lambda pair: jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1]))(
        words
    )


def _kept_by(where: str | None, assignments: list[Assignment]) -> set[int]:
    if where is None:
        return set()
    if not isinstance(where, str):
        raise errors.wrong_type("where", where, "a path pattern", "where='head/*'")
    keep = {i for i, each in enumerate(assignments) if not matches(where, each.leaf)}
    if len(keep) == len(assignments):
        raise errors.refusal(
            "where", where, f"a match among {[each.leaf for each in assignments]}", "correct it"
        )
    return keep


def _groups(
    assignments: list[Assignment], keep: set[int]
) -> dict[Any, list[tuple[int, Assignment]]]:
    """Leaves that one vmapped draw can serve: same initializer, shape, dtype and layout."""
    groups: dict[Any, list[tuple[int, Assignment]]] = {}
    for index, each in enumerate(assignments):
        what: Any = each.initializer
        try:
            hash(what)
        except TypeError:
            what = id(what)
        group = (what, each.shape, str(each.dtype), each.layout, index in keep)
        groups.setdefault(group, []).append((index, each))
    return groups


def _draw(key: Key, members: list[tuple[int, Assignment]]) -> list[Array]:
    first = members[0][1]
    keys = fold_words(key, path_words([assignment.leaf for _, assignment in members]))
    # One vmapped draw for all layers of a shape compiles once, not once per layer; threefry gives
    # the same bits as separate draws, rbg does not.
    threefry = "threefry" in str(jax.random.key_impl(key))
    if len(members) == 1 or not threefry:
        return [first.draw(each) for each in keys]
    return list(jax.vmap(first.draw)(keys))


def _kept(assignment: Assignment, leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise errors.refusal(
            f"leaf {assignment.leaf!r}",
            "'keep' for a leaf that is only a shape",
            "'keep' for arrays",
            "pass initialized parameters instead of jax.eval_shape(…), or name an initializer",
        )
    return leaf
