"""Refuses combinations of grid, model and data that cannot run, before anything is compiled."""

from __future__ import annotations

from collections.abc import Sequence

from jinit import data as datasets
from jinit import errors
from jinit.calibrate._registry import split
from jinit.data import DataLike, Dataset
from jinit.data._arrays import CLASSES
from jinit.engine import _executors
from jinit.sweep._arms import OWN, Whole, content
from jinit.sweep._grid import Grid
from jinit.sweep._network import TrainNetwork
from jinit.sweep._opened import OpenedModel
from jinit.sweep._rules import BIAS, KERNEL, ModelLeaves
from jinit.sweep._watch import check_watch
from jinit.train._batches import check_size
from jinit.train._own import OptimizerFor, OwnOptimizer
from jinit.train._own_loss import OwnFunction
from jinit.train.losses import Loss
from jinit.typing import PyTree

# Finished tiles, their rows in one piece and the table are in memory together: 3.2 copies measured.
COPIES = 4


def user_optimizer(grid: Grid, optimizer: OptimizerFor) -> OwnOptimizer:
    """The user's optimizer; refuses axes that would have no effect on it."""
    if not callable(optimizer):
        raise errors.wrong_type(
            "optimizer",
            optimizer,
            "a function of the learning rate that returns an optax transform",
            "optimizer=lambda learning_rate, **numbers: optax.adam(learning_rate)",
        )
    own = OwnOptimizer(optimizer)
    effective = {
        "optimizer": False,
        "weight_decay": own.takes("weight_decay"),
        "momentum": own.takes("momentum"),
        "weight_decay_on": False,
    }
    for axis, has_effect in effective.items():
        if not has_effect and grid.values(axis) != (getattr(Grid, axis),):
            raise errors.refusal(
                f"grid axis {axis!r}",
                getattr(grid, axis),
                "its default with an optimizer that does not take it",
                "leave it out, or let the function take **numbers",
            )
    return own


def user_data(grid: Grid, data: DataLike) -> Dataset:
    """The user's data set; refuses a grid that names another data set."""
    if grid.dataset != Grid.dataset and not (isinstance(data, str) and grid.dataset == data):
        raise errors.refusal(
            "dataset", grid.dataset, "its default when you pass data=", "give one of the two"
        )
    return datasets.get(data)


def check_effects(grid: Grid, leaves: ModelLeaves) -> None:
    """Refuses initializers for a model without leaves that they would draw."""
    targets = leaves.targets
    if KERNEL not in targets:
        raise errors.refusal(
            f"leaves of {leaves.model.name}",
            ", ".join(leaf.path for leaf in leaves.leaves) or "none",
            "at least one kernel, which the grid's initializer draws",
            "layers={'path/of/the/kernel': 'dense'}, or rules=",
        )
    given = grid.values("bias_initializer")
    if BIAS not in targets and given != (Grid.bias_initializer,):
        raise errors.refusal(
            "bias_initializer", given, "its default for a model without biases", "leave it out"
        )


def check_start(grid: Grid, *, ruled: bool) -> None:
    """Refuses axes of initializers that would have no effect, and calibrations of given weights."""
    for arm in grid.values("initializer"):
        kernel = content(arm)
        if isinstance(kernel, Whole) or kernel == OWN:
            raise errors.refusal(
                "initializer",
                str(arm),
                "initializers of single leaves: start= already says how all leaves start",
                "leave start= out, or name an initializer",
            )
        if split(kernel)[1] is not None:
            raise errors.refusal(
                "initializer",
                str(arm),
                "initializers alone with start=: a calibration rescales all layers, given ones too",
                "calibrate the parameters before: jinit.calibrate",
            )
    for axis in ("initializer", "bias_initializer", "gain"):
        if not ruled and grid.values(axis) != (getattr(Grid, axis),):
            raise errors.refusal(
                axis,
                getattr(grid, axis),
                "its default, because start= keeps every leaf that no rule names",
                "rules=lambda kernel, bias: {'head/kernel': kernel, 'head/bias': bias}",
            )


