"""Reads the parameters that training starts from, and fits them to the leaves of a model."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.frameworks import _table
from jinit.frameworks._paths import path_of
from jinit.sweep._rules import Given, ModelLeaves
from jinit.typing import Array, PyTree

Start: TypeAlias = PyTree
"""Parameters, ``(params, state)``, or the variables of a linen module."""

_ADVICE = "pass the parameters of this model, as jinit.frameworks.shapes(model, x) lists them"


def with_start(leaves: ModelLeaves, start: Start, state: PyTree) -> ModelLeaves:
    """The leaves of a model with the values that the user gave for them.

    Args:
      leaves: the leaves of the model.
      start: its parameters as arrays in the framework's own tree or any tree with the same paths;
        or with the state.
      state: the shapes of the model's state.

    Raises:
      TypeError: a leaf that is no array.
      ValueError: a leaf that is missing or that the model lacks, another shape or dtype, NaN, inf.
    """
    params, carried = _parts(start, leaves, state)
    values = _by_path(params)
    wanted = {leaf.path: leaf.value for leaf in leaves.leaves}
    for names, problem in (
        ([path for path in wanted if path not in values], "no leaf"),
        ([path for path in values if path not in wanted], "a leaf that the model lacks"),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            listed = ", ".join([*values][:4]) or type(start).__name__
            raise errors.ValueRefusal(
                f"start at {names[0]!r}{more}",
                f"{problem} (start has {listed}{', …' if len(values) > 4 else ''})",
                "the leaves of the model",
                _ADVICE,
            )
    arrays = tuple(_checked(path, values[path], leaf) for path, leaf in wanted.items())
    given = Given(arrays, _fitted_state(carried, state), "")
    given = dataclasses.replace(given, fingerprint=_fingerprint(list(wanted), given))
    return dataclasses.replace(leaves, given=given, own=frozenset(wanted))


def _parts(start: Start, leaves: ModelLeaves, state: PyTree) -> tuple[PyTree, PyTree | None]:
    """The parameters and the state of ``start``; None for the state that the model starts with."""
    wanted = {leaf.path for leaf in leaves.leaves}
    if set(_by_path(start)) == wanted:
        return start, None
    if isinstance(start, Mapping) and "params" in start:
        others = {name: tree for name, tree in start.items() if name != "params"}
        if set(others) == (set(state) if isinstance(state, Mapping) else set()):
            return start["params"], others or None
    if isinstance(start, tuple) and len(start) == 2 and jax.tree.leaves(state):
        return start
    return start, None


def _by_path(params: PyTree) -> dict[str, PyTree]:
    framework = _table.find(params)
    if framework is not None and not framework.needs_inputs:
        # A whole Equinox module also holds functions and options.
        params = framework.shapes(params)
    return {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _checked(path: str, value: PyTree, leaf: Array | jax.ShapeDtypeStruct) -> np.ndarray:
    """One leaf as a NumPy array of the model's shape and dtype."""
    what = f"start at {path!r}"
    if not isinstance(value, np.ndarray | jax.Array) or isinstance(value, jax.core.Tracer):
        got = "a shape" if isinstance(value, jax.ShapeDtypeStruct) else value
        fix = "pass nnx.state(model, nnx.Param) of an nnx model, and arrays for all others"
        raise errors.wrong_type(what, got, "an array", fix)
    for kind, got, allowed in (
        ("shape", tuple(value.shape), tuple(leaf.shape)),
        ("dtype", str(value.dtype), str(leaf.dtype)),
    ):
        if got != allowed:
            fix = f"array.astype({allowed!r})" if kind == "dtype" else _ADVICE
            raise errors.refusal(f"{what}: {kind}", got, f"{allowed}, as in the model", fix)
    array = np.asarray(value)
    if (
        jnp.issubdtype(array.dtype, jnp.inexact)
        and not np.isfinite(
            array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
        ).all()
    ):
        raise errors.refusal(what, "NaN or inf", "finite numbers", "take an earlier checkpoint")
    return array


def _fitted_state(given: PyTree | None, state: PyTree) -> PyTree | None:
    """The given state in the model's own tree."""
    if given is None:
        return None
    wanted = jax.tree_util.tree_leaves_with_path(state)
    leaves = jax.tree.leaves(given)
    if len(leaves) != len(wanted):
        raise errors.refusal(
            "state of start",
            f"{len(leaves)} leaves",
            f"the {len(wanted)} leaves of the model's state",
            "pass the state that the model itself returns",
        )
    arrays = [
        _checked(f"state/{path_of(path)}", value, leaf)
        for value, (path, leaf) in zip(leaves, wanted, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(state), arrays)


def _fingerprint(paths: Sequence[str], given: Given) -> str:
    """32 hexadecimal digits that change with any path, shape, dtype or bit."""
    digest = hashlib.blake2b(digest_size=16)
    leaves = [*zip(paths, given.leaves, strict=True)]
    leaves += [("", leaf) for leaf in jax.tree.leaves(given.state)]
    for path, leaf in leaves:
        digest.update(f"{path}{leaf.shape}{leaf.dtype}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
