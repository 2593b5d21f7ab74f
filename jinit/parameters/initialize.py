"""Draws a whole parameter tree by rules, each leaf from a key of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jinit import errors
from jinit.parameters.rules import Assignment, Rules, assign
from jinit.typing import Array, Initializer, Key, PyTree

HOSTS = ("flax",)


def initialize(key: Key, shapes: PyTree, rules: Rules, *, host: str = "flax") -> PyTree:
    """A parameter tree drawn by rules.

    The key of a leaf is ``key`` folded twice with a 64-bit hash of the leaf's path: adding,
    renaming or reordering other leaves never changes it.

    Args:
      key: one PRNG key; vmap over keys for many networks.
      shapes: a pytree of arrays or ``jax.ShapeDtypeStruct``: ``jax.eval_shape(model.init, …)``.
      rules: ordered mapping from path pattern to initializer, e.g.
        ``{"*/kernel": "he_normal", "*/bias": "zeros"}``; ``*`` crosses ``/``; first match wins;
        ``"keep"`` keeps a leaf that is an array.
      host: whose axis convention the kernels follow; ``"flax"``: (receptive field…, in, out).

    Returns:
      A tree of the same type with arrays of the shapes' dtypes.

    Raises:
      ValueError: a leaf without a rule, a rule without a leaf, an unknown name or host, a kept leaf
        that is only a shape.

    >>> shapes = {"out": {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}}
    >>> initialize(jax.random.key(0), shapes, {"*/kernel": "he_normal"})["out"]["kernel"].shape
    (4, 3)
    """
    errors.check_choice("host", host, HOSTS)
    leaves, tree = jax.tree.flatten(shapes)
    assignments = assign(shapes, rules)
    drawn: list[Any] = [None] * len(leaves)
    for members in _groups(assignments).values():
        if members[0][1].initializer is None:
            for index, assignment in members:
                drawn[index] = _kept(assignment, leaves[index])
            continue
        for (index, _), value in zip(members, _draw(key, members), strict=True):
            drawn[index] = value
    return jax.tree.unflatten(tree, drawn)


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


def _groups(assignments: list[Assignment]) -> dict[Any, list[tuple[int, Assignment]]]:
    """Leaves that one vmapped draw can serve: same initializer, shape and dtype."""
    groups: dict[Any, list[tuple[int, Assignment]]] = {}
    for index, assignment in enumerate(assignments):
        name = id(assignment.initializer)
        group = (name, assignment.shape, str(assignment.dtype))
        groups.setdefault(group, []).append((index, assignment))
    return groups


def _draw(key: Key, members: list[tuple[int, Assignment]]) -> list[Array]:
    first = members[0][1]
    assert first.initializer is not None
    draw: Callable[[Key], Array] = _drawer(first.initializer, first)
    keys = fold_words(key, path_words([assignment.leaf for _, assignment in members]))
    # One vmapped draw for all layers of a shape compiles once, not once per layer; threefry gives
    # the same bits as separate draws.
    return [draw(keys[0])] if len(members) == 1 else list(jax.vmap(draw)(keys))


def _drawer(initializer: Initializer, like: Assignment) -> Callable[[Key], Array]:
    return lambda key: initializer(key, like.shape, like.dtype)


def _kept(assignment: Assignment, leaf: Any) -> Any:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise errors.refusal(
            f"leaf {assignment.leaf!r}",
            "'keep' for a leaf that is only a shape",
            "'keep' for arrays",
            "pass initialized parameters instead of jax.eval_shape(…), or name an initializer",
        )
    return leaf
