"""Draws and then calibrates initial weights: ``"lsuv(orthogonal)"`` in a sweep.

A calibration sees a network with state, noise or two modes as a training step does: BatchNorm uses
the statistics of the batch, and dropout keeps one draw.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import errors
from jinit._anew import anew
from jinit.calibrate import Calibration
from jinit.data import Dataset
from jinit.engine._program import Program, cached
from jinit.frameworks._capture import capture_in_training
from jinit.models import Model
from jinit.sweep._network import run_key
from jinit.sweep._rules import ModelLeaves
from jinit.sweep._weights import Weights, in_batches
from jinit.train import StatefulApply
from jinit.train.losses import Loss
from jinit.typing import Array, ModelLike, PyTree

# Calibrations that read more of a module than its layers.
_OF_MODULES = ("fixup", "skipinit", "rezero", "antisymmetric")
# Examples in a calibration batch; with more, a variance would change by a few percent.
BATCH = 256


class CalibratedWeights:
    """Draws weights as :class:`Weights` does, then calibrates each network on one batch."""

    def __init__(
        self,
        weights: Weights,
        calibration: Calibration,
        leaves: ModelLeaves,
        state: PyTree,
        dataset: Dataset,
        loss: Loss,
    ) -> None:
        self._weights = weights
        self.kept = weights.kept
        self._shapes, self._state = leaves.shapes, state
        self._batch = dataset.spread(BATCH)
        self._calibrate = _function(calibration, leaves.model, loss)
        self._program: Program | None = None

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        lane = _lane(self._shapes, self._state)
        name = f"calibrate {self._calibrate.calibration}"
        self._program = cached(self._calibrate, lane, self._batch, width=width, name=name)
        return [*self._weights.programs(width), self._program]

    def code(self) -> tuple[Any, ...]:
        """As :meth:`Weights.code`."""
        assert self._program is not None
        return (*self._weights.code(), self._program.fingerprint())

    def draw(
        self,
        seeds: np.ndarray,
        kept: Mapping[int, np.ndarray],
        state: PyTree,
        device: jax.Device | None,
    ) -> tuple[PyTree, np.ndarray]:
        """Draws and calibrates the parameters of networks with these seeds and first states.

        Returns:
          The parameters, NumPy leaves ``(len(seeds), …)``, and ``(len(seeds),)`` bool, True if
          calibration converged in all layers.
        """
        assert self._program is not None
        params, _ = self._weights.draw(seeds, kept, state, device)
        lanes = {"params": params, "seed": seeds, "state": state}
        calibrated: tuple[PyTree, np.ndarray] = in_batches(
            self._program, lanes, self._batch, device
        )
        return calibrated


def check(
    calibration: Calibration,
    leaves: ModelLeaves,
    state: PyTree,
    dataset: Dataset,
    loss: Loss,
    known: set[Hashable],
    where: str,
) -> None:
    """Traces the calibration of this model, so that its errors appear before any computation.

    A trace takes a second, so of each named model (``where``), task and loss the first size alone
    is traced; ``known`` holds which have been.
    """
    kind = str(calibration), where, dataset.task, loss.name
    if kind in known:
        return
    known.add(kind)
    function = _function(calibration, leaves.model, loss)
    jax.eval_shape(anew(function), _lane(leaves.shapes, state), *dataset.spread(BATCH))


def _lane(shapes: PyTree, state: PyTree) -> dict[str, PyTree]:
    seed = jax.ShapeDtypeStruct((), np.dtype(np.uint32))
    return {"params": shapes, "seed": seed, "state": state}


def _function(calibration: Calibration, model: Model, loss: Loss) -> _Calibrate:
    what = f"initializer {str(calibration)!r}"
    if model.source is None:
        raise errors.refusal(
            what,
            f"the model {model.name!r}",
            "a module of a framework: calibration reads its layers",
            "pass model=YourModule()",
        )
    if isinstance(model.apply, StatefulApply) and calibration.name in _OF_MODULES:
        raise errors.refusal(
            what,
            f"the model {model.name!r}, which has state, noise or two modes",
            f"a model without them: {calibration.name} reads branches or copies from the module",
            "lsuv, within_layer, between_layers, analytic, metainit, gradinit or output_bias",
        )
    return _Calibrate(calibration, model, loss)


@dataclass(frozen=True)
class _Calibrate:
    """``({params, seed, state}, x, y) -> params, converged``; equal instances share a program."""

    calibration: Calibration
    model: Model
    loss: Loss

    def __call__(self, lane: Mapping[str, Any], x: Array, y: Array) -> tuple[PyTree, Array]:
        key = run_key(lane["seed"], "calibrate")
        module: ModelLike = self.model.source
        if isinstance(self.model.apply, StatefulApply):
            module = capture_in_training(self.model, lane["state"], x, jax.random.fold_in(key, 0))
        params, trace = self.calibration(key, module, lane["params"], x, y, self.loss)
        return params, trace.converged.all()
