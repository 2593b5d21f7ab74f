"""Does the first population matter more in evolution than initial weights do in training?"""

from __future__ import annotations

import numpy as np
import optax

from experiments.evolution import Evolve, populations
from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, follow, interval, text
from jinit import data, engine, models, stats
from jinit.report import plots
from jinit.train import FitConfig

NUMBER = 12
TITLE = "Initialization matters even more for populations of evolutionary algorithms"
WHERE = "last paragraph"
CLAIM = (
    "It is even more important for some evolutionary algorithms which require initialization of "
    "the parameters in their population of candidate solutions."
)
TEST = (
    "A 64-32-32-10 ReLU network on the digits; five laws draw all weights, the same for a genetic "
    "algorithm (whole first population), OpenAI's evolution strategy (its start) and Adam. Let "
    "the gap of a method be its best minus its worst median test accuracy over the five laws. "
    "Holds if, for both algorithms, the gap exceeds Adam's: the 95 % interval of the difference "
    "(bootstrap over seeds) lies above 0; with a limit if for one; else not."
)
ARMS = ("normal(stddev=1.0)", "uniform_range(low=-1.0, high=1.0)", "normal(stddev=0.01)",
        "glorot_uniform", "he_normal")  # fmt: skip


def measure(scale: Scale) -> dict:
    seeds, generations, digits = scale(4, 32), scale(20, 400), data.get("digits")
    arms = scale((ARMS[0], ARMS[-1]), ARMS)
    module = models.MLP(features=(32, 32, 10))
    model = models.as_model(module)
    accuracy: dict[str, list] = {"genetic algorithm": [], "evolution strategy": [], "Adam": []}
    for name in ("genetic algorithm", "evolution strategy"):
        evolve = Evolve(name, model, generations)
        for arm in arms:
            lanes = populations(model, digits.x_train, arm, seeds)
            accuracy[name].append(engine.run(evolve, lanes, digits, tile=2))
    for arm in arms:
        run = follow(module, {"*/kernel": arm, "*/bias": "zeros"}, lambda params: 0.0,
                     optax.adam(0.02), seeds=seeds,
                     config=FitConfig(steps=generations, batch_size=256,
                                      evaluations=20))  # fmt: skip
        accuracy["Adam"].append(np.nan_to_num(run["test_accuracy"]))
    drawn = np.random.default_rng(0).integers(0, seeds, (4000, seeds))
    gaps = {
        n: np.ptp(np.median(np.stack(v)[:, drawn], axis=2), axis=0) for n, v in accuracy.items()
    }
    numbers: dict = {"seeds": seeds, "gap": {}, "more_than_adam": {}, "accuracy": {}}
    for name, values in accuracy.items():
        medians = np.median(np.stack(values), axis=1)
        numbers["accuracy"][name] = {
            arm: stats.bootstrap(np.asarray(value, float))
            for arm, value in zip(arms, values, strict=True)
        }
        low, high = np.quantile(gaps[name], [0.025, 0.975])
        numbers["gap"][name] = stats.Interval(float(np.ptp(medians)), float(low), float(high))
        if name != "Adam":
            low, high = np.quantile(gaps[name] - gaps["Adam"], [0.025, 0.975])
            adam = np.ptp(np.median(np.stack(accuracy["Adam"]), axis=1))
            numbers["more_than_adam"][name] = stats.Interval(
                float(np.ptp(medians) - adam), float(low), float(high)
            )
    return numbers


def decide(numbers: dict) -> Verdict:
    more = [name for name, row in numbers["more_than_adam"].items() if row["low"] > 0]
    answer = "best minus worst median accuracy over five laws: " + ", ".join(
        f"{name} {text(row)}" for name, row in numbers["gap"].items()
    )
    answer += "; more than Adam's by " + ", ".join(
        f"{text(row, True)} ({name})" for name, row in numbers["more_than_adam"].items()
    )
    return Verdict(HOLDS if len(more) == 2 else LIMITED if more else FAILS, answer)


def draw(numbers: dict):
    axes = plots.new_axes(9.0, 2.9, panels=3, sharex=True, sharey=True)
    arms = list(numbers["accuracy"]["Adam"])
    styles = [plots.line_style(number) for number in range(len(arms))]
    for ax, (name, row) in zip(axes, numbers["accuracy"].items(), strict=True):
        plots.forest(ax, arms, [interval(row[arm]) for arm in arms], styles)
        ax.set(xlabel="median test accuracy [95 %]", xlim=(0, 1), xticks=(0, 0.5, 1))
        ax.set_title(name, loc="left", fontsize=9)
    return axes
