"""Formats numbers, intervals and names as text. Needs neither rich nor matplotlib."""

from __future__ import annotations

import math

import numpy as np

from jinit import errors
from jinit.stats import Interval

MISSING = "—"


def number(value: float, digits: int = 4) -> str:
    """``value`` with ``digits`` significant digits; "—" for NaN.

    >>> number(-1234.5), number(float("-inf")), number(float("nan"))
    ('−1234', '−∞', '—')
    """
    value = float(value)
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def percent(share: float) -> str:
    """A share as a percentage; "—" for NaN.

    >>> percent(0.256)
    '26 %'
    """
    return MISSING if math.isnan(share) else f"{100 * share:.0f} %"


def fixed(value: float, sign: bool = False) -> str:
    """``value`` with three decimals and no leading zero; three significant digits from 1000 on.

    >>> fixed(0.5), fixed(0.5, sign=True), fixed(-1234.5)
    ('.500', '+.500', '−1.23e+03')
    """
    if not math.isfinite(value):
        return number(value)
    if abs(value) >= 1000:
        return number(value, 3)
    # A negative number that rounds to 0 keeps its sign: an interval that ends there excludes 0.
    value = value if value else 0.0
    text = (f"{value:+.3f}" if sign else f"{value:.3f}").replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def interval_text(interval: Interval, sign: bool = False) -> str:
    """Formats an estimate with its interval, as in ``.912 [.897, .925]``.

    Args:
      interval: estimate, low and high, from :mod:`jinit.stats`.
      sign: True writes a sign before every number.

    Returns:
      The text; "—" if the estimate is NaN, no brackets if both ends are NaN, which says that there
      is no interval. The minus sign is U+2212.

    Raises:
      TypeError: not an interval, or a sign that is not True or False.

    >>> from jinit.stats import Interval
    >>> interval_text(Interval(0.5, 0.4, 0.6)), interval_text(Interval(0.5, -0.4, 0.6), sign=True)
    ('.500 [.400, .600]', '+.500 [−.400, +.600]')
    >>> interval_text(Interval(-0.0015, -0.003, -0.00009), sign=True)
    '−.002 [−.003, −.000]'
    >>> interval_text(Interval(0.5, math.nan, math.nan))
    '.500'
    """
    if not isinstance(interval, Interval):
        raise errors.wrong_type("interval", interval, "a stats.Interval", "stats.bootstrap(values)")
    sign = errors.check_bool("sign", sign)
    if math.isnan(interval.estimate):
        return MISSING
    if math.isnan(interval.low) and math.isnan(interval.high):
        return fixed(interval.estimate, sign)
    low, middle, high = (
        fixed(value, sign) for value in (interval.low, interval.estimate, interval.high)
    )
    return f"{middle} [{low}, {high}]"


def words(name: str) -> str:
    """A column name as words: ``test_accuracy`` → ``test accuracy``."""
    return name.replace("_", " ")


def rows_shown(count: int, most: int) -> list[int]:
    """At most ``most`` of the rows 0 … count − 1, evenly spread, with the first and the last.

    >>> rows_shown(100, 4)
    [0, 33, 66, 99]
    """
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
