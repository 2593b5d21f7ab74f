"""Compiles a pure function of one lane, vmapped to a fixed width, and caches the program."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from jinit.typing import PyTree

# LLVM level 1 instead of 3: training programs compile 1.3× faster, and the small networks of a
# sweep also train 5 to 40 % faster. (Matrix multiplications are library calls, which the level does
# not affect.) Random draws keep their bits and their speed. Level 0 would change the bits and train
# 4× slower.
_COMPILER_OPTIONS: dict[str, dict[str, Any]] = {"cpu": {"xla_backend_optimization_level": 1}}


class Program:
    """``jit(vmap(fn))`` at a fixed tile width, compiled once per device, at or before first use.

    If two threads need the program at the same time, one compiles and the other waits.

    Attributes:
      name: the program's name in errors, profiles and compiler dumps.
      width: lanes per call.
      traces: how often ``fn`` was traced; tests use it to prove that nothing compiles twice.
    """

    def __init__(
        self,
        fn: Callable[..., PyTree],
        lane: PyTree,
        shared: tuple[PyTree, ...],
        *,
        width: int,
        name: str,
    ) -> None:
        """Args:
        fn: ``fn(lane, *shared) -> result``, pure.
        lane: the ``jax.ShapeDtypeStruct`` tree of one lane, without the lane axis.
        shared: the ``jax.ShapeDtypeStruct`` trees of the arguments that all lanes share.
        width: lanes per call.
        name: the program's name in errors, profiles and compiler dumps.
        """
        self.name = name
        self.width = width
        self.traces = 0
        self._fn = fn
        self._lane = lane
        self._shared = shared
        self._lock = threading.Lock()
        self._compiled: dict[jax.Device | None, Callable[..., PyTree]] = {}

    def compile(self, device: jax.Device | None = None) -> bool:
        """Compiles for ``device`` (None: the default device).

        Returns:
          False if the program was already compiled for that device.
        """
        with self._lock:
            if device in self._compiled:
                return False
            lowered = self._jitted().lower(*self._arguments(device))
            platform = jax.default_backend() if device is None else device.platform
            self._compiled[device] = lowered.compile(_COMPILER_OPTIONS.get(platform))
            return True

    def __call__(
        self, lanes: PyTree, shared: tuple[PyTree, ...], device: jax.Device | None = None
    ) -> PyTree:
        """Runs one tile: leaves ``(width, …)`` in, NumPy leaves ``(width, …)`` out."""
        self.compile(device)
        placed = lanes if device is None else jax.device_put(lanes, device)
        return jax.tree.map(np.asarray, self._compiled[device](placed, *shared))

    def _jitted(self) -> jax.stages.Wrapped:
        def counted(lane: PyTree, *shared: PyTree) -> PyTree:
            self.traces += 1
            return self._fn(lane, *shared)

        # Profiles and compiler dumps show this name.
        counted.__name__ = "".join(c if c.isalnum() else "_" for c in self.name)
        return jax.jit(jax.vmap(counted, in_axes=(0, *(None for _ in self._shared))))

    def _arguments(self, device: jax.Device | None) -> tuple[PyTree, ...]:
        sharding = None if device is None else jax.sharding.SingleDeviceSharding(device)

        def placed(leaf: jax.ShapeDtypeStruct, *lead: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=sharding)

        lanes = jax.tree.map(lambda leaf: placed(leaf, self.width), self._lane)
        return (lanes, *jax.tree.map(placed, self._shared))


_CACHE: OrderedDict[Hashable, Program] = OrderedDict()
_CACHE_LOCK = threading.Lock()
_CACHE_SIZE = 256
# Settings of JAX that change the compiled code.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)


def cached(
    fn: Callable[..., PyTree], lane: PyTree, shared: tuple[PyTree, ...], *, width: int, name: str
) -> Program:
    """The program for these arguments, from the cache of this process if possible.

    The cache key is the function, all shapes, the width, and ``_SETTINGS``. Functions are compared
    by equality: two equal frozen dataclasses with ``__call__`` share a program, two lambdas do not.

    >>> one = jax.ShapeDtypeStruct((), "float32")
    >>> cached(abs, one, (), width=2, name="abs") is cached(abs, one, (), width=2, name="abs")
    True
    """
    program = Program(fn, lane, shared, width=width, name=name)
    leaves, tree = jax.tree.flatten((lane, shared))
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    settings = tuple(str(getattr(jax.config, name)) for name in _SETTINGS)
    key = (fn, tree, shapes, width, settings)
    try:
        hash(key)
    except TypeError:
        return program
    with _CACHE_LOCK:
        program = _CACHE.setdefault(key, program)
        _CACHE.move_to_end(key)
        while len(_CACHE) > _CACHE_SIZE:
            _CACHE.popitem(last=False)
        return program
