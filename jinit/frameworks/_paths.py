"""Writes the path of a leaf as text, in the form that rules, reports and layouts share."""

from __future__ import annotations

import re
from typing import TypeAlias

from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

KeyPath: TypeAlias = tuple[DictKey | GetAttrKey | SequenceKey | FlattenedIndexKey, ...]
"""The path of a leaf, as ``jax.tree.leaves_with_path`` returns it."""


def path_of(path: KeyPath) -> str:
    """A JAX key path as ``a/b/c``; the attribute ``value`` that nnx appends is dropped.

    Args:
      path: the keys of a leaf, from ``jax.tree.leaves_with_path``.

    Returns:
      The keys' text, joined by ``/``.

    >>> import jax
    >>> path_of(jax.tree_util.tree_leaves_with_path({"a": [1]})[0][0])
    'a/0'
    """
    names = [
        str(next(getattr(key, name) for name in ("key", "name", "idx") if hasattr(key, name)))
        for key in path
    ]
    if len(names) > 1 and names[-1] == "value" and isinstance(path[-1], GetAttrKey):
        names.pop()
    return "/".join(names)


def leaf_name(path: str) -> str:
    """The name of a leaf in its layer: what follows the last ``/`` or ``.`` of its path.

    >>> leaf_name("hidden_0/kernel"), leaf_name("fc.weight")
    ('kernel', 'weight')
    """
    return re.split(r"[/.]", path)[-1]
