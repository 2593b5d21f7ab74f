"""Runs an experiment and writes its result; also holds code that several experiments share.

An experiment is a module with these constants:

- ``NUMBER``: the number of the claim, None if it is not a claim of the article;
- ``TITLE``, and ``PAPER`` for a published result;
- ``CLAIM`` and ``WHERE``: the claim in the words of the source, and the place in the source;
- ``TEST``: the rule, fixed before the runs;

and three functions, ``measure(scale) -> numbers``, ``decide(numbers) -> Verdict`` and
``draw(numbers) -> axes``. The verdict depends on the numbers alone, so it can be checked from the
result file. ``numbers["seeds"]`` is the number of networks behind each number.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jinit
from jinit import data, engine, frameworks, models, probes, stats
from jinit.report import SweepProgress, interval_text, plots, to_json
from jinit.sweep import run_key
from jinit.train import FitConfig, fit, losses

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
HOLDS, LIMITED, FAILS = "holds", "holds with a limit", "does not hold"
NOT_EXPERIMENTS = ("__init__", "__main__", "harness", "evolution")


@dataclass(frozen=True)
class Scale:
    """The size of a run: ``small`` for the tests, ``full`` for the committed results."""

    name: str

    def __call__(self, small: Any, full: Any) -> Any:
        """The value for this scale."""
        return small if self.name == "small" else full


@dataclass(frozen=True)
class Verdict:
    """The result of a test: ``kind`` is HOLDS, LIMITED or FAILS; ``answer`` has the numbers."""

    kind: str
    answer: str


def names() -> list[str]:
    """All experiments: the claims in order, then the others by name."""
    modules = [path.stem for path in FOLDER.glob("*.py") if path.stem not in NOT_EXPERIMENTS]
    return sorted(modules, key=lambda name: (load(name).NUMBER or math.inf, name))


def load(name: str) -> ModuleType:
    """Imports the module of an experiment.

    Raises:
      ValueError: an unknown experiment.
    """
    if name in NOT_EXPERIMENTS or not (FOLDER / f"{name}.py").is_file():
        raise jinit.errors.unknown_name("experiment", name, names(), "python -m experiments list")
    return importlib.import_module(f"experiments.{name}")


def run(name: str, scale: Scale, folder: Path) -> Verdict:
    """Measures, decides, draws, and writes ``NAME.json`` and ``NAME.png`` into the folder."""
    module = load(name)
    start = time.perf_counter()
    numbers = plain(module.measure(scale))
    verdict = module.decide(restored(numbers))
    result = {
        "experiment": name,
        "claim": module.CLAIM,
        "where": module.WHERE,
        "test": module.TEST,
        "scale": scale.name,
        "verdict": asdict(verdict),
        "seconds": round(time.perf_counter() - start, 1),
        "versions": {**versions(), "platform": jax.default_backend()},
        "numbers": numbers,
    }
    folder.mkdir(parents=True, exist_ok=True)
    axes = module.draw(restored(numbers))
    plots.save(axes, folder / f"{name}.png")
    # Written last, because a result file means that the experiment is finished.
    contents = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    unfinished = folder / f".{name}.json.{os.getpid()}.part"
    unfinished.write_text(contents)
    unfinished.replace(folder / f"{name}.json")
    return verdict


def versions() -> dict[str, str]:
    """Versions of jinit, Python, and the packages that decide the numbers of an experiment."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
    installed = {name: importlib.metadata.version(name) for name in packages}
    return {"jinit": jinit.__version__, "python": platform.python_version(), **installed}


def plain(value: Any) -> Any:
    """Converts arrays, intervals and NumPy numbers to JSON; floats to 6 digits, inf to text."""
    return to_json(value, real=lambda x: float(f"{x:.6g}") if math.isfinite(x) else str(x))


def restored(value: Any) -> Any:
    """Converts the text of infinities and NaN that :func:`plain` wrote back to numbers.

    Where all seeds are alike there is no interval; decisions take the estimate for both ends.
    """
    if isinstance(value, dict):
        found = {key: restored(item) for key, item in value.items()}
        if {"estimate", "low", "high"} <= set(found) and found["low"] != found["low"]:
            found |= {"low": found["estimate"], "high": found["estimate"]}
        return found
    if isinstance(value, list):
        return [restored(item) for item in value]
    return float(value) if value in ("inf", "-inf", "nan") else value


def interval(value: dict[str, Any]) -> stats.Interval:
    """Makes an interval from its entry in a result file."""
    return stats.Interval(value["estimate"], value["low"], value["high"])


def text(value: dict[str, Any] | stats.Interval, sign: bool = False) -> str:
    """Formats an interval as ``.912 [.897, .925]``."""
    return interval_text(value if isinstance(value, stats.Interval) else interval(value), sign)


