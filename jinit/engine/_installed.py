"""Tells whether the code of the packages below a program is as it was for another process."""

from __future__ import annotations

import functools
import hashlib
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path

# The packages whose code a training or drawing program is traced from.
_PACKAGES = ("jinit", "jax", "flax", "optax")
# Their modules with names that a script may replace; JAX has too many others.
_PUBLIC_JAX = ("jax", "jax.nn", "jax.nn.initializers", "jax.numpy", "jax.lax", "jax.random",
               "jax._src.nn.functions", "jax._src.nn.initializers", "jax._src.random")  # fmt: skip


@functools.cache
def source() -> str:
    """A digest of names, sizes and times of all modules of jinit, JAX, Flax and optax.

    A package that was edited, replaced or installed again has another digest.
    """
    digest = hashlib.blake2b(digest_size=16)
    for package in _PACKAGES:
        place = sys.modules[package].__file__ if package in sys.modules else None
        for file, found in _modules(Path(place).parent) if place else ():
            digest.update(f"{package} {file} {found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _modules(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Path inside the folder and state of each file of Python, in order."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                file = os.path.join(place, name)
                yield os.path.relpath(file, folder), os.stat(file)


def is_patched() -> bool:
    """Whether a script has replaced a function of these packages by its own.

    What is replaced shows in a trace, not in the name of a function. Looking takes some 20 ms.
    """
    return any(map(_is_foreign, _functions()))


def _functions() -> Iterator[types.FunctionType]:
    """The functions of all loaded modules of the packages, and of the classes there."""
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if not isinstance(module, types.ModuleType) or top not in _PACKAGES:
            continue
        if top == "jax" and name not in _PUBLIC_JAX:
            continue
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__.partition(".")[0] in _PACKAGES:
                for inner in list(vars(value).values()):
                    if isinstance(inner, types.FunctionType):
                        yield inner
            else:
                plain = getattr(value, "__wrapped__", value) if callable(value) else value
                if isinstance(plain, types.FunctionType):
                    yield plain


def _is_foreign(function: types.FunctionType) -> bool:
    module = function.__globals__.get("__name__")
    return not isinstance(module, str) or not _is_installed(module.partition(".")[0])


@functools.cache
def _is_installed(top: str) -> bool:
    """Whether a module is jinit, of the standard library, or in a folder of packages."""
    if top in _PACKAGES or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    known = (sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"],
             *site.getsitepackages(), site.getusersitepackages())  # fmt: skip
    return file is not None and any(Path(file).is_relative_to(folder) for folder in known)
