"""Sets the precision of a run: in which dtype the network computes, in which weights are kept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jinit import errors
from jinit.train._step import StatefulApply
from jinit.typing import Apply, Array, Key, PyTree


def kept(params: PyTree, precision: str) -> PyTree:
    """The initial parameters in the dtype in which training keeps them.

    Args:
      params: float32 draws.
      precision: as in :class:`jinit.train.FitConfig`.

    Raises:
      ValueError: float64 while JAX computes in 32 bits.

    >>> kept(jnp.ones(2), "bfloat16").dtype
    dtype('float32')
    """
    if precision != "float64":
        return params
    if not jax.config.read("jax_enable_x64"):
        raise errors.refusal(
            "precision",
            precision,
            "float32 or bfloat16 while JAX computes in 32 bits",
            'jax.config.update("jax_enable_x64", True) before the sweep, or JAX_ENABLE_X64=1',
        )
    return _cast(params, jnp.float64)


def computing(apply: Apply | StatefulApply, precision: str) -> Apply | StatefulApply:
    """The network, computing in this precision.

    Parameters and examples are cast before the forward pass, and outputs of bfloat16 to float32
    after it, so that the loss and the gradients of the parameters are float32. State, such as
    running statistics, keeps its dtype.

    Args:
      apply: ``apply(params, x) -> outputs`` or a :class:`jinit.train.StatefulApply`.
      precision: as in :class:`jinit.train.FitConfig`.

    >>> half = computing(lambda w, x: w * x, "bfloat16")
    >>> half(jnp.float32(1.001), jnp.ones(1)), half(jnp.ones(()), jnp.ones(1)).dtype
    (Array([1.], dtype=float32), dtype('float32'))
    """
    if precision == "float32":
        return apply
    dtype = jnp.dtype(precision)
    outer = jnp.promote_types(dtype, jnp.float32)
    if not isinstance(apply, StatefulApply):
        plain = apply
        return lambda params, x: _cast(plain(_cast(params, dtype), _cast(x, dtype)), outer)
    network = apply

    def train(params: PyTree, state: PyTree, x: Array, key: Key | None) -> tuple[Array, PyTree]:
        outputs, after = network.train(_cast(params, dtype), state, _cast(x, dtype), key)
        return _cast(outputs, outer), after

    def evaluate(params: PyTree, state: PyTree, x: Array) -> Array:
        return _cast(network.evaluate(_cast(params, dtype), state, _cast(x, dtype)), outer)

    return StatefulApply(train, evaluate, network.state, network.key)


def _cast(tree: PyTree, dtype: DTypeLike) -> PyTree:
    """The tree with its floating leaves in this dtype; whole numbers stay."""

    def one(leaf: Array) -> Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(one, tree)
