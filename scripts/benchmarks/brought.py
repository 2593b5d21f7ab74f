"""Times models that users bring: beside the built-in MLP, and a CNN beside two loops.

`python scripts/bench.py sweep --parts models` calls :func:`measure`. All work of a table is done in
turns in one process, and every ratio is of two times of the same round.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from benchmarks import contenders
from benchmarks.contenders import Run, Work

# What is trained: the built-in MLP, the same MLP of other libraries, and a small CNN.
MLPS = ("built-in", "linen", "nnx", "equinox")
KINDS = (*MLPS, "cnn")
# 64 networks of two convolutions of 16 channels on images of 8 × 8.
CNN = Work(runs=64, width=16, depth=2, batch=32, steps=300, hand_tile=2)


def model(kind: str, width: int, depth: int) -> Any:
    """The model of a kind for 64 inputs and 10 outputs."""
    if kind == "equinox":
        import equinox

        return equinox.nn.MLP(64, 10, width, depth, key=jax.random.key(0))
    if kind == "nnx":
        from flax import nnx

        rngs, sizes = nnx.Rngs(0), [64, *[width] * depth]
        layers: list[Any] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nnx.Linear(inputs, outputs, rngs=rngs), nnx.relu]
        return nnx.Sequential(*layers, nnx.Linear(width, 10, rngs=rngs))
    from flax import linen

    if kind == "linen":
        layers = [part for _ in range(depth) for part in (linen.Dense(width), linen.relu)]
        return linen.Sequential([*layers, linen.Dense(10)])
    convolutions = [linen.Conv(16, (3, 3)), linen.relu, linen.Conv(16, (3, 3), 2), linen.relu]
    return linen.Sequential(
        [
            lambda x: x.reshape(len(x), 8, 8, 1),
            *convolutions,
            lambda x: x.reshape(len(x), -1),
            linen.Dense(10),
        ]
    )


def brought_sweep(work: Work, kind: str) -> Run:
    """`jinit.run` of a model of some library, or of the built-in MLP."""
    import jinit

    if kind == "built-in":
        return contenders.jinit_sweep(work)
    grid = jinit.Grid(
        initializer="he_normal", batch_size=work.batch, learning_rate=contenders.RATE,
        clip=f"global_norm({contenders.THRESHOLD})", steps=work.steps, evaluations=1,
        seeds=work.runs,
    )  # fmt: skip
    dataset = jinit.data.from_arrays(*contenders.data(), standardize=False)
    network = model(kind, work.width, work.depth)
    return lambda: contenders.timed(lambda: jinit.run(grid, data=dataset, model=network))


def cnn_step_loop(work: Work, runs: int = 4) -> Run:
    """A Python loop over a jitted step, one CNN after the other; `runs` are timed."""
    network = model("cnn", work.width, work.depth)
    x = jnp.zeros((1, contenders.INPUTS))
    return contenders.python_loop(work, runs, lambda _, key: network.init(key, x), network.apply)


def cnn_torch_loop(work: Work, runs: int = 4) -> Run:
    """The same CNN in PyTorch, one network after the other on one thread each, two at a time.

    One network alone is faster on one thread than on two; the faster way of both is the contender.
    """
    import torch

    x, y, x_test, _ = (torch.tensor(array) for array in contenders.data())
    x, x_test, y = x.reshape(-1, 1, 8, 8), x_test.reshape(-1, 1, 8, 8), y.long()

    def train(seed: int) -> None:
        network = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding="same"), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 16, 3, stride=2, padding=1), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(256, 10),
        )  # fmt: skip
        for layer in network:
            if hasattr(layer, "weight"):
                torch.nn.init.kaiming_normal_(layer.weight)
                torch.nn.init.zeros_(layer.bias)
        optimizer = torch.optim.SGD(network.parameters(), lr=contenders.RATE)
        for _ in range(work.steps):
            chosen = torch.randint(contenders.TRAIN, (work.batch,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[chosen]), y[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), contenders.THRESHOLD)
            optimizer.step()
        with torch.no_grad():
            network(x), network(x_test)

    def one_by_one() -> None:
        for seed in range(runs):
            train(seed)

    def two_by_two() -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(train, range(runs)))
        finally:
            torch.set_num_threads(threads)

    def faster() -> float:
        return min(map(contenders.timed, (one_by_one, two_by_two))) * work.runs / runs

    return faster


def measure(works: dict[str, Work], cnn: Work, rounds: int, *, torch: bool) -> dict[str, Any]:
    """Ratios with their intervals, to the built-in MLP and of the loops to jinit's CNN sweep.

    Args:
      works: name → size of the MLPs.
      cnn: the size of the CNN.
      rounds: number of rounds, at least 6 for an interval.
      torch: whether PyTorch is installed.

    Returns:
      ``{"rounds": …, "mlps": {size: {kind: ratio}}, "cnn": {loop: ratio}}``; a ratio has
      ``median``, ``low``, ``high``. Of the MLPs it is the speed: built-in time / time. Of the loops
      it says how much longer they take.
    """
    found: dict[str, Any] = {"rounds": rounds, "mlps": {}}
    for size, work in works.items():
        seconds = _in_turns({kind: brought_sweep(work, kind) for kind in MLPS}, rounds)
        found["mlps"][size] = {
            kind: _ratio(seconds["built-in"], seconds[kind]) for kind in MLPS[1:]
        }
        print(size, found["mlps"][size], flush=True)
    runs = {"jinit": brought_sweep(cnn, "cnn"), "step loop": cnn_step_loop(cnn)}
    if torch:
        runs["PyTorch loop"] = cnn_torch_loop(cnn)
    seconds = _in_turns(runs, rounds)
    found["cnn"] = {
        name: _ratio(times, seconds["jinit"]) for name, times in seconds.items() if name != "jinit"
    }
    found["cnn_seconds"] = {name: statistics.median(times) for name, times in seconds.items()}
    print("cnn", found["cnn"], found["cnn_seconds"], flush=True)
    return found


def _in_turns(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, after a first call that compiles; the order changes from round to round."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(0.1)  # PyTorch's threads spin for a while after a call
            seconds[name].append(runs[name]())
    return seconds


def _ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """The Hodges–Lehmann ratio of pairs with its 95 % interval by signed ranks."""
    from jinit import stats

    logs = np.log(over), np.log(under)
    difference = stats.paired(*logs).difference
    ends = difference.estimate, difference.low, difference.high
    return dict(zip(("median", "low", "high"), map(float, np.exp(ends)), strict=True))
