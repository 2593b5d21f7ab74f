"""Names that are imported when first used, so that ``jinit --help`` need not load JAX."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(
    package: str, sources: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package (PEP 562).

    Args:
      package: the package's ``__name__``.
      sources: public name → module that holds it; a name whose module ends in it is that module.

    >>> get, names = attach("jinit", {"activations": "jinit.activations"})
    >>> names(), get("activations").__name__
    (['activations'], 'jinit.activations')
    """

    def get(name: str) -> Any:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(sources[name])
        found = module if sources[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, found)
        return found

    return get, lambda: sorted(sources)
