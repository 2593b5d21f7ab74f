"""Compiles a pure function of one lane, vmapped to a fixed width, and caches the program.

A function that reads nothing but its arguments is found again by equality. A function of the user
may read globals, closures and attributes that have changed since, so such a function is traced
anew, and its program is found again by the code that the trace gives.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex_core

from jinit import errors
from jinit._switches import own_switches
from jinit.engine import _kept_programs
from jinit.engine._cost import inner_jaxprs
from jinit.engine._environment import switches
from jinit.engine._known import is_known
from jinit.engine._traceable import refusing
from jinit.engine._traced import Recall, Traced, divided
from jinit.typing import PyTree

T = TypeVar("T")

# LLVM level 1 instead of 3: training programs compile 1.3× faster, and the small networks of a
# sweep also train 5 to 40 % faster. (Matrix multiplications are library calls, which the level does
# not affect.) Random draws keep their bits and their speed. Level 0 would change the bits and train
# 4× slower.
COMPILER_OPTIONS: dict[str, dict[str, Any]] = {"cpu": {"xla_backend_optimization_level": 1}}


class Program:
    """``jit(vmap(fn))`` at a fixed tile width, compiled once per device, at or before first use.

    If two threads need the program at the same time, one compiles and the other waits.

    Attributes:
      name: the program's name in errors, profiles and compiler dumps.
      width: lanes per call.
      reads: whether ``fn`` may read more than its arguments, see :func:`is_known`.
      results: shapes and dtypes of what a call returns, once :meth:`fingerprint` was called.
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
        # A function that does not say what it is made of is compared as a whole.
        self._fn = Traced(fn) if self.reads and divided(fn) is None else fn
        self._lane = lane
        self._shared = shared
        self._lock = threading.Lock()
        # Devices compile at the same time; tracing and lowering take turns.
        self._turns: dict[jax.Device | None, threading.Lock] = {}
        self._compiled: dict[jax.Device | None, Executable] = {}
        self.results: PyTree = None
        self._fingerprint: str | None = None
        self._traced: tuple[jax.stages.Traced, jax.stages.Lowered] | None = None

    def compile(self, device: jax.Device | None = None) -> bool:
        """Compiles for ``device`` (None: the default device).

        Returns:
          False if the program, or one with the same code, was already compiled for that device.

        Raises:
          TypeError: JAX cannot trace the function, or the function returns what is no array, or
            PRNG keys, which NumPy cannot hold.
        """
        with self._lock:
            turn = self._turns.setdefault(device, threading.Lock())
        with own_switches(), turn, refusing(self.name):
            if device in self._compiled:
                return False
            key, parts = self._divided(("executable", device))
            found = _OF_TRACES.find(key, parts) if parts else None
            if found is not None:
                self._compiled[device] = found
                return False
            note, made = self._noted(device)
            if made is not None:
                self._compiled[device] = made
                return False
            with self._lock:
                traced, lowered = self._lowered(device)
            made, fresh = _executable(traced, lowered, device, shared=self.reads, note=note)
            if parts:
                _OF_TRACES.keep(key, parts, made)
            self._compiled[device] = made
            self._traced = None
            return fresh

    def fingerprint(self) -> str:
        """32 hexadecimal digits of the lowered code, equal in every process.

        A changed closure, global or constant changes them, a changed name or comment does not. What
        is traced and lowered here is not traced again to be compiled.

        Raises:
          ValueError: the program calls back into Python, which its code does not show.

        >>> one = jax.ShapeDtypeStruct((), "float32")
        >>> first, other = (
        ...     Program(abs, one, (), width=2, name=name).fingerprint() for name in ("a", "b")
        ... )
        >>> first == other, len(first)
        (True, 32)
        """
        with own_switches(), self._lock, refusing(self.name):
            if self._fingerprint is None:
                key, parts = self._divided("fingerprint")
                found = _FINGERPRINTS.find(key, parts) if parts else None
                if found is None:
                    self._traced = self._lowered(None)
                    code = _fingerprint(self.name, *self._traced)
                    found = code, self._traced[0].out_info
                    if parts:
                        _FINGERPRINTS.keep(key, parts, found)
                self._fingerprint, self.results = found
            return self._fingerprint

    def _noted(self, device: jax.Device | None) -> tuple[Path | None, Executable | None]:
        """The program that an earlier process kept, and where to note what is compiled now."""
        if self.reads:
            return None, None
        arguments, options = self._arguments(device), _options(device)
        return _kept_programs.noted(self._fn, arguments, options, device)

    def _divided(self, what: Hashable) -> tuple[Hashable, tuple[Traced, ...]]:
        """A key of what is known of the program, and the functions of the user that it calls.

        No functions if the program cannot be found by traces.
        """
        known = divided(self._fn) if self.reads else None
        if known is None:
            return None, ()
        return (what, known[0], _shapes(self._lane, self._shared), self.width), known[1]

    def _lowered(self, device: jax.Device | None) -> tuple[jax.stages.Traced, jax.stages.Lowered]:
        if device is None and self._traced is not None:
            return self._traced
        traced = self._jitted().trace(*self._arguments(device))
        _check_results(self.name, traced.out_info)
        return traced, traced.lower()

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
        # JAX leaves unused arguments out of the code, which then does not say which of two equal
        # ones the function reads, nor the shapes of the others.
        mapped = jax.vmap(counted, in_axes=(0, *(None for _ in self._shared)))
        return jax.jit(mapped, keep_unused=True)

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
# Programs of functions that read more than their arguments, by what those functions trace as.
_OF_TRACES: Recall[Executable] = Recall()
_FINGERPRINTS: Recall[tuple[str, PyTree]] = Recall()
_CACHE_LOCK = threading.Lock()
_CACHE_SIZE = 256


