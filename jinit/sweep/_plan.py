"""What a grid will cost, and which programs it becomes; runs nothing."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import clipping, errors, frameworks, models, parameters
from jinit import data as datasets
from jinit.calibrate._registry import split
from jinit.data import Dataset
from jinit.engine import _cost, _executors, _tiles
from jinit.models import Model
from jinit.sweep import _calibrated
from jinit.sweep._grid import CODE_AXES, MODEL_AXES, NUMBER_AXES, Grid
from jinit.sweep._network import RulesFor, TrainNetwork, lane_shapes
from jinit.train import FitConfig, losses, optimizers
from jinit.train._step import TrainState, make_train_step
from jinit.typing import PyTree

# A round figure for one modern core at float32, to turn FLOPs into a rough time.
NOMINAL_GFLOPS_PER_CORE = 25.0


@dataclass(frozen=True)
class PlannedProgram:
    """One training program and everything that runs through it.

    Attributes:
      name: unique in the plan.
      position: its place in the grid's order.
      code: the value of every axis that makes this program its own.
      labels: what a table calls those values.
      numbers: number axis → its values, in lane order (the last varies fastest).
      dataset: the data.
      network: the pure function it compiles.
      shapes: the parameter tree, ``jax.ShapeDtypeStruct``.
      rules: ``rules(initializer, bias_initializer)`` for that tree.
      runs: networks it trains.
      tile: networks per call.
      lane_bytes: what one network keeps from step to step: parameters and optimizer state.
      flops: matmul operations of all its runs.
    """

    name: str
    position: int
    code: Mapping[str, Any]
    labels: Mapping[str, Any]
    numbers: Mapping[str, tuple[Any, ...]]
    dataset: Dataset
    network: TrainNetwork
    shapes: PyTree
    rules: RulesFor
    runs: int
    tile: int
    lane_bytes: int
    flops: int


@dataclass(frozen=True)
class Plan:
    """A grid turned into programs.

    Attributes:
      programs: longest first.
      runs: networks in all.
      flops: matmul operations in all.
      result_bytes: memory of the results.
      workers: threads or devices that will run tiles.
      seconds: rough training time, reckoned at ``NOMINAL_GFLOPS_PER_CORE``.
    """

    programs: tuple[PlannedProgram, ...]
    runs: int
    flops: int
    result_bytes: int
    workers: int
    seconds: float


def plan(
    grid: Grid,
    *,
    model: Any = None,
    data: Any = None,
    rules: RulesFor | None = None,
    tile: int | None = None,
    workers: int | None = None,
) -> Plan:
    """The programs, FLOPs, memory and rough time of a sweep; trains nothing.

    Args:
      grid: the recipe.
      model, data, rules, tile, workers: as :func:`jinit.run`.

    Returns:
      A :class:`Plan`.

    Raises:
      ValueError, TypeError: whatever :func:`jinit.run` would refuse.

    >>> made = plan(Grid(dataset="xor", depth=(1, 2), seeds=8))
    >>> len(made.programs), made.runs
    (2, 16)
    """
    if not isinstance(grid, Grid):
        raise errors.wrong_type("grid", grid, "a jinit.Grid", "jinit.Grid(depth=8)")
    if rules is not None and not callable(rules):
        raise errors.wrong_type(
            "rules",
            rules,
            "a function of (initializer, bias_initializer) that returns rules",
            "rules=lambda kernel, bias: {'*/kernel': kernel, '*/bias': bias}",
        )
    if tile is not None:
        _tiles.check_tile(tile)
    own_data = None if data is None else _user_data(grid, data)
    sources = _Sources(
        grid=grid,
        model=None if model is None else _user_model(grid, model),
        rules=rules,
        tile=tile,
        machine=_executors.local(workers),
    )
    machine = sources.machine
    axes = [axis for axis in CODE_AXES if sources.model is None or axis not in MODEL_AXES]
    programs: list[PlannedProgram] = []
    for clip, noises in itertools.product(_clips(grid).items(), _noises(grid)):
        fixed = {"clip_threshold": clip[1], "label_noise": noises}
        named = [zip(grid.values(axis), grid.labels(axis), strict=True) for axis in axes]
        for pairs in itertools.product(*named):
            code = {axis: value for axis, (value, _) in zip(axes, pairs, strict=True)}
            code |= {"clip": clip[0]}
            labels = {axis: label for axis, (_, label) in zip(axes, pairs, strict=True)}
            labels = {a: code[a] if isinstance(code[a], int) else labels[a] for a in labels}
            dataset = own_data or datasets.get(code["dataset"])
            labels["dataset"] = dataset.name
            programs.append(_program(sources, code, labels, fixed, dataset, len(programs)))
    programs.sort(key=lambda program: -program.flops)
    runs, flops = (sum(getattr(item, name) for item in programs) for name in ("runs", "flops"))
    points = len(FitConfig(steps=grid.steps, evaluations=grid.evaluations).evaluation_steps())
    return Plan(
        programs=tuple(programs),
        runs=runs,
        flops=flops,
        result_bytes=runs * 4 * (9 + 4 * points),
        workers=len(machine.devices),
        seconds=flops / (NOMINAL_GFLOPS_PER_CORE * 1e9 * len(machine.devices)),
    )


@dataclass(frozen=True)
class _Sources:
    """What all programs of a plan are made from."""

    grid: Grid
    model: Model | None
    rules: RulesFor | None
    tile: int | None
    machine: _executors.Workers


def _program(
    sources: _Sources,
    code: dict[str, Any],
    labels: dict[str, Any],
    fixed: dict[str, tuple[float, ...]],
    dataset: Dataset,
    position: int,
) -> PlannedProgram:
    grid = sources.grid
    loss = losses.get(code["loss"], dataset.task)
    code, labels = code | {"loss": loss.name}, labels | {"loss": loss.name}
    model = sources.model or _mlp(grid, code, loss.outputs(dataset.outputs))
    shapes = model.shapes(dataset.x_train[:1])
    _check_outputs(model, shapes, dataset, loss)
    numbers = {axis: grid.values(axis) for axis in NUMBER_AXES} | fixed
    network = _network(grid, code, model, loss, noisy=any(numbers["label_noise"]))
    _check_data(network, dataset)
    rules = sources.rules or functools.partial(default_rules, shapes)
    if sources.rules is None:
        _check_biases(grid, shapes)
    for kernel, bias in itertools.product(numbers["initializer"], numbers["bias_initializer"]):
        drawn, calibration = split(kernel)
        parameters.assign(shapes, rules(drawn, bias))
        # Of many programs the first speaks for all: tracing takes a second.
        if calibration is not None and position == 0:
            _calibrated.check(calibration, model, shapes, dataset, loss)
    seeds = len(grid.seed_values) * len(grid.data_seed_values or (0,))
    runs = seeds * math.prod(len(values) for values in numbers.values())
    flops, lane_bytes = _costs(network, shapes, dataset)
    width = sources.tile or _tiles.tile_width(
        lane_bytes,
        sources.machine.platform,
        count=runs,
        memory_bytes=sources.machine.memory_bytes,
    )
    described = labels | {"clip": code["clip"]} | ({"label_noise": ">0"} if network.noisy else {})
    _check_memory(width * lane_bytes, dataset.name)
    return PlannedProgram(
        name=", ".join(f"{axis}={value}" for axis, value in described.items()),
        position=position,
        code=code,
        labels=labels,
        numbers=numbers,
        dataset=dataset,
        network=network,
        shapes=shapes,
        rules=rules,
        runs=runs,
        tile=width,
        lane_bytes=lane_bytes,
        flops=runs * flops,
    )


def _network(
    grid: Grid, code: Mapping[str, Any], model: Model, loss: losses.Loss, *, noisy: bool
) -> TrainNetwork:
    return TrainNetwork(
        model=model,
        loss=loss,
        optimizer=optimizers.get(code["optimizer"]),
        clip=code["clip"],
        config=grid.fit_config(code["batch_size"]),
        decays=any(grid.values("weight_decay")),
        scales=any(value != 1 for value in grid.values("gain")),
        noisy=noisy,
    )


def default_rules(shapes: PyTree, initializer: Any, bias_initializer: Any) -> dict[str, Any]:
    """kernel → initializer, bias → bias initializer, scale → ones, shift → zeros.

    Only the patterns that match a leaf: a tree without biases needs no rule for them.

    >>> shapes = {"out": {"kernel": jax.ShapeDtypeStruct((4, 3), "float32")}}
    >>> default_rules(shapes, "he_normal", "zeros")
    {'*/kernel': 'he_normal'}
    """
    wanted = {
        "*/kernel": initializer,
        "*/bias": bias_initializer,
        "*/scale": "ones",
        "*/shift": "zeros",
    }
    paths = [frameworks.path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    return {
        pattern: rule
        for pattern, rule in wanted.items()
        if any(parameters.matches(pattern, path) for path in paths)
    }


def _check_biases(grid: Grid, shapes: PyTree) -> None:
    given = grid.values("bias_initializer")
    if "*/bias" not in default_rules(shapes, "zeros", "zeros") and given != (
        Grid.bias_initializer,
    ):
        raise errors.refusal(
            "bias_initializer", given, "its default for a model without biases", "leave it out"
        )


def _mlp(grid: Grid, code: Mapping[str, Any], outputs: int) -> Model:
    return models.as_model(
        models.MLP(
            features=(code["width"],) * code["depth"] + (outputs,),
            activation=code["activation"],
            residual=grid.residual,
            layer_norm=grid.layer_norm,
        )
    )


def _user_model(grid: Grid, model: Any) -> Model:
    """The user's model; axes that would do nothing to it are refused, not ignored."""
    defaults = Grid()
    for axis in (*MODEL_AXES, "residual", "layer_norm"):
        if getattr(grid, axis) != getattr(defaults, axis):
            raise errors.refusal(
                f"grid axis {axis!r}",
                getattr(grid, axis),
                "its default when you bring your own model",
                "it would change nothing; build it into the model and compare runs",
            )
    return models.as_model(model)


