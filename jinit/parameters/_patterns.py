"""Matches path patterns against the paths of leaves."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from jinit import errors


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a path; ``*`` crosses ``/``, and ``*/kernel`` matches ``kernel``.

    Args:
      pattern: shell-style, as in ``fnmatch``: ``*``, ``?``, ``[…]``.
      path: components joined by ``/``.

    >>> matches("*/kernel", "hidden_0/kernel"), matches("*/kernel", "kernel")
    (True, True)
    """
    expression = fnmatch.translate(pattern)
    return re.match(expression, path) is not None or (
        pattern.startswith("*/") and re.match(fnmatch.translate(pattern[2:]), path) is not None
    )


def check_all_used(
    kind: str, patterns: Iterable[str], used: set[str], paths: Iterable[str]
) -> None:
    """Raises for the first pattern that no leaf uses."""
    unused = [pattern for pattern in patterns if pattern not in used]
    if unused:
        raise errors.refusal(
            f"{kind} {unused[0]!r}",
            "no leaf",
            f"a pattern that matches one of {list(paths)}",
            "correct the pattern, move it before the rule that takes its leaves, or drop it",
        )
