"""Compiles a pure function of one lane, vmapped to a fixed width, and caches the program.

A function that reads nothing but its arguments is found again by equality. A function of the user
may read globals, closures and attributes that have changed since, so such a function is traced
anew, and its program is found again by the code that the trace gives.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._switches import own_switches
from jinit.engine._known import is_known
from jinit.typing import PyTree

T = TypeVar("T")

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
      reads: whether ``fn`` may read more than its arguments, see :func:`is_known`.
      traces: how often ``fn`` was traced; tests use it to prove that nothing is traced twice.
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
        self.reads = not is_known(fn)
        self.traces = 0
        self._fn = fn
        self._lane = lane
        self._shared = shared
        self._lock = threading.Lock()
        self._compiled: dict[jax.Device | None, Executable] = {}

    def compile(self, device: jax.Device | None = None) -> bool:
        """Compiles for ``device`` (None: the default device).

        Returns:
          False if the program, or one with the same code, was already compiled for that device.

        Raises:
          TypeError: the function returns PRNG keys, which NumPy cannot hold.
        """
        with own_switches(), self._lock:
            if device in self._compiled:
                return False
            traced = self._jitted().trace(*self._arguments(device))
            _check_results(self.name, traced.out_info)
            self._compiled[device], fresh = _executable(traced, device, shared=self.reads)
            return fresh

    def __call__(
        self, lanes: PyTree, shared: tuple[PyTree, ...], device: jax.Device | None = None
    ) -> PyTree:
        """Runs one tile: leaves ``(width, …)`` in, NumPy leaves ``(width, …)`` out."""
        with own_switches():
            self.compile(device)
            placed = lanes if device is None else jax.device_put(lanes, device)
            return jax.tree.map(np.asarray, self._compiled[device](placed, *shared))

    def _jitted(self) -> jax.stages.Wrapped:
        def counted(lane: PyTree, *shared: PyTree) -> PyTree:
            self.traces += 1
            return self._fn(lane, *shared)

        # Profiles and compiler dumps show this name.
        # JAX's cache on disk uses it in file names, which are limited to 255 characters.
        counted.__name__ = "".join(c if c.isalnum() else "_" for c in self.name)[:150]
        return jax.jit(jax.vmap(counted, in_axes=(0, *(None for _ in self._shared))))

    def _arguments(self, device: jax.Device | None) -> tuple[PyTree, ...]:
        sharding = None if device is None else jax.sharding.SingleDeviceSharding(device)

        def placed(leaf: jax.ShapeDtypeStruct, *lead: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((*lead, *leaf.shape), leaf.dtype, sharding=sharding)

        lanes = jax.tree.map(lambda leaf: placed(leaf, self.width), self._lane)
        return (lanes, *jax.tree.map(placed, self._shared))


def _check_results(name: str, results: PyTree) -> None:
    """Refuses PRNG keys as results: the engine returns NumPy arrays."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(results):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise errors.wrong_type(
                f"result of {name!r}",
                f"PRNG keys at {jax.tree_util.keystr(path) or 'the root'}",
                "arrays that NumPy can hold",
                "return jax.random.key_data(key)",
            )


Executable: TypeAlias = Callable[..., PyTree]

_CACHE: OrderedDict[Hashable, Program] = OrderedDict()
_EXECUTABLES: OrderedDict[Hashable, Executable] = OrderedDict()
_CACHE_LOCK = threading.Lock()
_CACHE_SIZE = 256
# Settings of JAX that change the compiled code.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_numpy_dtype_promotion",
    "jax_debug_nans",
)


def cached(
    fn: Callable[..., PyTree], lane: PyTree, shared: tuple[PyTree, ...], *, width: int, name: str
) -> Program:
    """The program for these arguments, from the cache of this process if possible.

    The cache key is the function, all shapes, the width, and ``_SETTINGS``. Functions are compared
    by equality: two equal frozen dataclasses with ``__call__`` share a program. A function that may
    read more than its arguments gets a program of its own, which is traced anew.

    >>> one = jax.ShapeDtypeStruct((), "float32")
    >>> cached(abs, one, (), width=2, name="abs") is cached(abs, one, (), width=2, name="abs")
    True
    """
    program = Program(fn, lane, shared, width=width, name=name)
    if program.reads:
        return program
    leaves, tree = jax.tree.flatten((lane, shared))
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    settings = tuple(str(getattr(jax.config, name)) for name in _SETTINGS)
    key = (fn, tree, shapes, width, settings)
    try:
        hash(key)
    except TypeError:
        return program
    return _kept(_CACHE, key, program)


def _executable(
    traced: jax.stages.Traced, device: jax.Device | None, *, shared: bool
) -> tuple[Executable, bool]:
    """Compiles a trace; returns the executable and whether it is new.

    Args:
      traced: the trace.
      device: None is the default device.
      shared: whether a trace with the same code may use the same executable.
    """
    lowered = traced.lower()
    platform = jax.default_backend() if device is None else device.platform
    options = _COMPILER_OPTIONS.get(platform)
    code = lowered.as_text() if shared else ""
    # The code of a call back into Python does not say which function is called.
    if not shared or "callback" in code:
        return lowered.compile(options), True
    digest = hashlib.blake2b(code.encode())
    for constant in traced.jaxpr.consts:
        is_key = jnp.issubdtype(constant.dtype, jax.dtypes.prng_key)
        values = jax.random.key_data(constant) if is_key else constant
        digest.update(np.asarray(values).tobytes())
    key = (digest.digest(), device, lowered.in_tree, lowered.out_tree)
    with _CACHE_LOCK:
        found = _EXECUTABLES.get(key)
    if found is not None:
        return found, False
    return _kept(_EXECUTABLES, key, lowered.compile(options)), True


def _kept(cache: OrderedDict[Hashable, T], key: Hashable, made: T) -> T:
    """What the cache holds under a key: ``made`` if it held nothing."""
    with _CACHE_LOCK:
        kept = cache.setdefault(key, made)
        cache.move_to_end(key)
        while len(cache) > _CACHE_SIZE:
            cache.popitem(last=False)
        return kept
