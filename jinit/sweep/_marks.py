"""Notes what several sweeps have in common: the looks at them, and the configurations dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

_MARKS: ContextVar[Mapping[str, Any] | None] = ContextVar("marks", default=None)


@contextlib.contextmanager
def noted(marks: Mapping[str, Any]) -> Iterator[None]:
    """Sweeps that start within the block enter these marks into their store.

    Args:
      marks: as plain values for JSON; :mod:`jinit._database` reads them back.
    """
    token = _MARKS.set(marks)
    try:
        yield
    finally:
        _MARKS.reset(token)


def marks() -> dict[str, Any]:
    """The marks of the sweep that starts now, as a setting; {} for a plain sweep.

    >>> with noted({"looks": {"seeds": [8], "most": 64}}):
    ...     marks()
    {'marks': {'looks': {'seeds': [8], 'most': 64}}}
    >>> marks()
    {}
    """
    noted_here = _MARKS.get()
    return {} if noted_here is None else {"marks": dict(noted_here)}
