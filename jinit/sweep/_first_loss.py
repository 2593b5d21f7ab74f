"""Refuses a sweep if no run of any arm begins with a finite loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from jinit import _specs, errors
from jinit.data import Dataset
from jinit.engine._jobs import Job
from jinit.engine._tiles import cut
from jinit.engine._traced import Recall
from jinit.sweep._network import TrainNetwork, run_key
from jinit.sweep._plan import PlannedProgram
from jinit.train import StatefulApply
from jinit.train._own_loss import OwnFunction
from jinit.train.losses import at
from jinit.typing import Array, PyTree

# Of networks with functions of the user, by what these trace as.
_COMPILED: Recall[Callable[[PyTree, Dataset], Array]] = Recall()


def check_first_loss(programs: Sequence[PlannedProgram], jobs: Sequence[Job]) -> None:
    """Refuses programs of own losses that are not finite for any first weights of any arm.

    One finite loss ends the search, so that a sound sweep pays for one forward pass. Runs that
    fail among others that do not are data. Losses by name are asked once a whole tile has failed,
    by :func:`check_failed`, so that sound sweeps pay nothing.
    """
    own = (isinstance(program.network.loss.function, OwnFunction) for program in programs)
    if programs and all(own):
        _search(programs, jobs)


def check_failed(
    programs: Sequence[PlannedProgram], jobs: Sequence[Job], result: Mapping[str, np.ndarray]
) -> None:
    """The same search after a tile all of whose runs failed at their first step, or at no step.

    Where steps that are not finite are skipped, only the end shows that no loss was finite.

    Args:
      programs, jobs: of the sweep.
      result: of the first finished tile.
    """
    steps, failed = programs[0].network.config.steps, result["first_bad_step"]
    if np.isin(failed, (1, steps + 1)).all():
        _search(programs, jobs)


def _search(programs: Sequence[PlannedProgram], jobs: Sequence[Job]) -> None:
    """Refuses the programs if no lane of any has a finite loss."""
    bad: dict[str, float] = {}
    for program, job in zip(programs, jobs, strict=True):
        for draw in job.lanes.programs(program.tile):
            draw.compile(None)
        first = _first_loss(program)
        for tile in cut(program.runs, program.tile):
            numbers = np.minimum(np.arange(program.tile) + tile.start, tile.stop - 1)
            lanes = job.lanes.take(numbers, None)
            for place in range(tile.stop - tile.start):
                lane = jax.tree.map(lambda leaf, place=place: leaf[place], lanes)
                value = first(lane)
                if np.isfinite(value):
                    return
            bad[program.name] = value
    name, value = next(iter(bad.items()))
    arms = dict.fromkeys(
        _specs.label(arm) for program in programs for arm in program.numbers["initializer"]
    )
    shown = ", ".join(list(arms)[:6]) + (", …" if len(arms) > 6 else "")
    raise errors.refusal(
        f"loss {programs[0].network.loss.name!r} before the first step",
        f"{value} for every seed of every arm ({shown}), first in {name}",
        "a finite loss for at least one run",
        "look for log(0), 0/0, roots of negative numbers or overflow in the loss, model, data",
    )


def _first_loss(program: PlannedProgram) -> Callable[[PyTree], float]:
    """The loss of a lane's first weights; compiled once for networks that compute the same."""
    network = program.network
    known, parts = network.divided() or (None, ())
    leaves, tree = jax.tree.flatten((program.shapes, program.state, program.dataset))
    key = (known, tree, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))
    found = _COMPILED.find(key, parts) if parts else None
    compiled = found or jax.jit(lambda lane, data: _first(network, lane, data))

    def value(lane: PyTree) -> float:
        made = float(compiled(lane, program.dataset))
        if parts and found is None:
            _COMPILED.keep(key, parts, compiled)
        return made

    return value


def _first(network: TrainNetwork, lane: PyTree, data: Dataset) -> Array:
    """The loss of a run's first weights on a batch of training examples."""
    x, y = data.spread(network.config.batch_size)
    params, apply = lane["params"], network.apply
    leaves, tree = jax.tree.flatten(params)
    for position in network.scaled:
        leaves[position] = leaves[position] * lane["gain"]
    params = jax.tree.unflatten(tree, leaves)
    if isinstance(apply, StatefulApply):
        key = run_key(lane["data_seed"], "dropout")
        outputs = apply.train(params, lane["state"], x, key)[0]
    else:
        outputs = apply(params, x)
    return at(network.loss, params, 0)(outputs, y)
