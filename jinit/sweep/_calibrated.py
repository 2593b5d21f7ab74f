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
from jinit.engine._program import Program, cached
from jinit.models import Model
from jinit.sweep._network import run_key
from jinit.sweep._weights import Weights, in_batches
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
        self._calibrate = _recipe(calibration, model, loss)
        self._program: Program | None = None

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        lane = {"params": self._shapes, "seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
        name = f"calibrate {self._calibrate.calibration}"
        self._program = cached(self._calibrate, lane, self._batch, width=width, name=name)
        return [*self._weights.programs(width), self._program]

    def draw(self, seeds: np.ndarray, device: Any) -> tuple[PyTree, np.ndarray]:
        """Parameters of networks with these seeds, NumPy leaves ``(len(seeds), …)``.

        And whether the calibration of each converged, in all of its layers.
        """
        assert self._program is not None
        params, _ = self._weights.draw(seeds, device)
        found: tuple[PyTree, np.ndarray] = in_batches(
            self._program, {"params": params, "seed": seeds}, self._batch, device
        )
        return found


def check(
    calibration: Calibration, model: Model, shapes: PyTree, dataset: Dataset, loss: Loss
) -> None:
    """Raises what the calibration would raise on this model, before anything is computed.

    >>> from jinit import calibrate, data, models
    >>> from jinit.train import losses
    >>> model, xor = models.as_model(models.MLP(features=(4, 1))), data.get("xor")
    >>> shapes = model.shapes(xor.x_train[:1])
    >>> loss = losses.get("sigmoid_binary_cross_entropy", xor.task)
    >>> check(calibrate.get("lsuv(orthogonal)"), model, shapes, xor, loss)
    """
    lane = {"params": shapes, "seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
    jax.eval_shape(_recipe(calibration, model, loss), lane, *dataset.spread(BATCH))


def _recipe(calibration: Calibration, model: Model, loss: Loss) -> _Calibrate:
    module = getattr(model.apply, "module", None)
    if module is None:
        raise errors.refusal(
            f"initializer {str(calibration)!r}", f"the model {model.name!r}",
            "a Flax module: calibration looks into its layers", "pass model=YourModule()",
        )  # fmt: skip
    return _Calibrate(calibration, module, loss)


@dataclass(frozen=True)
class _Calibrate:
    """``({params, seed}, x, y) -> params, converged``; equal recipes are equal functions."""

    calibration: Calibration
    module: Any
    loss: Loss

    def __call__(self, lane: Mapping[str, Any], x: Array, y: Array) -> tuple[PyTree, Array]:
        key = run_key(lane["seed"], "calibrate")
        params, trace = self.calibration(key, self.module, lane["params"], x, y, self.loss)
        return params, trace.converged.all()
