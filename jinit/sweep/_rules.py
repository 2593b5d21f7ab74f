"""Makes the default rules of a sweep, which assign an initializer to every leaf."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax

from jinit.frameworks._paths import path_of
from jinit.parameters._patterns import matches
from jinit.typing import Initializer, PyTree

InitializerLike: TypeAlias = str | Initializer

RulesFor: TypeAlias = Callable[[InitializerLike, InitializerLike], Mapping[str, InitializerLike]]
"""``rules(initializer, bias_initializer) -> rules`` for :func:`jinit.initialize`."""


def default_rules(
    shapes: PyTree, initializer: InitializerLike, bias_initializer: InitializerLike
) -> dict[str, InitializerLike]:
    """Rules: kernels → initializer, biases → bias initializer, scales → ones, shifts → zeros.

    Only patterns that match a leaf are returned: a tree without biases needs no rule for them.

    >>> shapes = {"out": {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}}
    >>> default_rules(shapes, "he_normal", "zeros")
    {'*/kernel': 'he_normal'}
    """
    rules: dict[str, InitializerLike] = {
        "*/kernel": initializer,
        "*/bias": bias_initializer,
        "*/scale": "ones",
        "*/shift": "zeros",
    }
    paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    return {
        pattern: rule
        for pattern, rule in rules.items()
        if any(matches(pattern, path) for path in paths)
    }
