"""Assigns an initializer to each leaf of a parameter tree by ordered patterns or a preset."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.frameworks._common import one_layer, stacked
from jinit.frameworks._layout import Layers, Layout
from jinit.frameworks._paths import leaf_name
from jinit.frameworks._table import get_preset
from jinit.initializers import NamedInitializer, Parts
from jinit.initializers import get as get_initializer
from jinit.initializers._base import checked_draw
from jinit.initializers._blocks import check_one_cut
from jinit.initializers._fans import KernelAxes
from jinit.parameters._leaves import TreeLeaf, tree_leaves
from jinit.parameters._norms import NORM, FollowKernel, NormOf, check_left_out
from jinit.parameters._patterns import check_all_used, matches
from jinit.parameters._statistics import check_start, without_rule
from jinit.typing import Array, DType, Initializer, Key, PyTree

Rules: TypeAlias = Mapping[str, str | Initializer] | str
"""Ordered mapping from path pattern to initializer, or the name of a preset."""

KEEP = "keep"


@dataclass(frozen=True)
class Assignment:
    """The initializer of one leaf and what it draws.

    Attributes:
      leaf: the path, components joined by ``/``.
      rule: the pattern that matched, or the preset; else ``"keep"`` (excluded by ``where``, state,
        running statistics) or ``"norm"`` (the scale of a weight norm).
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

    def named_errors(self) -> contextlib.AbstractContextManager[None]:
        """Puts the leaf and its rule before the message of an error that is raised inside."""
        return errors.inside(f"leaf {self.leaf!r}, rule {self.rule!r}")


