"""Parses and writes spec strings such as ``"normal(stddev=0.01)"``.

A spec string is a name, alone or with literal arguments; it is never executed. It describes an
initializer, an activation, a clip, an optimizer or a loss.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinit import errors


@dataclass(frozen=True)
class Spec:
    """A parsed spec string.

    Attributes:
      name: the name before the parenthesis.
      args: positional arguments, literals only.
      kwargs: keyword arguments as ``(name, value)`` pairs in the given order.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return write(self.name, self.kwargs, self.args)


def parse(text: str, kind: str = "spec", *, nested: bool = False) -> Spec:
    """Parses ``name`` or ``name(1.0, option=word)``; bare words are strings.

    Args:
      text: the spec string.
      kind: the noun for the named object ("initializer", "clip", …), for the error message.
      nested: True if arguments may be spec strings themselves, as in
        ``lsuv(he_normal(mode=fan_out))``; they are returned as text.

    Returns:
      The :class:`Spec`; ``parse(str(spec)) == spec``.

    Raises:
      TypeError: ``text`` is not a string.
      ValueError: ``text`` does not have that form, or an argument is not a literal.

    >>> parse("variance_scaling(2.0, mode=fan_out)")
    Spec(name='variance_scaling', args=(2.0,), kwargs=(('mode', 'fan_out'),))
    >>> str(parse("normal( stddev = .01 )"))
    'normal(stddev=0.01)'
    """
    allowed = "a name, or a name with literal arguments such as normal(stddev=0.01)"
    if not isinstance(text, str):
        raise errors.wrong_type(kind, text, allowed, "pass a string")
    malformed = errors.refusal(kind, text, allowed, "check the parentheses, commas and quotes")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise malformed from None
    if isinstance(tree, ast.Name):
        return Spec(tree.id)
    if not (isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)):
        raise malformed
    try:
        args = tuple(_literal(node, nested) for node in tree.args)
        kwargs = tuple((str(item.arg), _literal(item.value, nested)) for item in tree.keywords)
    except (ValueError, TypeError):
        raise malformed from None
    names = [item.arg for item in tree.keywords]
    if None in names:
        raise malformed
    if len(set(names)) < len(names):
        raise errors.refusal(kind, text, "every argument once", "drop one of the two")
    return Spec(tree.func.id, args, kwargs)


def bind(
    spec: Spec, factory: Callable[..., object], kind: str, example: str = ""
) -> dict[str, Any]:
    """Maps the factory's parameter names to the spec's arguments, in the factory's order.

    Raises:
      ValueError: the factory does not take an argument, or a required argument is missing.

    >>> bind(parse("normal(0.1)"), lambda stddev=1.0: None, "initializer")
    {'stddev': 0.1}
    """
    signature = inspect.signature(factory)
    try:
        bound = signature.bind(*spec.args, **dict(spec.kwargs))
    except TypeError as error:
        takes = ", ".join(
            name if parameter.default is parameter.empty else f"{name}={_word(parameter.default)}"
            for name, parameter in signature.parameters.items()
        )
        fix = f"{error}, as in {example!r}" if example else str(error)
        raise errors.refusal(
            f"{kind} {spec.name!r}", str(spec), f"arguments ({takes})", fix
        ) from None
    return dict(bound.arguments)


def write(name: str, kwargs: tuple[tuple[str, Any], ...], args: tuple[Any, ...] = ()) -> str:
    """The spec string for a name and its arguments.

    >>> write("uniform", (("scale", 0.5),))
    'uniform(scale=0.5)'
    """
    parts = [_word(value) for value in args] + [f"{key}={_word(value)}" for key, value in kwargs]
    return f"{name}({', '.join(parts)})" if parts else name


def _literal(node: ast.expr, nested: bool) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if nested and isinstance(node, ast.Call):
        return str(parse(ast.unparse(node)))
    return ast.literal_eval(node)


def _word(value: Any) -> str:
    if isinstance(value, str) and value.isidentifier() and value not in ("None", "True", "False"):
        return value
    # The repr of a function contains a memory address; its name is the same in every process.
    return label(value) if callable(value) else repr(value)


def label(value: Any) -> str:
    """The text of a value in tables and keys: ``str(value)``, or the name of a function.

    >>> label(0.1), label(len), label("he_normal")
    ('0.1', 'len', 'he_normal')
    """
    has_text = any("__str__" in kind.__dict__ for kind in type(value).__mro__[:-1])
    if has_text or not callable(value):
        return str(value)
    name = getattr(value, "__qualname__", type(value).__name__)
    return str(name).replace(".<locals>", "")
