"""Defines ``jinit doctor``: what a sweep would run on, and what is wrong with that."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib import metadata
from typing import Annotated, Any

from jinit import errors
from jinit.cli._output import dump

try:
    from tyro.conf import arg
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None

_PACKAGES = (
    "jinit", "jax", "jaxlib", "flax", "optax", "chex", "numpy", "scipy", "scikit-learn",
    "matplotlib", "pandas", "pyarrow", "xarray", "rich", "tyro", "ray", "distributed",
    "cloudpickle", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu",
)  # fmt: skip
# The dependency of jinit in pyproject.toml excludes these.
_EXCLUDED = ("0.10.", "0.11.0", "0.11.1")
_GIB = 2**30


def doctor(
    path: Annotated[
        str, arg(help="where a sweep would write: the kind of its file system is reported")
    ] = ".",
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False,
) -> int:
    """Says what a sweep would run on: devices, precision, memory, cores, versions, file system.

    Exit code 0 if nothing is wrong, 1 if something is, such as JAX on the CPU of a machine with a
    GPU.

    Example: jinit doctor --path runs.db
    """
    facts, problems = _facts(path)
    if json:
        dump({**facts, "problems": problems})
    else:
        _print(facts, problems)
    return 1 if problems else 0


def _facts(path: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Group → name → value, and sentences that say what is wrong."""
    import jax

    from jinit import _database
    from jinit.engine import _environment, _executors, _machine, _processor

    problems = []
    devices = jax.local_devices()
    machine = _executors.local()
    where = _database.file_system(path)
    signs = _machine.accelerators()
    if machine.platform == "cpu" and signs:
        chosen = os.environ.get("JAX_PLATFORMS", "")
        why = f"JAX_PLATFORMS={chosen}" if chosen else "jax has no plugin for it, or no driver"
        problems.append(
            f"JAX RUNS ON THE CPU, but this machine has {' and '.join(signs)}: {why}. A sweep "
            'would be slow. Install JAX for the device, such as pip install "jax[cuda13]"'
        )
    if jax.__version__.startswith(_EXCLUDED):
        problems.append(
            f"jax {jax.__version__} hangs in programs that jinit compiles on CPU: use another one"
        )
    if not where.trusted and where.kind != "unknown":
        problems.append(
            f"{path} lies on {where.kind}, where locks of databases are not known to work: write "
            "to a local disk, and let --mirror copy the store"
        )
    if where.in_memory:
        problems.append(f"{path} lies in memory ({where.kind}): a restart loses it")
    memory = _executors.host_memory()
    facts: dict[str, dict[str, Any]] = {
        "JAX": {
            "platform": machine.platform,
            "devices": [f"{device.id}: {device.device_kind}" for device in devices],
            "memory of a device": _gib(machine.memory_bytes),
            "devices of a sweep": list(machine.device_names),
            "workers of a sweep": len(machine.devices),
            "accelerators found": signs,
            "precision of products": "highest in sweeps, jax_default_matmul_precision elsewhere",
            "random bits": "threefry2x32 in sweeps",
            **_environment.switches(),
            **{name: value for name, value in _environment.variables().items() if value},
        },
        "machine": {
            "processor": _processor.processor(),
            "cores": os.cpu_count(),
            "cores that this process may use": _executors.usable_cores(),
            "memory that this process may use": _gib(memory),
        },
        "file system": {
            "path": path,
            "kind": where.kind,
            "mounted at": where.mount,
            "locks of a store": "trusted" if where.trusted else "not trusted: no write-ahead log",
            "free": _gib(where.free_bytes),
        },
        "versions": {"python": sys.version.partition(" ")[0], **_versions()},
    }
    return facts, problems


def _versions() -> dict[str, str | None]:
    """Package → version; None if it is not installed. Frameworks are listed if installed."""
    from jinit import frameworks

    packages = metadata.packages_distributions()
    of_frameworks = [packages[name][0] for name in frameworks.names() if name in packages]
    found: dict[str, str | None] = {}
    for package in (*_PACKAGES, *of_frameworks):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    if found["jinit"] is None and importlib.util.find_spec("jinit") is not None:
        import jinit

        found["jinit"] = jinit.__version__
    return found


def _print(facts: dict[str, dict[str, Any]], problems: list[str]) -> None:
    from jinit.report._console import escaped, new_table, open_console

    console = open_console(None)
    table = new_table()
    table.add_column("jinit doctor")
    table.add_column("")
    for group, values in facts.items():
        table.add_row(f"[bold]{group}[/bold]", "")
        for name, value in values.items():
            table.add_row(f"  {escaped(name)}", escaped(_text(value)))
    console.print(table)
    for problem in problems:
        console.print(f"[bold red]WARNING[/bold red] {escaped(problem)}")
    if not problems:
        console.print("Nothing is wrong.")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "—" if value is None else str(value)


def _gib(size: int | None) -> str | None:
    return None if size is None else f"{size / _GIB:.1f} GiB"
