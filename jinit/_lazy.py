"""Imports a package's names at first use, so that ``jinit --help`` does not load JAX."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
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