def _user_data(grid: Grid, given: Any) -> Dataset:
    if grid.dataset != Grid.dataset and not (isinstance(given, str) and grid.dataset == given):
        raise errors.refusal(
            "dataset", grid.dataset, "its default when you pass data=", "give one of the two"
        )
    return datasets.get(given)


def _clips(grid: Grid) -> dict[str | None, tuple[float, ...]]:
    """Clip rule → its thresholds: the rule is code, the threshold a number."""
    rules: dict[str | None, tuple[float, ...]] = {}
    for spec in grid.values("clip"):
        rule, threshold = (None, math.inf) if spec is None else clipping.parse(spec)
        rules[rule] = (*rules.get(rule, ()), threshold)
    return rules


def _noises(grid: Grid) -> list[tuple[float, ...]]:
    """Label noise 0 and the rest: a program that replaces labels rounds its losses differently."""
    values = grid.values("label_noise")
    groups = (tuple(v for v in values if not v), tuple(v for v in values if v))
    return [group for group in groups if group]


def _check_outputs(model: Model, shapes: PyTree, dataset: Dataset, loss: losses.Loss) -> None:
    wanted = loss.outputs(dataset.outputs)
    batch = jax.ShapeDtypeStruct((2, *dataset.x_train.shape[1:]), np.dtype(np.float32))
    found = jax.eval_shape(model.apply, shapes, batch)
    if getattr(found, "shape", None) != (2, wanted):
        raise errors.refusal(
            f"outputs of {model.name}",
            getattr(found, "shape", type(found).__name__),
            f"shape (batch, {wanted}) for {dataset.name!r} with {loss.name}",
            "set the width of the last layer",
        )


