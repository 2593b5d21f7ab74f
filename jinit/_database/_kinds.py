"""Says which sweeps of a store are one table: those that differ in axes and seeds alone."""

from __future__ import annotations

import json
from typing import Any

from jinit._database import _marks
from jinit._database._sweeps import Entry

AXES = (
    "dataset", "activation", "depth", "width", "optimizer", "batch_size", "loss", "initializer",
    "bias_initializer", "gain", "learning_rate", "momentum", "weight_decay", "label_noise",
    "label_smoothing", "schedule", "clip",
)  # fmt: skip
# Settings that differ between sweeps whose runs are one table: the rows say what they are.
_FREE = ("data", "tile", "seconds", "devices", "model", "models", _marks.MARKS)
# The entries of a setting that an identity has; the code of a run says the rest.
_OF_RUNS = {"versions": ("jax", "jaxlib"), "machine": ("device", "architecture")}
# Switches that change no bit of a run that is stored.
CHECKS = ("jax_disable_jit", "jax_debug_nans")
_HOST_DEVICES = "--xla_force_host_platform_device_count"


def kind_of(entry: Entry) -> str:
    """The settings of a sweep that decide its runs, but for its axes; equal for one table."""
    settings = {name: value for name, value in entry.settings.items() if name not in _FREE}
    # Rules are described for the first initializer of a batch, of which a race has many.
    if _marks.race_of(entry.settings) and settings.get("rules") is not None:
        del settings["rules"]
    for name, value in settings.items():
        if isinstance(value, dict):
            settings[name] = _of_runs(name, value)
    grid = settings.get("grid")
    if isinstance(grid, dict):
        axes = (*AXES, "seeds", "data_seeds")
        settings["grid"] = {name: value for name, value in grid.items() if name not in axes}
    return json.dumps(settings, sort_keys=True)


def _of_runs(name: str, entries: dict[str, Any]) -> dict[str, Any]:
    """The entries of a setting on which the numbers of a run depend."""
    if name in _OF_RUNS:
        return {key: entries.get(key) for key in _OF_RUNS[name]}
    if name == "jax":
        return {key: value for key, value in entries.items() if key not in CHECKS}
    if name == "environment":
        flags = {key: str(value).split() for key, value in entries.items()}
        return {key: sorted(flag for flag in given if not flag.startswith(_HOST_DEVICES))
                for key, given in flags.items()}  # fmt: skip
    return entries
