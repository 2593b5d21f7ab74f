"""Computes medians over seeds with 95 % intervals, to report a profile."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jinit.stats import Interval, bootstrap

if TYPE_CHECKING:
    from jinit.probes import Profile


def intervals(profile: Profile) -> dict[str, list[Interval]]:
    """The median over seeds of every attribute of a profile, with its 95 % interval, by layer.

    Args:
      profile: arrays ``(seeds, layers)``.

    Returns:
      Attribute → one percentile bootstrap interval per layer; NaN if the attribute is not defined
      for a layer, inf if it overflowed. ``update_ratio`` is added to the profile's attributes.
    """
    values = {
        item.name: np.asarray(getattr(profile, item.name), float)
        for item in dataclasses.fields(profile)
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        values["update_ratio"] = np.asarray(profile.update_ratio(1.0), float)
    return {name: [_interval(column) for column in array.T] for name, array in values.items()}


def _interval(column: np.ndarray) -> Interval:
    if np.isnan(column).all():
        return Interval(float("nan"), float("nan"), float("nan"))
    # NaN in some seeds but not in all is an overflow.
    return bootstrap(np.where(np.isnan(column), np.inf, column), resamples=1000)