def _check_memory(tile_bytes: int, name: str) -> None:
    """Refuses what cannot fit: a tile needs its state, its gradients and a copy of both."""
    memory = _executors.host_memory()
    if memory is not None and 4 * tile_bytes > memory:
        raise errors.refusal(
            f"memory of one tile on {name!r}",
            f"{4 * tile_bytes / 2**30:,.1f} GiB",
            f"at most this machine's {memory / 2**30:,.1f} GiB",
            "make the network narrower, or pass a smaller tile=",
        )


def _check_data(network: TrainNetwork, dataset: Dataset) -> None:
    if network.noisy and dataset.task == "regression":
        raise errors.refusal(
            "label_noise", "a regression data set", "classes", "drop the label_noise axis"
        )
    if network.config.batch_size > len(dataset.x_train):
        raise errors.refusal(
            "batch_size",
            network.config.batch_size,
            f"at most the {len(dataset.x_train)} training examples of {dataset.name!r}",
            "lower it",
        )


def _costs(network: TrainNetwork, shapes: PyTree, dataset: Dataset) -> tuple[int, int]:
    """FLOPs of one run and bytes a lane carries; remembered, because tracing takes 0.1 s."""
    leaves, tree = jax.tree.flatten((shapes, dataset))
    described = tuple((tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves)
    try:
        hash(network)
    except TypeError:
        return _traced_costs.__wrapped__(network, tree, described)
    return _traced_costs(network, tree, described)


@functools.lru_cache(maxsize=256)
def _traced_costs(
    network: TrainNetwork, tree: Any, described: tuple[tuple[tuple[int, ...], str], ...]
) -> tuple[int, int]:
    leaves = [jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for shape, dtype in described]
    shapes, dataset = jax.tree.unflatten(tree, leaves)
    lane_bytes = _cost.carried_bytes(network, lane_shapes(shapes), (dataset,))
    return _flops_per_run(network, shapes, dataset), lane_bytes


def _flops_per_run(network: TrainNetwork, shapes: PyTree, dataset: Dataset) -> int:
    optimizer = optimizers.make("sgd", 0.1)
    step = make_train_step(network.model.apply, network.loss, optimizer)
    state = jax.eval_shape(lambda params: TrainState.create(params, optimizer), shapes)

    def examples(array: Any, count: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype)

    size = network.config.batch_size
    batch = (examples(dataset.x_train, size), examples(dataset.y_train, size))
    training = network.config.steps * _cost.matmul_flops(step, state, batch)
    evaluations = len(network.config.evaluation_steps())
    forward = [
        _cost.matmul_flops(network.model.apply, shapes, x)
        for x in (dataset.x_test, dataset.x_train)
    ]
    return training + evaluations * forward[0] + forward[1]
