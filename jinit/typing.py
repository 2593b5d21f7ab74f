"""The contracts other people's code relies on, as protocols and aliases. No behaviour here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array
"""A PRNG key: typed (``jax.random.key``) or a legacy ``uint32`` array of shape ``(2,)``."""

PyTree: TypeAlias = Any
"""A nest of dicts, lists, tuples and registered dataclasses with arrays at the leaves."""

ModelLike: TypeAlias = Any
"""A model of any framework: whatever :func:`jinit.frameworks.capture` opens, such as a linen, nnx,
Haiku or Equinox module or a plain apply function. The frameworks share no base class."""

Shape: TypeAlias = Sequence[int]
Axis: TypeAlias = int | Sequence[int]
DType: TypeAlias = Any
Apply: TypeAlias = Callable[[PyTree, Array], Array]
"""``apply(params, x) -> outputs``: x of shape ``(batch, …)``, outputs ``(batch, outputs)``."""

LossFunction: TypeAlias = Callable[[Array, Array], Array]
"""``loss(outputs, y) -> scalar``, the mean over the batch."""


@runtime_checkable
class Initializer(Protocol):
    """What every framework in the JAX family calls an initializer.

    Args:
      key: one PRNG key; vmap over a batch of keys.
      shape: the shape of the array to make; a kernel is ``(receptive field…, in, out)``.
      dtype: overrides the factory's dtype; default the JAX default float.
      out_sharding: the sharding of the result, as in ``jax.nn.initializers``.

    Returns:
      An array of that shape and dtype.
    """

    def __call__(
        self, key: Key, shape: Shape, dtype: DType = None, out_sharding: Any = None
    ) -> Array: ...