def check_outputs(opened: OpenedModel, dataset: Dataset, loss: Loss) -> None:
    """Refuses a model whose number of outputs does not fit the data set and the loss."""
    if isinstance(loss.function, OwnFunction):
        return  # asked by its own check
    wanted, outputs = loss.outputs(dataset.outputs), opened.outputs(dataset, batch=2)
    shape = getattr(outputs, "shape", None)
    inner = dataset.y_train.shape[1:]
    if dataset.task in CLASSES:  # classes, perhaps at each position
        axes, fitting = (*inner, wanted), {(2, *inner, wanted)}
        fitting |= {(2, *inner)} if wanted == 1 else set()
    else:
        axes, fitting = inner, {(2, *inner), (2, wanted)}
        fitting |= {(2,)} if wanted == 1 else set()
    if shape not in fitting:
        fix = "set the width of the last layer"
        if shape is None:
            fix = "return one array, or loss=lambda outputs, y: …, which gets all outputs"
        one_each = dataset.task == "binary" and shape == (2, *inner, 2)
        raise errors.refusal(
            f"outputs of {opened.leaves.model.name}",
            type(outputs).__name__ if shape is None else shape,
            f"shape (batch, {', '.join(map(str, axes))}) for {dataset.name!r} with {loss.name}",
            "loss='softmax_cross_entropy' for one output per class" if one_each else fix,
        )


def check_data(network: TrainNetwork, dataset: Dataset, shapes: PyTree) -> None:
    """Refuses label noise on regression, large batches, and probes that give no numbers."""
    check_watch(network.watch, network.model, shapes, dataset)
    if network.noisy and dataset.task not in CLASSES:
        raise errors.refusal(
            "label_noise", f"a {dataset.task} data set", "classes", "drop the label_noise axis"
        )
    if dataset.ignores and network.config.accumulate > 1:
        raise errors.refusal(
            "accumulate",
            network.config.accumulate,
            "1 with labels that are not counted: the mean of gradients would weigh batches alike, "
            "however many labels they count",
            "a larger batch_size",
        )
    check_size(network.config, dataset)
    if network.noisy and dataset.generator is not None:
        fix = "let the function draw noisy labels"
        raise errors.refusal("label_noise", "generated data", "a fixed training set", fix)


def check_programs(names: Sequence[str]) -> None:
    """Refuses two programs that are the same: their runs would be counted twice."""
    for position, name in enumerate(names):
        if name in names[:position]:
            raise errors.refusal(
                "programs of the grid",
                f"twice {name}",
                "values that differ for every data set",
                "None is the default loss: leave None or the loss out",
            )


def check_memory(tile_bytes: int, tiles: int, machine: _executors.Workers, name: str) -> None:
    """Refuses tiles, padding included, that exceed the memory of the device that runs them.

    The threads of a CPU share its memory, and each runs a tile of its own.
    """
    on_host = machine.platform == "cpu"
    memory = _executors.host_memory() if on_host else machine.memory_bytes
    at_once = min(tiles, len(machine.devices)) if on_host else 1
    if memory is not None and at_once * tile_bytes > memory:
        fewer = ", or workers=1" if at_once > 1 else ""
        raise errors.refusal(
            f"memory of {f'{at_once} tiles at once' if at_once > 1 else 'one tile'} on {name!r}",
            f"{at_once * tile_bytes / 2**30:,.1f} GiB",
            f"at most the {memory / 2**30:,.1f} GiB that this process may use"
            if on_host
            else f"at most the {memory / 2**30:,.1f} GiB of a device",
            f"make the network narrower, or pass a smaller tile={fewer}",
        )


def check_results(result_bytes: int, runs: int, points: int) -> None:
    """Refuses a sweep whose results would fill the memory, after hours of training.

    Args:
      result_bytes: bytes of all metrics and curves.
      runs: number of runs.
      points: points of each learning curve.
    """
    memory = _executors.host_memory()
    needed = COPIES * result_bytes
    if memory is not None and needed > memory:
        raise errors.refusal(
            f"memory of the results of {runs:,} runs with {points:,} evaluations",
            f"{needed / 2**30:,.1f} GiB",
            f"at most the {memory / 2**30:,.1f} GiB that this process may use",
            "lower evaluations, or split the grid and write each table",
        )
