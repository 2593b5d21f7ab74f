"""Finds the arm that a baseline names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jinit import errors


def arm_name(arms: Sequence[str], across: str, baseline: str) -> str:
    """The arm that ``baseline`` names, by the arm's label or by an alias of an initializer.

    Raises:
      ValueError: no such arm. TypeError: several values.

    >>> arm_name(["he_normal", "zeros"], "initializer", "HeNormal")
    'he_normal'
    """
    if isinstance(baseline, list | tuple | np.ndarray):
        raise errors.wrong_type("baseline", baseline, "the name of one arm", f"use {arms[0]!r}")
    if baseline in arms:
        return baseline
    if across == "initializer":
        from jinit.calibrate._registry import resolve

        try:
            canonical = str(resolve(baseline))
        except (ValueError, TypeError):
            canonical = baseline
        if canonical in arms:
            return canonical
    raise errors.unknown_name("baseline", baseline, map(str, arms))


def baseline_among(arms: Sequence[str], across: str, baseline: str | None) -> str:
    """The arm that ``baseline`` names; for None glorot_uniform if it is an arm, else the first.

    Raises:
      ValueError: no such arm.

    >>> baseline_among(["zeros", "glorot_uniform"], "initializer", None)
    'glorot_uniform'
    """
    if baseline is not None:
        return arm_name(arms, across, baseline)
    return "glorot_uniform" if "glorot_uniform" in arms else arms[0]
