"""Trains many small MLPs in seven ways, which `bench.py sweep` times.

All contenders do the same work: they train `runs` networks of 64 inputs and 10 outputs from He
weights, on minibatches drawn at random every step, by SGD with global-norm clipping at 1, and
evaluate on the full test and training sets at the end. A contender takes a `Work` and returns a
function that does the work once and returns the seconds; if the function does only a part of the
work, it scales the seconds up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

INPUTS, OUTPUTS, TRAIN, TEST = 64, 10, 512, 128
RATE, THRESHOLD = 0.1, 1.0


@dataclass(frozen=True)
class Work:
    """One size of the benchmark."""

    runs: int
    width: int
    depth: int
    batch: int
    steps: int
    hand_tile: int

    @property
    def dims(self) -> list[int]:
        """Layer widths, input to output."""
        return [INPUTS, *[self.width] * self.depth, OUTPUTS]

    @property
    def weights(self) -> int:
        """Entries of all kernels of a network."""
        return sum(a * b for a, b in zip(self.dims[:-1], self.dims[1:], strict=True))

    @property
    def step_flop(self) -> int:
        """Matrix-multiply operations of a training step of one network."""
        return self.batch * (6 * self.weights - 2 * INPUTS * self.width)

    @property
    def gflop(self) -> float:
        """Matrix-multiply operations of all runs, the final evaluation included."""
        final = 2 * (TRAIN + TEST) * self.weights
        return self.runs * (self.steps * self.step_flop + final) / 1e9


SIZES = {
    "32x3": Work(runs=256, width=32, depth=3, batch=32, steps=600, hand_tile=16),
    "64x4": Work(runs=64, width=64, depth=4, batch=64, steps=600, hand_tile=4),
    "128x8": Work(runs=64, width=128, depth=8, batch=128, steps=60, hand_tile=2),
    "512x4": Work(runs=16, width=512, depth=4, batch=256, steps=30, hand_tile=2),
}

Run = Callable[[], float]


def data() -> tuple[np.ndarray, ...]:
    """x_train, y_train, x_test, y_test: Gaussian inputs, random classes."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(TRAIN + TEST, INPUTS)).astype(np.float32)
    y = rng.integers(0, OUTPUTS, TRAIN + TEST).astype(np.int32)
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak() -> float:
    """GFLOP/s of a 2048 × 2048 float32 matrix product on all cores."""
    a = jnp.asarray(np.random.default_rng(0).normal(size=(2048, 2048)), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    product(a).block_until_ready()
    seconds = min(timed(lambda: product(a).block_until_ready()) for _ in range(5))
    return 2 * 2048**3 / seconds / 1e9


def jinit_sweep(work: Work) -> Run:
    """(a) `jinit.run`: planning, drawing weights, training, the table."""
    import jinit

    grid = jinit.Grid(
        initializer="he_normal", width=work.width, depth=work.depth, batch_size=work.batch,
        learning_rate=RATE, clip=f"global_norm({THRESHOLD})", steps=work.steps, evaluations=1,
        seeds=work.runs,
    )  # fmt: skip
    dataset = jinit.data.from_arrays(*data(), standardize=False)
    return lambda: timed(lambda: jinit.run(grid, data=dataset))


def one_jax_run(work: Work) -> Callable[..., Any]:
    """A whole run as a user would write it: init, scan over steps, clip, SGD, evaluate."""
    optimizer = optax.chain(optax.clip_by_global_norm(THRESHOLD), optax.sgd(RATE))

    def evaluate(params: Any, x: Any, y: Any) -> Any:
        outputs = forward(params, x)
        return cross_entropy(outputs, y), jnp.mean(jnp.argmax(outputs, -1) == y)

    def run(seed: Any, x: Any, y: Any, x_test: Any, y_test: Any) -> Any:
        key = jax.random.key(seed)
        params = init(work, key)

        def step(carry: Any, number: Any) -> Any:
            chosen = jax.random.randint(jax.random.fold_in(key, number), (work.batch,), 0, TRAIN)
            return update(optimizer, carry, x[chosen], y[chosen]), None

        start = (params, optimizer.init(params))
        (params, _), _ = jax.lax.scan(step, start, jnp.arange(work.steps))
        return evaluate(params, x, y), evaluate(params, x_test, y_test)

    return run


def init(work: Work, key: Any) -> list[Any]:
    """He weights and zero biases."""
    draw = jax.nn.initializers.he_normal()
    pairs = zip(work.dims[:-1], work.dims[1:], strict=True)
    return [
        (draw(jax.random.fold_in(key, i), pair), jnp.zeros(pair[1])) for i, pair in enumerate(pairs)
    ]


def forward(params: list[Any], x: Any) -> Any:
    """Logits."""
    for kernel, bias in params[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    return x @ params[-1][0] + params[-1][1]


def cross_entropy(outputs: Any, y: Any) -> Any:
    """Mean softmax cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()


def update(optimizer: Any, carry: Any, x: Any, y: Any, outputs: Any = forward) -> Any:
    """One SGD step."""
    params, state = carry
    gradient = jax.grad(lambda p: cross_entropy(outputs(p, x), y))(params)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state


def vmap_all(work: Work) -> Run:
    """(b) `jit(vmap(run))` over all lanes at once."""
    run = jax.jit(jax.vmap(one_jax_run(work), in_axes=(0, *[None] * 4)))
    seeds, arrays = jnp.arange(work.runs), data()
    return lambda: timed(lambda: jax.block_until_ready(run(seeds, *arrays)))


def hand_tiles(work: Work) -> Run:
    """(f) Hand-written tiles: the same run, vmapped in small tiles, on two threads."""
    run = jax.jit(jax.vmap(one_jax_run(work), in_axes=(0, *[None] * 4)))
    arrays = [jnp.asarray(array) for array in data()]
    tiles = np.arange(work.runs).reshape(-1, work.hand_tile)

    def everything() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda seeds: jax.tree.map(np.asarray, run(seeds, *arrays)), tiles))

    return lambda: timed(everything)


def hyperoptax_grid(work: Work) -> Run:
    """(g) hyperoptax: its vmapped grid over the seeds, jitted, of the same run."""
    import hyperoptax

    run, arrays = one_jax_run(work), [jnp.asarray(array) for array in data()]

    def objective(key: Any, numbers: Any) -> Any:
        (train_loss, train_accuracy), (loss, accuracy) = run(
            numbers["seed"].astype(jnp.uint32), *arrays
        )
        return train_loss + train_accuracy + loss + accuracy  # hyperoptax takes one number

    seeds = {"seed": hyperoptax.DiscreteSpace(tuple(range(work.runs)))}
    state, search = hyperoptax.GridSearch.init(seeds, n_parallel=work.runs)
    once = jax.jit(lambda key: search.optimize(state, key, objective, n_iterations=1)[1])
    return lambda: timed(lambda: jax.block_until_ready(once(jax.random.key(0))))


def python_loop(work: Work, runs: int = 4, init: Any = init, forward: Any = forward) -> Run:
    """(c) A Python loop over a jitted step, one network after the other; `runs` are timed.

    `init(work, key)` draws the weights of another model, `forward(params, x)` computes its outputs.
    """
    x, y, x_test, _ = (jnp.asarray(array) for array in data())
    optimizer = optax.chain(optax.clip_by_global_norm(THRESHOLD), optax.sgd(RATE))

    @jax.jit
    def step(carry: Any, key: Any, number: Any) -> Any:
        chosen = jax.random.randint(jax.random.fold_in(key, number), (work.batch,), 0, TRAIN)
        return update(optimizer, carry, x[chosen], y[chosen], forward)

    draw = jax.jit(lambda key: init(work, key))
    outputs = jax.jit(forward)

    def everything() -> None:
        for seed in range(runs):
            key = jax.random.key(seed)
            params = draw(key)
            carry = params, optimizer.init(params)
            for number in range(work.steps):
                carry = step(carry, key, number)
            jax.block_until_ready([outputs(carry[0], x), outputs(carry[0], x_test)])

    return lambda: timed(everything) * work.runs / runs


def torch_loop(work: Work, runs: int = 2) -> Run:
    """(d) PyTorch: `torch.nn.init`, SGD, `clip_grad_norm_`, one network after the other."""
    import torch

    x, y, x_test, _ = (torch.tensor(array) for array in data())
    y = y.long()

    def train(seed: int) -> None:
        torch.manual_seed(seed)
        layers: list[Any] = []
        for a, b in zip(work.dims[:-1], work.dims[1:], strict=True):
            layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
            torch.nn.init.kaiming_normal_(layers[-2].weight)
            torch.nn.init.zeros_(layers[-2].bias)
        model = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
        for _ in range(work.steps):
            chosen = torch.randint(TRAIN, (work.batch,))
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), THRESHOLD)
            optimizer.step()
        with torch.no_grad():
            model(x), model(x_test)

    def everything() -> None:
        for seed in range(runs):
            train(seed)

    return lambda: timed(everything) * work.runs / runs


def torch_vmap(work: Work, part: int = 10) -> Run:
    """(e) `torch.func.vmap` of `grad` over stacked networks; one step in `part` is timed."""
    import torch
    from torch.func import grad, vmap

    x, y, x_test, _ = (torch.tensor(array) for array in data())
    y, steps = y.long(), max(2, work.steps // part)

    def outputs(params: Any, x: Any) -> Any:
        for kernel, bias in params[:-1]:
            x = torch.relu(x @ kernel + bias)
        return x @ params[-1][0] + params[-1][1]

    def loss(params: Any, x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(outputs(params, x), y)

    gradients = vmap(grad(loss))

    def everything() -> None:
        with torch.no_grad():
            pairs = list(zip(work.dims[:-1], work.dims[1:], strict=True))
            params = [
                (torch.randn(work.runs, a, b) * (2 / a) ** 0.5, torch.zeros(work.runs, b))
                for a, b in pairs
            ]
            for _ in range(steps):
                chosen = torch.randint(TRAIN, (work.runs, work.batch))
                slopes = gradients(params, x[chosen], y[chosen])
                square = sum((g.flatten(1) ** 2).sum(1) for layer in slopes for g in layer)
                scale = RATE * torch.clamp(THRESHOLD / square.sqrt(), max=1.0)
                params = [
                    (w - scale[:, None, None] * gw, b - scale[:, None] * gb)
                    for (w, b), (gw, gb) in zip(params, slopes, strict=True)
                ]
            vmap(outputs, in_dims=(0, None))(params, x), vmap(outputs, (0, None))(params, x_test)

    return lambda: timed(everything) * work.steps / steps
