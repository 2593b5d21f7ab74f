"""Measures several labels of each example: the share of right labels, and F1."""

from __future__ import annotations

import jax.numpy as jnp

from jinit.data import Dataset
from jinit.train._own_loss import MetricFunction
from jinit.typing import Array


def label_accuracy(outputs: Array, y: Array) -> Array:
    """The share of labels whose score has the right sign; scores that are not finite are wrong.

    Args:
      outputs, y: ``(examples, labels)``.
    """
    if outputs.shape != y.shape:
        return jnp.full((), jnp.nan, jnp.float32)
    right = ((outputs > 0) == (y > 0)) & jnp.isfinite(outputs)
    return jnp.mean(right, dtype=jnp.float32)


def label_f1(outputs: Array, y: Array) -> Array:
    """F1 = 2 TP / (2 TP + FP + FN) of each label, then the mean over labels.

    A label that neither occurs nor is predicted has no F1 and does not count.

    Args:
      outputs, y: ``(examples, labels)``.

    Reference: van Rijsbergen 1979, chapter 7 (F1); Opitz & Burst 2019 (the mean of F1).
    """
    if outputs.shape != y.shape:
        return jnp.full((), jnp.nan, jnp.float32)
    said, true = outputs > 0, y > 0
    hits = 2.0 * (said & true).sum(axis=0)
    both = said.sum(axis=0) + true.sum(axis=0)
    scores = jnp.where(both > 0, hits / jnp.maximum(both, 1), 0.0)
    return jnp.sum(scores) / jnp.sum(both > 0)


def label_metrics(dataset: Dataset) -> tuple[tuple[str, MetricFunction], ...]:
    """The metrics of several labels by name; none for other tasks.

    >>> from jinit import data
    >>> label_metrics(data.get("xor"))
    ()
    """
    if dataset.task != "multilabel":
        return ()
    return (("label_accuracy", label_accuracy), ("label_f1", label_f1))
