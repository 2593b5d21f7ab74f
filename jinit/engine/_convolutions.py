"""Writes convolutions as products of their windows with their kernels.

Inside a loop, XLA's CPU backend computes the gradient of a convolution 12 to 16 times slower than
outside; windows and a product are as fast inside as outside. The forward pass is rewritten, and
JAX derives the gradient: that of the kernel is one product more, and that of the inputs adds up
slices.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core as jex_core

from jinit.engine._rewriting import Form, shape_of, with_forms
from jinit.typing import Array

T = TypeVar("T")

# Windows are stacked slices: one for each tap where there are few, which is faster, else one axis
# after the other. More slices than this along an axis take long to compile.
_MOST_SLICES = 9
_MOST_TAPS = 64
# Windows hold each input once per tap of the kernel. Above these bytes for one network a
# convolution stays as it is: slower, but in memory.
MOST_BYTES = 2**28
# Up to these bytes the forward pass keeps windows for the gradient, which is twice as fast as
# cutting them out again.
_KEPT_BYTES = 2**22
_NOTED: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("windows", default=None)


def most_alive(windows: Sequence[int]) -> int:
    """Bytes of the windows that are in memory at once, of those of each convolution of a network.

    >>> most_alive([1000, 2000]), most_alive([1000, 2**26])
    (3000, 67108864)
    """
    kept = sum(needed for needed in windows if needed <= _KEPT_BYTES)
    return max([kept, *windows])


@contextlib.contextmanager
def windows_noted() -> Iterator[list[int]]:
    """Collects the bytes of the windows of each convolution that is rewritten meanwhile.

    >>> with windows_noted() as windows:
    ...     pass
    >>> windows
    []
    """
    noted: list[int] = []
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def windows_bytes(
    params: Mapping[str, Any], kernel: jax.ShapeDtypeStruct, result: jax.ShapeDtypeStruct
) -> int:
    """Bytes of the windows of a convolution: for each place of its result, all terms of the sum.

    Args:
      params: the parameters of ``conv_general_dilated``.
      kernel, result: shape and dtype of the second input and of the output.

    >>> one = jax.ShapeDtypeStruct((3, 3, 4, 8), np.float32)
    >>> out = jax.ShapeDtypeStruct((2, 5, 5, 8), np.float32)
    >>> axes = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
    >>> params = {"dimension_numbers": axes, "feature_group_count": 1}
    >>> windows_bytes(params, one, out) == 2 * 5 * 5 * (3 * 3 * 4) * 4
    True
    """
    _, kernel_axes, out_axes = (tuple(axes) for axes in params["dimension_numbers"])
    places = math.prod(result.shape) // max(1, result.shape[out_axes[1]])
    terms = math.prod(kernel.shape) // max(1, kernel.shape[kernel_axes[0]])
    terms *= params["feature_group_count"]
    return places * terms * np.dtype(kernel.dtype).itemsize


def with_fast_convolutions(function: Callable[..., T]) -> Callable[..., T]:
    """The same function with its convolutions rewritten, if it is traced on CPU.

    Args:
      function: pure, and not differentiated yet; what it closes over may be traced.

    >>> convolve = lambda x, w: lax.conv(x, w, (1, 1), "SAME")
    >>> jax.jit(with_fast_convolutions(convolve))(jnp.ones((1, 1, 1, 3)), jnp.ones((1, 1, 1, 3)))
    Array([[[[2., 3., 2.]]]], dtype=float32)
    """
    return with_forms(function, lambda _: _form)


def _form(equation: jex_core.JaxprEqn) -> Form | None:
    """The product of windows for a convolution; None for other operations."""
    if equation.primitive.name != "conv_general_dilated":
        return None
    kernel, result = shape_of(equation.invars[1]), shape_of(equation.outvars[0])
    return windows_product(equation.params, kernel, result)


def windows_product(
    params: Mapping[str, Any], kernel: jax.ShapeDtypeStruct, result: jax.ShapeDtypeStruct
) -> Form | None:
    """``form(inputs, kernel)`` with the value of ``conv_general_dilated``, up to rounding.

    A gradient keeps windows of up to ``_KEPT_BYTES``, and cuts larger ones out again.

    Args:
      params: the parameters of the primitive: strides, padding, dilations, precision, axes, groups.
      kernel, result: shape and dtype of the second input and of the output.

    Returns:
      None for convolutions that stay as they are: those with windows of more than ``MOST_BYTES``,
      with more than ``_MOST_TAPS`` taps along an axis, and with groups of examples, which only
      gradients and vectorized kernels have.

    >>> params = dict(
    ...     window_strides=(1,), padding=((1, 1),), lhs_dilation=(1,), rhs_dilation=(1,),
    ...     dimension_numbers=((0, 1, 2), (0, 1, 2), (0, 1, 2)), feature_group_count=1,
    ...     batch_group_count=1, precision=None, preferred_element_type=None,
    ... )
    >>> ones = jnp.ones((1, 1, 3))
    >>> windows_product(params, ones, ones)(ones, ones)
    Array([[[2., 3., 2.]]], dtype=float32)
    """
    in_axes, kernel_axes, out_axes = (tuple(axes) for axes in params["dimension_numbers"])
    taps = [kernel.shape[axis] for axis in kernel_axes[2:]]
    needed = windows_bytes(params, kernel, result)
    if (
        params["batch_group_count"] != 1
        or 0 in result.shape
        or max(taps, default=0) > _MOST_TAPS
        or needed > MOST_BYTES
    ):
        return None
    noted = _NOTED.get()
    if noted is not None:
        noted.append(needed)

    def form(inputs: Array, kernel: Array) -> Array:
        # (batch, space…, features) and (taps…, features, outputs).
        x = jnp.transpose(inputs, (in_axes[0], *in_axes[2:], in_axes[1]))
        w = jnp.transpose(kernel, (*kernel_axes[2:], kernel_axes[1], kernel_axes[0]))
        dilated = [
            (low, high, every - 1)
            for (low, high), every in zip(params["padding"], params["lhs_dilation"], strict=True)
        ]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *dilated, (0, 0, 0)])
        windows = _windows(x, taps, params["window_strides"], params["rhs_dilation"])
        product = _product(windows, w, params)
        order = np.argsort([out_axes[0], *out_axes[2:], out_axes[1]])
        return jnp.transpose(product, tuple(order.tolist()))

    return form if needed <= _KEPT_BYTES else jax.checkpoint(form)


def _product(windows: Array, kernel: Array, params: Mapping[str, Any]) -> Array:
    """Windows times a kernel, ``(batch, space…, outputs)``.

    Args:
      windows: ``(batch, space…, taps…, features)``.
      kernel: ``(taps…, features of a group, outputs)``.
      params: of the convolution.
    """
    how = {name: params[name] for name in ("precision", "preferred_element_type")}
    groups = params["feature_group_count"]
    taps = math.prod(kernel.shape[:-2])
    places = windows.shape[: windows.ndim - kernel.ndim + 1]
    if groups == 1:
        terms = taps * kernel.shape[-2]
        product = lax.dot_general(
            windows.reshape(-1, terms), kernel.reshape(terms, -1), (((1,), (0,)), ((), ())), **how
        )
    else:
        # (places, taps, groups, features) · (taps, features, groups, outputs).
        product = lax.dot_general(
            windows.reshape(-1, taps, groups, kernel.shape[-2]),
            kernel.reshape(taps, kernel.shape[-2], groups, -1),
            (((1, 3), (0, 1)), ((2,), (2,))),
            **how,
        )
        product = jnp.moveaxis(product, 0, 1)
    return product.reshape(*places, -1)


def _windows(
    x: Array, taps: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> Array:
    """``(batch, space…, taps…, features)``: what each output sees of ``(batch, space…, features)``.

    Args:
      x: the inputs, padded and dilated.
      taps, strides, dilation: of the kernel, for each axis of space.
    """
    axes = range(len(taps))
    # Where the windows end that begin at the first tap, plus one.
    ends = [x.shape[1 + axis] - (taps[axis] - 1) * dilation[axis] for axis in axes]

    def cut(x: Array, axis: int, tap: int) -> Array:
        first = tap * dilation[axis]
        return lax.slice_in_dim(x, first, first + ends[axis], strides[axis], 1 + axis)

    if math.prod(taps) > _MOST_SLICES:
        for axis in reversed(axes):
            x = jnp.stack([cut(x, axis, tap) for tap in range(taps[axis])], axis=1 + len(taps))
        return x
    slices = []
    for place in np.ndindex(*taps):
        part = x
        for axis in axes:
            part = cut(part, axis, place[axis])
        slices.append(part)
    stacked = jnp.stack(slices, axis=1 + len(taps))
    return stacked.reshape(*stacked.shape[: 1 + len(taps)], *taps, x.shape[-1])
