"""Draws and then calibrates initial weights: ``"lsuv(orthogonal)"`` in a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import errors
from jinit.calibrate import Calibration
from jinit.data import Dataset
from jinit.engine._program import Program, cached
from jinit.models import Model
from jinit.sweep._network import run_key
from jinit.sweep._weights import Weights, in_batches
from jinit.train.losses import Loss
from jinit.typing import Array, ModelLike, PyTree

# Examples in a calibration batch; with more, a variance would change by a few percent.
BATCH = 256


class CalibratedWeights:
    """Draws weights as :class:`Weights` does, then calibrates each network on one batch."""

    def __init__(
        self,
        weights: Weights,
        calibration: Calibration,
        model: Model,
        shapes: PyTree,
        dataset: Dataset,
        loss: Loss,
    ) -> None:
        self._weights = weights
        self.kept = weights.kept
        self._shapes = shapes
        self._batch = dataset.spread(BATCH)
        self._calibrate = _function(calibration, model, loss)
        self._program: Program | None = None

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        lane = {"params": self._shapes, "seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
        name = f"calibrate {self._calibrate.calibration}"
        self._program = cached(self._calibrate, lane, self._batch, width=width, name=name)
        return [*self._weights.programs(width), self._program]

    def code(self) -> tuple[Any, ...]:
        """As :meth:`Weights.code`."""
        assert self._program is not None
        return (*self._weights.code(), self._program.fingerprint())

    def draw(
        self, seeds: np.ndarray, kept: Mapping[int, np.ndarray], device: jax.Device | None
    ) -> tuple[PyTree, np.ndarray]:
        """Draws and calibrates the parameters of networks with these seeds.

        Returns:
          The parameters, NumPy leaves ``(len(seeds), …)``, and ``(len(seeds),)`` bool, True if
          calibration converged in all layers.
        """
        assert self._program is not None
        params, _ = self._weights.draw(seeds, kept, device)
        calibrated: tuple[PyTree, np.ndarray] = in_batches(
            self._program, {"params": params, "seed": seeds}, self._batch, device
        )
        return calibrated


def check(
    calibration: Calibration, model: Model, shapes: PyTree, dataset: Dataset, loss: Loss
) -> None:
    """Traces the calibration of this model, so that its errors appear before any computation."""
    lane = {"params": shapes, "seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
    jax.eval_shape(_function(calibration, model, loss), lane, *dataset.spread(BATCH))


def _function(calibration: Calibration, model: Model, loss: Loss) -> _Calibrate:
    module = model.source
    if module is None:
        raise errors.refusal(
            f"initializer {str(calibration)!r}",
            f"the model {model.name!r}",
            "a module of a framework: calibration reads its layers",
            "pass model=YourModule()",
        )
    return _Calibrate(calibration, module, loss)


@dataclass(frozen=True)
class _Calibrate:
    """``({params, seed}, x, y) -> params, converged``; equal instances share a program."""

    calibration: Calibration
    module: ModelLike
    loss: Loss

    def __call__(self, lane: Mapping[str, Any], x: Array, y: Array) -> tuple[PyTree, Array]:
        key = run_key(lane["seed"], "calibrate")
        params, trace = self.calibration(key, self.module, lane["params"], x, y, self.loss)
        return params, trace.converged.all()
