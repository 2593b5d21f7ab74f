"""Which initializer each leaf of a parameter tree gets: ordered patterns, nothing guessed."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jinit import errors
from jinit.frameworks import _presets
from jinit.frameworks._layout import HOSTS, Layers, Layout, bias_of, layout
from jinit.frameworks._paths import path_of
from jinit.initializers import NamedInitializer
from jinit.initializers import get as get_initializer
from jinit.typing import Array, Initializer, Key, PyTree

Rules: TypeAlias = Mapping[str, str | Initializer] | str
KEEP = "keep"

# Leaf names whose meaning a framework fixes, whatever the layer. In Flax, Haiku and Keras every
# other leaf of rank 2 or more is (receptive field…, in, out), as in jax.nn.initializers; torch and
# Equinox call a dense kernel, a transposed one and an embedding all "weight".
_LEAF_NAMES: dict[str, dict[str, str]] = {
    "flax": {"embedding": "embedding"},
    "haiku": {"embeddings": "embedding"},
    "keras": {"recurrent_kernel": "recurrent", "embeddings": "embedding"},
    "equinox": {},
    "torch": {},
}
_CHANNELS_LAST = ("flax", "haiku", "keras")
_VECTORS = ("scale", "offset", "shift", "gamma", "beta")
_BIASES = ("bias", "b")


@dataclass(frozen=True)
class Assignment:
    """What one leaf gets.

    Attributes:
      leaf: its path, components joined by ``/``.
      rule: the pattern that matched, or the preset.
      initializer: the initializer, or None where the leaf is kept.
      shape, dtype: the leaf's.
      layout: what the leaf is in its layer; None where nobody said and it does not matter.
      fan_in, fan_out: of a kernel, or of a bias' kernel; None where there are none.
      stddev: the expected standard deviation of an entry; None if the initializer has no law.
    """

    leaf: str
    rule: str
    initializer: Initializer | None
    shape: tuple[int, ...]
    dtype: Any
    layout: Layout | None
    fan_in: float | None
    fan_out: float | None
    stddev: float | None

    def draw(self, key: Key) -> Array:
        """The leaf, drawn from its own key."""
        assert self.initializer is not None
        if self.layout is None:
            return self.initializer(key, self.shape, self.dtype)
        return self.layout.draw(self.initializer, key, self.shape, self.dtype)


def assign(
    shapes: PyTree, rules: Rules, *, host: str = "flax", layers: Layers | None = None
) -> list[Assignment]:
    """What :func:`jinit.initialize` would do, leaf by leaf; draws nothing.

    Args:
      shapes: a pytree of arrays or ``jax.ShapeDtypeStruct``.
      rules: pattern → initializer, first match wins; ``*`` crosses ``/``; ``"keep"`` keeps a leaf;
        or the name of a preset: ``"torch"``, ``"keras"``, ``"flax"``, ``"haiku"``, ``"equinox"``.
      host: whose axis order the kernels follow.
      layers: pattern → what those leaves are: ``"conv(groups=4)"``, ``"embedding"``, … (see
        :func:`jinit.frameworks.layout`), or ``frameworks.layers(model, x)``. Leaves of Flax, Haiku
        and Keras trees that are (receptive field…, in, out) need no entry; elsewhere, and where a
        model was asked and said nothing (``{}``), a kernel must have one.

    Returns:
      One :class:`Assignment` per leaf, in the tree's order.

    Raises:
      ValueError: a leaf that no rule matches, a rule that matches no leaf, an unknown name, a shape
        the initializer cannot serve, a kernel whose axes nobody named, two leaves of one path.
      TypeError: rules that are not a mapping, a leaf that is not an array.

    >>> shapes = {"kernel": jax.ShapeDtypeStruct((50, 10), "float32")}
    >>> assign(shapes, {"*kernel": "he_normal"})[0].stddev
    0.2
    """
    errors.check_choice("host", host, HOSTS)
    leaves = _leaves(shapes)
    layouts = _layouts(leaves, host, layers)
    if isinstance(rules, str):
        return [_preset_assignment(path, rules, leaf, layouts[path]) for path, leaf in leaves]
    made = _made(rules)
    used: set[str] = set()
    assignments = []
    for path, leaf in leaves:
        pattern = next((pattern for pattern in made if matches(pattern, path)), None)
        if pattern is None:
            # A scale of 0 would switch its layer off.
            harmless = "ones" if path.endswith("scale") else "zeros"
            raise errors.refusal(
                f"leaf {path!r} of shape {tuple(leaf.shape)}",
                "no rule",
                f"a match among {list(rules)}",
                f"add a rule such as {{{path!r}: {harmless!r}}}",
            )
        used.add(pattern)
        assignments.append(_assignment(path, pattern, made[pattern], leaf, layouts[path]))
    _all_used("rule", made, used, leaves)
    return assignments


def described_leaves(
    tree: PyTree, host: str, layers: Layers | None
) -> list[tuple[str, Any, Layout | None]]:
    """(path, leaf, layout) of every leaf, in the tree's order.

    >>> leaf = jax.ShapeDtypeStruct((3, 2), "float32")
    >>> described_leaves({"kernel": leaf}, "flax", None)[0][2].kind
    'kernel'
    """
    leaves = _leaves(tree)
    layouts = _layouts(leaves, host, layers)
    return [(path, leaf, layouts[path]) for path, leaf in leaves]


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path; ``*`` crosses ``/``, and ``*/kernel`` matches ``kernel``.

    >>> matches("*/kernel", "hidden_0/kernel"), matches("*/kernel", "kernel")
    (True, True)
    """
    expression = fnmatch.translate(pattern)
    return re.match(expression, path) is not None or (
        pattern.startswith("*/") and re.match(fnmatch.translate(pattern[2:]), path) is not None
    )


