"""Registers frameworks and presets; all other lists of them are derived from these two tables."""

from __future__ import annotations

from collections.abc import Iterable

from jinit import errors
from jinit._registry import Registry
from jinit.frameworks import _nnx
from jinit.frameworks._conventions import Conventions
from jinit.frameworks._equinox import EQUINOX
from jinit.frameworks._framework import Framework, Preset
from jinit.frameworks._haiku import HAIKU
from jinit.frameworks._keras import KERAS
from jinit.frameworks._linen import BATCH_STATS, LINEN
from jinit.frameworks._nnx import NNX
from jinit.frameworks._statistics import statistic_of
from jinit.frameworks._torch import TORCH
from jinit.typing import ModelLike, PyTree

_ROWS = (LINEN, NNX, HAIKU, EQUINOX, KERAS, TORCH)
_table: Registry[Framework] = Registry(
    "framework", "jinit.frameworks.names()", {row.name: row for row in _ROWS}, item_type=Framework
)
_presets: Registry[Preset] = Registry(
    "preset",
    "jinit.frameworks.presets()",
    {row.host: row.defaults for row in _ROWS},
)


def names() -> tuple[str, ...]:
    """The names of all frameworks, in the order in which models are recognized.

    >>> names()
    ('linen', 'nnx', 'haiku', 'equinox', 'keras', 'torch')
    """
    return _table.names()


def hosts() -> tuple[str, ...]:
    """All values of ``host=``: the axis orders and leaf names that a tree can follow.

    >>> hosts()
    ('flax', 'haiku', 'equinox', 'keras', 'torch')
    """
    return tuple(dict.fromkeys(row.host for row in _rows()))


def get(name: str) -> Framework:
    """The :class:`Framework` of this name.

    Raises:
      ValueError: an unknown name.

    >>> get("linen").host
    'flax'
    """
    return _table.get(name)


def register(framework: Framework) -> None:
    """Adds a framework, and its defaults as the preset of its host.

    Its models, host and preset then work wherever built-in ones do. Registering an equal framework
    again changes nothing.

    Args:
      framework: the framework to add.

    Raises:
      TypeError: not a :class:`Framework`.
      ValueError: the name is taken, or the host already has other conventions or defaults.

    >>> import dataclasses
    >>> register(dataclasses.replace(get("linen"), name="mine"))
    >>> "mine" in names()
    True
    >>> remove("mine")
    """
    if not isinstance(framework, Framework):
        raise errors.wrong_type("framework", framework, "a Framework", "pass frameworks.Framework")
    for row in _rows():
        same = (row.conventions, row.defaults) == (framework.conventions, framework.defaults)
        if row.host == framework.host and not same:
            raise errors.refusal(
                f"host of framework {framework.name!r}",
                framework.host,
                f"a new host, or the conventions and defaults of {row.name}",
                "give the framework a host of its own",
            )
    _presets.register(framework.host, framework.defaults)
    try:
        _table.register(framework.name, framework)
    except (TypeError, ValueError):
        _drop_preset(framework.host)
        raise


def remove(name: str) -> None:
    """Removes a framework that :func:`register` added, with its preset; for tests and examples.

    Raises:
      ValueError: an unknown name, or a built-in framework.
    """
    host = get(name).host
    if name in {row.name for row in _ROWS}:
        raise errors.refusal("framework", name, "one that register() added", "keep it")
    _table.remove(name)
    _drop_preset(host)


def presets() -> tuple[str, ...]:
    """The names of all presets: the defaults of each host, then those that users registered.

    >>> presets()
    ('flax', 'haiku', 'equinox', 'keras', 'torch')
    """
    return _presets.names()


def get_preset(name: str) -> Preset:
    """The default initialization of a framework, or a registered preset.

    Args:
      name: one of :func:`presets`.

    Returns:
      ``preset(layout, leaf name, shape) -> (initializer, layout)``. The returned layout has the
      fans that the framework uses, even if they are not the layer's own: a preset reproduces its
      framework, mistakes included.

    Raises:
      ValueError: an unknown name.

    >>> from jinit.frameworks import Layout
    >>> str(get_preset("torch")(Layout(in_axes=(1,), out_axes=(0,)), "weight", (20, 10))[0])
    'fan_in_uniform'
    """
    return _presets.get(name)


def register_preset(name: str, preset: Preset) -> None:
    """Adds a preset, whose name ``rules=`` then accepts; registering it again changes nothing.

    Args:
      name: an identifier that is not yet taken.
      preset: ``preset(layout, leaf name, shape) -> (initializer, layout)``.

    Raises:
      ValueError: the name is taken by another preset, or is not an identifier.
      TypeError: the preset is not callable.

    >>> from jinit import initializers
    >>> register_preset("all_zeros", lambda layout, name, shape: (initializers.zeros, layout))
    >>> "all_zeros" in presets()
    True
    >>> _presets.remove("all_zeros")
    """
    _presets.register(name, preset)


def find(model: ModelLike) -> Framework | None:
    """The framework of a model, or None if no framework recognizes it."""
    return next((row for row in _rows() if row.recognize(model)), None)


def statistics_of(tree: PyTree, paths: Iterable[str]) -> dict[str, str]:
    """Path → what running statistic a leaf is, by the names that frameworks use; "" for none.

    >>> statistics_of({}, ["batch_stats/norm/var", "dense/kernel"])
    {'batch_stats/norm/var': 'running variance', 'dense/kernel': ''}
    """
    known = [row.conventions.statistics for row in _rows()]
    collected = _nnx.variables(tree, "BatchStat")
    return {
        path: statistic_of(f"{BATCH_STATS}/{path}" if path in collected else path, known)
        for path in paths
    }


def conventions_of(host: str) -> Conventions:
    """The axis order and leaf names of a host.

    Raises:
      ValueError: an unknown host.
    """
    errors.check_choice("host", host, hosts())
    return next(row.conventions for row in _rows() if row.host == host)


def hosts_with_kernel(name: str) -> tuple[str, ...]:
    """The hosts that have this name for kernels and whose kernels are not (…, in, out)."""
    rows = (row for row in _rows() if name in row.conventions.kernels)
    return tuple(row.host for row in rows if row.conventions.kernel != (-2, -1))


def listed(*, opened: bool = False, trained: bool = False) -> str:
    """``"linen, nnx, … or torch"`` for messages; ``opened`` or ``trained``: those that can be."""
    rows = [row for row in _rows() if row.open is not None or not opened]
    *others, last = [row.name for row in rows if row.functions is not None or not trained]
    return f"{', '.join(others)} or {last}"


def _rows() -> list[Framework]:
    return [_table.get(name) for name in _table.names()]


def _drop_preset(host: str) -> None:
    if host not in hosts():
        _presets.remove(host)
