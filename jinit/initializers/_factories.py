"""Turns functions that return a definition into factories of named initializers.

The sixteen factories whose law depends on fans take ``in_axis, out_axis, batch_axis, dtype`` in the
positional order of ``jax.nn.initializers``, and :class:`KernelRoles` by keyword.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypedDict

import jax
import numpy as np

from jinit import errors
from jinit.initializers import _blocks, _laws
from jinit.initializers._base import NamedInitializer
from jinit.initializers._checks import concrete_arguments, default_dtype
from jinit.initializers._definition import Definition
from jinit.initializers._fans import KernelAxes
from jinit.initializers._laws import Law
from jinit.initializers._parts import of_arguments
from jinit.typing import Array, Axis, DType, Key

Parameters = ParamSpec("Parameters")


class KernelRoles(TypedDict, total=False):
    """Keyword arguments of every factory whose law depends on fans.

    Attributes:
      groups: feature groups of a convolution whose in axis already holds in/groups; default 1.
      transposed: True swaps the fans, for the kernel of a transposed convolution that keeps the
        axis names of the forward convolution; default False.
      fused: sizes of blocks packed along the out axis; block i of several is drawn alone, from
        ``fold_in(key, i)``; default None, a single block. Not together with groups.
      fan_in: the number of inputs, if the shape does not show it (a bias, a strided transposed
        convolution); default None.
    """

    groups: int
    transposed: bool
    fused: tuple[int, ...] | None
    fan_in: float | None


def named(function: Callable[Parameters, Definition]) -> Callable[Parameters, NamedInitializer]:
    """Turns a function that returns a :class:`Definition` into a factory of named initializers.

    >>> from jinit import initializers
    >>> str(initializers.normal(0.01))
    'normal(stddev=0.01)'
    >>> str(initializers.he_normal(groups=4, mode="fan_out"))
    'he_normal(mode=fan_out, groups=4)'
    """
    signature = _with_roles(inspect.signature(function))
    # JAX's ``zeros`` is itself an initializer, so the factory has to be called ``zeros_init``.
    name = function.__name__.removesuffix("_init")

    @functools.wraps(function)
    def factory(*args: Parameters.args, **kwargs: Parameters.kwargs) -> NamedInitializer:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            takes = f"arguments {', '.join(signature.parameters)}"
            raise errors.wrong_type(name, str(error), takes, "correct the call") from None
        if any(str(getattr(value, "dtype", "")).startswith("key<") for value in given.values()):
            raise errors.wrong_type(
                name,
                "a PRNG key among the arguments of the factory",
                f"arguments {', '.join(given)}",
                f"call the factory first: {name}()(key, shape)",
            )
        if sequences := _sequences(signature, given):
            return of_arguments(factory, dict(given), sequences)  # type: ignore[return-value]
        with concrete_arguments(name):
            definition = function(*args, **kwargs)
        printed = given if definition.arguments is None else definition.arguments
        arguments = tuple((key, _literal(key, value)) for key, value in printed.items())
        return NamedInitializer(name, arguments, definition, factory)

    # `help` and editors show the parameters of the function and the true return type.
    factory.__signature__ = signature.replace(return_annotation="NamedInitializer")  # type: ignore[attr-defined]
    return factory


def _sequences(
    signature: inspect.Signature, given: Mapping[str, Any]
) -> dict[str, tuple[float, ...]]:
    """The sequences given for arguments that take one number; entry i belongs to part i."""
    found = {}
    for name, value in given.items():
        is_number = re.fullmatch(
            r"(float|Number)( \| None)?", str(signature.parameters[name].annotation)
        )
        concrete = isinstance(value, list | tuple | np.ndarray | jax.Array)
        if is_number and concrete and not isinstance(value, jax.core.Tracer):
            try:
                entries = np.asarray(value)
            except ValueError:  # lists of several lengths, which the factory refuses
                continue
            if entries.ndim == 1 and entries.dtype.kind in "iuf":
                found[name] = tuple(entries.tolist())
    return found


def kernel_axes(in_axis: Axis, out_axis: Axis, batch_axis: Axis, roles: KernelRoles) -> KernelAxes:
    """The checked axes and roles of a kernel, from the arguments of its factory."""
    kernel = KernelAxes(in_axis, out_axis, batch_axis, **roles)
    kernel.check()
    return kernel


def for_kernel(definition: Definition, kernel: KernelAxes, dtype: DType) -> Definition:
    """The definition of one kernel with this default dtype; fused blocks are drawn one by one."""
    definition = replace(definition, dtype=dtype)
    return definition if kernel.fused is None else _packed(definition, kernel)


def _packed(definition: Definition, kernel: KernelAxes) -> Definition:
    """The definition of several kernels packed along the out axis."""
    sizes, axis = kernel.fused or (), kernel.out_axis
    assert isinstance(axis, int)  # KernelAxes.check refuses several out axes

    def law(shape: tuple[int, ...]) -> Law:
        blocks = zip(sizes, kernel.blocks(shape), strict=True)
        return _laws.mixture([(size / sum(sizes), definition.law(block)) for size, block in blocks])

    def draw(key: Key, shape: tuple[int, ...], dtype: DType) -> Array:
        return _blocks.draw_fused(
            lambda key, block: definition.draw(key, block, dtype), key, shape, axis, sizes
        )

    return replace(definition, law=law, draw=draw, entries=None)


def _with_roles(signature: inspect.Signature) -> inspect.Signature:
    """The signature with ``**roles`` replaced by the keys of :class:`KernelRoles`."""
    parameters = list(signature.parameters.values())
    if not parameters or parameters[-1].kind is not inspect.Parameter.VAR_KEYWORD:
        return signature
    axes = inspect.signature(KernelAxes).parameters
    roles = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=axes[name].default,
            annotation=axes[name].annotation,
        )
        for name in KernelRoles.__annotations__
    ]
    return signature.replace(parameters=[*parameters[:-1], *roles])


def _literal(name: str, value: Any) -> Any:
    """An argument as a literal that prints and hashes: a dtype as its name, a list as a tuple."""
    if name == "dtype" and value is not None:
        return default_dtype(value).name
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
        value = np.asarray(value).tolist()
    return _as_tuple(value)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
