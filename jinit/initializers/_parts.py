"""Gives one leaf several laws: one for each stacked layer, or one for each packed block.

Layers that ``scan`` or ``vmap`` stacks are one leaf, and so are packed gates and packed q, k, v.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jax.sharding import PartitionSpec, Sharding

from jinit import errors
from jinit.initializers import _blocks
from jinit.initializers._base import NamedInitializer, checked_draw
from jinit.typing import Array, DType, Initializer, Key, Shape

ALONG = ("layers", "blocks")


@dataclass(frozen=True)
class Parts:
    """Several initializers for one leaf, as :func:`jinit.initializers.parts` returns them.

    Attributes:
      initializers: one for each part, in order.
      along: ``"layers"`` for stacked layers, ``"blocks"`` for packed blocks.
      fused: the sizes of the blocks; () if the layout of the leaf has them.

    >>> from jinit import initializers
    >>> len(initializers.parts(["zeros", "ones", "zeros"], along="blocks").initializers)
    3
    """

    initializers: tuple[Initializer, ...]
    along: str
    fused: tuple[int, ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.along}({', '.join(map(str, self.initializers))})"

    def __call__(
        self,
        key: Key,
        shape: Shape,
        dtype: DType = None,
        out_sharding: Sharding | PartitionSpec | None = None,
    ) -> Array:
        """Draws a kernel ``(…, in, out)`` whose packed blocks have the sizes ``fused``.

        Raises:
          ValueError: a sharding; or the parts are layers, or the blocks have no sizes: the axes of
            the leaf then come from its layout, as in :func:`jinit.initialize`.
        """
        if out_sharding is not None:
            fix = "shard the drawn array with jax.device_put"
            raise errors.refusal("out_sharding", out_sharding, "None for parts", fix)
        if self.along != "blocks" or not self.fused:
            raise errors.refusal(
                "initializer",
                str(self),
                "a leaf with a layout, because a shape alone does not show where the parts lie",
                "jinit.initialize(key, shapes, rules, layers=jinit.frameworks.layers(model, x)); "
                "for factors of single entries, multiply a draw by the array",
            )
        axes = ((), (-2,), (-1,))
        return self.draw(key, _blocks.Cut.of(tuple(shape), axes, 1, "out", self.fused), dtype)

    def draw(self, key: Key, cut: _blocks.Cut, dtype: DType) -> Array:
        """A leaf cut in this way; part i has the bits that its initializer draws there alone.

        Raises:
          ValueError: the leaf has another number of layers or blocks.
        """
        self.check(len(cut.fused) if self.along == "blocks" else cut.layers)
        parts = [
            _blocks.Part(
                functools.partial(checked_draw, part, dtype=dtype),
                alone=not isinstance(part, NamedInitializer),
            )
            for part in self.initializers
        ]
        return cut.draw_parts(parts, self.along, key)

    def check(self, count: int) -> None:
        """Checks that a leaf has as many layers or blocks as there are initializers."""
        if count != len(self.initializers):
            raise errors.refusal(
                f"parts along {self.along}",
                f"{len(self.initializers)} initializers",
                f"{count}, the number of {self.along} in the leaf",
                "give one initializer for each, and the leaf's layout by layers=",
            )

    def each(self, change: Callable[[Initializer], Initializer]) -> Parts:
        """The same parts with every initializer changed.

        >>> from jinit import initializers
        >>> str(initializers.parts(["zeros", "ones"]).each(lambda part: initializers.ones))
        'layers(ones, ones)'
        """
        return Parts(tuple(map(change, self.initializers)), self.along, self.fused)


def of_arguments(
    factory: Callable[..., NamedInitializer], given: dict[str, Any], sequences: dict[str, Any]
) -> Parts:
    """The parts of a factory whose numeric arguments are sequences: entry i belongs to part i.

    With ``fused`` the parts are the blocks, else the stacked layers.

    >>> from jinit import initializers
    >>> str(initializers.normal([0.1, 0.2]))
    'layers(normal(stddev=0.1), normal(stddev=0.2))'
    """
    counts = {len(values) for values in sequences.values()}
    sizes = given.pop("fused", None)
    fused = () if sizes is None else _blocks.check_sizes("fused", sizes, "fused=(64, 64)")
    if len(counts) != 1 or 0 in counts or (fused and len(fused) not in counts):
        raise errors.refusal(
            f"arguments {', '.join(sequences)}",
            f"sequences of {sorted(counts)} numbers" + (f" for blocks {fused}" if fused else ""),
            "sequences of one length: a number for each part",
            "give every part one number",
        )
    (count,) = counts
    made = tuple(
        factory(**{**given, **{name: values[part] for name, values in sequences.items()}})
        for part in range(count)
    )
    return Parts(made, "blocks" if fused else "layers", fused)