def leaf_name(path: str) -> str:
    """What a leaf is called in its layer: the last word of a path or of torch's dotted name.

    >>> leaf_name("hidden_0/kernel"), leaf_name("fc.weight")
    ('kernel', 'weight')
    """
    return re.split(r"[/.]", path)[-1]


def _leaves(shapes: PyTree) -> list[tuple[str, Any]]:
    """(path, leaf) in the tree's order, every leaf an array and every path its own."""
    found = [(path_of(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)]
    seen: set[str] = set()
    for path, leaf in found:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise errors.wrong_type(
                f"leaf {path!r}",
                leaf,
                "an array or its shape",
                "frameworks.shapes(model), jax.eval_shape(init, …); for weights that are there "
                "eqx.filter(model, eqx.is_array) or model.state_dict()",
            )
        if path in seen:
            raise errors.refusal(
                f"path {path!r}", "two leaves", "one leaf", "names with '/' in them collide: rename"
            )
        seen.add(path)
    return found


def _layouts(
    leaves: list[tuple[str, Any]], host: str, layers: Layers | None
) -> dict[str, Layout | None]:
    """Each leaf's layout: from ``layers``, else from what its name means in the host."""
    silent = layers is not None and not layers
    layers = {} if layers is None else layers
    if not isinstance(layers, Mapping):
        raise errors.wrong_type(
            "layers", layers, "a mapping from pattern to layer", "{'*/kernel': 'dense'}"
        )
    named = {pattern: layout(given, host) for pattern, given in layers.items()}
    used: set[str] = set()
    # A model that was asked has said all it knows, be it nothing: the rest is not guessed.
    asked = silent or any(isinstance(given, Layout) for given in layers.values())
    found: dict[str, Layout | None] = {}
    for path, leaf in leaves:
        pattern = path if path in named else next((p for p in named if matches(p, path)), None)
        if pattern is not None:
            used.add(pattern)
            found[path] = named[pattern]
            continue
        word = leaf_name(path)
        usual = _LEAF_NAMES[host].get(word)
        if word in _VECTORS and not (asked and len(leaf.shape) > 1):
            usual = "vector"
        elif asked:
            usual = None
        elif len(leaf.shape) > 1 and word not in _BIASES and host in _CHANNELS_LAST:
            usual = usual or "conv"
        found[path] = None if usual is None else layout(usual, host)
    if not all(isinstance(given, Layout) for given in layers.values()):
        # A model's own layers may be more than this tree holds; what a user wrote may not.
        _all_used("layers entry", named, used, leaves)
    return {path: _with_kernel(path, made, found, dict(leaves)) for path, made in found.items()}


def _with_kernel(
    path: str, made: Layout | None, layouts: dict[str, Layout | None], leaves: dict[str, Any]
) -> Layout | None:
    """A bias nobody described takes the fans of the one kernel beside it."""
    parent, separator, word = re.match(r"(.*?)([/.]?)([^/.]*)$", path).groups()  # type: ignore[union-attr]
    if word not in _BIASES or (made is not None and made.kind != "bias"):
        return made
    if made is not None and made.fan_in is not None:
        return made
    beside = [
        (other, found)
        for other, found in layouts.items()
        if found is not None
        and found.kind in ("kernel", "recurrent")
        and other.startswith(parent + separator)
        and not re.search(r"[/.]", other[len(parent + separator) :])
    ]
    if len(beside) != 1:
        return made or layout("bias")
    other, kernel = beside[0]
    return bias_of(kernel, tuple(leaves[other].shape))


def _made(rules: Any) -> dict[str, Initializer | None]:
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


def _all_used(kind: str, given: Any, used: set[str], leaves: list[tuple[str, Any]]) -> None:
    unused = [pattern for pattern in given if pattern not in used]
    if unused:
        raise errors.refusal(
            f"{kind} {unused[0]!r}",
            "no leaf",
            f"a pattern that matches one of {[path for path, _ in leaves]}",
            "correct the pattern, move it before the rule that takes its leaves, or drop it",
        )


def _preset_assignment(path: str, name: str, leaf: Any, made: Layout | None) -> Assignment:
    rule = _presets.preset(name)
    if made is None:
        raise _unknown_layer(path, leaf, f"preset {name!r}")
    initializer, drawn = rule(made, leaf_name(path), tuple(leaf.shape))
    if made.kind == "bias" and made.fan_in is None and not _serves_any_shape(initializer):
        raise _unknown_layer(path, leaf, f"preset {name!r}")
    return _assignment(path, name, initializer, leaf, drawn)


def _assignment(
    path: str, rule: str, initializer: Any, leaf: Any, made: Layout | None
) -> Assignment:
    shape = tuple(leaf.shape)
    stddev = None
    if isinstance(initializer, NamedInitializer):
        any_dtype = initializer.recipe.dtypes == "any"
        if not any_dtype and not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise errors.wrong_type(
                f"leaf {path!r}", f"dtype {leaf.dtype}", "a float for a random rule", "use 'keep'"
            )
        if made is None and not _serves_any_shape(initializer) and len(shape) > 1:
            raise _unknown_layer(path, leaf, str(initializer))
        try:
            if made is not None:
                initializer = made.fitted(initializer)
            stddev = _law_stddev(initializer, made, shape)
        except ValueError as error:
            raise ValueError(f"leaf {path!r}, rule {rule!r}: {error}") from None
    fans = None if made is None else made.fans(shape)
    return Assignment(
        leaf=path,
        rule=rule,
        initializer=initializer,
        shape=shape,
        dtype=leaf.dtype,
        layout=made,
        fan_in=fans.fan_in if fans else None,
        fan_out=fans.fan_out if fans else None,
        stddev=stddev,
    )


def _law_stddev(
    initializer: NamedInitializer, made: Layout | None, shape: tuple[int, ...]
) -> float:
    """The expected σ of an entry: of one kernel of the stack, or of a flat bias."""
    if made is None:
        return initializer.law(shape).stddev
    if made.kind in ("bias", "vector"):
        return initializer.law(shape if len(shape) < 2 else (math.prod(shape),)).stddev
    kernels = made.kernels(shape)[1]
    weights = [kernel[-1] for kernel in kernels]
    squares = [initializer.law(kernel).stddev ** 2 for kernel in kernels]
    total = sum(weight * square for weight, square in zip(weights, squares, strict=True))
    if len(kernels) == 1:
        return initializer.law(kernels[0]).stddev
    return float((total / sum(weights)) ** 0.5)


def _serves_any_shape(initializer: NamedInitializer) -> bool:
    """Whether the law needs no axes: constants, normal, uniform, …"""
    try:
        initializer.law(())
    except (ValueError, IndexError):
        return False
    return True


def _unknown_layer(path: str, leaf: Any, rule: str) -> ValueError:
    word = "dense" if len(leaf.shape) > 1 else "vector"
    return errors.refusal(
        f"leaf {path!r} of shape {tuple(leaf.shape)}",
        "no layer",
        f"a layer that says which axes are which, for {rule}",
        f"layers={{**jinit.frameworks.layers(model, x), {path!r}: {word!r}}} or what it is",
    )
