"""Derives the key of each leaf from its path, and groups leaves that one vmapped draw can fill."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import jax
import numpy as np

from jinit.parameters._rules import Assignment
from jinit.typing import Array, Key


def leaf_key(key: Key, path: str) -> Key:
    """The key of the leaf at ``path``: ``key`` folded with a 64-bit hash of the path, half by half.

    The result depends on nothing else, in every version of jinit: adding, renaming or reordering
    other leaves never changes it.

    Args:
      key: the key given to :func:`jinit.initialize`.
      path: components joined by ``/``, as in :attr:`Assignment.leaf`.

    Returns:
      One key, of the same PRNG implementation.

    >>> leaf_key(jax.random.key(0), "output/kernel").shape
    ()
    """
    return fold_words(key, path_words([path]))[0]


def path_words(paths: Sequence[str]) -> np.ndarray:
    """A 64-bit hash of each path as two words, ``(len(paths), 2)`` uint32."""
    digests = [hashlib.blake2b(path.encode(), digest_size=8).digest() for path in paths]
    return np.array([np.frombuffer(digest, "<u4") for digest in digests], np.uint32)


def fold_words(key: Key, words: np.ndarray | Array) -> Key:
    """One key per row of ``words``, ``(len(words),)``: ``key`` folded with both words of the row.

    One vmapped fold compiles once; a fold per leaf would compile once per leaf.
    """
    return jax.vmap(lambda pair: jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1]))(
        words
    )


def equal_draws(assignments: Sequence[Assignment]) -> list[list[int]]:
    """Groups positions of leaves with equal initializer, shape, dtype and layout.

    Groups are in the order of their first leaves.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for position, assignment in enumerate(assignments):
        initializer = assignment.initializer
        try:
            hash(initializer)
        except TypeError:
            identity: object = id(initializer)
        else:
            identity = initializer
        draw = (identity, assignment.shape, str(assignment.dtype), assignment.layout)
        groups.setdefault(draw, []).append(position)
    return list(groups.values())
