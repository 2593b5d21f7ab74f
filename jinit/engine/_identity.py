"""Names what a stored result depends on besides its code: versions, machine, switches."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jinit.engine._environment import OF_BITS, VARIABLES
from jinit.engine._processor import extensions
from jinit.engine._program import COMPILER_OPTIONS

# The code that is lowered does not depend on these, only what a compiler makes of the code.
AFTER_LOWERING = ("device", "architecture", "instructions", "caches", "compiler", *VARIABLES)
# The number of devices that the host pretends to have changes no bit.
_WITHOUT_EFFECT = "--xla_force_host_platform_device_count"
# Extensions with instructions for floating-point numbers.
_INSTRUCTIONS = re.compile(r"sse\w*|ssse3|avx\w*|fma\w*|f16c|amx\w*|asimd\w*|neon|sve\w*|fphp|sme")


def describe() -> dict[str, Any]:
    """Everything about this process and machine that decides the bits of a program.

    >>> describe()["jax"] == jax.__version__
    True
    """
    backend = jax.default_backend()
    switches = {name: getattr(jax.config, name, None) for name in OF_BITS}
    return {
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "backend": backend,
        "device": jax.local_devices()[0].device_kind,
        "architecture": platform.machine(),
        "instructions": _instructions() if backend == "cpu" else "",
        "caches": _caches() if backend == "cpu" else "",
        "compiler": json.dumps(COMPILER_OPTIONS.get(backend, {}), sort_keys=True),
        **{name: None if value is None else str(value) for name, value in switches.items()},
        **{name: _flags(os.environ.get(name, "")) for name in VARIABLES},
    }


def digest(environment: dict[str, Any]) -> bytes:
    """16 bytes that change with any entry.

    >>> len(digest(describe()))
    16
    """
    text = json.dumps(environment, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _flags(text: str) -> str:
    flags = [flag for flag in text.split() if not flag.startswith(_WITHOUT_EFFECT)]
    return " ".join(sorted(flags))


@functools.cache
def _instructions() -> str:
    """The floating-point extensions of the processor, sorted; its name where they are unknown."""
    line = extensions()
    if not line:
        return platform.processor()
    found = [word for word in line.partition(":")[2].split() if _INSTRUCTIONS.fullmatch(word)]
    return " ".join(sorted(set(found)))


@functools.cache
def _caches() -> str:
    """Sizes of the processor's caches, by which products are cut into blocks."""
    root = Path("/sys/devices/system/cpu/cpu0/cache")
    try:
        return " ".join(
            (index / "size").read_text().strip() for index in sorted(root.glob("index*"))
        )
    except OSError:
        return ""
