"""Do 95 % intervals cover 95 %, and do tests of twelve equal arms rarely raise false alarms?"""

from __future__ import annotations

import math
import time

import numpy as np

from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict
from jinit import stats
from jinit.report import plots

NUMBER = None
TITLE = "Nominal 95 % intervals cover 93 to 97 %; family-wise false alarms stay at or below 5 %"
WHERE = "not in the article: a claim of jinit's own"
CLAIM = "Intervals and corrected tests keep what they promise."
TEST = (
    "Coverage over simulated experiments (normal, lognormal, bimodal; n = 16, 32, 64; mean, "
    "median, IQM; percentile and BCa), and sweeps of 12 equal initializers compared in all 66 "
    "pairs (n = 32, common seed effect). Holds if every coverage lies within [.93, .97] up to two "
    "standard errors and the share of null sweeps with any p < .05 is at most .05 up to two; with "
    "a limit if only coverages of the mean of the lognormal law are lower; else not."
)
LAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(size=shape),
    "bimodal": lambda rng, shape: rng.normal(size=shape) / 2 + 3 * (rng.random(shape) < 0.3),
}
STATISTICS = {"mean": np.mean, "median": np.median, "iqm": stats.iqm}


def measure(scale: Scale) -> dict:
    trials, sweeps = scale(200, 10_000), scale(100, 2000)
    rows = []
    for law, draw_from in LAWS.items():
        population = draw_from(np.random.default_rng(1), 4_000_000)
        for name, statistic in STATISTICS.items():
            truth = {"lognormal": math.exp(0.5), "normal": 0.0, "bimodal": 0.9}[law]
            if name != "mean":
                truth = float(statistic(population))
            for n in scale((32,), (16, 32, 64)):
                rng = np.random.default_rng(n)
                for method in ("percentile", "bca"):
                    intervals = [
                        stats.bootstrap(draw_from(rng, n), statistic, method=method, seed=trial,
                                        resamples=1000)
                        for trial in range(trials)
                    ]  # fmt: skip
                    hits = sum(i.low <= truth <= i.high for i in intervals)
                    rows.append({
                        "law": law, "statistic": name, "n": n, "method": method,
                        "trials": trials, "coverage": stats.wilson(hits, trials),
                    })  # fmt: skip
    return {"rows": rows, "false": _false_alarms(sweeps), "iqm_seconds": _seconds()}


def _false_alarms(sweeps: int) -> stats.Interval:
    """Share of null sweeps with 12 arms in which any of the 66 corrected p is below .05."""
    from scipy.stats import wilcoxon

    rng, false = np.random.default_rng(3), 0
    first, second = np.triu_indices(12, 1)
    for _ in range(sweeps):
        arms = rng.normal(size=(12, 32)) + 2 * rng.normal(size=32)
        p = wilcoxon(arms[first] - arms[second], axis=1).pvalue
        false += min(stats.holm(p)) < 0.05
    return stats.wilson(int(false), sweeps)


def _seconds() -> float:
    """Seconds for a stratified IQM interval of 64 runs × 3 tasks, 50,000 replicates, when warm."""
    scores, tasks = np.random.default_rng(0).random(192), np.tile(np.arange(3), 64)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        stats.bootstrap(scores, stats.iqm, resamples=50_000, strata=tasks)
        times.append(time.perf_counter() - start)
    return min(times)


def decide(numbers: dict) -> Verdict:
    def fits(row: dict) -> bool:
        share = row["coverage"]["estimate"]
        two = 2 * math.sqrt(0.05 * 0.95 / row["trials"])
        return 0.93 - two <= share <= 0.97 + two

    misfits = [row for row in numbers["rows"] if not fits(row)]
    names = [
        f"{row['law']} {row['statistic']}, n = {row['n']}, {row['method']}: "
        f"{row['coverage']['estimate']:.3f}" for row in misfits
    ]  # fmt: skip
    quiet = numbers["false"]["low"] <= 0.05
    shares = [row["coverage"]["estimate"] for row in numbers["rows"] if fits(row)]
    answer = (
        f"coverage {min(shares):.3f} to {max(shares):.3f} in {len(shares)} of "
        f"{len(numbers['rows'])} settings; outside: {'; '.join(names) or 'none'}. False alarms of "
        f"null sweeps: {numbers['false']['estimate']:.3f}. IQM interval, 50,000 replicates of "
        f"64 × 3: {numbers['iqm_seconds']:.2f} s"
    )
    if quiet and not misfits:
        return Verdict(HOLDS, answer)
    known = all(
        (row["law"], row["statistic"]) == ("lognormal", "mean")
        and row["coverage"]["estimate"] < 0.93
        for row in misfits
    )
    return Verdict(LIMITED if quiet and known else FAILS, answer)


def draw(numbers: dict):
    rows = numbers["rows"]
    ax = plots.new_axes(6.4, 0.9 + 0.17 * len(rows))
    names = [f"{r['law']}, {r['statistic']}, n = {r['n']}, {r['method']}" for r in rows]
    styles = [plots.line_style(list(LAWS).index(row["law"])) for row in rows]
    plots.forest(ax, names, [stats.Interval(**row["coverage"]) for row in rows], styles)
    ax.axvspan(0.93, 0.97, color=plots.COLORS["grey"], alpha=0.2, lw=0)
    ax.set_xlabel("coverage of nominal 95 % [95 %]")
    ax.tick_params(axis="y", labelsize=6)
    return ax
