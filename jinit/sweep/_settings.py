"""Names everything that changes the numbers of a sweep, as plain values for JSON."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jinit import _specs
from jinit.data import Dataset
from jinit.engine import _environment, _processor
from jinit.frameworks import Layers
from jinit.models import Model
from jinit.sweep._assigned import drawn_by
from jinit.sweep._grid import MODEL_AXES, Grid
from jinit.sweep._grid import settings as grid_settings
from jinit.sweep._models import OPTIONS, ModelArms
from jinit.sweep._plan import Plan, PlannedProgram
from jinit.sweep._rules import RulesFor
from jinit.typing import PyTree

_LONGEST = 2000


def describe(
    grid: Grid,
    planned: Plan,
    *,
    model: ModelArms,
    own_data: bool,
    rules: RulesFor | None,
    layers: Layers | None,
) -> dict[str, Any]:
    """The settings of a sweep without its duration.

    Args:
      grid: the sweep.
      planned: its plan.
      model: the models of the sweep.
      own_data: whether the user gave data.
      rules, layers: as the user gave them, or None.

    >>> from jinit.sweep import plan
    >>> grid = Grid(dataset="xor", depth=1, seeds=2)
    >>> given = {"model": ModelArms.of(grid, None), "rules": None, "layers": None}
    >>> found = describe(grid, plan(grid), own_data=False, **given)
    >>> sorted(found)[:4], found["model"]
    (['backend', 'data', 'devices', 'environment'], {'name': 'MLP'})
    """
    programs = planned.programs
    datasets = {program.dataset.name: program.dataset for program in programs}
    of_grid = grid_settings(grid)
    if own_data:
        of_grid["dataset"] = programs[0].dataset.name
    # What no model takes had no effect.
    unused = (axis for axis in (*MODEL_AXES, *OPTIONS) if axis not in model.taken)
    of_grid |= dict.fromkeys(unused)
    return {
        "grid": of_grid,
        **_models(model, programs),
        "start": _start(programs),
        "layers": None if layers is None else {str(k): str(v) for k, v in layers.items()},
        "rules": None if rules is None else _rules(grid, rules),
        "data": {name: _data(dataset) for name, dataset in datasets.items()},
        "tile": {program.name: program.tile for program in programs},
        "versions": _environment.versions(),
        "backend": jax.default_backend(),
        "machine": {
            "device": jax.local_devices()[0].device_kind,
            "architecture": platform.machine(),
            "processor": _processor.processor(),
        },
        "devices": list(planned.devices),
        "matmul_precision": "highest",
        "x64": bool(jax.config.read("jax_enable_x64")),
        "jax": _environment.switches(),
        "environment": _environment.variables(),
    }


def fingerprint(dataset: Dataset) -> str:
    """32 hexadecimal digits that change with any bit, shape or dtype of a data set.

    Of generated data, also with the lowered function that draws them.

    >>> from jinit import data
    >>> len(fingerprint(data.get("xor")))
    32
    """
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(dataset):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.shape}{array.dtype.str}".encode())
        digest.update(array.tobytes())
    if dataset.generator is not None:
        digest.update(dataset.generator.fingerprint(len(dataset.x_test)))
    return digest.hexdigest()


def _data(dataset: Dataset) -> dict[str, Any]:
    return {
        "task": dataset.task,
        "outputs": dataset.outputs,
        "train": list(np.shape(dataset.x_train)),
        "test": list(np.shape(dataset.x_test)),
        "fingerprint": fingerprint(dataset),
        "classes": list(dataset.classes),
        "prepared": dict(dataset.prepared),
        **_scale(dataset),
    }


def _scale(dataset: Dataset) -> dict[str, float]:
    """What a constant prediction reaches, or the size of the targets.

    ``majority_share`` is the share of the test labels that are the most frequent class, or of the
    test examples that have the most frequent set of labels;
    ``target_rms`` is √E y² of the training targets of a regression.
    """
    if dataset.task == "regression":
        y = np.asarray(dataset.y_train, np.float64)
        return {"target_rms": float(np.sqrt(np.square(y).mean()))}
    if dataset.task == "several":
        return {}
    labels = np.asarray(dataset.y_test)
    labels = labels[labels >= 0] if dataset.ignores else labels
    rows = 0 if dataset.task == "multilabel" else None
    counts = np.unique(labels, return_counts=True, axis=rows)[1]
    return {"majority_share": float(counts.max() / counts.sum())}


def _start(programs: Sequence[PlannedProgram]) -> str | None:
    """The fingerprint of the parameters that training starts from; None for the models' own."""
    first = min(programs, key=lambda program: program.position)
    return None if first.leaves.given is None else first.leaves.given.fingerprint


def _models(model: ModelArms, programs: Sequence[PlannedProgram]) -> dict[str, Any]:
    """The name of the model; with a factory or several models each one's description by name."""
    if model.given is None:
        return {"model": {"name": "MLP"}}
    named = {model.name(program.code): program for program in programs}
    described = {
        name: _model(program.network.model, program.shapes) for name, program in named.items()
    }
    if "" in described:
        return {"model": described[""]}
    source = "mapping" if model.named else _specs.label(*model.given.values())
    return {"model": {"name": source}, "models": described}


def _model(model: Model, shapes: PyTree) -> dict[str, Any]:
    """The name of the user's model, its description and its parameters."""
    # Addresses in memory differ from process to process.
    described = re.sub(r" at 0x[0-9a-f]+", "", repr(getattr(model.apply, "module", model.name)))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    parameters = {
        jax.tree_util.keystr(path, simple=True, separator="/"): [list(leaf.shape), str(leaf.dtype)]
        for path, leaf in leaves
    }
    return {"name": model.name, "repr": described[:_LONGEST], "parameters": parameters}


def _rules(grid: Grid, rules: RulesFor) -> dict[str, str]:
    """Pattern → initializer, for the first pair of the grid."""
    given: Mapping[str, Any] = rules(
        *drawn_by((grid.values("initializer")[0], grid.values("bias_initializer")[0]))
    )
    return {str(pattern): _specs.label(rule) for pattern, rule in given.items()}
