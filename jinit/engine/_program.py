"""One compiled program: a pure function of one lane, vmapped at a constant width."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jinit.typing import PyTree

# LLVM level 1 instead of 3: training programs compile 1.3× faster, and the small networks of a
# sweep then also train 5 to 40 % faster (matrix multiplications are library calls that the level
# does not touch). Draws keep their bits and their speed; level 0 would change the bits and train
# 4× slower.
_COMPILER_OPTIONS: dict[str, Any] = {"cpu": {"xla_backend_optimization_level": 1}}


class Program:
    """``jit(vmap(fn))`` at a fixed tile width, compiled once, on first use or ahead of it.

    Two threads may ask for it at the same time; only one compiles. The count of traces is kept, so
    that a test can prove that nothing compiled twice.
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
        fn: ``fn(lane, *shared)``, pure.
        lane: one lane's ``jax.ShapeDtypeStruct`` tree, without the lane axis.
        shared: the same for the arguments common to all lanes.
        width: lanes per call.
        name: what progress and errors call it.
        """
        self.name = name
        self.width = width
        self.traces = 0
        self._fn = fn
        self._lane = lane
        self._shared = shared
        self._lock = threading.Lock()
        self._compiled: dict[Any, Callable[..., PyTree]] = {}

    def compile(self, device: Any = None) -> bool:
        """Compiles for ``device`` (None: the default device); False if that was done before."""
        with self._lock:
            if device in self._compiled:
                return False
            lowered = self._jitted().lower(*self._arguments(device))
            platform = jax.default_backend() if device is None else device.platform
            self._compiled[device] = lowered.compile(_COMPILER_OPTIONS.get(platform))
            return True

    def __call__(
        self, lanes: PyTree, shared: tuple[PyTree, ...] = (), device: Any = None
    ) -> PyTree:
        """Runs one tile: leaves ``(width, …)`` in, NumPy leaves ``(width, …)`` out."""
        self.compile(device)
        placed = lanes if device is None else jax.device_put(lanes, device)
        return jax.tree.map(np.asarray, self._compiled[device](placed, *shared))

    def export(self, platforms: tuple[str, ...]) -> Any:
        """The program lowered for platforms this machine may not have (``jax.export``)."""
        from jax import export

        return export.export(self._jitted(), platforms=platforms)(*self._arguments(None))

    def _jitted(self) -> Any:
        def counted(lane: PyTree, *shared: PyTree) -> PyTree:
            self.traces += 1
            return self._fn(lane, *shared)

        # A distinct name per program keeps profiles and compiler dumps readable.
        counted.__name__ = "".join(c if c.isalnum() else "_" for c in self.name)
        return jax.jit(jax.vmap(counted, in_axes=(0, *(None for _ in self._shared))))

    def _arguments(self, device: Any) -> tuple[PyTree, ...]:
        sharding = None if device is None else jax.sharding.SingleDeviceSharding(device)

        def placed(leaf: Any, *lead: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=sharding)

        lanes = jax.tree.map(lambda leaf: placed(leaf, self.width), self._lane)
        return (lanes, *jax.tree.map(placed, self._shared))


_CACHE: OrderedDict[Any, Program] = OrderedDict()
_CACHE_LOCK = threading.Lock()
_CACHE_SIZE = 256
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)


def cached(
    fn: Callable[..., PyTree], lane: PyTree, shared: tuple[PyTree, ...], *, width: int, name: str
) -> Program:
    """The program for these arguments, compiled earlier in this process if there was one.

    Like ``jax.jit``'s cache: the key is the function (by equality: a frozen dataclass with
    ``__call__`` is found again, a fresh lambda is not), all shapes, the width, and the settings of
    JAX that change what is compiled.

    >>> one = jax.ShapeDtypeStruct((), "float32")
    >>> cached(abs, one, (), width=2, name="abs") is cached(abs, one, (), width=2, name="abs")
    True
    """
    make = Program(fn, lane, shared, width=width, name=name)
    leaves, tree = jax.tree.flatten((lane, shared))
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    settings = tuple(str(getattr(jax.config, name)) for name in _SETTINGS)
    key = (fn, tree, shapes, width, settings)
    try:
        hash(key)
    except TypeError:
        return make
    with _CACHE_LOCK:
        found = _CACHE.setdefault(key, make)
        _CACHE.move_to_end(key)
        while len(_CACHE) > _CACHE_SIZE:
            _CACHE.popitem(last=False)
        return found