def assign(
    shapes: PyTree,
    rules: Rules,
    *,
    host: str = "flax",
    layers: Layers | None = None,
    where: str | None = None,
) -> list[Assignment]:
    """Lists what :func:`jinit.initialize` would do, leaf by leaf, without drawing.

    Args:
      shapes: a pytree of arrays or ``jax.ShapeDtypeStruct``.
      rules: pattern → initializer, the first matching pattern wins; ``*`` crosses ``/``; ``"keep"``
        keeps a leaf. Or a preset, one of :func:`jinit.frameworks.presets`. The scale of a weight
        norm needs no rule, or the rule ``"norm"``: the leaf is set to the norms of the drawn
        kernel, so that the layer starts with the drawn kernel. Other rules for such a scale, and
        rules for a kernel that the layer divides by its norm, would have no effect and are refused.
      host: the axis order of the kernels, one of :func:`jinit.frameworks.hosts`.
      layers: pattern → layer kind of the matching leaves: ``"conv(groups=4)"``, ``"embedding"``, …
        (see :func:`jinit.frameworks.layout`), or ``frameworks.layers(model, x)``. Without an entry
        only a matrix with the name of the host's kernels, alone in its layer, is (in, out), as one
        kernel even if it packs gates, and ``embedding``, biases and scales are read by their names.
        If ``layers`` comes from a model
        (even an empty ``{}``), no leaf is read by its name.
      where: a path pattern. Leaves that it does not match are kept and need no rule. It must match
        the scale of a weight norm with its kernel, unless the scale has the rule ``"keep"``.
        Default: no leaf is kept.

    Returns:
      One :class:`Assignment` per leaf, in the tree's order. PRNG keys and the counts of nnx's
      ``Rngs`` are state, not parameters: they are kept and need no rule. So are running means and
      variances that are arrays; a rule may set them to constants, but not draw them.

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
    reset = _check_where(where, leaves)
    if isinstance(rules, str):
        get_preset(rules)
        assignments = [
            _preset_assignment(rules, leaf)
            if reset(leaf) and not leaf.statistic
            else _kept(leaf, None, with_start=reset(leaf))
            for leaf in leaves
        ]
        check_left_out([leaf for leaf in leaves if not reset(leaf)], _drawn(assignments))
        return assignments
    initializers = _initializers(rules)
    used: set[str] = set()
    assignments, left_out = [], []
    for leaf in leaves:
        pattern = next((p for p in initializers if matches(p, leaf.path)), None)
        if pattern is not None:
            used.add(pattern)
        if not reset(leaf):
            assignments.append(_assignment(KEEP, None, leaf, leaf.layout))
            if pattern is None or initializers[pattern] is not None:
                left_out.append(leaf)
            continue
        if pattern is None and leaf.statistic:
            assignments.append(_kept(leaf, leaf.layout, with_start=True))
            continue
        if pattern is None and leaf.layout is not None and leaf.layout.kind == "norm":
            follow = NormOf(leaf.layout.of, leaf.layout.out_axes)
            assignments.append(_assignment(NORM, follow, leaf, leaf.layout))
            continue
        if pattern is None:
            raise _no_rule(leaf, rules, host)
        assignments.append(_ruled_assignment(pattern, initializers[pattern], leaf))
    check_all_used("rule", initializers, used, [leaf.path for leaf in leaves])
    check_left_out(left_out, _drawn(assignments))
    return assignments


def _drawn(assignments: Sequence[Assignment]) -> frozenset[str]:
    """The paths of the leaves that get new values."""
    return frozenset(one.leaf for one in assignments if one.initializer is not None)


def _kept(leaf: TreeLeaf, layout: Layout | None, *, with_start: bool) -> Assignment:
    """The assignment of a leaf that keeps its value; a statistic without a value is refused."""
    if with_start and leaf.statistic and isinstance(leaf.value, jax.ShapeDtypeStruct):
        raise without_rule(leaf.path, leaf.statistic, tuple(leaf.value.shape))
    return _assignment(KEEP, None, leaf, layout)


def _no_rule(leaf: TreeLeaf, rules: Mapping[str, str | Initializer], host: str) -> ValueError:
    """The refusal of a leaf without a rule; advises the start that the leaf's own layer uses."""
    shape = tuple(leaf.value.shape)
    fix = (
        f"add the start that its layer is meant to have, for example {{{leaf.path!r}: "
        "'normal(0.02)'}, or 'keep' if the tree has arrays"
    )
    with contextlib.suppress(ValueError, TypeError):
        if leaf.layout is not None and not leaf.layout.rescaled:
            default = _preset_draw(host, leaf, leaf.layout)[0]
            fix = f"add {{{leaf.path!r}: '{default}'}}, which is the default of {host}"
    return errors.refusal(
        f"leaf {leaf.path!r} of shape {shape}", "no rule", f"a match among {list(rules)}", fix
    )


def _check_where(where: str | None, leaves: Sequence[TreeLeaf]) -> Callable[[TreeLeaf], bool]:
    """The function that says whether a leaf is drawn; refuses a ``where`` that matches no leaf."""
    if where is None:
        return lambda leaf: not leaf.is_state
    if not isinstance(where, str):
        raise errors.wrong_type("where", where, "a path pattern", "where='head/*'")
    if not any(matches(where, leaf.path) for leaf in leaves):
        raise errors.refusal(
            "where",
            where,
            f"a pattern that matches one of {[leaf.path for leaf in leaves]}",
            "correct the pattern",
        )
    return lambda leaf: matches(where, leaf.path) and not leaf.is_state


def _initializers(rules: Rules) -> dict[str, Initializer | None]:
    """Pattern → initializer; None for ``"keep"``."""
    if not isinstance(rules, Mapping):
        raise errors.wrong_type(
            "rules", rules, "a mapping from pattern to initializer", "{'*/kernel': 'he_normal'}"
        )
    for pattern in rules:
        if not isinstance(pattern, str):
            raise errors.wrong_type("rule pattern", pattern, "a string", "'*/kernel'")
    special: dict[str, Initializer | None] = {KEEP: None, NORM: FollowKernel()}
    return {
        pattern: special[rule]
        if isinstance(rule, str) and rule in special
        else get_initializer(rule)
        for pattern, rule in rules.items()
    }


