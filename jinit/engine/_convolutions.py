"""Writes a convolution as a product of its windows with its kernel.

Inside a loop, XLA's CPU backend computes the gradient of a convolution 12 to 16 times slower than
outside; gathered windows and a product are as fast inside as outside.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jinit.typing import Array

# Few taps are cut out as slices, which is faster; many are gathered, which compiles faster.
_MOST_SLICES = 9
# Windows hold each input once per tap of the kernel. Above these bytes for one network a
# convolution stays as it is: slower, but in memory.
MOST_BYTES = 2**28
_NOTED: contextvars.ContextVar[list[int] | None] = contextvars.ContextVar("windows", default=None)


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
    >>> windows_bytes({"dimension_numbers": axes}, one, out) == 2 * 5 * 5 * (3 * 3 * 4) * 4
    True
    """
    _, kernel_axes, out_axes = (tuple(axes) for axes in params["dimension_numbers"])
    places = math.prod(result.shape) // max(1, result.shape[out_axes[1]])
    terms = math.prod(kernel.shape) // max(1, kernel.shape[kernel_axes[0]])
    return places * terms * np.dtype(kernel.dtype).itemsize


def windows_product(
    params: Mapping[str, Any],
    kernel: jax.ShapeDtypeStruct | None = None,
    result: jax.ShapeDtypeStruct | None = None,
) -> Callable[[Array, Array], Array] | None:
    """``form(inputs, kernel)`` with the value of ``conv_general_dilated``, up to rounding.

    Args:
      params: the parameters of the primitive: strides, padding, dilations, precision, axes.
      kernel, result: shape and dtype of the second input and of the output; None: of any size.

    Returns:
      None for convolutions that stay as they are: grouped ones, and those with windows of more than
      ``MOST_BYTES``.

    >>> params = dict(
    ...     window_strides=(1,), padding=((1, 1),), lhs_dilation=(1,), rhs_dilation=(1,),
    ...     dimension_numbers=((0, 1, 2), (0, 1, 2), (0, 1, 2)), feature_group_count=1,
    ...     batch_group_count=1, precision=None, preferred_element_type=None,
    ... )
    >>> windows_product(params)(jnp.ones((1, 1, 3)), jnp.ones((1, 1, 3)))
    Array([[[2., 3., 2.]]], dtype=float32)
    """
    if params["feature_group_count"] != 1 or params["batch_group_count"] != 1:
        return None
    if kernel is not None and result is not None:
        needed = windows_bytes(params, kernel, result)
        if needed > MOST_BYTES:
            return None
        noted = _NOTED.get()
        if noted is not None:
            noted.append(needed)

    def form(inputs: Array, kernel: Array) -> Array:
        in_axes, kernel_axes, out_axes = (tuple(axes) for axes in params["dimension_numbers"])
        # (batch, space…, features) and (taps…, features, outputs).
        x = jnp.transpose(inputs, (in_axes[0], *in_axes[2:], in_axes[1]))
        w = jnp.transpose(kernel, (*kernel_axes[2:], kernel_axes[1], kernel_axes[0]))
        dilated = [
            (low, high, every - 1)
            for (low, high), every in zip(params["padding"], params["lhs_dilation"], strict=True)
        ]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *dilated, (0, 0, 0)])
        windows = _windows(x, w.shape[:-2], params["window_strides"], params["rhs_dilation"])
        terms = math.prod(w.shape[:-1])
        product = lax.dot_general(
            windows.reshape(-1, terms),
            w.reshape(terms, -1),
            (((1,), (0,)), ((), ())),
            precision=params["precision"],
            preferred_element_type=params["preferred_element_type"],
        )
        result = product.reshape(*windows.shape[: x.ndim - 1], -1)
        order = np.argsort([out_axes[0], *out_axes[2:], out_axes[1]])
        return jnp.transpose(result, tuple(order.tolist()))

    return form


def _windows(
    x: Array, taps: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> Array:
    """``(batch, space…, taps…, features)``: what each output sees of ``(batch, space…, features)``.

    Args:
      x: the inputs, padded and dilated.
      taps, strides, dilation: of the kernel, for each axis of space.
    """
    sizes = [
        (length - (count - 1) * every - 1) // step + 1
        for length, count, step, every in zip(x.shape[1:-1], taps, strides, dilation, strict=True)
    ]
    axes = range(len(taps))
    if math.prod(taps) <= _MOST_SLICES:
        slices = []
        for tap in np.ndindex(*taps):
            first = [tap[a] * dilation[a] for a in axes]
            last = [first[a] + (sizes[a] - 1) * strides[a] + 1 for a in axes]
            slices.append(
                lax.slice(x, (0, *first, 0), (x.shape[0], *last, x.shape[-1]), (1, *strides, 1))
            )
        stacked = jnp.stack(slices, axis=len(taps) + 1)
        return stacked.reshape(x.shape[0], *sizes, *taps, x.shape[-1])
    places = []
    for a in axes:
        place = (
            lax.iota(np.int32, sizes[a])[:, None] * strides[a]
            + lax.iota(np.int32, taps[a])[None, :] * dilation[a]
        )
        shape = [1] * (2 * len(taps))
        shape[a], shape[len(taps) + a] = sizes[a], taps[a]
        places.append(place.reshape(shape))
    return x.at[(slice(None), *places)].get(mode="promise_in_bounds")
