"""Runs tiles over all devices of several processes, one tile for each device at a time.

One program covers a mesh of all devices: each device computes one tile of the constant width, so
the bits are those of one process. Sharding a larger batch instead would change the width.
"""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jinit import errors
from jinit._switches import entered, own_switches, taken
from jinit.engine import _environment
from jinit.engine._group import Group, StoppedError
from jinit.engine._interrupts import held
from jinit.engine._program import COMPILER_OPTIONS, Executable
from jinit.engine._schedule import PATIENCE, Event
from jinit.engine._store import Store
from jinit.engine._tiles import Tile, padded
from jinit.typing import PyTree

_AXIS = "runs"


class _Source(Protocol):
    count: int
    lane: PyTree

    def take(self, numbers: np.ndarray, device: jax.Device | None) -> PyTree: ...


class Spreadable(Protocol):
    """A prepared job, see :class:`jinit.engine._jobs.PreparedJob`."""

    @property
    def name(self) -> str: ...
    @property
    def width(self) -> int: ...
    @property
    def tiles(self) -> Sequence[Tile]: ...
    @property
    def source(self) -> _Source: ...


@dataclass(frozen=True)
class Work:
    """A job to spread.

    Attributes:
      task: the prepared job.
      fn: the function of one lane.
      shared: the arguments that all lanes share.
    """

    task: Spreadable
    fn: Callable[..., PyTree]
    shared: tuple[PyTree, ...]


@dataclass(frozen=True)
class _Order:
    """What the first process asks the others to run of a job.

    Attributes:
      name, width: of the job, to see that all processes run the same.
      numbers: the lanes that a store lacks; None for all.
      tiles: the indices of the tiles to run.
    """

    name: str
    width: int
    numbers: np.ndarray | None
    tiles: tuple[int, ...]


