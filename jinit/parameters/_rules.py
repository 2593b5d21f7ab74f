"""Assigns an initializer to each leaf of a parameter tree by ordered patterns or a preset."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import jax.numpy as jnp

from jinit import errors
from jinit.frameworks._layout import Layers, Layout
from jinit.frameworks._table import get_preset
from jinit.initializers import NamedInitializer
from jinit.initializers import get as get_initializer
from jinit.initializers._base import checked_draw
from jinit.parameters._leaves import TreeLeaf, tree_leaves
from jinit.parameters._patterns import check_all_used, leaf_name, matches
from jinit.typing import Array, DType, Initializer, Key, PyTree

Rules: TypeAlias = Mapping[str, str | Initializer] | str
"""Ordered mapping from path pattern to initializer, or the name of a preset."""

KEEP = "keep"


@dataclass(frozen=True)
class Assignment:
    """The initializer of one leaf and what it draws.

    Attributes:
      leaf: the path, components joined by ``/``.
      rule: the pattern that matched, or the preset.
      initializer: the initializer; None if the leaf is kept.
      shape, dtype: of the leaf.
      layout: the leaf's layout in its layer; None if unknown and not needed.
      fan_in, fan_out: the fans of a kernel, or of a bias' kernel; None if there are none.
      stddev: the expected standard deviation of an entry; None if the initializer has no known law.
    """

    leaf: str
    rule: str
    initializer: Initializer | None
    shape: tuple[int, ...]
    dtype: DType
    layout: Layout | None
    fan_in: float | None
    fan_out: float | None
    stddev: float | None

    def draw(self, key: Key) -> Array:
        """Draws the leaf.

        Args:
          key: the leaf's own key.

        Returns:
          An array of ``shape`` and ``dtype``.
        """
        assert self.initializer is not None
        with self.named_errors():
            if self.layout is None:
                return checked_draw(self.initializer, key, self.shape, self.dtype)
            return self.layout.draw(self.initializer, key, self.shape, self.dtype)

    @contextlib.contextmanager
    def named_errors(self) -> Iterator[None]:
        """Puts the leaf and its rule before the message of an error that is raised inside."""
        try:
            yield
        except errors.Refusal as error:
            text = f"leaf {self.leaf!r}, rule {self.rule!r}: {error}"
            parts = (error.what, error.got, error.allowed, error.fix)
            raise type(error)(*parts, text) from None


def assign(
    shapes: PyTree, rules: Rules, *, host: str = "flax", layers: Layers | None = None
) -> list[Assignment]:
    """Lists what :func:`jinit.initialize` would do, leaf by leaf, without drawing.

    Args:
      shapes: a pytree of arrays or ``jax.ShapeDtypeStruct``.
      rules: pattern → initializer, the first matching pattern wins; ``*`` crosses ``/``; ``"keep"``
        keeps a leaf. Or a preset, one of :func:`jinit.frameworks.presets`.
      host: the axis order of the kernels, one of :func:`jinit.frameworks.hosts`.
      layers: pattern → layer kind of the matching leaves: ``"conv(groups=4)"``, ``"embedding"``, …
        (see :func:`jinit.frameworks.layout`), or ``frameworks.layers(model, x)``. Kernels need no
        entry if the host's kernels are (receptive field…, in, out). In other hosts, and if
        ``layers`` comes from a model (even an empty ``{}``), every kernel must have an entry.

    Returns:
      One :class:`Assignment` per leaf, in the tree's order.

    Raises:
      ValueError: a leaf that no rule matches, a rule that matches no leaf, an unknown name, a shape
        that the initializer cannot draw, a kernel with unknown axes, two leaves with one path.
      TypeError: ``rules`` is not a mapping, a leaf is not an array, a random rule for an
        integer leaf.

    >>> import jax
    >>> shapes = {"kernel": jax.ShapeDtypeStruct((50, 10), "float32")}
    >>> assign(shapes, {"*kernel": "he_normal"})[0].stddev
    0.2
    """
    leaves = tree_leaves(shapes, host, layers)
    if isinstance(rules, str):
        return [_preset_assignment(rules, leaf) for leaf in leaves]
    initializers = _initializers(rules)
    used: set[str] = set()
    assignments = []
    for leaf in leaves:
        pattern = next((p for p in initializers if matches(p, leaf.path)), None)
        if pattern is None:
            # Zeros for a scale would switch its layer off.
            harmless = "ones" if leaf.path.endswith("scale") else "zeros"
            raise errors.refusal(
                f"leaf {leaf.path!r} of shape {tuple(leaf.value.shape)}",
                "no rule",
                f"a match among {list(rules)}",
                f"add a rule such as {{{leaf.path!r}: {harmless!r}}}",
            )
        used.add(pattern)
        assignments.append(_assignment(pattern, initializers[pattern], leaf, leaf.layout))
    check_all_used("rule", initializers, used, [leaf.path for leaf in leaves])
    return assignments


def _initializers(rules: Rules) -> dict[str, Initializer | None]:
    """Pattern → initializer; None for ``"keep"``."""
    if not isinstance(rules, Mapping):
        raise errors.wrong_type(
            "rules", rules, "a mapping from pattern to initializer", "{'*/kernel': 'he_normal'}"
        )
    for pattern in rules:
        if not isinstance(pattern, str):
            raise errors.wrong_type("rule pattern", pattern, "a string", "'*/kernel'")
    return {
        pattern: None if isinstance(rule, str) and rule == KEEP else get_initializer(rule)
        for pattern, rule in rules.items()
    }


def _preset_assignment(name: str, leaf: TreeLeaf) -> Assignment:
    rule = get_preset(name)
    if leaf.layout is None:
        raise _unknown_layer(leaf, f"preset {name!r}")
    initializer, layout = rule(leaf.layout, leaf_name(leaf.path), tuple(leaf.value.shape))
    lacks_fans = leaf.layout.kind == "bias" and leaf.layout.fan_in is None
    if lacks_fans and not _serves_any_shape(initializer):
        raise _unknown_layer(leaf, f"preset {name!r}")
    return _assignment(name, initializer, leaf, layout)


def _assignment(
    rule: str, initializer: Initializer | None, leaf: TreeLeaf, layout: Layout | None
) -> Assignment:
    shape, dtype = tuple(leaf.value.shape), leaf.value.dtype
    stddev = None
    if isinstance(initializer, NamedInitializer):
        any_dtype = initializer.definition.dtypes == "any"
        if not any_dtype and not jnp.issubdtype(dtype, jnp.inexact):
            raise errors.wrong_type(
                f"leaf {leaf.path!r}",
                f"dtype {dtype}",
                "a floating-point dtype for a random rule",
                "use 'keep'",
            )
        if layout is None and not _serves_any_shape(initializer) and len(shape) > 1:
            raise _unknown_layer(leaf, str(initializer))
        try:
            fitted = initializer if layout is None else layout.fitted(initializer)
            assert isinstance(fitted, NamedInitializer)
            stddev = _law_stddev(fitted, layout, shape, dtype)
        except ValueError as error:
            raise errors.located(f"leaf {leaf.path!r}, rule {rule!r}", error) from None
        initializer = fitted
    fans = None if layout is None else layout.fans(shape)
    return Assignment(
        leaf=leaf.path,
        rule=rule,
        initializer=initializer,
        shape=shape,
        dtype=dtype,
        layout=layout,
        fan_in=fans.fan_in if fans else None,
        fan_out=fans.fan_out if fans else None,
        stddev=stddev,
    )


def _law_stddev(
    initializer: NamedInitializer, layout: Layout | None, shape: tuple[int, ...], dtype: DType
) -> float:
    """The expected σ of an entry, over all kernels that the leaf packs."""
    if layout is None:
        return initializer.law(shape, dtype).stddev
    if layout.kind in ("bias", "vector"):
        return initializer.law(shape if len(shape) < 2 else (math.prod(shape),), dtype).stddev
    kernels = layout.kernels(shape)[1]
    weights = [kernel[-1] for kernel in kernels]
    squares = [initializer.law(kernel, dtype).stddev ** 2 for kernel in kernels]
    total = sum(weight * square for weight, square in zip(weights, squares, strict=True))
    if len(kernels) == 1:
        return initializer.law(kernels[0], dtype).stddev
    return float((total / sum(weights)) ** 0.5)


def _serves_any_shape(initializer: NamedInitializer) -> bool:
    """Whether the law depends on no shape, as for constants, ``normal`` and ``uniform``."""
    try:
        initializer.law(())
    except (ValueError, IndexError):
        return False
    return True


def _unknown_layer(leaf: TreeLeaf, rule: str) -> ValueError:
    kind = "dense" if len(leaf.value.shape) > 1 else "vector"
    return errors.refusal(
        f"leaf {leaf.path!r} of shape {tuple(leaf.value.shape)}",
        "no layer kind",
        f"a layer kind, because {rule} needs the in and out axes",
        f"layers={{**jinit.frameworks.layers(model, x), {leaf.path!r}: {kind!r}}}, or another "
        "layer kind",
    )
