"""Makes a data set whose examples have several targets, each with a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jinit import errors
from jinit.data._dataset import Dataset, Examples
from jinit.data._splits import SHARE, divide

_EXAMPLE = "y={'kind': labels, 'size': sizes}"


def several(
    make: Callable[..., Dataset],
    x: Examples,
    y: Mapping[str, Examples],
    x_test: Examples,
    y_test: Examples,
    name: str,
    options: Mapping[str, Any],
) -> Dataset:
    """The data set with ``y_train`` and ``y_test`` as mappings of names to targets.

    Args:
      make: :func:`jinit.data.from_arrays`, which makes the data set of one target.
      x, y, x_test, y_test, name: as there.
      options: its further arguments that hold for all targets.

    Raises:
      ValueError, TypeError: no target, a name that is no text, a target that is the name of a
        column, test targets of other names, or what ``make`` refuses.
    """
    _check("y", y)
    how, split = "", options["split"]
    if y_test is None and x_test is None:
        train, test, how = divide(SHARE if split is None else split, len(x), None)
        split = (train, test)
    elif not isinstance(y_test, Mapping) or set(y_test) != set(y):
        got = sorted(map(str, y_test)) if isinstance(y_test, Mapping) else y_test
        raise errors.refusal("y_test", got, f"a mapping of {', '.join(y)}", "give each target")
    tested = {} if y_test is None else y_test
    made = {}
    for target, values in y.items():
        with errors.inside(f"target {target!r}"):
            made[target] = make(
                x, values, x_test, tested.get(target), **{**options, "split": split}
            )
    first = next(iter(made.values()))
    said = dict(first.prepared)
    rows = {subject: said[subject] for subject in ("rows", "split", "x")}
    rows |= {"split": how} if how else {}
    of_targets = [
        (f"{subject} {target!r}", sentence)
        for target, one in made.items()
        for subject, sentence in one.prepared
        if subject not in rows
    ]
    return Dataset(
        first.x_train,
        {target: one.y_train for target, one in made.items()},
        first.x_test,
        {target: one.y_test for target, one in made.items()},
        name,
        "several",
        0,
        prepared=(*rows.items(), *of_targets),
    )


def check(data: Dataset) -> Dataset:
    """Returns a :class:`Dataset` of several targets made by hand if its arrays fit each other."""
    sets = {"train": (data.x_train, data.y_train), "test": (data.x_test, data.y_test)}
    if data.x_validation is not None:
        sets["validation"] = (data.x_validation, data.y_validation)
    for where, (x, y) in sets.items():
        _check(f"y_{where}", y)
        for target, values in y.items():
            array = np.asarray(values)
            if array.shape[:1] != (len(x),) or array.dtype not in (np.float32, np.int32):
                raise errors.refusal(
                    f"target {target!r} of y_{where}",
                    f"shape {array.shape}, {array.dtype}",
                    f"{len(x)} rows of float32 or int32",
                    "use data.from_arrays, which makes these arrays",
                )
    return data


def refused(y_test: Mapping[str, Examples]) -> errors.ValueRefusal:
    """The refusal of several test targets beside one target."""
    fix = "give y as a mapping, too"
    return errors.refusal("y_test", sorted(map(str, y_test)), "one target, as y", fix)


def _check(what: str, y: Mapping[str, Examples]) -> None:
    if not isinstance(y, Mapping) or not y:
        raise errors.refusal(what, y, "a mapping of names to targets", _EXAMPLE)
    for target, values in y.items():
        if not isinstance(target, str):
            raise errors.wrong_type(f"names of {what}", target, "text", _EXAMPLE)
        if isinstance(values, str | Mapping):
            raise errors.wrong_type(
                f"target {target!r}", values, "an array of targets",
                "drop the column from the frame, and pass its values",
            )  # fmt: skip
