"""Measures a regression in the units of its targets: RMSE, MAE and R²."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from jinit.data import Dataset
from jinit.train._own_loss import MetricFunction
from jinit.typing import Array

Kind = Literal["mae", "r2", "rmse"]
_KINDS: tuple[Kind, ...] = ("mae", "r2", "rmse")


@dataclass(frozen=True)
class TargetMetric:
    """``metric(outputs, y) -> scalar``: of each target, then the mean over targets.

    RMSE = √(SSE / n) and MAE = mean |z − y|, both times the target's deviation;
    R² = 1 − SSE / SST with SSE = Σ (z − y)², SST = Σ (y − ȳ)² over the set.

    Attributes:
      kind: which of the three.
      deviations: what each target was divided by before training; () for 1.
    """

    kind: Kind
    deviations: tuple[float, ...]

    def __call__(self, outputs: Array, y: Array) -> Array:
        """The metric; NaN for outputs of another shape than y, and R² of constant targets."""
        if y.ndim > 2 and getattr(outputs, "size", -1) == y.size:
            outputs, y = outputs.reshape(len(y), -1), y.reshape(len(y), -1)
        if getattr(outputs, "shape", None) != y.shape:
            return jnp.full((), jnp.nan, jnp.float32)
        error = outputs - y
        unit = jnp.asarray(self.deviations or 1.0, jnp.float32)
        if self.kind == "mae":
            return jnp.mean(jnp.abs(error).mean(axis=0) * unit)
        squared = jnp.mean(error**2, axis=0)
        if self.kind == "rmse":
            return jnp.mean(jnp.sqrt(squared) * unit)
        variance = jnp.mean((y - y.mean(axis=0)) ** 2, axis=0)
        explained = 1 - squared / jnp.where(variance > 0, variance, 1.0)
        return jnp.mean(jnp.where(variance > 0, explained, jnp.nan))


def target_metrics(dataset: Dataset) -> tuple[tuple[str, MetricFunction], ...]:
    """The metrics of a regression by name; none for classes.

    >>> from jinit import data
    >>> [name for name, _ in target_metrics(data.get("linear_teacher"))]
    ['mae', 'r2', 'rmse']
    """
    if dataset.task != "regression":
        return ()
    deviations = tuple(deviation for _, deviation in dataset.units)
    return tuple((kind, TargetMetric(kind, deviations)) for kind in _KINDS)
