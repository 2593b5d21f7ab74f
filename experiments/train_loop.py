"""Do logistic regression, a linear SVM and a neural network learn in one train loop?"""

from __future__ import annotations

import warnings

import numpy as np

import jinit
from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict, interval, sweep, text
from jinit import data, stats
from jinit.report import plots

NUMBER = 11
TITLE = "Logistic regression, SVM and neural networks: initialize, forward, loss, backward, repeat"
WHERE = "The importance of effective weight initialization"
CLAIM = (
    "We define an architecture (e.g. Logistic regression, Support Vector Machine, Neural Network) "
    "and train it to learn parameters. … Initialization … Forward propagation … Compute the loss "
    "function … Backward Propagation … Repeat."
)
MARGIN = 0.02
TEST = (
    "breast_cancer, two_moons and digits, the same loop for all. The linear models agree with "
    "scikit-learn's LogisticRegression and LinearSVC (solved to the optimum) if the 95 % "
    f"interval of their mean test accuracy over seeds lies above scikit-learn's minus {MARGIN}. "
    "The network (2 layers of 32) learns if it wins over logistic regression on two_moons "
    "(Wilcoxon, Holm). Holds if all; with a limit if only one comparison fails; else not."
)
MODELS = {
    "logistic": {"depth": 0, "loss": None},
    "svm": {"depth": 0, "loss": "hinge"},
    "network": {"depth": 2, "loss": None},
}


def _reference(dataset: str, model: str) -> float:
    """scikit-learn's test accuracy on the same split."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    source = data.get(dataset)
    logistic = LogisticRegression(C=1e3, max_iter=100_000)
    made = logistic if model == "logistic" else LinearSVC(C=10.0, max_iter=1_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        made.fit(source.x_train, np.ravel(source.y_train))
    return float(made.score(source.x_test, np.ravel(source.y_test)))


def measure(scale: Scale) -> dict:
    seeds, rows, accuracy = scale(12, 64), [], {}
    for dataset in scale(("two_moons",), ("breast_cancer", "two_moons", "digits")):
        for model, options in MODELS.items():
            if dataset == "digits" and model == "svm":
                options = options | {"loss": "multiclass_hinge"}
            grid = jinit.Grid(
                dataset=dataset, width=32, steps=scale(300, 3000), evaluations=4, learning_rate=0.1,
                seeds=seeds, **options,
            )  # fmt: skip
            values = sweep(grid)["test_accuracy"].astype(float)
            accuracy[dataset, model] = values
            reference = None if model == "network" else _reference(dataset, model)
            rows.append({"dataset": dataset, "model": model, "reference": reference,
                         "accuracy": stats.bootstrap(values, np.mean)})  # fmt: skip
    gain = stats.paired(accuracy["two_moons", "network"], accuracy["two_moons", "logistic"])
    return {"seeds": seeds, "rows": rows, "gain": gain.difference, "p": gain.p_value}


def decide(numbers: dict) -> Verdict:
    checks = {
        f"{row['model']} on {row['dataset']}": row["accuracy"]["low"] > row["reference"] - MARGIN
        for row in numbers["rows"] if row["reference"] is not None
    }  # fmt: skip
    checks["network on two_moons"] = numbers["p"] < 0.05 and numbers["gain"]["low"] > 0
    failed = [name for name, passed in checks.items() if not passed]
    parts = [
        f"{row['dataset']} {row['model']} {text(row['accuracy'])}"
        + (f" (scikit-learn {row['reference']:.3f})" if row["reference"] is not None else "")
        for row in numbers["rows"]
    ]
    answer = ", ".join(parts) + (f". Fails: {', '.join(failed)}" if failed else "")
    return Verdict(HOLDS if not failed else LIMITED if len(failed) == 1 else FAILS, answer)


def draw(numbers: dict):
    rows = numbers["rows"]
    ax = plots.new_axes(6.4, 0.9 + 0.27 * len(rows))
    plots.forest(
        ax, [f"{row['dataset']}: {row['model']}" for row in rows],
        [interval(row["accuracy"]) for row in rows],
    )  # fmt: skip
    for place, row in enumerate(rows):
        if row["reference"] is not None:
            ax.plot(row["reference"], -place, "|", color=plots.COLORS["vermilion"], ms=13, mew=2)
    ax.set_xlabel("mean test accuracy [95 %]; bars: scikit-learn's optimum")
    return ax
