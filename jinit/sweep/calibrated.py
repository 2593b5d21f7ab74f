"""Initial weights that are calibrated after they are drawn: ``"lsuv(orthogonal)"`` in a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jinit import errors
from jinit.calibrate import Calibration
from jinit.data import Dataset
from jinit.engine.program import Program, cached
from jinit.models import Model
from jinit.sweep.network import run_key
from jinit.sweep.weights import Weights, in_batches
from jinit.train.losses import Loss
from jinit.typing import Array, PyTree

# Examples; more change a variance by some percent.
BATCH = 256


class CalibratedWeights:
    """Draws as :class:`Weights` does, then calibrates each network on one batch."""

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
        self._shapes = shapes
        self._batch = dataset.spread(BATCH)
        module = getattr(model.apply, "module", None)
        if module is None:
            raise errors.refusal(
                f"initializer {str(calibration)!r}", f"the model {model.name!r}",
                "a Flax module: calibration looks into its layers", "pass model=YourModule()",
            )  # fmt: skip
        self._calibrate = _Calibrate(calibration, module, loss)
        self._program: Program | None = None

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        lane = {"params": self._shapes, "seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
        name = f"calibrate {self._calibrate.calibration}"
        self._program = cached(self._calibrate, lane, self._batch, width=width, name=name)
        return [*self._weights.programs(width), self._program]

    def draw(self, seeds: np.ndarray, device: Any) -> PyTree:
        """Parameters of networks with these seeds, NumPy leaves ``(len(seeds), …)``."""
        assert self._program is not None
        lanes = {"params": self._weights.draw(seeds, device), "seed": seeds}
        return in_batches(self._program, lanes, self._batch, device)


@dataclass(frozen=True)
class _Calibrate:
    """``({params, seed}, x, y) -> params``; equal recipes are equal functions."""

    calibration: Calibration
    module: Any
    loss: Loss

    def __call__(self, lane: Mapping[str, Any], x: Array, y: Array) -> PyTree:
        key = run_key(lane["seed"], "calibrate")
        return self.calibration(key, self.module, lane["params"], x, y, self.loss)[0]