def formatted(value: dict[str, Any], form: str) -> str:
    """Formats an interval as ``61 [58, 64]``, with a format for its numbers."""
    numbers = (format(value[key], form) for key in ("estimate", "low", "high"))
    estimate, low, high = (f"−{n[1:]}" if n.startswith("-") else n for n in numbers)
    return f"{estimate} [{low}, {high}]"


def markdown_tables() -> str:
    """Formats the result files as two Markdown tables: all claims and all published results."""
    claims = [name for name in names() if load(name).NUMBER is not None]
    papers = [name for name in names() if hasattr(load(name), "PAPER")]
    parts = [
        _markdown_table("claim", {name: str(load(name).NUMBER) for name in claims}),
        _markdown_table("result", {name: load(name).PAPER for name in papers}),
    ]
    return "\n\n".join(parts)


def _markdown_table(what: str, labels: dict[str, str]) -> str:
    """The verdicts as a table with short cells, and below the table what each run measured."""
    rows = [f"| | {what} | verdict | seeds | |", "|---|---|---|---|---|"]
    measured = []
    for name, label in labels.items():
        module = load(name)
        file = RESULTS / f"{name}.json"
        if not file.exists():
            rows.append(f"| {label} | {module.TITLE} | not run | | [script]({name}.py) |")
            continue
        result = json.loads(file.read_text())
        verdict = result["verdict"]
        links = f"[script]({name}.py) · [picture](results/{name}.png)"
        cells = (module.TITLE, f"**{verdict['kind']}**", f"{result['numbers']['seeds']:,}", links)
        # An unescaped | ends a cell.
        shown = " | ".join(cell.replace("|", "\\|") for cell in cells)
        rows.append(f"| {label} | {shown} |")
        measured.append(f"- **{name}** ({label}): {verdict['answer']}")
    return "\n".join([*rows, "", "Measured:", "", *measured])


def sweep(grid: jinit.Grid) -> jinit.Table:
    """Calls :func:`jinit.run` with progress on stderr."""
    with SweepProgress() as progress:
        return jinit.run(grid, progress=progress)


def profile(
    initializer: str,
    activation: str,
    *,
    depth: int,
    width: int | tuple[int, ...],
    seeds: int,
    batch: int = 64,
    jacobian: bool = False,
) -> probes.Profile:
    """Measures signals and gradients of untrained MLPs on the digits; arrays ``(seeds, layers)``.

    Args:
      width: units of the hidden layers; several widths alternate.
      jacobian: True differentiates a random projection of the outputs instead of the loss.
    """
    digits = data.get("digits")
    x = jnp.asarray(digits.x_train[:batch])
    widths = (width,) if isinstance(width, int) else width
    captured = _captured(activation, depth, widths, batch)
    loss = (
        probes.random_projection(jax.random.key(7))
        if jacobian
        else probes.cross_entropy(jnp.asarray(digits.y_train[:batch]))
    )
    rules = {"*/kernel": initializer, "*/bias": "zeros"}
    return probes.ensemble(captured, rules, x, loss, seeds=seeds, activation=activation)


@functools.cache
def _captured(
    activation: str, depth: int, widths: tuple[int, ...], batch: int
) -> frameworks.Captured:
    hidden = (widths * depth)[:depth]
    model = models.MLP(features=(*hidden, 10), activation=activation)
    return frameworks.capture(model, jnp.asarray(data.get("digits").x_train[:batch]))


def follow(
    model: models.MLP,
    rules: dict[str, str],
    watch: Callable[[Any], Any],
    optimizer: Any,
    *,
    seeds: int,
    config: FitConfig,
    dataset: str = "digits",
) -> dict[str, Any]:
    """Trains many networks and calls ``watch`` on each at every evaluation.

    Args:
      watch: ``watch(params) -> pytree``, see :func:`jinit.train.fit`.
      optimizer: an optax transform.

    Returns:
      The metrics of ``fit`` with leading ``(seeds,)``; ``watched`` has ``(seeds, evaluations)``;
      ``start`` is ``watch`` of the initial parameters.
    """
    source, network = data.get(dataset), models.as_model(model)
    shapes = network.shapes(source.x_train[:1])

    def train(seed: Any, source: data.Dataset) -> dict[str, Any]:
        params = jinit.initialize(run_key(seed, "init"), shapes, rules)
        _, metrics = fit(
            params, source, run_key(seed, "data"), apply=network.apply,
            loss=losses.get(None, source.task), optimizer=optimizer, config=config, watch=watch,
        )  # fmt: skip
        return {**metrics, "start": watch(params)}

    return engine.run(train, np.arange(seeds, dtype=np.uint32), source)
