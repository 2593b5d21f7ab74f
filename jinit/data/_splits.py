"""Splits examples by a fixed shuffle, by class, or by the user's own row numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from jinit import _specs, errors

Rows: TypeAlias = Sequence[int] | np.ndarray
Split: TypeAlias = float | str | Rows | tuple[Rows, Rows]
"""A share of test examples, ``"stratified(0.2)"``, test rows, or ``(train rows, test rows)``."""

# Seeds of the fixed shuffles.
TEST, VALIDATION = 20150201, 20150202
SHARE = 0.2
_ALLOWED = "a share in (0, 0.9], 'stratified(0.2)', test rows, or (train rows, test rows)"


def split(
    examples: int,
    test_fraction: float,
    labels: np.ndarray | None = None,
    *,
    seed: int = TEST,
    by_class: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of training and test examples: a fixed shuffle, the same on every machine.

    With ``by_class``, or if a class of ``labels`` is missing on one side, every class is split by
    itself: at least one test example of each class with two or more, and a single example to the
    training set.
    """
    held_out = max(1, round(examples * test_fraction))
    if examples - held_out < 1:
        raise errors.refusal("examples", examples, "at least 2", "pass more examples")
    order = np.random.default_rng(seed).permutation(examples)
    train, test = order[held_out:], order[:held_out]
    if labels is not None and (by_class or one_sided(labels, train, test)):
        groups = [order[labels[order] == one] for one in np.unique(labels)]
        counts = [
            min(len(group) - 1, max(1, round(len(group) * test_fraction))) for group in groups
        ]
        if any(counts):
            pairs = list(zip(groups, counts, strict=True))
            train = np.concatenate([group[count:] for group, count in pairs])
            test = np.concatenate([group[:count] for group, count in pairs])
    return np.sort(train), np.sort(test)


def one_sided(labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> bool:
    """Whether some class has examples on one side only."""
    return bool(len(np.setxor1d(labels[train], labels[test])))


def divide(
    how: Split, examples: int, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Row numbers of the training and the test examples, and how they were found.

    Args:
      how: see :data:`Split`.
      examples: their number.
      labels: classes ``(examples,)``; None for regression.

    Raises:
      TypeError: none of the forms.
      ValueError: a share out of range; rows out of range, repeated, on both sides, or none.

    >>> train, test, text = divide(0.25, 4, None)
    >>> text
    'share 0.25 for the test: fixed shuffle, seed 20150201'
    """
    given: Any = how
    if not isinstance(how, str) and (isinstance(how, Sequence) or np.ndim(given)):
        return _rows(given, examples)
    share, by_class = _share(given)
    if by_class and labels is None:
        raise errors.refusal("split", how, "classes for a stratified split", f"split={share}")
    train, test = split(examples, share, labels, by_class=by_class)
    text = f"share {share:g} for the test: fixed shuffle, seed {TEST}"
    if by_class:
        text += ", class by class"
    elif labels is not None and not np.array_equal(test, split(examples, share)[1]):
        text += ", class by class, because a class would be on one side only"
    return train, test, text


def _share(how: float | str) -> tuple[float, bool]:
    """The share of test examples, and whether each class is split by itself."""
    by_class = isinstance(how, str)
    if isinstance(how, str):
        spec = _specs.parse(how, "split")
        errors.check_choice("split", spec.name, ("stratified",))
        how = float(_specs.bind(spec, _stratified, "split", "stratified(0.2)").get("share", SHARE))
    share = errors.check_number("split", how, low=0.0, high=0.9, open_low=True, fix="split=0.2")
    return float(share), by_class


def _stratified(share: float = SHARE) -> float:
    return share


def _rows(how: Rows | tuple[Rows, Rows], examples: int) -> tuple[np.ndarray, np.ndarray, str]:
    """The sides by the user's row numbers, or by a mask of the test rows."""
    if isinstance(how, tuple | list) and len(how) == 2 and all(np.ndim(x) == 1 for x in how):
        train, test = (_side(f"split[{i}]", rows, examples) for i, rows in enumerate(how))
    else:
        test = _side("split", how, examples)
        train = np.setdiff1d(np.arange(examples), test)
        if not train.size:
            raise errors.refusal("split", "every row", "rows left for training", "name fewer rows")
    both = np.intersect1d(train, test)
    if both.size:
        got = f"{both.size} rows on both sides: {both[:3].tolist()}"
        raise errors.refusal("split", got, "each row on one side", "train_test_split(range(n))")
    unused = examples - train.size - test.size
    text = "rows as given" + (f"; {unused:,} rows on no side" if unused else "")
    return train, test, text


def _side(name: str, rows: Any, examples: int) -> np.ndarray:
    try:
        array = np.asarray(rows)
    except (TypeError, ValueError):
        raise errors.wrong_type(name, rows, _ALLOWED, "split=0.2") from None
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise errors.wrong_type(name, rows, _ALLOWED, "split=0.2")
    if array.dtype.kind == "b":
        if len(array) != examples:
            raise errors.refusal(f"{name} mask", len(array), f"{examples} rows", "split=mask")
        array = np.flatnonzero(array)
    if not array.size or array.min() < 0 or array.max() >= examples:
        got = [int(array.min()), int(array.max())] if array.size else "no rows"
        raise errors.refusal(name, got, f"row numbers 0 to {examples - 1}", "split=0.2")
    if np.unique(array).size < array.size:
        raise errors.refusal(name, "a row more than once", "each row once", "np.unique(rows)")
    return array