def forget() -> None:
    """Forgets all programs of this process; those that are in use stay.

    >>> forget()
    """
    with _CACHE_LOCK:
        for kept in (_CACHE, _EXECUTABLES):
            kept.clear()
        _OF_TRACES.clear()
        _FINGERPRINTS.clear()


def cached(
    fn: Callable[..., PyTree], lane: PyTree, shared: tuple[PyTree, ...], *, width: int, name: str
) -> Program:
    """The program for these arguments, from the cache of this process if possible.

    The cache key is the function, all shapes, the width, and JAX's switches. Functions are compared
    by equality: two equal frozen dataclasses with ``__call__`` share a program. A function that may
    read more than its arguments gets a program of its own, which is traced anew.

    >>> one = jax.ShapeDtypeStruct((), "float32")
    >>> cached(abs, one, (), width=2, name="abs") is cached(abs, one, (), width=2, name="abs")
    True
    """
    program = Program(fn, lane, shared, width=width, name=name)
    if program.reads:
        return program
    key = (fn, _shapes(lane, shared), width)
    try:
        hash(key)
    except TypeError:
        return program
    return _held(_CACHE, key, program)


def _shapes(lane: PyTree, shared: tuple[PyTree, ...]) -> Hashable:
    """The shapes of all arguments, and the settings of JAX."""
    leaves, tree = jax.tree.flatten((lane, shared))
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    return tree, shapes, tuple(switches().items())


def _fingerprint(name: str, traced: jax.stages.Traced, lowered: jax.stages.Lowered) -> str:
    if _calls_python(traced.jaxpr.jaxpr):
        raise errors.refusal(
            f"program {name!r} for a store",
            "a function that calls back into Python",
            "functions whose code decides their results",
            "store=jinit.engine.MemoryStore(), or leave the callback out",
        )
    digest = _hashed(lowered.as_text(), traced)
    digest.update(f"{lowered.in_tree}{lowered.out_tree}".encode())
    return digest.hexdigest()[:32]


def _calls_python(jaxpr: jex_core.Jaxpr) -> bool:
    """Whether a function calls back into Python, like ``jax.pure_callback`` and ``debug.print``."""
    waiting, seen = [jaxpr], {id(jaxpr)}
    while waiting:
        for equation in waiting.pop().eqns:
            name = equation.primitive.name
            if "callback" in name or "debug" in name:
                return True
            found = [inner for inner in inner_jaxprs(equation) if id(inner) not in seen]
            waiting += found
            seen.update(map(id, found))
    return False


def _constants(traced: jax.stages.Traced) -> bytes:
    """The arrays that the function closes over, which the code may hold or only name."""
    digest = hashlib.blake2b()
    for constant in traced.jaxpr.consts:
        is_key = jnp.issubdtype(constant.dtype, jax.dtypes.prng_key)
        values = jax.random.key_data(constant) if is_key else constant
        digest.update(np.asarray(values).tobytes())
    return digest.digest()


def _executable(
    traced: jax.stages.Traced,
    lowered: jax.stages.Lowered,
    device: jax.Device | None,
    *,
    shared: bool,
    note: Path | None,
) -> tuple[Executable, bool]:
    """Compiles a trace; returns the executable and whether it is new.

    Args:
      traced, lowered: the trace and its code.
      device: None is the default device.
      shared: whether a trace with the same code may use the same executable.
      note: as in :func:`_kept_programs.compiled`.
    """
    options = _options(device)
    code = lowered.as_text()
    # The code of a call back into Python does not say which function is called.
    if _calls_python(traced.jaxpr.jaxpr):
        return lowered.compile(options), True
    # Lowering a call of LAPACK prepares the library; a program loaded without it would crash.
    note = None if "custom_call" in code else note
    digest = _hashed(code, traced).digest()
    if not shared:
        return _kept_programs.compiled(lowered, digest, options, device, note)
    key = (digest, device, lowered.in_tree, lowered.out_tree)
    with _CACHE_LOCK:
        found = _EXECUTABLES.get(key)
    if found is not None:
        return found, False
    made, fresh = _kept_programs.compiled(lowered, digest, options, device)
    return _held(_EXECUTABLES, key, made), fresh


def _options(device: jax.Device | None) -> dict[str, Any] | None:
    """The options of the compiler for a device; None is the default device."""
    platform = jax.default_backend() if device is None else device.platform
    return COMPILER_OPTIONS.get(platform)


def _hashed(code: str, traced: jax.stages.Traced) -> hashlib.blake2b:
    """The hash of the code without the program's name, and of the constants."""
    # The module has the program's name.
    digest = hashlib.blake2b(re.sub(r"module @\S+", "module", code, count=1).encode())
    digest.update(_constants(traced))
    return digest


def _held(cache: OrderedDict[Hashable, T], key: Hashable, made: T) -> T:
    """What the cache holds under a key: ``made`` if it held nothing."""
    with _CACHE_LOCK:
        kept = cache.setdefault(key, made)
        cache.move_to_end(key)
        while len(cache) > _CACHE_SIZE:
            cache.popitem(last=False)
        return kept