def run_spread(
    works: Sequence[Work],
    into: Store,
    group: Group,
    *,
    only: Callable[[Any, np.ndarray], Spreadable],
    hang_after: float,
    progress: Callable[[Event], None] | None,
) -> None:
    """Runs every tile that the first process's store lacks, on the devices of all processes.

    Args:
      works: the same jobs in the same order in all processes; in the first one without the lanes
        that a store has.
      into: receives each finished tile, in the first process.
      group: of the processes.
      only: leaves a job with some of its lanes.
      hang_after: seconds to wait for another process.
      progress: called after each event, in the first process.

    Raises:
      ValueError: processes that run different jobs, or have other versions or settings.
      RuntimeError: another process stopped.
      HangError: another process is lost or silent.
    """
    asked = (_environment.environment(), _orders(works, into) if group.first else [])
    environment, orders = group.same(asked, hang_after)
    _check(works, orders, environment)
    works = [_ordered(work, order, only, group) for work, order in zip(works, orders, strict=True)]
    report, switches = progress or (lambda event: None), taken()
    with own_switches(), ThreadPoolExecutor(1, "compiler") as compiler:
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        mesh = Mesh(np.array(devices), (_AXIS,))
        programs = [
            compiler.submit(_compiled, work, mesh, switches) if order.tiles else None
            for work, order in zip(works, orders, strict=True)
        ]
        try:
            for job, (work, order) in enumerate(zip(works, orders, strict=True)):
                spread = _Spread(work, job, order.tiles, mesh, group, hang_after)
                spread.run(programs[job], into, report)
        finally:
            compiler.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Spread:
    """One job over a mesh."""

    work: Work
    job: int
    tiles: tuple[int, ...]
    mesh: Mesh
    group: Group
    hang_after: float

    def run(
        self, program: Future[Executable] | None, into: Store, report: Callable[[Event], None]
    ) -> None:
        """Runs the rounds of this job; one round is computed while the next one is drawn."""
        if program is None:
            return
        call = program.result()
        if self.group.first:
            report(Event("compiled", self.job))
        shared = _everywhere(self.work.shared, self.mesh)
        each = self.mesh.size
        rounds = [self.tiles[start : start + each] for start in range(0, len(self.tiles), each)]
        begun: dict[int, PyTree] = {}
        try:
            for number in range(len(rounds) + 1):
                if number < len(rounds):
                    begun[number] = call(self._lanes(rounds[number]), *shared)
                if number:
                    tiles = rounds[number - 1]
                    found = self._finish(number - 1, tiles, begun[number - 1], into)
                    del begun[number - 1]
                    for index, result in found:
                        report(Event("tile", self.job, self.work.task.tiles[index], result))
        except BaseException as error:
            self._drain(rounds, begun, into, error)
            raise
        if self.group.first:
            report(Event("job", self.job))

    def _drain(
        self,
        rounds: Sequence[tuple[int, ...]],
        begun: Mapping[int, PyTree],
        into: Store,
        error: BaseException,
    ) -> None:
        """After an interruption, waits for the rounds that run and gathers their results.

        Args:
          rounds: the tiles of each round.
          begun: the results of the rounds that are not finished.
          into: receives each finished tile, in the first process.
          error: says how long to wait; another Ctrl-C ends the wait.
        """
        lost = isinstance(error, errors.HangError)
        if not self.group.first and (lost or isinstance(error, StoppedError)):
            return  # nobody gathers
        deadline = time.monotonic() + (0 if lost else getattr(error, "patience", PATIENCE))
        with held() as noted:

            def given_up() -> bool:
                return bool(noted.signals) or time.monotonic() > deadline

            for number, results in begun.items():
                while not (ready := _ready(results)) and not given_up():
                    time.sleep(0.02)
                # The error says more than what may go wrong here.
                with contextlib.suppress(Exception):
                    if ready:
                        self._finish(number, rounds[number], results, into, given_up)

    def _lanes(self, tiles: tuple[int, ...]) -> PyTree:
        """The lanes of a round, this process's part on its devices; missing tiles are padded."""
        task, flat = self.work.task, list(self.mesh.devices.flat)
        drawn: list[PyTree] = []
        for place, device in enumerate(flat):
            if device.process_index == self.group.index:
                tile = task.tiles[tiles[min(place, len(tiles) - 1)]]
                # Host devices are one processor: its programs are compiled once.
                where = None if device.platform == "cpu" else device
                lanes = task.source.take(padded(tile, task.width), where)
                drawn.append(jax.device_put(lanes, device))
        sharding = NamedSharding(self.mesh, PartitionSpec(_AXIS))

        def joined(*parts: jax.Array) -> jax.Array:
            shape = (len(flat) * task.width, *parts[0].shape[1:])
            return jax.make_array_from_single_device_arrays(shape, sharding, list(parts))

        return jax.tree.map(joined, *drawn)

    def _finish(
        self,
        number: int,
        tiles: tuple[int, ...],
        results: PyTree,
        into: Store,
        given_up: Callable[[], bool] = lambda: False,
    ) -> list[tuple[int, PyTree]]:
        """Gathers the results of a round in the first process, and returns them there."""
        flat = list(self.mesh.devices.flat)
        owners = [flat[place].process_index for place in range(len(tiles))]
        mine = [
            (tile, self._on(flat[place], results, self.work.task.tiles[tile]))
            for place, tile in enumerate(tiles)
            if owners[place] == self.group.index
        ]
        if not self.group.first:
            if mine:
                self.group.say(f"tiles/{self.job}/{number}/{self.group.index}", pickle.dumps(mine))
            self.group.check()
            return []
        self._put(mine, into)
        found = mine
        for other in sorted(set(owners) - {0}):
            key = f"tiles/{self.job}/{number}/{other}"
            theirs = pickle.loads(self.group.hear(key, self.hang_after, given_up))
            self._put(theirs, into)
            self.group.forget(key)
            found += theirs
        return found

    def _put(self, found: Sequence[tuple[int, PyTree]], into: Store) -> None:
        for index, result in found:
            if into.get(self.work.task.name, index) is None:
                into.put(self.work.task.name, index, result)

    def _on(self, device: jax.Device, results: PyTree, tile: Tile) -> PyTree:
        """The part of a result on one device, without padding."""

        def part(leaf: jax.Array) -> np.ndarray:
            data = next(one.data for one in leaf.addressable_shards if one.device == device)
            return np.asarray(data)[: tile.stop - tile.start].copy()

        return jax.tree.map(part, results)


