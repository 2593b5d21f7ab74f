"""Defines jinit's shared types: protocols and aliases, without behaviour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import chex
import jax
from jax.sharding import NamedSharding, PartitionSpec

Array: TypeAlias = jax.Array
Key: TypeAlias = chex.PRNGKey
"""A PRNG key: typed (``jax.random.key``) or a legacy ``uint32`` array of shape ``(2,)``."""

PyTree: TypeAlias = Any
"""Nested dicts, lists, tuples and registered dataclasses with arrays at the leaves."""

ModelLike: TypeAlias = Any
"""A model of any framework in :func:`jinit.frameworks.names`, or a plain apply function. The
frameworks share no base class."""

Shape: TypeAlias = Sequence[int]
"""The shape of an array, sizes ≥ 0; a kernel has shape ``(receptive field…, in, out)``."""

Axis: TypeAlias = int | Sequence[int]
"""One axis or several; negative numbers count from the end."""

DType: TypeAlias = Any
"""Anything that JAX accepts as a dtype: ``jnp.float32``, ``"bfloat16"``, a ``numpy.dtype``."""

Number: TypeAlias = float | Array
"""One real number; an array of shape () if it is traced."""

OutSharding: TypeAlias = NamedSharding | PartitionSpec | None
"""The sharding of a drawn array, as in ``jax.nn.initializers``."""

Apply: TypeAlias = Callable[[PyTree, Array], Array]
"""``apply(params, x) -> outputs``: x of shape ``(batch, …)``, outputs ``(batch, outputs)``."""

LossFunction: TypeAlias = Callable[[Array, Array], Array]
"""``loss(outputs, y) -> scalar``, the mean over the batch."""


@runtime_checkable
class Initializer(Protocol):
    """The initializer signature that all JAX frameworks share: ``init(key, shape, dtype)``.

    Args:
      key: one PRNG key; use vmap for a batch of keys.
      shape: the shape of the array; a kernel is ``(receptive field…, in, out)``.
      dtype: overrides the factory's dtype; the default is the JAX default float.
      out_sharding: the sharding of the result, as in ``jax.nn.initializers``.

    Returns:
      An array of that shape and dtype.
    """

    def __call__(
        self, key: Key, shape: Shape, dtype: DType = None, out_sharding: OutSharding = None
    ) -> Array: ...
