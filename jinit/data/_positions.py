"""Labels at each position of an example, and labels that are not counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jinit import errors


def is_ignored(y: np.ndarray, ignore: str | float | None) -> np.ndarray:
    """Whether each label is the one that is not counted, of the shape of y.

    >>> is_ignored(np.array([[0, 1], [2, -1]]), -1).tolist()
    [[False, False], [False, True]]
    """
    if ignore is None or isinstance(ignore, str) != (y.dtype.kind == "U"):
        return np.zeros(y.shape, bool)
    return np.asarray(y == ignore)


def check_ignored(y: np.ndarray, ignored: Sequence[np.ndarray], ignore: str | float) -> None:
    """Refuses a label to ignore that does not occur, or besides which a set has no other."""
    if isinstance(ignore, bool) or not isinstance(ignore, str | int | float | np.number):
        raise errors.wrong_type("ignore", ignore, "a label of y: text or a number", "ignore=-1")
    if not any(out.any() for out in ignored):
        known = np.unique(y)
        shown = ", ".join(map(str, known[:5])) + (", …" if known.size > 5 else "")
        fix = "leave ignore out, or name the label of padded positions"
        raise errors.refusal("ignore", ignore, f"a label that occurs in y: {shown}", fix)
    if any(out.all() for out in ignored):
        allowed = "labels to count in the training and in the test set"
        raise errors.refusal("ignore", f"{ignore!r} for every label", allowed, "check the labels")


def said(source: str, y: np.ndarray, ignore: str | float | None) -> str:
    """What was done to class labels, for the plan.

    >>> said("int64", np.array([[0, 1], [2, -1]]), -100)
    'int64 → int32 class numbers, one for each of 2 positions; -100 → −1, not counted (1 of 4)'
    """
    text = f"{source} → int32 class numbers"
    if y.ndim > 1:
        text += f", one for each of {' × '.join(map(str, y.shape[1:]))} positions"
    if ignore is not None:
        text += f"; {ignore!r} → −1, not counted ({int((y < 0).sum()):,} of {y.size:,})"
    return text
