"""Which initializer each leaf of a parameter tree gets: ordered patterns, nothing guessed."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax

from jinit import errors
from jinit.initializers import NamedInitializer, fans
from jinit.initializers import get as get_initializer
from jinit.typing import Initializer, PyTree

Rules: TypeAlias = Mapping[str, str | Initializer]
KEEP = "keep"


@dataclass(frozen=True)
class Assignment:
    """What one leaf gets.

    Attributes:
      leaf: its path, components joined by ``/``.
      rule: the pattern that matched.
      initializer: the initializer, or None where the leaf is kept.
      shape, dtype: the leaf's.
      fan_in, fan_out: of a kernel; None below rank 2.
      stddev: the expected standard deviation of an entry; None if the initializer has no law.
    """

    leaf: str
    rule: str
    initializer: Initializer | None
    shape: tuple[int, ...]
    dtype: Any
    fan_in: float | None
    fan_out: float | None
    stddev: float | None


def assign(shapes: PyTree, rules: Rules) -> list[Assignment]:
    """What :func:`jinit.initialize` would do, leaf by leaf; draws nothing.

    Args:
      shapes: a pytree of arrays or ``jax.ShapeDtypeStruct``.
      rules: pattern → initializer, first match wins; ``*`` crosses ``/``; ``"keep"`` keeps a leaf.

    Returns:
      One :class:`Assignment` per leaf, in the tree's order.

    Raises:
      ValueError: a leaf that no rule matches, a rule that matches no leaf, an unknown name, a shape
        the initializer cannot serve.
      TypeError: rules that are not a mapping.

    >>> shapes = {"kernel": jax.ShapeDtypeStruct((50, 10), "float32")}
    >>> assign(shapes, {"*kernel": "he_normal"})[0].stddev
    0.2
    """
    if not isinstance(rules, Mapping):
        raise errors.wrong_type(
            "rules", rules, "a mapping from pattern to initializer", "{'*/kernel': 'he_normal'}"
        )
    made = {
        pattern: None if isinstance(rule, str) and rule == KEEP else get_initializer(rule)
        for pattern, rule in rules.items()
    }
    leaves = [(path_of(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)]
    used: set[str] = set()
    assignments = []
    for path, leaf in leaves:
        pattern = next((pattern for pattern in made if matches(pattern, path)), None)
        if pattern is None:
            raise errors.refusal(
                f"leaf {path!r} of shape {tuple(leaf.shape)}",
                "no rule",
                f"a match among {list(rules)}",
                f"add a rule such as {{{path!r}: 'zeros'}}",
            )
        used.add(pattern)
        assignments.append(_assignment(path, pattern, made[pattern], leaf))
    unused = [pattern for pattern in made if pattern not in used]
    if unused:
        raise errors.refusal(
            f"rule {unused[0]!r}",
            "no leaf",
            f"a pattern that matches one of {[path for path, _ in leaves]}",
            "correct the pattern, move it before the rule that takes its leaves, or drop it",
        )
    return assignments


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path; ``*`` crosses ``/``, and ``*/kernel`` matches ``kernel``.

    >>> matches("*/kernel", "hidden_0/kernel"), matches("*/kernel", "kernel")
    (True, True)
    """
    expression = fnmatch.translate(pattern)
    return re.match(expression, path) is not None or (
        pattern.startswith("*/") and re.match(fnmatch.translate(pattern[2:]), path) is not None
    )


def path_of(path: tuple[Any, ...]) -> str:
    """A JAX key path as ``a/b/c``; nnx's trailing ``value`` is dropped.

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


def _assignment(path: str, rule: str, initializer: Any, leaf: Any) -> Assignment:
    shape = tuple(leaf.shape)
    stddev = None
    if isinstance(initializer, NamedInitializer):
        try:
            stddev = initializer.law(shape).stddev
        except ValueError as error:
            raise ValueError(f"leaf {path!r}, rule {rule!r}: {error}") from None
    kernel = fans(shape) if len(shape) > 1 and 0 not in shape else None
    return Assignment(
        leaf=path,
        rule=rule,
        initializer=initializer,
        shape=shape,
        dtype=leaf.dtype,
        fan_in=kernel.fan_in if kernel else None,
        fan_out=kernel.fan_out if kernel else None,
        stddev=stddev,
    )
