"""Analyses times to a target: runs that never reach the target are censored at the last step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from jinit import errors
from jinit.stats._bootstrap import Interval
from jinit.stats._location import flags, reals


@dataclass(frozen=True)
class Survival:
    """The Kaplan–Meier estimate of the share of runs that have not reached the target.

    Attributes:
      times: ``(k,)``, steps at which some run arrived, ascending.
      share: ``(k,)``, S(t), the share of runs that have not arrived by t.
      low, high: ``(k,)``, ends of the pointwise band (Greenwood's variance, log-log scale);
        NaN where no run is left, because the variance is then unknown.
      at_risk: ``(k,)``, the number of runs that had not arrived just before t.
    """

    times: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at_risk: np.ndarray

    @property
    def median(self) -> float:
        """The first time by which half of the runs have arrived; inf if fewer ever arrive."""
        arrived = self.times[self.share <= 0.5]
        return float(arrived[0]) if arrived.size else math.inf


@dataclass(frozen=True)
class TimeDifference:
    """The difference of two arms' times to target.

    Attributes:
      restricted_mean_difference: treatment − baseline, the area between the curves up to the
        horizon, with its interval, in steps; negative if the treatment is faster.
      p_value: p-value of the two-sided log-rank test; 1 if no run of either arm arrived.
    """

    restricted_mean_difference: Interval
    p_value: float


def kaplan_meier(
    times: np.ndarray,
    *,
    horizon: float,
    confidence: float = 0.95,
    censored: np.ndarray | None = None,
) -> Survival:
    """The share of runs not yet at the target: S(t) = Π_{t_i ≤ t} (1 − d_i / n_i).

    At arrival time t_i, d_i runs arrive of n_i at risk. A diverged run never arrives: pass inf, not
    the step at which it diverged.

    Args:
      times: ``(n,)``, steps to target; inf, or beyond the horizon, for runs that did not arrive.
      horizon: the last observed step, > 0.
      confidence: nominal coverage of the band, in (0, 1).
      censored: ``(n,)`` Booleans, True for a run that was stopped at its time for a reason
        unrelated to its progress (a machine failure, a deadline). The run counts as at risk until
        that time.

    Returns:
      A :class:`Survival`.

    Raises:
      ValueError: no times, NaN or negative times, lengths that differ, a horizon ≤ 0.

    Reference: Kaplan & Meier 1958, eq. 2b; Kalbfleisch & Prentice 2002, eq. 1.13 (band).

    >>> kaplan_meier(np.array([10.0, 20.0, np.inf, np.inf]), horizon=100).share
    array([0.75, 0.5 ])
    """
    times, arrived = _checked(times, horizon, censored)
    errors.check_fraction("confidence", confidence, "use 0.95")
    at, events, at_risk = _risk_table(times, arrived)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = _share(events, at_risk)
        greenwood = np.cumsum(events / (at_risk * (at_risk - events)))
        # A band on the scale of log(−log S) stays within [0, 1].
        half = NormalDist().inv_cdf((1 + confidence) / 2) * np.sqrt(greenwood) / np.log(share)
        low, high = share ** np.exp(-half), share ** np.exp(half)
    gone = share <= 0
    return Survival(at, share, np.where(gone, np.nan, low), np.where(gone, np.nan, high), at_risk)


def restricted_mean(
    times: np.ndarray,
    *,
    horizon: float,
    confidence: float = 0.95,
    censored: np.ndarray | None = None,
) -> Interval:
    """The mean of min(time, horizon), ∫₀^h S(t) dt, with a Student interval.

    Unlike the median, the restricted mean is always finite and uses every run. The interval is too
    short if there are few runs and few of them arrive; its ends are NaN if all runs are equal.

    Args: as :func:`kaplan_meier`.

    Returns:
      An :class:`Interval` in steps, within [0, horizon].

    Raises:
      ValueError: as :func:`kaplan_meier`; fewer than two runs.

    Reference: Irwin 1949; Klein & Moeschberger 2003, eq. 4.5.1 and 4.5.2 (variance).

    >>> restricted_mean(np.array([10.0, 20.0, np.inf, np.inf]), horizon=100).estimate
    57.5
    """
    checked = _checked(times, horizon, censored)
    quantile = _student(confidence, checked[0].size - 1)
    mean, variance = _restricted_mean(*checked, horizon)
    if not variance:
        return Interval(mean, math.nan, math.nan)
    half = quantile * math.sqrt(variance)
    return Interval(mean, max(0.0, mean - half), min(float(horizon), mean + half))


def compare_times(
    treatment: np.ndarray,
    baseline: np.ndarray,
    *,
    horizon: float,
    confidence: float = 0.95,
    censored: tuple[np.ndarray | None, np.ndarray | None] | None = None,
) -> TimeDifference:
    """Compares the times at which two arms reach the target.

    Args:
      treatment, baseline: ``(n,)`` and ``(m,)``, steps to target, inf for "never".
      horizon: the last observed step, the same for both arms.
      confidence: nominal coverage of the interval, in (0, 1).
      censored: for treatment and baseline, flags as in :func:`kaplan_meier`, or None.

    Returns:
      A :class:`TimeDifference`; the ends of the interval are NaN if the times of both arms do not
      vary. The arms are treated as independent, which is conservative for arms
      that share seeds. The interval is too short in the cases that :func:`restricted_mean` names.

    Raises:
      ValueError: as :func:`kaplan_meier`; fewer than two runs in an arm.
      TypeError: ``censored`` is not a pair.

    Reference: Mantel 1966 (log-rank, ``scipy.stats.logrank``); Royston & Parmar 2013 (difference of
    restricted means).

    >>> slow, fast = np.arange(50.0, 70.0), np.arange(10.0, 30.0)
    >>> difference = compare_times(fast, slow, horizon=100)
    >>> round(difference.restricted_mean_difference.estimate, 9), difference.p_value < 1e-6
    (-40.0, True)
    """
    from scipy import stats

    if censored is not None and (not isinstance(censored, tuple | list) or len(censored) != 2):
        raise errors.wrong_type(
            "censored", censored, "flags of the treatment and of the baseline", "(flags, None)"
        )
    checked = [
        _checked(times, horizon, flags_of)
        for times, flags_of in zip((treatment, baseline), censored or (None, None), strict=True)
    ]
    (mean, variance), (base_mean, base_variance) = (
        _restricted_mean(*arm, horizon) for arm in checked
    )
    freedom = min(times.size for times, _ in checked) - 1
    half = _student(confidence, freedom) * math.sqrt(variance + base_variance) or math.nan
    gap = mean - base_mean
    if not any(arrived.any() for _, arrived in checked):
        return TimeDifference(Interval(gap, gap - half, gap + half), 1.0)
    arms = [
        stats.CensoredData(uncensored=times[arrived], right=times[~arrived])
        for times, arrived in checked
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        p_value = float(stats.logrank(*arms).pvalue)
    # If all runs arrive at the same step the statistic is 0 / 0, and there is no difference.
    p_value = 1.0 if math.isnan(p_value) else p_value
    return TimeDifference(Interval(gap, gap - half, gap + half), p_value)


def _student(confidence: float, freedom: int) -> float:
    """The Student quantile by which a standard error is multiplied."""
    errors.check_fraction("confidence", confidence, "use 0.95")
    if freedom < 1:
        raise errors.refusal("times", "one run", "at least two runs", "add seeds")
    from scipy import special

    return float(special.stdtrit(freedom, (1 + confidence) / 2))


def _checked(
    times: np.ndarray, horizon: float, censored: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The times, clipped at the horizon, and True for each run that arrived."""
    errors.check_scalar("horizon", horizon, low=0.0, open_low=True, fix="the number of steps")
    times = reals(times, "times")
    if times.ndim != 1 or not times.size or np.isnan(times).any() or (times < 0).any():
        raise errors.refusal(
            "times",
            f"shape {times.shape}, {int((~(times >= 0)).sum())} NaN or negative",
            "one dimension, at least one time, each >= 0",
            "use inf for 'never'",
        )
    arrived = times <= horizon
    if censored is not None:
        censored = flags(censored, "censored")
        if censored.shape != times.shape:
            raise errors.refusal("censored", censored.shape, f"{times.shape}", "one flag per time")
        arrived &= ~censored
    return np.minimum(times, horizon), arrived


def _risk_table(
    times: np.ndarray, arrived: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrival times, number of arrivals at each, and runs at risk just before each."""
    at, events = np.unique(times[arrived], return_counts=True)
    at_risk = times.size - np.searchsorted(np.sort(times), at, side="left")
    return at, events.astype(float), at_risk.astype(float)


def _share(events: np.ndarray, at_risk: np.ndarray) -> np.ndarray:
    """``(k,)``: Π (1 − d/n), so that a share of exactly one half is 0.5.

    While nobody is censored the factors telescope to one fraction: the runs left over the first n.
    Whole numbers are multiplied, and the quotient is rounded once.
    """
    left = (at_risk - events).astype(int).tolist()
    share = np.empty(len(left))
    above, below, before = 1, 1, None  # the finished fractions; at risk when this one began
    for place, (n, stay) in enumerate(zip(at_risk.astype(int).tolist(), left, strict=True)):
        if before is None or n != left[place - 1]:
            if before is not None:
                above, below = above * left[place - 1], below * before
            before = n
        share[place] = (above * stay) / (below * before)
    return share


def _restricted_mean(times: np.ndarray, arrived: np.ndarray, horizon: float) -> tuple[float, float]:
    at, events, at_risk = _risk_table(times, arrived)
    share = np.concatenate([[1.0], _share(events, at_risk)])
    areas = share * np.diff(np.concatenate([[0.0], at, [float(horizon)]]))
    # The area under the curve to the right of each arrival.
    beyond = np.cumsum(areas[::-1])[::-1][1:]
    left = at_risk - events
    # If no run is left after the last arrival, the area beyond is 0, and so is its term.
    term = np.divide(events, at_risk * left, out=np.zeros_like(events), where=left > 0)
    # n/(n − 1), because Greenwood's formula divides by n.
    correction = times.size / max(1, times.size - 1)
    return float(areas.sum()), float((beyond**2 * term).sum()) * correction
