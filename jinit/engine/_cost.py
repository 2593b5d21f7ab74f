"""Estimates the cost of a program from its jaxpr: FLOPs of matrix products, bytes of state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex_core

from jinit._anew import anew
from jinit.engine._convolutions import most_alive, windows_noted
from jinit.engine._rewriting import shape_of
from jinit.typing import PyTree


@dataclass(frozen=True)
class LaneBytes:
    """Memory that one lane of a program needs.

    Attributes:
      carried: state from iteration to iteration: the larger of the lane's inputs and the largest
        loop carry.
      windows: the windows, alive at once, of convolutions that were rewritten as products.
      peak: all arrays that are alive at once, if no operation is fused with another one.

    >>> LaneBytes(100).peak
    0
    """

    carried: int
    windows: int = 0
    peak: int = 0


def lane_bytes(fn: Callable[..., PyTree], lane: PyTree, shared: tuple[PyTree, ...]) -> LaneBytes:
    """The memory of one lane of ``fn``, read off its trace.

    Args:
      fn: ``fn(lane, *shared)``.
      lane, shared: arrays or ``jax.ShapeDtypeStruct``.

    >>> lane_bytes(lambda x: (x + 1) * x, jax.ShapeDtypeStruct((8,), np.float32), ())
    LaneBytes(carried=32, windows=0, peak=96)
    """
    with windows_noted() as windows:
        jaxpr = jax.make_jaxpr(anew(fn))(lane, *shared).jaxpr
    inputs = sum(_bytes(leaf) for leaf in jax.tree.leaves(lane))
    # Arrays that all lanes share are there once.
    peak = inputs + _peak(jaxpr)
    return LaneBytes(max(inputs, _largest_carry(jaxpr)), most_alive(windows), peak)


def matmul_flops(fn: Callable[..., PyTree], *args: PyTree) -> int:
    """Floating-point operations of all matrix multiplications and convolutions in ``fn(*args)``.

    A multiply-add counts as two, a product with a vector as none. A loop of known length counts
    every iteration (XLA's own cost analysis counts a loop body once); a loop of unknown length
    counts one iteration.

    Args:
      fn: a traceable function.
      *args: its arguments: arrays or ``jax.ShapeDtypeStruct``.

    >>> a = jax.ShapeDtypeStruct((8, 4), "float32")
    >>> matmul_flops(lambda a: a @ a.T, a)
    512
    """
    return _flops(jax.make_jaxpr(anew(fn))(*args).jaxpr)


def _peak(jaxpr: jex_core.Jaxpr) -> int:
    """Bytes of the values that are alive at once beside the inputs, the most over all equations."""
    last: dict[jex_core.Var, int] = {}
    for number, equation in enumerate(jaxpr.eqns):
        last |= {atom: number for atom in equation.invars if isinstance(atom, jex_core.Var)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if isinstance(v, jex_core.Var)}
    dead: dict[int, list[jex_core.Var]] = {}
    alive = peak = 0
    for number, equation in enumerate(jaxpr.eqns):
        inside = max(map(_peak, inner_jaxprs(equation)), default=0)
        outputs = [v for v in equation.outvars if v in last]
        made = sum(_bytes(shape_of(variable)) for variable in outputs)
        peak = max(peak, alive + max(inside, made))
        alive += made
        for variable in outputs:
            dead.setdefault(last[variable], []).append(variable)
        alive -= sum(_bytes(shape_of(variable)) for variable in dead.pop(number, ()))
    return peak


def _flops(jaxpr: jex_core.Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general" and not _is_sum(equation):
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = shape_of(equation.invars[0]).shape
            inner = math.prod(left[axis] for axis in contracted)
            total += 2 * inner * math.prod(shape_of(equation.outvars[0]).shape)
        elif name == "conv_general_dilated":
            kernel = shape_of(equation.invars[1]).shape
            out_axis = equation.params["dimension_numbers"].rhs_spec[0]
            per_output = math.prod(kernel) // kernel[out_axis]
            total += 2 * per_output * math.prod(shape_of(equation.outvars[0]).shape)
        iterations = equation.params["length"] if name == "scan" else 1
        total += iterations * sum(_flops(inner) for inner in inner_jaxprs(equation))
    return total


def _is_sum(equation: jex_core.JaxprEqn) -> bool:
    """Whether a product has a single vector as its second factor, like the sums of a norm."""
    return len(shape_of(equation.invars[1]).shape) == 1


def _largest_carry(jaxpr: jex_core.Jaxpr) -> int:
    largest = 0
    for equation in jaxpr.eqns:
        carry: Sequence[jex_core.Var] = ()
        if equation.primitive.name == "scan":
            # A carried output has the same shape inside and outside the scan; stacked ones do not.
            returned = equation.params["jaxpr"].jaxpr.outvars
            carry = [
                outer
                for outer, inner in zip(equation.outvars, returned, strict=True)
                if shape_of(outer).shape == shape_of(inner).shape
            ]
        elif equation.primitive.name == "while":
            carry = equation.outvars
        carried = sum(_bytes(shape_of(variable)) for variable in carry)
        largest = max(largest, carried, *map(_largest_carry, inner_jaxprs(equation)))
    return largest


def inner_jaxprs(equation: jex_core.JaxprEqn) -> Iterator[jex_core.Jaxpr]:
    """The jaxprs inside an equation: loop bodies, branches, called functions.

    >>> (equation,) = jax.make_jaxpr(jax.jit(jnp.sin))(1.0).eqns
    >>> [inner.eqns[0].primitive.name for inner in inner_jaxprs(equation)]
    ['sin']
    """
    for parameter in equation.params.values():
        for item in parameter if isinstance(parameter, tuple | list) else (parameter,):
            inner = getattr(item, "jaxpr", item)  # a closed jaxpr has its jaxpr inside
            if isinstance(inner, jex_core.Jaxpr):
                yield inner


def _bytes(leaf: jax.Array | jax.ShapeDtypeStruct) -> int:
    dtype = leaf.dtype
    # A typed key is stored as two uint32 words.
    itemsize = 8 if jnp.issubdtype(dtype, jax.dtypes.prng_key) else np.dtype(dtype).itemsize
    return math.prod(leaf.shape) * itemsize