def _ready(results: PyTree) -> bool:
    """Whether this process's part of a round is computed."""
    return all(leaf.is_ready() for leaf in jax.tree.leaves(results))


def _orders(works: Sequence[Work], into: Store) -> list[_Order]:
    """What is to run, as the first process and its store know."""
    return [
        _Order(
            work.task.name,
            work.task.width,
            getattr(work.task.source, "numbers", None),
            _missing(work.task, into),
        )
        for work in works
    ]


def _missing(task: Spreadable, into: Store) -> tuple[int, ...]:
    """The indices of the tiles that the store lacks."""
    return tuple(tile.index for tile in task.tiles if into.get(task.name, tile.index) is None)


def _check(
    works: Sequence[Work], orders: Sequence[_Order], environment: Mapping[str, object]
) -> None:
    """Refuses orders that this process cannot follow."""
    difference = _environment.difference(_environment.environment(), environment)
    mine = [(work.task.name, work.task.width) for work in works]
    if mine != [(order.name, order.width) for order in orders]:
        difference = "other jobs: " + ", ".join(name for name, _ in mine)
    if difference:
        raise errors.refusal(
            f"process {jax.process_index()}",
            difference,
            "the jobs, versions and settings of process 0",
            "start the same program in all processes",
        )


def _ordered(
    work: Work, order: _Order, only: Callable[[Any, np.ndarray], Spreadable], group: Group
) -> Work:
    """The job with the lanes of an order; the first process has left out the others itself."""
    if group.first or order.numbers is None:
        return work
    return Work(only(work.task, order.numbers), work.fn, work.shared)


def _compiled(work: Work, mesh: Mesh, switches: Mapping[str, Any]) -> Executable:
    """One program for all devices of the mesh; each computes a tile.

    Args:
      work: the job.
      mesh: of all devices.
      switches: of JAX, of the thread that runs the job.
    """
    runs, whole = PartitionSpec(_AXIS), PartitionSpec()
    tiles = jax.vmap(work.fn, in_axes=(0, *(None for _ in work.shared)))
    program = jax.jit(
        jax.shard_map(
            tiles,
            mesh=mesh,
            in_specs=(runs, *(whole for _ in work.shared)),
            out_specs=runs,
            check_vma=False,
        )
    )

    def placed(leaf: jax.ShapeDtypeStruct, *lead: int) -> jax.ShapeDtypeStruct:
        spec = NamedSharding(mesh, runs if lead else whole)
        return jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=spec)

    count = mesh.size * work.task.width
    lanes = jax.tree.map(lambda leaf: placed(leaf, count), work.task.source.lane)
    with entered(switches), own_switches():
        shared = jax.tree.map(
            lambda leaf: placed(jax.eval_shape(jax.numpy.asarray, leaf)), work.shared
        )
        platform = jax.default_backend()
        return program.lower(lanes, *shared).compile(COMPILER_OPTIONS.get(platform))


def _everywhere(shared: tuple[PyTree, ...], mesh: Mesh) -> tuple[PyTree, ...]:
    """The same arrays on all devices; each process places its own copy."""
    sharding = NamedSharding(mesh, PartitionSpec())

    def placed(leaf: np.ndarray | jax.Array) -> jax.Array:
        array = jax.numpy.asarray(leaf)
        copies = [jax.device_put(array, device) for device in mesh.local_devices]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, copies)

    return jax.tree.map(placed, shared)
