"""Imports a package's names at first use, so that ``jinit --help`` does not load JAX."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns a package's ``__getattr__``, ``__dir__`` (PEP 562) and ``__all__``, from its stub.

    The stub ``__init__.pyi`` beside ``file`` is the only list of names; type checkers read it too.
    The stub consists of lines ``from module import name as name``.

    Args:
      package: the package's ``__name__``.
      file: the package's ``__file__``.
    """
    sources: dict[str, str] = {}
    with open(file.removesuffix(".py") + ".pyi", encoding="utf-8") as stub:
        for line in stub:
            # Split rather than parsed: importing `ast` would double the time of `import jinit`.
            if line.startswith("from "):
                _, module, _, name, *_ = line.split()
                sources[name] = module

    def get(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if sources[name] == package:
            value: Any = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(sources[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(sources), list(sources)


def retired(package: str, successors: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__`` for names that work for one more minor version, with a warning.

    Args:
      package: the package's ``__name__``.
      successors: old name → the dotted path of the new one.

    >>> retired("jinit", {"capture": "jinit.errors.refusal"})("captured")
    Traceback (most recent call last):
    AttributeError: module 'jinit' has no attribute 'captured'
    """

    def get(name: str) -> Any:
        if name not in successors:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        new = successors[name]
        message = f"{package}.{name} is now {new}; the old name goes with the next minor version"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        module, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(module), attribute)

    return get
