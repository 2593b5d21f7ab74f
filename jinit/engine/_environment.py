"""Names what the processes of one run must have in common: versions, processor, switches."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

from jinit.engine._processor import processor

# Switches of JAX and variables of the environment that change bits. A sweep sets the precision of
# products itself; other functions take JAX's.
OF_BITS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_threefry_gpu_kernel_lowering",
    "jax_random_seed_offset",
    "jax_numpy_dtype_promotion",
    "jax_softmax_custom_jvp",
)
SWITCHES = (*OF_BITS, "jax_disable_jit", "jax_debug_nans")
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")


def versions() -> dict[str, str]:
    """Versions of jinit, Python, and the packages that decide a sweep's numbers.

    Returns:
      Package → version: ``jinit``, ``python``, ``jax``, ``jaxlib``, ``flax``, ``optax``, ``numpy``,
      ``scipy``.

    >>> versions()["jax"] == jax.__version__
    True
    """
    import jinit

    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
    return {
        "jinit": jinit.__version__,
        "python": platform.python_version(),
        **{package: _installed(package) for package in packages},
    }


def environment() -> dict[str, Any]:
    """Everything that must be equal in two processes for equal bits, as plain values.

    >>> found = environment()
    >>> sorted(found)[:3], found["backend"] == jax.default_backend()
    (['architecture', 'backend', 'device'], True)
    """
    return {
        **versions(),
        "backend": jax.default_backend(),
        "device": jax.local_devices()[0].device_kind,
        "architecture": platform.machine(),
        "processor": processor(),
        **switches(),
        **{f"environment {name}": value for name, value in variables().items()},
    }


def difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What differs, in words; "" if nothing does.

    >>> difference({"jax": "0.9.1", "backend": "cpu"}, {"jax": "0.9.2", "backend": "cpu"})
    "jax '0.9.1' instead of '0.9.2'"
    """
    names = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)]
    return "; ".join(f"{name} {theirs.get(name)!r} instead of {ours.get(name)!r}" for name in names)


def switches() -> dict[str, Any]:
    """Switch of JAX → its value."""
    found = {name: getattr(jax.config, name) for name in SWITCHES if hasattr(jax.config, name)}
    return {name: x if _is_plain(x) else str(x) for name, x in found.items()}


def variables() -> dict[str, str]:
    """Variable of the environment → its value; "" if it is not set."""
    return {name: os.environ.get(name, "") for name in VARIABLES}


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | str)


@functools.cache
def _installed(package: str) -> str:
    # Each look-up reads a file.
    return metadata.version(package)
