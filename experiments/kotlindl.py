"""Does every initializer of the package that the article names exist here, with its definition?"""

from __future__ import annotations

import math

import jax
import numpy as np
from scipy import stats as scipy_stats

from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, formatted, interval
from jinit import initializers, stats
from jinit.report import plots

NUMBER = 10
TITLE = "Every initializer of the KotlinDL package exists here and matches its definition"
WHERE = "last section, the package to import from"
CLAIM = (
    "To initialize the weights of your custom neural network using different methods, one can "
    "import these initializers from the following package: "
    "org.jetbrains.kotlinx.dl.api.core.initializer."
)
TEST = (
    "The 16 classes of the package by their own names. Random ones: all entries of a 40 × 60 "
    "kernel, over all seeds, against the definition in the package's documentation, written down "
    "independently with scipy; a Kolmogorov-Smirnov test per seed, combined by Fisher's method, "
    "Holm-corrected, must not reject at 1 %, and entries must lie in the support. Others: exact "
    "equality. Holds if all 16 pass; with a limit if at least 14; else not."
)
IN, OUT = 40, 60
TRUNCATED = 0.87962566103423978


def _cut(sigma: float):
    """N(0, σ′²) truncated at 2σ′, with σ′ such that the standard deviation is σ."""
    return scipy_stats.truncnorm(-2, 2, 0, sigma / TRUNCATED)


def _uniform(bound: float):
    return scipy_stats.uniform(-bound, 2 * bound)


# Class of the package → its spec string here, and its definition.
DEFINITIONS = {
    "Zeros": ("Zeros", 0.0),
    "Ones": ("Ones", 1.0),
    "Constant": ("Constant(value=0.3)", 0.3),
    "Identity": ("Identity", np.eye(IN, OUT)),
    "RandomNormal": ("RandomNormal(stddev=1.0)", scipy_stats.norm()),
    "RandomUniform": ("RandomUniform(low=0.0, high=1.0)", scipy_stats.uniform(0, 1)),
    "TruncatedNormal": ("TruncatedNormal(stddev=1.0)", scipy_stats.truncnorm(-2, 2)),
    "ParametrizedTruncatedNormal": (
        "ParametrizedTruncatedNormal(mean=0.5, stddev=2.0, p1=-1.0, p2=3.0)",
        scipy_stats.truncnorm(-0.75, 1.25, 0.5, 2.0),
    ),
    "GlorotNormal": ("GlorotNormal", _cut(math.sqrt(2 / (IN + OUT)))),
    "GlorotUniform": ("GlorotUniform", _uniform(math.sqrt(6 / (IN + OUT)))),
    "HeNormal": ("HeNormal", _cut(math.sqrt(2 / IN))),
    "HeUniform": ("HeUniform", _uniform(math.sqrt(6 / IN))),
    "LeCunNormal": ("LeCunNormal", _cut(math.sqrt(1 / IN))),
    "LeCunUniform": ("LeCunUniform", _uniform(math.sqrt(3 / IN))),
    "VarianceScaling": (
        "VarianceScaling(scale=1.5, mode=fan_out, distribution=truncated_normal)",
        _cut(math.sqrt(1.5 / OUT)),
    ),
    "Orthogonal": ("Orthogonal", None),
}
RANDOM = sum(hasattr(definition, "cdf") for _, definition in DEFINITIONS.values())


def measure(scale: Scale) -> dict:
    rows, seeds = {}, scale(8, 64)
    for number, (name, (spec, definition)) in enumerate(DEFINITIONS.items()):
        init, keys = initializers.get(spec), jax.random.split(jax.random.key(number), seeds)
        draws = np.stack([np.asarray(init(key, (IN, OUT)), np.float64) for key in keys])
        if not hasattr(definition, "cdf"):
            exact = (
                np.abs(draws @ draws.swapaxes(1, 2) - np.eye(IN)).max() < 1e-5
                if name == "Orthogonal" else (draws == np.float32(definition)).all()
            )  # fmt: skip
            rows[name] = {"spec": str(init), "exact": bool(exact), "p": None, "spread": None}
        else:
            low, high = definition.support()
            p = [scipy_stats.kstest(draw.ravel(), definition.cdf).pvalue for draw in draws]
            inside = (draws >= low - 1e-6).all() and (draws <= high + 1e-6).all()
            combined = float(scipy_stats.combine_pvalues(p, "fisher").pvalue)
            ratio, over_all = draws.std((1, 2)) / definition.std(), 1 - 0.05 / RANDOM
            spread = stats.bootstrap(ratio, np.mean, confidence=over_all, resamples=20_000)
            rows[name] = {"spec": str(init), "exact": bool(inside), "p": combined, "spread": spread}
    return {"rows": rows, "seeds": seeds}


def decide(numbers: dict) -> Verdict:
    rows = numbers["rows"]
    tested = {name: row["p"] for name, row in rows.items() if row["p"] is not None}
    p_values = dict(zip(tested, stats.holm(list(tested.values())), strict=True))
    good = [n for n, row in rows.items() if row["exact"] and p_values.get(n, 1.0) >= 0.01]
    furthest = max(tested, key=lambda name: abs(rows[name]["spread"]["estimate"] - 1))
    answer = (
        f"{len(good)} of {len(rows)} match (least corrected p {min(p_values.values()):.2g}); "
        f"σ of draws over the definition's, furthest from 1: {furthest} "
        f"{formatted(rows[furthest]['spread'], '.4f')}. The package's own uniform variance scaling "
        "multiplies U[0, 1), as read in its source: one-sided weights, not the U[−limit, limit] of "
        "its documentation, which is what jinit draws"
    )
    if len(good) == len(rows):
        return Verdict(HOLDS, answer)
    return Verdict(LIMITED if len(good) >= 14 else FAILS, answer)


def draw(numbers: dict):
    rows = {name: row for name, row in numbers["rows"].items() if row["p"] is not None}
    names = [f"{name} (p = {row['p']:.2g})" for name, row in rows.items()]
    ax = plots.new_axes(7.0, 3.4)
    plots.forest(ax, names, [interval(row["spread"]) for row in rows.values()])
    ax.axvline(1, color=plots.COLORS["grey"], lw=1, ls=(0, (4, 2)))
    ax.set_xlabel("σ of draws / the definition's [95 % over all]")
    return ax
