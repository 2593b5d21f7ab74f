"""Does the initial population decide whether an evolutionary algorithm learns?

Question. An evolutionary algorithm starts from a population of weight vectors. Usual code draws it
from N(0, 1) or U[-1, 1] for every weight, whatever the layer. Does it matter, beyond luck?

Method. A 64-32-32-10 ReLU network on the digits, no gradients anywhere. Two algorithms of evosax:
a genetic algorithm, which lives on the members it was given (truncation selection, Gaussian
mutation), and OpenAI's evolution strategy, which starts at one of them. Six initializers draw the
whole first population with `parameters.population`; every arm has the same 24 seeds and the same
mutation noise. A run is one program: all members of all generations, the population vmapped; the
engine runs the seeds in tiles. Fitness is the cross-entropy on 256 training examples, drawn anew in
every generation.

Answer (results/evolution.json, 24 seeds). It decides, in both. Genetic algorithm: N(0, 1) ends at
a median test accuracy of .51 and U[-1, 1] at .61, layer-aware draws and even zeros at .67 to .70:
its mutations are small beside unit weights, and break the symmetry of zeros by themselves.
Evolution strategy: .85 and .89 against .93. Glorot, He, N(0, 0.01^2) and zeros are not told
apart.

Acceptance. Paired differences to glorot_uniform are printed with intervals and written with a
picture to experiments/results/. The rule was fixed before the runs: initialization decides if, for
an algorithm, the best and the worst random arm differ by at least .05 in median test accuracy and
the Holm-corrected Wilcoxon test over all arms settles a random arm against the baseline.

    python experiments/evolution.py            # about 6 minutes on 2 cores
    python experiments/evolution.py --quick    # 4 seeds, 40 generations
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinit import data, engine, models, parameters
from jinit.report import plots, terminal
from jinit.sweep import Table, compare, summarize
from jinit.train import losses

ARMS = ("zeros", "normal(stddev=1.0)", "uniform_range(low=-1.0, high=1.0)", "normal(stddev=0.01)",
        "glorot_uniform", "he_normal")  # fmt: skip
BASELINE = "glorot_uniform"
POPULATION = 64
RESULTS = Path(__file__).parent / "results"


def algorithm(name: str, solution):
    """An evosax algorithm, and whether it starts from the population or from its first member."""
    from evosax import algorithms

    if name == "genetic":
        noise = optax.exponential_decay(0.05, transition_steps=100, decay_rate=0.5)
        return algorithms.SimpleGA(POPULATION, solution, std_schedule=noise), True
    return (
        algorithms.Open_ES(
            POPULATION,
            solution,
            optimizer=optax.adam(0.02),
            std_schedule=optax.constant_schedule(0.03),
        ),
        False,
    )


@dataclass(frozen=True)
class Evolve:
    """One lane: a seed and its first population in, learning curve and test accuracy out.

    Equal recipes are equal functions: all arms of an algorithm share one compiled program.
    """

    name: str
    model: models.Model
    generations: int

    def __call__(self, lane, digits: data.Dataset):
        loss = losses.get(None, digits.task)
        members = lane["population"]
        first = jax.tree.map(lambda leaf: leaf[0], members)
        search, from_population = algorithm(self.name, first)
        key = jax.random.fold_in(jax.random.key(0), lane["seed"])

        def fitness(population, key):
            chosen = jax.random.randint(key, (256,), 0, len(digits.x_train))
            x, y = jnp.asarray(digits.x_train)[chosen], jnp.asarray(digits.y_train)[chosen]
            return jax.vmap(lambda params: loss(self.model.apply(params, x), y))(population)

        def generation(state, number):
            keys = jax.random.split(jax.random.fold_in(key, number), 3)
            population, state = search.ask(keys[0], state, search.default_params)
            scores = fitness(population, keys[1])
            state, _ = search.tell(keys[2], population, scores, state, search.default_params)
            return state, scores.min()

        start = jax.random.fold_in(key, 2**31)
        if from_population:
            state = search.init(start, members, fitness(members, start), search.default_params)
        else:
            state = search.init(start, first, search.default_params)
        state, curve = jax.lax.scan(generation, state, jnp.arange(self.generations))
        champion = search.get_mean(state) if not from_population else self.fittest(search, state)
        outputs = self.model.apply(champion, jnp.asarray(digits.x_test))
        return {
            "test_accuracy": loss.accuracy(outputs, jnp.asarray(digits.y_test)),
            "test_loss": loss(outputs, jnp.asarray(digits.y_test)),
            "curve": curve,
        }

    @staticmethod
    def fittest(search, state):
        """The best member of the last generation."""
        best = state.population[jnp.argmin(state.fitness)]
        return search._unravel_solution(best)


def lanes(model: models.Model, digits: data.Dataset, arm: str, seeds: int):
    """The first populations of all seeds of an arm; common noise across arms."""
    shapes = model.shapes(digits.x_train[:1])
    rules = {"*/kernel": arm, "*/bias": "zeros"}
    numbers = jnp.arange(seeds, dtype=jnp.uint32)

    def draw(seed):
        key = jax.random.fold_in(jax.random.key(1), seed)
        return parameters.population(key, POPULATION, shapes, rules)

    return {"seed": np.asarray(numbers), "population": jax.jit(jax.vmap(draw))(numbers)}


def run(seeds: int, generations: int) -> tuple[Table, dict[str, np.ndarray]]:
    """All arms and algorithms: one row a run, and the learning curves."""
    digits = data.get("digits")
    model = models.as_model(models.MLP(features=(32, 32, 10), activation="relu"))
    columns: dict[str, list] = {}
    curves = {}
    for name in ("genetic", "strategy"):
        evolve = Evolve(name, model, generations)
        for arm in ARMS:
            found = engine.run(evolve, lanes(model, digits, arm, seeds), digits, tile=2)
            curves[f"{name}/{arm}"] = found["curve"]
            finite = np.isfinite(found["test_loss"])
            rows = {
                "algorithm": np.full(seeds, name, object),
                "initializer": np.full(seeds, arm, object),
                "seed": np.arange(seeds),
                "test_accuracy": found["test_accuracy"],
                "test_loss": found["test_loss"],
                "steps_to_target": np.full(seeds, np.inf),
                "diverged": ~finite,
            }
            for column, values in rows.items():
                columns.setdefault(column, []).append(values)
            print(f"{name:<9} {arm:<36} {np.median(found['test_accuracy']):.3f}", flush=True)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    axes = ("algorithm", "initializer", "seed")
    return Table(joined, axes, {}, np.array([])), curves


def verdict(table: Table) -> dict[str, dict]:
    """The acceptance rule of the module's docstring, per algorithm."""
    found = {}
    medians = {(s.cell["algorithm"], s.arm): s.metric for s in summarize(table)}
    comparisons = compare(table, baseline=BASELINE)
    for name in ("genetic", "strategy"):
        random = {arm: medians[name, arm].estimate for arm in ARMS if arm != "zeros"}
        best, worst = max(random, key=random.get), min(random, key=random.get)
        settled = [c for c in comparisons if c.cell["algorithm"] == name]
        settled = [c.arm for c in settled if c.verdict != "not settled" and c.arm != "zeros"]
        found[name] = {
            "best": best,
            "worst": worst,
            "gap": random[best] - random[worst],
            "settled_against_baseline": settled,
            "decides": random[best] - random[worst] >= 0.05 and bool(settled),
        }
    return found


