"""Rewrites the products of a traced function into forms that XLA computes faster on CPU.

The values are the same up to the rounding of a sum in another order. On other platforms nothing
changes.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias, TypeVar, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core as jex_core

from jinit._anew import anew
from jinit.engine._convolutions import windows_product
from jinit.typing import Array, PyTree

T = TypeVar("T")
_Atom: TypeAlias = jex_core.Var | jex_core.Literal
_Uses: TypeAlias = dict[jex_core.Var, list[str]]
_Form: TypeAlias = Callable[..., Array]

# Functions that JAX calls inside a function, and loops; their bodies are rewritten, too.
_CALLS = ("jit", "pjit", "scan", "closed_call")
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

    def call(*args: PyTree) -> T:
        leaves = jax.tree.leaves(args)
        if jax.default_backend() != "cpu" or not any(
            isinstance(leaf, jax.core.Tracer) for leaf in leaves
        ):
            return function(*args)
        closed, shapes = jax.make_jaxpr(anew(function), return_shape=True)(*args)
        results = jex_core.jaxpr_as_fun(closed.replace(jaxpr=_rewritten(closed.jaxpr)))(*leaves)
        return cast(T, jax.tree.unflatten(jax.tree.structure(shapes), results))

    return call


def _rewritten(jaxpr: jex_core.Jaxpr) -> jex_core.Jaxpr:
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
    equations: list[jex_core.JaxprEqn] = []
    for equation in jaxpr.eqns:
        form = _form(equation, uses, turned)
        equations += [_with_bodies(equation)] if form is None else _in_form(equation, form)
    return jaxpr.replace(eqns=equations)


def _with_bodies(equation: jex_core.JaxprEqn) -> jex_core.JaxprEqn:
    """The equation with the function that it calls, if it calls one, rewritten."""
    body = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    name = "jaxpr" if "jaxpr" in equation.params else "call_jaxpr"
    if equation.primitive.name not in _CALLS or not isinstance(body, jex_core.ClosedJaxpr):
        return equation
    rewritten = body.replace(jaxpr=_rewritten(body.jaxpr))
    return equation.replace(params=equation.params | {name: rewritten})


def _in_form(equation: jex_core.JaxprEqn, form: _Form) -> Sequence[jex_core.JaxprEqn]:
    """The equations of ``form`` in place of an equation with the same inputs and output."""
    shapes = [jax.ShapeDtypeStruct(_aval(v).shape, _aval(v).dtype) for v in equation.invars]
    closed, (found,) = jax.make_jaxpr(lambda *args: [form(*args)], return_shape=True)(*shapes)
    traced, expected = closed.jaxpr, _aval(equation.outvars[0])
    if closed.consts or (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return [equation]
    names: dict[_Atom, _Atom] = dict(
        zip((*traced.invars, *traced.outvars), (*equation.invars, *equation.outvars), strict=True)
    )

    def named(atom: _Atom) -> jex_core.Var:
        given = names.get(atom, atom) if isinstance(atom, jex_core.Var) else atom
        return cast(jex_core.Var, given)  # JAX's types allow no literal here

    return [
        each.replace(invars=[*map(named, each.invars)], outvars=[*map(named, each.outvars)])
        for each in traced.eqns
    ]


def _form(
    equation: jex_core.JaxprEqn, uses: _Uses, turned: Collection[jex_core.Var]
) -> _Form | None:
    """The faster form of an equation; None if there is none.

    Args:
      equation: any.
      uses: the primitives that read each variable.
      turned: transposed matrices.
    """
    if equation.primitive.name == "dot_general":
        left, result = equation.invars[0], equation.outvars[0]
        copied = isinstance(left, jex_core.Var) and left in turned
        kept = _kept_transposed(equation) if copied else None
        return kept or _transposed_once(equation, uses[result] == ["transpose"])
    if equation.primitive.name == "conv_general_dilated":
        shapes = (_aval(equation.invars[1]), _aval(equation.outvars[0]))
        return windows_product(equation.params, *shapes)
    return None


def _transposed_once(equation: jex_core.JaxprEqn, turned: bool) -> _Form | None:
    """xᵀδ, the gradient of x W, as a product of a transposed copy of x.

    XLA multiplies factors that are both contracted over their leading axes at less than half of the
    speed of (rows, contracted) · (contracted, columns). A barrier keeps the copy a copy.

    Args:
      equation: a ``dot_general``.
      turned: whether the result is only transposed: then the factors change places.
    """
    contracted, batch = equation.params["dimension_numbers"]
    left, right = (_aval(variable) for variable in equation.invars)
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
        return (result.T if turned else result).reshape(_aval(equation.outvars[0]).shape)

    return form


def _kept_transposed(equation: jex_core.JaxprEqn) -> _Form | None:
    """δᵀx, the gradient of W x, as a product of the transposed copy that it reads.

    XLA would fold the transposition into the product, which is then that of
    :func:`_transposed_once`. A barrier keeps the copy.
    """
    contracted, batch = equation.params["dimension_numbers"]
    left, right = (_aval(variable) for variable in equation.invars)
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


def _aval(variable: _Atom) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a variable."""
    return cast(jax.ShapeDtypeStruct, variable.aval)  # JAX annotates aval without a shape
