"""Rewrites the products of a traced function into forms that XLA computes faster on CPU.

The values are the same up to the rounding of a sum in another order. On other platforms nothing
changes.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core as jex_core

from jinit.engine._rewriting import Form, shape_of, with_forms
from jinit.typing import Array

T = TypeVar("T")
_Uses: TypeAlias = dict[jex_core.Var, list[str]]

# A copy of a factor pays between these sizes: measured with kernels of 32 × 32 to 512 × 512.
_LEAST_ROWS, _LEAST_COLUMNS, _MOST_ENTRIES = 8, 4, 2**16


def with_fast_products(function: Callable[..., T]) -> Callable[..., T]:
    """The same function with its products rewritten, if it is traced on CPU.

    Args:
      function: pure; what it closes over may be traced.

    >>> product = with_fast_products(lambda x, y: jnp.einsum("bi,bj->ij", x, y))
    >>> jax.jit(product)(jnp.ones((8, 4)), jnp.ones((8, 5))).shape
    (4, 5)
    """
    return with_forms(function, _forms)


def _forms(jaxpr: jex_core.Jaxpr) -> Callable[[jex_core.JaxprEqn], Form | None]:
    """What finds the faster form of an equation of this jaxpr."""
    uses: _Uses = defaultdict(list)
    for equation in jaxpr.eqns:
        for atom in equation.invars:
            if isinstance(atom, jex_core.Var):
                uses[atom].append(equation.primitive.name)
    for atom in jaxpr.outvars:
        if isinstance(atom, jex_core.Var):
            uses[atom].append("result")
    turned = {
        equation.outvars[0]
        for equation in jaxpr.eqns
        if equation.primitive.name == "transpose" and equation.params["permutation"] == (1, 0)
    }
    return lambda equation: _form(equation, uses, turned)


def _form(
    equation: jex_core.JaxprEqn, uses: _Uses, turned: Collection[jex_core.Var]
) -> Form | None:
    """The faster form of an equation; None if there is none.

    Args:
      equation: any.
      uses: the primitives that read each variable.
      turned: transposed matrices.
    """
    if equation.primitive.name != "dot_general":
        return None
    left, result = equation.invars[0], equation.outvars[0]
    copied = isinstance(left, jex_core.Var) and left in turned
    kept = _kept_transposed(equation) if copied else None
    return kept or _transposed_once(equation, uses[result] == ["transpose"])


def _transposed_once(equation: jex_core.JaxprEqn, turned: bool) -> Form | None:
    """xᵀδ, the gradient of x W, as a product of a transposed copy of x.

    XLA multiplies factors that are both contracted over their leading axes at less than half of the
    speed of (rows, contracted) · (contracted, columns). A barrier keeps the copy a copy.

    Args:
      equation: a ``dot_general``.
      turned: whether the result is only transposed: then the factors change places.
    """
    contracted, batch = equation.params["dimension_numbers"]
    left, right = (shape_of(variable) for variable in equation.invars)
    axes = tuple(range(len(contracted[0])))
    rows, *sides = (
        math.prod(left.shape[: len(axes)]),
        math.prod(left.shape[len(axes) :]),
        math.prod(right.shape[len(axes) :]),
    )
    if (
        any(batch)
        or not axes
        or (tuple(contracted[0]), tuple(contracted[1])) != (axes, axes)
        or not _pays(left, rows, sides)
    ):
        return None

    def form(left: Array, right: Array) -> Array:
        first, second = (right, left) if turned else (left, right)
        result = _of_copy(equation, first.reshape(rows, -1).T, second.reshape(rows, -1))
        return (result.T if turned else result).reshape(shape_of(equation.outvars[0]).shape)

    return form


def _kept_transposed(equation: jex_core.JaxprEqn) -> Form | None:
    """δᵀx, the gradient of W x, as a product of the transposed copy that it reads.

    XLA would fold the transposition into the product, which is then that of
    :func:`_transposed_once`. A barrier keeps the copy.
    """
    contracted, batch = equation.params["dimension_numbers"]
    left, right = (shape_of(variable) for variable in equation.invars)
    if (
        any(batch)
        or (tuple(contracted[0]), tuple(contracted[1])) != ((1,), (0,))
        or not _pays(left, left.shape[1], [left.shape[0], math.prod(right.shape[1:])])
    ):
        return None
    return functools.partial(_of_copy, equation)


def _of_copy(equation: jex_core.JaxprEqn, left: Array, right: Array) -> Array:
    """A matrix times ``right``, of which XLA has to keep the transposed copy ``left``."""
    return lax.dot_general(
        lax.optimization_barrier(left),
        right,
        (((1,), (0,)), ((), ())),
        precision=equation.params["precision"],
        preferred_element_type=equation.params["preferred_element_type"],
    )


def _pays(left: jax.ShapeDtypeStruct, rows: int, sides: Sequence[int]) -> bool:
    """Whether a copy of a factor pays, by the contracted size and the sizes of the result."""
    return (
        jnp.issubdtype(left.dtype, jnp.floating)
        and rows >= _LEAST_ROWS
        and min(sides) >= _LEAST_COLUMNS
        and math.prod(sides) <= _MOST_ENTRIES
    )
