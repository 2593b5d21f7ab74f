"""Puts other operations in the place of some that a traced function does, on CPU."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar, cast

import jax
from jax.extend import core as jex_core

from jinit._anew import anew
from jinit.typing import Array, PyTree

T = TypeVar("T")

# Functions that JAX calls inside a function, and loops; their bodies are rewritten, too. JAX has
# renamed the primitive of `jax.checkpoint`.
_CALLS = ("jit", "pjit", "scan", "closed_call", "remat2", "remat", "checkpoint")

_Atom: TypeAlias = jex_core.Var | jex_core.Literal
Form: TypeAlias = Callable[..., Array]
# For a jaxpr: what finds the form of each of its equations, or None for those that stay.
Forms: TypeAlias = Callable[[jex_core.Jaxpr], Callable[[jex_core.JaxprEqn], Form | None]]


def with_forms(function: Callable[..., T], forms: Forms) -> Callable[..., T]:
    """The same function with its operations in faster forms, if it is traced on CPU.

    Args:
      function: pure; what it closes over may be traced.
      forms: which equations get which form.

    >>> with_forms(lambda x: 2 * x, lambda _: lambda _: None)(3.0)
    6.0
    """

    def call(*args: PyTree) -> T:
        leaves = jax.tree.leaves(args)
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        if not traced or jax.default_backend() != "cpu":
            return function(*args)
        closed, shapes = jax.make_jaxpr(anew(function), return_shape=True)(*args)
        fast = rewritten(closed.jaxpr, forms)
        if fast is closed.jaxpr:
            return function(*args)
        results = jex_core.jaxpr_as_fun(closed.replace(jaxpr=fast))(*leaves)
        return cast(T, jax.tree.unflatten(jax.tree.structure(shapes), results))

    return call


def rewritten(jaxpr: jex_core.Jaxpr, forms: Forms) -> jex_core.Jaxpr:
    """The jaxpr with equations replaced by faster forms; the same object if there are none.

    >>> traced = jax.make_jaxpr(lambda x: 2 * x)(1.0).jaxpr
    >>> rewritten(traced, lambda _: lambda _: None) is traced
    True
    """
    form_of = forms(jaxpr)
    equations: list[jex_core.JaxprEqn] = []
    for equation in jaxpr.eqns:
        form = form_of(equation)
        equations += [_with_bodies(equation, forms)] if form is None else _in_form(equation, form)
    same = len(equations) == len(jaxpr.eqns) and all(map(operator.is_, equations, jaxpr.eqns))
    return jaxpr if same else jaxpr.replace(eqns=equations)


def shape_of(variable: _Atom) -> jax.ShapeDtypeStruct:
    """Shape and dtype of a variable."""
    return cast(jax.ShapeDtypeStruct, variable.aval)  # JAX annotates aval without a shape


def _with_bodies(equation: jex_core.JaxprEqn, forms: Forms) -> jex_core.JaxprEqn:
    """The equation with the function that it calls, if it calls one, rewritten."""
    name = "jaxpr" if "jaxpr" in equation.params else "call_jaxpr"
    body = equation.params.get(name)
    if equation.primitive.name not in _CALLS:
        return equation
    if isinstance(body, jex_core.ClosedJaxpr):
        inner = rewritten(body.jaxpr, forms)
        new: jex_core.Jaxpr | jex_core.ClosedJaxpr = body.replace(jaxpr=inner)
        changed = inner is not body.jaxpr
    elif isinstance(body, jex_core.Jaxpr):
        new = rewritten(body, forms)
        changed = new is not body
    else:
        return equation
    return equation.replace(params=equation.params | {name: new}) if changed else equation


def _in_form(equation: jex_core.JaxprEqn, form: Form) -> Sequence[jex_core.JaxprEqn]:
    """The equations of ``form`` in place of an equation with the same inputs and output."""
    shapes = [jax.ShapeDtypeStruct(shape_of(v).shape, shape_of(v).dtype) for v in equation.invars]
    closed, (found,) = jax.make_jaxpr(lambda *args: [form(*args)], return_shape=True)(*shapes)
    traced, expected = closed.jaxpr, shape_of(equation.outvars[0])
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