def _preset_assignment(name: str, leaf: TreeLeaf) -> Assignment:
    if leaf.layout is None or (leaf.layout.rescaled and not leaf.layout.is_cut):
        raise _unknown_layer(leaf, f"preset {name!r}")
    if leaf.layout.kind == "norm" and not (name == "flax" and leaf.layout.start is not None):
        return _assignment(NORM, NormOf(leaf.layout.of, leaf.layout.out_axes), leaf, leaf.layout)
    initializer, layout = _preset_draw(name, leaf, leaf.layout)
    lacks_fans = leaf.layout.kind == "bias" and leaf.layout.fan_in is None
    if lacks_fans and not _serves_any_shape(initializer):
        raise _unknown_layer(leaf, f"preset {name!r}")
    return _assignment(name, initializer, leaf, layout)


def _preset_draw(name: str, leaf: TreeLeaf, layout: Layout) -> tuple[NamedInitializer, Layout]:
    """What a preset gives a leaf; each layer of a stack is drawn as a framework draws it alone."""
    shape = tuple(leaf.value.shape)
    own, own_shape = one_layer(layout, shape)
    initializer, drawn = get_preset(name)(own, leaf_name(leaf.path), own_shape)
    lifted = stacked(drawn, len(own_shape), shape, added=layout.added)
    assert lifted is not None
    return initializer, lifted


def _ruled_assignment(pattern: str, initializer: Initializer | None, leaf: TreeLeaf) -> Assignment:
    """The assignment by a user's rule; refuses rules without effect on the function."""
    layout = leaf.layout
    if leaf.statistic:
        shape = tuple(leaf.value.shape)
        check_start(leaf.path, leaf.statistic, pattern, initializer, shape)
    if isinstance(initializer, FollowKernel):
        if layout is None or layout.kind != "norm":
            raise errors.refusal(
                f"rule {pattern!r} for leaf {leaf.path!r}",
                NORM,
                "an initializer: only the scale of a weight norm, as frameworks.layers finds it, "
                "can follow a kernel",
                "name an initializer, or pass layers=jinit.frameworks.layers(model, x)",
            )
        return _assignment(pattern, NormOf(layout.of, layout.out_axes), leaf, layout)
    if initializer is not None and layout is not None and layout.kind == "norm":
        raise errors.refusal(
            f"rule {pattern!r} for leaf {leaf.path!r}",
            str(initializer),
            f"{NORM!r} or {KEEP!r}: the layer uses {layout.of!r} only divided by its norm, so the "
            "σ of that kernel has an effect only if this leaf is set to the norm",
            f"put {{{leaf.path!r}: {NORM!r}}} before {pattern!r}",
        )
    if initializer is not None and layout is not None and layout.rescaled:
        raise errors.refusal(
            f"rule {pattern!r} for leaf {leaf.path!r}",
            str(initializer),
            f"{KEEP!r} or a preset for the whole model: {layout.layer} rescales the leaf, so the σ "
            "of a draw has no effect",
            f"put {{{leaf.path!r}: {KEEP!r}}} before {pattern!r} and pass arrays, or draw the "
            "layer before it is wrapped",
        )
    return _assignment(pattern, initializer, leaf, layout)


def _assignment(
    rule: str, initializer: Initializer | None, leaf: TreeLeaf, layout: Layout | None
) -> Assignment:
    shape, dtype = tuple(leaf.value.shape), leaf.value.dtype
    stddev = None
    parts = initializer.initializers if isinstance(initializer, Parts) else (initializer,)
    if layout is None and isinstance(initializer, Parts):
        raise _unknown_layer(leaf, str(initializer))
    for part in parts:
        if isinstance(part, NamedInitializer):
            _check_serves(part, leaf, layout)
    if isinstance(initializer, Parts | NamedInitializer):
        try:
            for part in parts:
                if layout is not None and part is not None:
                    layout.check_axes(part, shape)
            initializer = initializer if layout is None else layout.fitted(initializer)
            stddev = _law_stddev(initializer, layout, shape, dtype)
        except ValueError as error:
            raise errors.located(f"leaf {leaf.path!r}, rule {rule!r}", error) from None
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


