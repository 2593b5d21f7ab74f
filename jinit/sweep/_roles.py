"""Finds the first and the last layers of a model, for initializers that treat them differently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jinit import errors, frameworks, initializers
from jinit._anew import anew
from jinit.frameworks import Captured
from jinit.frameworks._capture import capture_in_training
from jinit.initializers import NamedInitializer
from jinit.models import MLP, Model
from jinit.parameters._norms import NORM
from jinit.parameters._patterns import matches
from jinit.parameters._rules import KEEP
from jinit.train import StatefulApply
from jinit.typing import Array, Initializer, PyTree

# Initializer → its parameter for the role, and the parameter's value for a first and a last layer.
_BY_ROLE: dict[str, tuple[str, dict[str, str | bool]]] = {
    "mup": ("role", {"first": "input", "last": "output"}),
    "siren": ("is_first", {"first": True}),
    "looks_linear": ("role", {"first": "input", "last": "output"}),
}


@dataclass(frozen=True)
class Roles:
    """The kernels of first layers, which read the data, and of last ones, which make the outputs.

    A first layer depends on no other layer with a kernel; no other one depends on a last layer.
    """

    first: frozenset[str]
    last: frozenset[str]


def needs_roles(initializer: str | Initializer) -> NamedInitializer | None:
    """The initializer if its law depends on the layer's role and its spec does not say which.

    >>> needs_roles("he_normal"), needs_roles("mup(role=output)"), str(needs_roles("mup"))
    (None, None, 'mup')
    """
    if isinstance(initializer, str) and initializer in (KEEP, NORM):
        return None
    made = initializers.get(initializer)
    if not isinstance(made, NamedInitializer) or _law(str(made)) not in _BY_ROLE:
        return None
    return None if _BY_ROLE[_law(str(made))][0] in dict(made.arguments) else made


def _law(spec: str) -> str:
    """The name in a spec, without arguments and without the factors of ``scaled_by``."""
    return spec.partition("(")[0].rpartition("*")[2]


def with_roles(
    rules: Mapping[str, str | Initializer], paths: Sequence[str], roles: Callable[[str], Roles]
) -> dict[str, str | Initializer]:
    """The rules with an entry of its own for each first and last layer, where the law asks for it.

    Args:
      rules: pattern → initializer.
      paths: the leaves' paths.
      roles: called with the first initializer that depends on roles, if there is one.

    >>> from jinit.sweep._roles import Roles
    >>> found = Roles(frozenset({"a/kernel"}), frozenset({"b/kernel"}))
    >>> paths = ["a/kernel", "b/kernel", "c/kernel"]
    >>> made = with_roles({"*/kernel": "mup"}, paths, lambda initializer: found)
    >>> {path: str(rule) for path, rule in made.items()}
    {'a/kernel': 'mup(role=input)', 'b/kernel': 'mup(role=output)', '*/kernel': 'mup'}
    """
    dependent = {pattern: made for pattern, rule in rules.items() if (made := needs_roles(rule))}
    if not dependent:
        return dict(rules)
    found = roles(str(next(iter(dependent.values()))))
    own: dict[str, str | Initializer] = {}
    used, replaced = set[str](), set[str]()
    for path in paths:
        pattern = next((pattern for pattern in rules if matches(pattern, path)), None)
        if pattern is None:
            continue
        made = dependent.get(pattern)
        role = "first" if path in found.first else "last" if path in found.last else ""
        parameter, values = ("", {}) if made is None else _BY_ROLE[_law(str(made))]
        if made is not None and role in values:
            own[escaped(path)] = made.with_arguments(**{parameter: values[role]})
            replaced.add(pattern)
        else:
            used.add(pattern)
    # A rule without any leaf stays, so that it is refused as without roles.
    kept = {p: rule for p, rule in rules.items() if p in used or p not in replaced}
    return {**own, **kept}


def escaped(path: str) -> str:
    """The pattern that matches this path only.

    >>> escaped("layers[0]/kernel")
    'layers[[]0]/kernel'
    """
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)


def roles_of(model: Model, x: Array, what: str) -> Roles:
    """The first and last layers of a model.

    Args:
      model: the model.
      x: an example batch.
      what: the initializer, for messages.

    Raises:
      ValueError: the layers of the model cannot be seen, or one layer is both first and last.
    """
    roles = _mlp_roles(model.source) if type(model.source) is MLP else _traced_roles(model, x, what)
    both = roles.first & roles.last
    if both:
        raise _refused(what, f"{sorted(both)[0]!r}, which is the first and the last layer")
    return roles


def _mlp_roles(model: MLP) -> Roles:
    first = "hidden_0" if model.depth else "output"
    return Roles(frozenset({f"{first}/kernel"}), frozenset({"output/kernel"}))


def _traced_roles(model: Model, x: Array, what: str) -> Roles:
    if model.source is None:
        raise _refused(what, f"functions of your own ({model.name})")
    try:
        captured = _opened(model, x)
    except errors.Refusal as problem:
        raise _refused(what, str(problem)) from None
    reached, outputs = _dependencies(captured, x)
    calls: dict[str, list[str]] = {}
    for layer in captured.layers:
        calls.setdefault(layer.kernel, []).append(layer.value)
    needed = {name: {v for v in reached if name in reached[v] and v != name} for name in reached}
    return Roles(
        frozenset(k for k, names in calls.items() if all(reached[n] == {n} for n in names)),
        frozenset(
            k for k, names in calls.items() if all(not needed[n] and n in outputs for n in names)
        ),
    )


def _opened(model: Model, x: Array) -> Captured:
    if not isinstance(model.apply, StatefulApply) or model.start is None:
        return frameworks.capture(model.source, x)
    _, state = jax.eval_shape(anew(model.start), jax.random.key(0), x)
    # Only a trace sees this state; nnx cannot set entries of NumPy arrays there.
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
    return capture_in_training(model, zeros, x, jax.random.key(0))


def _dependencies(captured: Captured, x: Array) -> tuple[dict[str, set[str]], set[str]]:
    """Layer → the layers whose values its value depends on, itself included; those of the outputs.

    An equation of the jaxpr makes each of its outputs depend on each of its inputs.
    """

    def run(params: PyTree, x: Array, taps: PyTree) -> PyTree:
        return captured.apply(params, x, taps)

    _, values = jax.eval_shape(
        lambda params, x: captured.apply(params, x, None), captured.params, x
    )
    names = list(values)
    jaxpr = jax.make_jaxpr(run)(captured.params, x, values).jaxpr
    taps = jaxpr.invars[len(jaxpr.invars) - len(names) :]
    known: dict[int, set[str]] = {id(tap): {name} for tap, name in zip(taps, names, strict=True)}

    def of(variable: object) -> set[str]:
        return known.get(id(variable), set())

    for equation in jaxpr.eqns:
        sources = set[str]().union(*(of(entry) for entry in equation.invars))
        known |= {id(made): sources for made in equation.outvars}
    outputs, *of_values = (of(variable) for variable in jaxpr.outvars)
    return dict(zip(names, of_values, strict=True)), outputs


def _refused(what: str, got: str) -> errors.ValueRefusal:
    parameter, values = _BY_ROLE.get(_law(what), ("role", {}))
    given = ", ".join(
        f"{_law(what)}({parameter}={value}) for the {role} layer" for role, value in values.items()
    )
    return errors.refusal(
        f"initializer {what!r}",
        got,
        "a model whose first and last layers jinit can see, because the law depends on the role",
        f"rules= with {given}, or another initializer",
    )
