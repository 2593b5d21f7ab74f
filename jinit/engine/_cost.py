"""Arithmetic of a program before it runs, read off its jaxpr: matmul FLOPs and bytes carried."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex_core

from jinit.typing import PyTree


def matmul_flops(fn: Callable[..., PyTree], *args: PyTree) -> int:
    """Floating-point operations of all matrix multiplications and convolutions in ``fn(*args)``.

    A multiply-add counts as two. Loops with a known length count every turn (XLA's own cost
    analysis counts a loop body once); a loop of unknown length counts once.

    Args:
      fn: traceable; args: arrays or ``jax.ShapeDtypeStruct``.

    >>> a = jax.ShapeDtypeStruct((8, 4), "float32")
    >>> matmul_flops(lambda a: a @ a.T, a)
    512
    """
    return _flops(jax.make_jaxpr(fn)(*args).jaxpr)


def carried_bytes(fn: Callable[..., PyTree], lane: PyTree, shared: tuple[PyTree, ...]) -> int:
    """Bytes one lane keeps: its inputs, or the largest loop carry inside ``fn`` if that is more.

    Args:
      fn: ``fn(lane, *shared)``.
      lane, shared: arrays or ``jax.ShapeDtypeStruct``.

    >>> carried_bytes(lambda x: x + 1, jax.ShapeDtypeStruct((8,), np.float32), ())
    32
    """
    inputs = sum(_bytes(leaf) for leaf in jax.tree.leaves(lane))
    return max(inputs, _largest_carry(jax.make_jaxpr(fn)(lane, *shared).jaxpr))


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            inner = math.prod(left[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            out_axis = equation.params["dimension_numbers"].rhs_spec[0]
            per_output = math.prod(kernel) // kernel[out_axis]
            total += 2 * per_output * math.prod(equation.outvars[0].aval.shape)
        turns = equation.params["length"] if name == "scan" else 1
        total += turns * sum(_flops(inner) for inner in _inner(equation))
    return total


def _largest_carry(jaxpr: Any) -> int:
    largest = 0
    for equation in jaxpr.eqns:
        carry: Any = []
        if equation.primitive.name == "scan":
            # What the body returns unchanged in shape is carried; the rest is stacked over turns.
            returned = equation.params["jaxpr"].jaxpr.outvars
            carry = [
                outer
                for outer, inner in zip(equation.outvars, returned, strict=True)
                if outer.aval.shape == inner.aval.shape
            ]
        elif equation.primitive.name == "while":
            carry = equation.outvars
        carried = sum(_bytes(variable.aval) for variable in carry)
        largest = max(largest, carried, *map(_largest_carry, _inner(equation)))
    return largest


def _inner(equation: Any) -> Iterator[Any]:
    """The jaxprs inside an equation: loop bodies, branches, called functions."""
    for parameter in equation.params.values():
        for item in parameter if isinstance(parameter, tuple | list) else (parameter,):
            if isinstance(item, jex_core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, jex_core.Jaxpr):
                yield item


def _bytes(leaf: Any) -> int:
    dtype = leaf.dtype
    # A typed key counts as its uint32 words.
    itemsize = 8 if jnp.issubdtype(dtype, jax.dtypes.prng_key) else np.dtype(dtype).itemsize
    return math.prod(leaf.shape) * itemsize