def _check_serves(initializer: NamedInitializer, leaf: TreeLeaf, layout: Layout | None) -> None:
    """Refuses a random rule for integers, and a rule that needs axes which nobody named."""
    shape, dtype = tuple(leaf.value.shape), leaf.value.dtype
    if getattr(dtype, "kind", "") in ("O", "S", "U", "M", "m"):  # objects, texts, dates
        raise errors.wrong_type(
            f"leaf {leaf.path!r}", f"dtype {dtype}", "numbers", "use 'keep', or remove the leaf"
        )
    if initializer.definition.dtypes != "any" and not jnp.issubdtype(dtype, jnp.inexact):
        raise errors.wrong_type(
            f"leaf {leaf.path!r}",
            f"dtype {dtype}",
            "a floating-point dtype for a random rule",
            "use 'keep'",
        )
    if layout is None and not _serves_any_shape(initializer) and len(shape) > 1:
        raise _unknown_layer(leaf, str(initializer))
    if layout is not None:
        given = KernelAxes.among(dict(initializer.arguments))
        with errors.inside(f"leaf {leaf.path!r}, {initializer}"):
            check_one_cut(max(layout.groups, given.groups), layout.fused or given.fused or ())


def _law_stddev(
    initializer: Initializer, layout: Layout | None, shape: tuple[int, ...], dtype: DType
) -> float | None:
    """The expected σ of an entry, over all kernels that the leaf packs; None for unknown laws."""
    if isinstance(initializer, Parts):
        assert layout is not None
        cut = layout.cut_for(initializer, shape)
        initializer.check(len(cut.fused) if initializer.along == "blocks" else cut.layers)
        kernels = cut.kernels() if layout.is_cut else [(shape[-1:] or (1,))]
        # Stacked layers have the same kernels; a block has only its own initializer.
        pairs = [
            (kernel, part)
            for index, part in enumerate(initializer.initializers)
            for kernel in (
                kernels if initializer.along == "layers" else [kernels[index % len(kernels)]]
            )
        ]
    elif layout is None:
        pairs = [(shape, initializer)]
    elif layout.is_cut:
        pairs = [(kernel, initializer) for kernel in layout.kernels(shape)[1]]
    else:
        pairs = [(shape if len(shape) < 2 else (math.prod(shape),), initializer)]
    stddevs = [
        part.law(kernel, dtype).stddev if isinstance(part, NamedInitializer) else None
        for kernel, part in pairs
    ]
    if None in stddevs or len(stddevs) == 1:
        return None if None in stddevs else stddevs[0]
    weights = [kernel[-1] for kernel, _ in pairs]
    squares = (w * (stddev or 0.0) ** 2 for w, stddev in zip(weights, stddevs, strict=True))
    return float((sum(squares) / sum(weights)) ** 0.5)


def _serves_any_shape(initializer: NamedInitializer) -> bool:
    """Whether the law depends on no shape, as for constants, ``normal`` and ``uniform``."""
    try:
        initializer.law(())
    except (ValueError, IndexError):
        return False
    return True


def _unknown_layer(leaf: TreeLeaf, rule: str) -> ValueError:
    rank = len(leaf.value.shape)
    kind = "vector" if rank < 2 else "dense" if rank == 2 else "conv"
    stacked = ", with 'dense(batch=1)' if the leaf stacks kernels" if rank > 2 else ""
    return errors.refusal(
        f"leaf {leaf.path!r} of shape {tuple(leaf.value.shape)}",
        "no layer kind",
        f"a layer kind, because {rule} needs the in and out axes",
        "layers=jinit.frameworks.layers(model, x) if the model knows the layer, else "
        f"layers={{{leaf.path!r}: {kind!r}}}{stacked}; layers={{**layers(model, x), {leaf.path!r}: "
        f"{kind!r}}} serves both",
    )
