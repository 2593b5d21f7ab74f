"""Draws synthetic data sets: well-known problems with fixed seeds, equal on every machine."""

from __future__ import annotations

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]
_EXAMPLES = 1000


def two_moons() -> Arrays:
    """Two interleaved half circles with noise 0.1; 1,000 points in 2-D, 2 classes."""
    rng = np.random.default_rng(1)
    y = np.arange(_EXAMPLES) % 2
    angle = rng.uniform(0, np.pi, _EXAMPLES)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x[y == 1] = np.array([1.0, 0.5]) - x[y == 1]
    return x + 0.1 * rng.normal(size=x.shape), y


def spirals() -> Arrays:
    """Two spirals of 1.5 turns with noise (Lang & Witbrock 1988); 1,000 points, 2 classes."""
    rng = np.random.default_rng(2)
    y = np.arange(_EXAMPLES) % 2
    radius = np.sqrt(rng.uniform(0.02, 1.0, _EXAMPLES))
    angle = 3 * np.pi * radius + np.pi * y
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return x + 0.02 * rng.normal(size=x.shape), y


def parity() -> Arrays:
    """Parity of 8 bits ±1: each of the 256 patterns four times, with noise 0.1; 2 classes."""
    rng = np.random.default_rng(3)
    bits = np.array([[(i >> j) & 1 for j in range(8)] for i in range(256)] * 4)
    return (2.0 * bits - 1) + 0.1 * rng.normal(size=bits.shape), bits.sum(axis=1) % 2


def xor() -> Arrays:
    """Exclusive or of two signs, with noise 0.1; 1,000 points in 2-D, 2 classes."""
    rng = np.random.default_rng(4)
    bits = rng.integers(0, 2, size=(_EXAMPLES, 2))
    return (2.0 * bits - 1) + 0.1 * rng.normal(size=bits.shape), bits.sum(axis=1) % 2


def linear_teacher() -> Arrays:
    """Regression: y = x W + 0.01 noise, x in 32-D, 4 targets of variance 1; 1,000 points."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(_EXAMPLES, 32))
    weights = rng.normal(size=(32, 4)) / np.sqrt(32)
    return x, x @ weights + 0.01 * rng.normal(size=(_EXAMPLES, 4))


def mnist1d() -> Arrays:
    """Sequences similar to MNIST-1D (Greydanus 2020): 4,000 sequences of length 40, 10 classes.

    Each class has a random smooth template of 12 points, which is stretched, shifted and scaled;
    then correlated and white noise are added. The templates differ from the published ones.
    """
    rng = np.random.default_rng(6)
    templates = np.cumsum(rng.normal(size=(10, 12)), axis=1)
    templates = (templates - templates.mean(axis=1, keepdims=True)) / templates.std(
        axis=1, keepdims=True
    )
    y = np.arange(4000) % 10
    grid = np.arange(40.0)
    x = np.empty((4000, 40))
    for i, label in enumerate(y):
        length, start = rng.uniform(16, 28), rng.uniform(0, 12)
        position = (grid - start) / length * 11
        curve = np.interp(position, np.arange(12.0), templates[label], left=0.0, right=0.0)
        smooth = np.convolve(rng.normal(size=44), np.ones(5) / 5, mode="valid")
        x[i] = rng.uniform(0.6, 1.4) * curve + 0.35 * smooth + 0.05 * rng.normal(size=40)
    return x, y