def picture(curves: dict[str, np.ndarray], path: Path) -> None:
    """Median best fitness by generation with the middle half of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.8), layout="constrained", dpi=150)
    colours = (plots.GREY, plots.VERMILION, plots.ORANGE, plots.SKY, plots.BLUE, plots.GREEN)
    dashes = ((0, (1, 1)), "-", (0, (5, 1)), (0, (3, 1, 1, 1)), "-", (0, (4, 2)))
    for ax, (name, title) in zip(
        figure.subplots(1, 2, sharey=True),
        (("genetic", "genetic algorithm"), ("strategy", "evolution strategy")),
        strict=True,
    ):
        for arm, colour, dash in zip(ARMS, colours, dashes, strict=True):
            low, middle, high = np.quantile(curves[f"{name}/{arm}"], [0.25, 0.5, 0.75], axis=0)
            generation = np.arange(1, len(middle) + 1)
            ax.fill_between(generation, low, high, color=colour, alpha=0.2, lw=0)
            ax.plot(generation, middle, color=colour, ls=dash, lw=1.5, label=arm)
        ax.set(title=title, xlabel="generation", yscale="log")
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("best cross-entropy of the generation")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center",
                  ncols=3, frameon=False, fontsize=8)  # fmt: skip
    figure.savefig(path)


def main() -> None:
    """Runs, prints the table and the verdict, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="4 seeds, 40 generations; no files")
    options = parser.parse_args()
    seeds, generations = (4, 40) if options.quick else (24, 400)
    start = time.perf_counter()
    table, curves = run(seeds, generations)
    terminal.print_table(table, baseline=BASELINE)
    answer = verdict(table)
    for name, found in answer.items():
        decides = "decides" if found["decides"] else "does not decide"
        print(f"{name}: initialization {decides}: {found['best']} beats {found['worst']} by "
              f"{found['gap']:.3f} (median test accuracy)")  # fmt: skip
    seconds = time.perf_counter() - start
    print(f"{len(table)} runs in {seconds:.0f} s")
    if options.quick:
        return
    RESULTS.mkdir(exist_ok=True)
    picture(curves, RESULTS / "evolution.png")
    result = {
        "seeds": seeds,
        "generations": generations,
        "population": POPULATION,
        "jax": jax.__version__,
        "seconds": round(seconds, 1),
        "verdict": answer,
        "test_accuracy": {
            f"{s.cell['algorithm']}/{s.arm}": [s.metric.estimate, s.metric.low, s.metric.high]
            for s in summarize(table)
        },
        "difference": [
            {
                "algorithm": c.cell["algorithm"],
                "arm": c.arm,
                "difference": [
                    c.result.difference.estimate,
                    c.result.difference.low,
                    c.result.difference.high,
                ],
                "p_holm": c.p_value,
                "verdict": c.verdict,
            }
            for c in compare(table, baseline=BASELINE)
        ],
    }
    (RESULTS / "evolution.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
