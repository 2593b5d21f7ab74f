"""Turns a grid into training programs and estimates their cost; runs nothing."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp

from jinit import data as datasets
from jinit import errors
from jinit._specs import label
from jinit._switches import own_switches
from jinit.data import DataLike, Dataset
from jinit.engine import _executors, _tiles
from jinit.engine._divided import OnceTraced
from jinit.frameworks import Layers
from jinit.parameters._rules import Assignment
from jinit.stats._power import fewest_pairs
from jinit.sweep import _calibrated, _checks, _objectives, _optimized
from jinit.sweep._assigned import assigned
from jinit.sweep._costs import in_turn, rough_seconds, run_costs, working_bytes
from jinit.sweep._grid import NUMBER_AXES, Grid
from jinit.sweep._groups import groups
from jinit.sweep._models import ModelArms, Models
from jinit.sweep._network import TrainNetwork
from jinit.sweep._opened import OpenedModel, OpenedModels, described
from jinit.sweep._rules import ModelLeaves, RulesFor, rules_for, scaled_by_gain
from jinit.sweep._shown import plan_html, shown_plan, shown_program
from jinit.sweep._start import Start, with_start
from jinit.sweep._watch import checked_watch
from jinit.train import losses, optimizers
from jinit.train._balanced import class_metrics
from jinit.train._multilabel import label_metrics
from jinit.train._own import OptimizerFor, OwnOptimizer
from jinit.train._own_loss import MetricFunction, OwnLossFunction
from jinit.train._positions import fitted
from jinit.train._regression import target_metrics
from jinit.typing import PyTree

# Bytes of a run's axes and metrics: about 18 axes and 11 metrics, most of them 8 bytes in a table.
_ROW_BYTES = 8 * 29


@dataclass(frozen=True, repr=False)
class PlannedProgram:
    """One training program and the runs that it serves.

    Attributes:
      name: unique in the plan.
      position: index of the program in the order of the grid.
      code: code axis → the value that is compiled into the program.
      labels: code axis → the same value as tables show it.
      numbers: number axis → its values, in lane order (the last axis varies fastest).
      dataset: the training and test examples.
      network: the pure function that is compiled.
      shapes: the parameter tree, leaves ``jax.ShapeDtypeStruct``.
      state: the tree of the network's state; () if there is none.
      leaves: the leaves of the tree with their layers.
      rules: ``rules(initializer, bias_initializer) -> rules`` for that tree, with ``"keep"`` for
        leaves that keep the model's own start.
      runs: number of networks that the program trains.
      tile: networks per call.
      lane_bytes: bytes that one network carries from step to step: parameters and optimizer state.
      tile_bytes: memory of one call, padding included.
      flops: floating-point operations of the matrix products of all runs.

    >>> plan(Grid(dataset="xor", depth=2, seeds=8)).programs[0].labels["depth"]
    2
    """

    name: str
    position: int
    code: Mapping[str, Any]
    labels: Mapping[str, Any]
    numbers: Mapping[str, tuple[Any, ...]]
    dataset: Dataset
    network: TrainNetwork
    shapes: PyTree
    state: PyTree
    leaves: ModelLeaves
    rules: RulesFor
    runs: int
    tile: int
    lane_bytes: int
    tile_bytes: int
    flops: int

    @property
    def tiles(self) -> int:
        """Number of calls; the last one is padded."""
        return -(-self.runs // self.tile)

    @property
    def padded_flops(self) -> int:
        """As ``flops``, with the padding of the last tile."""
        return self.flops // self.runs * self.tiles * self.tile

    def __repr__(self) -> str:
        return f"PlannedProgram({shown_program(self)})"

    def assignments(self, pair: int = 0) -> list[Assignment]:
        """What each leaf gets from one arm: the rule, the initializer, fans and σ.

        Args:
          pair: number of the pair of an initializer and a bias initializer, in the grid's order.

        >>> one = plan(Grid(dataset="xor")).programs[0].assignments()[1]
        >>> one.leaf, one.rule, one.fan_in
        ('hidden_0/kernel', '*/kernel', 2.0)
        """
        axes = (self.numbers["initializer"], self.numbers["bias_initializer"])
        kernel, bias = list(itertools.product(*axes))[pair]
        return assigned(self.leaves, self.rules, (kernel, bias))[0]


@dataclass(frozen=True, repr=False)
class Plan:
    """The programs of a grid and an estimate of their costs.

    Attributes:
      programs: one per combination of the code axes, in the order of running, each with ``labels``
        (code axis → value), ``runs``, ``tile`` (networks per call), ``lane_bytes`` and ``flops``.
      runs: number of networks of all programs.
      flops: floating-point operations of the matrix products of all programs.
      result_bytes: bytes of all metrics and curves.
      workers: number of threads or devices that will run tiles.
      devices: the names of the devices, ``"cpu:0"``.
      seconds: rough training time with padding, at 25 GFLOP/s per worker that has a tile to run.
      seeds: number of seeds of each arm.
      comparisons: number of comparisons of the arms with one baseline, over all cells.
      seeds_needed: the fewest seeds with which one of so many comparisons can be settled; fewer
        than these, and no verdict can be reached however clear the differences are.

    >>> plan(Grid(dataset="xor", depth=2, seeds=8)).runs
    8
    """

    programs: tuple[PlannedProgram, ...]
    runs: int
    flops: int
    result_bytes: int
    workers: int
    devices: tuple[str, ...]
    seconds: float
    seeds: int
    comparisons: int
    seeds_needed: int

    @property
    def tiles(self) -> int:
        """Number of calls of all programs."""
        return sum(program.tiles for program in self.programs)

    def __repr__(self) -> str:
        return f"Plan({shown_plan(self)})"

    def _repr_html_(self) -> str:
        return plan_html(self)


def plan(
    grid: Grid,
    *,
    model: Models | None = None,
    data: DataLike | None = None,
    rules: RulesFor | None = None,
    layers: Layers | None = None,
    optimizer: OptimizerFor | None = None,
    loss: OwnLossFunction | Mapping[str, OwnLossFunction | str] | None = None,
    metrics: Mapping[str, MetricFunction] | None = None,
    start: Start | None = None,
    tile: int | None = None,
    workers: _executors.WorkersLike | None = None,
) -> Plan:
    """The programs, FLOPs, memory and rough time of a sweep; trains nothing.

    Args:
      grid: a :class:`Grid`.
      model, data, rules, layers, optimizer, loss, metrics, start, tile, workers: as in
        :func:`jinit.run`.

    Returns:
      A :class:`Plan`.

    Raises:
      ValueError, TypeError: input that :func:`jinit.run` would refuse.

    >>> planned = plan(Grid(dataset="xor", depth=(1, 2), seeds=8))
    >>> len(planned.programs), planned.runs
    (2, 16)
    """
    with own_switches():
        if not isinstance(grid, Grid):
            raise errors.wrong_type("grid", grid, "a jinit.Grid", "jinit.Grid(depth=8)")
        grid = _objectives.with_objective(grid, loss, metrics)
        if rules is not None and not callable(rules):
            raise errors.wrong_type(
                "rules",
                rules,
                "a function of (initializer, bias_initializer) that returns rules",
                "rules=lambda kernel, bias: {'*/kernel': kernel, '*/bias': bias}",
            )
        if tile is not None:
            _tiles.check_tile(tile)
        own_data = None if data is None else _checks.user_data(grid, data)
        sources = _Sources(
            grid=grid,
            models=ModelArms.of(grid, model),
            rules=rules,
            layers=layers,
            optimizer=None if optimizer is None else _checks.user_optimizer(grid, optimizer),
            start=start,
            tile=tile,
            machine=_executors.local(workers),
        )
        machine = sources.machine
        programs = _programs(sources, own_data)
        _checks.check_programs([program.name for program in programs])
        programs = in_turn(programs)
        runs, flops = (sum(getattr(item, name) for item in programs) for name in ("runs", "flops"))
        seeds, arms = len(grid.seed_values), len(grid.values("initializer"))
        crossed = runs // (seeds * max(1, len(grid.data_seed_values or (0,))))
        comparisons = crossed // arms * (arms - 1)
        points = len(programs[0].network.config.evaluation_steps())
        sets, further = (2 if grid.validation else 1), len(programs[0].network.loss.metrics)
        probes = len(checked_watch(grid.watch)) * len(programs[0].leaves.leaves)
        result_bytes = runs * (_ROW_BYTES + 4 * (2 + probes + sets * (2 + further)) * points)
        _checks.check_results(result_bytes, runs, points)
        return Plan(
            programs=tuple(programs),
            runs=runs,
            flops=flops,
            result_bytes=result_bytes,
            workers=len(machine.devices),
            devices=machine.device_names,
            seconds=rough_seconds(programs, len(machine.devices)),
            seeds=seeds,
            comparisons=comparisons,
            seeds_needed=fewest_pairs(comparisons) if comparisons else 1,
        )


@dataclass(frozen=True)
class _Sources:
    """The checked arguments of :func:`plan`, which all programs share."""

    grid: Grid
    models: ModelArms
    rules: RulesFor | None
    layers: Layers | None
    optimizer: OwnOptimizer | None
    start: Start | None
    tile: int | None
    machine: _executors.Workers
    calibrated: set[Hashable] = field(default_factory=set)
    opened: OpenedModels = field(default_factory=OpenedModels)
    once: OnceTraced = field(default_factory=OnceTraced)


def _programs(sources: _Sources, own_data: Dataset | None) -> list[PlannedProgram]:
    """One program per combination of the code axes, in the order of the grid."""
    grid, axes = sources.grid, sources.models.axes
    programs: list[PlannedProgram] = []
    for clip, fixed in groups(grid):
        for pairs in itertools.product(*map(sources.models.options, axes)):
            code = {axis: value for axis, (value, _) in zip(axes, pairs, strict=True)}
            code |= {"clip": clip}
            labels = {axis: label for axis, (_, label) in zip(axes, pairs, strict=True)}
            labels = {a: code[a] if isinstance(code[a], int) else labels[a] for a in labels}
            dataset = own_data or datasets.get(code["dataset"])
            dataset = dataset.hold_out(grid.validation) if grid.validation else dataset
            if sources.optimizer is not None:
                labels["optimizer"] = label(sources.optimizer.function)
            labels["dataset"] = dataset.name
            with errors.inside(sources.models.place(code)):
                program = _program(sources, code, labels, fixed, dataset, len(programs))
            programs.append(program)
    return programs


def _program(
    sources: _Sources,
    code: dict[str, Any],
    labels: dict[str, Any],
    fixed: dict[str, tuple[Any, ...]],
    dataset: Dataset,
    position: int,
) -> PlannedProgram:
    """The program of one combination of the code axes.

    Args:
      code, labels: as in :class:`PlannedProgram`, but the loss may be None (the default).
      fixed: the number axes whose values depend on the program, of :func:`groups`.
    """
    grid = sources.grid
    loss = fitted(losses.get(code["loss"], dataset.task, dataset.outputs), dataset)
    ours = (*class_metrics(dataset, loss), *label_metrics(dataset), *target_metrics(dataset))
    measured = (*loss.metrics, *ours, *grid.metrics)
    loss = sources.once.of(dataclasses.replace(loss, metrics=measured))
    code |= {"loss": loss.name}
    labels |= {"loss": loss.name} if labels["loss"] == "None" else {}
    opened = _opened(sources, code, dataset, loss)
    leaves, state, shapes = opened.leaves, opened.state, opened.leaves.shapes
    numbers = {axis: grid.values(axis) for axis in NUMBER_AXES} | fixed
    network = _network(sources, code, numbers, leaves, loss)
    network = dataclasses.replace(network, traced=opened.traced, generator=dataset.generator)
    weights = _objectives.class_weights(grid.class_weights, dataset, loss)
    network = dataclasses.replace(network, weights=weights)
    _objectives.check_softened(network, opened, dataset)
    _checks.check_data(network, dataset, shapes)
    _optimized.check_own(network, numbers, shapes)
    _objectives.check_target(network.config, loss, dataset)
    rules = functools.partial(rules_for, leaves, sources.rules)
    for kernel, bias in itertools.product(numbers["initializer"], numbers["bias_initializer"]):
        _, calibration = assigned(leaves, rules, (kernel, bias))
        if calibration is not None:
            known, where = sources.calibrated, str(code.get("model"))
            _calibrated.check(calibration, leaves, state, dataset, loss, known, where)
    if sources.rules is None and sources.start is None:
        _checks.check_effects(grid, leaves)
    seeds = len(grid.seed_values) * len(grid.data_seed_values or (0,))
    runs = seeds * math.prod(len(values) for values in numbers.values())
    flops, lane = run_costs(network, shapes, state, dataset)
    width = sources.tile or _tiles.tile_width(lane, sources.machine.platform)
    named = labels | {"clip": code["clip"]} | ({"label_noise": ">0"} if network.noisy else {})
    named |= {"label_smoothing": ">0"} if network.smooths else {}
    named |= {"schedule": "by step"} if network.scheduled else {}
    tile_bytes = width * working_bytes(lane, sources.machine.platform)
    _checks.check_memory(tile_bytes, -(-runs // width), sources.machine, dataset.name)
    return PlannedProgram(
        name=", ".join(f"{axis}={value}" for axis, value in named.items()),
        position=position,
        code=code,
        labels=labels,
        numbers=numbers,
        dataset=dataset,
        network=network,
        shapes=shapes,
        state=state,
        leaves=leaves,
        rules=rules,
        runs=runs,
        tile=width,
        lane_bytes=lane.carried,
        tile_bytes=tile_bytes,
        flops=runs * flops,
    )


def _opened(
    sources: _Sources, code: Mapping[str, Any], dataset: Dataset, loss: losses.Loss
) -> OpenedModel:
    """A program's model; one that an earlier program of the plan has opened, if it is the same."""
    x, outputs = jnp.asarray(dataset.x_train[:1]), loss.outputs(dataset.outputs)
    taken = tuple(code.get(axis) for axis in ("model", *sources.models.taken))
    key = (taken, outputs, *described(x))
    opened = sources.opened.get(key)
    if opened is None:
        model = sources.models.make(code, outputs, x)
        opened = sources.opened.keep(key, OpenedModel.of(model, x, sources.layers))
    _checks.check_outputs(opened, dataset, loss)
    _objectives.check_objective(opened, dataset, loss)
    if sources.start is not None:
        _checks.check_start(sources.grid, ruled=sources.rules is not None)
        leaves = with_start(opened.leaves, sources.start, opened.state)
        opened = dataclasses.replace(opened, leaves=leaves)
    return opened


def _network(
    sources: _Sources,
    code: Mapping[str, Any],
    numbers: Mapping[str, tuple[Any, ...]],
    leaves: ModelLeaves,
    loss: losses.Loss,
) -> TrainNetwork:
    grid = sources.grid
    decays = any(grid.values("weight_decay"))
    optimizer = sources.optimizer or optimizers.get(code["optimizer"])
    return TrainNetwork(
        model=leaves.model,
        loss=loss,
        optimizer=optimizer,
        clip=code["clip"],
        config=grid.fit_config(code["batch_size"]),
        decays=decays,
        noisy=any(numbers["label_noise"]),
        smooths=any(numbers["label_smoothing"]),
        scheduled=numbers["schedule"] != (Grid.schedule,),
        scaled=scaled_by_gain(grid, leaves, sources.rules),
        decayed=_optimized.decayed(leaves) if grid.weight_decay_on == "weights" else None,
        matrices=_optimized.matrices(leaves) if _optimized.needs_matrices(optimizer) else None,
        watch=checked_watch(grid.watch),
    ).once_traced(sources.once)
