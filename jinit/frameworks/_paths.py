"""The path of a leaf as text: the one spelling that rules, reports and layouts share."""

from __future__ import annotations

from typing import Any


def path_of(path: tuple[Any, ...]) -> str:
    """A JAX key path as ``a/b/c``; nnx's trailing ``value`` is dropped.

    >>> import jax
    >>> path_of(jax.tree_util.tree_leaves_with_path({"a": [1]})[0][0])
    'a/0'
    """
    parts = [
        str(next(getattr(entry, name) for name in ("key", "name", "idx") if hasattr(entry, name)))
        for entry in path
    ]
    if len(parts) > 1 and parts[-1] == "value":
        parts.pop()
    return "/".join(parts)
