"""Calibrates networks to start simpler: residual branches that add 0, or an output of 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import KeyPath

from jinit import errors
from jinit.calibrate._common import Trace, adjusted, arrays, by_kernel, opened, pre_activations
from jinit.frameworks._capture import by_path
from jinit.frameworks._paths import path_of
from jinit.parameters import fixup_factors
from jinit.parameters._patterns import matches
from jinit.typing import Array, Key, ModelLike, PyTree


def fixup(
    key: Key,
    model: ModelLike,
    params: PyTree,
    batch: Array,
    *,
    branches: Sequence[Sequence[str]] | None = None,
) -> tuple[PyTree, Trace]:
    """Fixup: scales branch kernels by L^(−1/(2m − 2)); zeroes the last ones and the output kernel.

    L is the number of branches and m the number of layers of a branch. The last kernel of each
    branch is set to 0, and so is the kernel of the output layer. Draw the kernels with
    ``he_normal`` first, as the paper does. Biases and scalars do not change.

    Args:
      key: unused.
      model: a model that :func:`jinit.frameworks.capture` takes.
      params: its parameters.
      batch: ``(batch, …)``.
      branches: for each branch the paths of its two or more kernels, first to last. None calls
        ``model.branches()``, which :class:`jinit.models.ResidualMLP` has.

    Returns:
      Parameters, and a :class:`Trace` of E z² of the last layer of each branch. If biases are 0,
      ``after`` is 0, and each branch adds nothing to the residual stream.

    Raises:
      ValueError: an output layer that shares its kernel; no branches; a branch with fewer than two
        kernels, with a path that is not a captured kernel, with kernels out of call order, or with
        a kernel of another branch; as :func:`jinit.frameworks.capture`.
      TypeError: branches that are not a sequence.

    Reference: Zhang, Dauphin & Ma 2019, section 3.

    >>> from jinit.models import ResidualMLP
    >>> model, x = ResidualMLP(width=32, blocks=4, outputs=3), jnp.ones((8, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> _, trace = fixup(jax.random.key(0), model, params, x)
    >>> bool((trace.before > 0).all()), trace.after.tolist()
    (True, [0.0, 0.0, 0.0, 0.0])
    """
    captured = opened(model, params, batch)
    layers, output = by_kernel(captured), captured.layers[-1].kernel
    if len(layers[output]) > 1:
        raise errors.refusal(
            "model",
            f"{output!r}, used by the output layer and another one",
            "an output layer with its own kernel, which is set to 0",
            "do not tie the kernel",
        )
    if branches is None:
        if not hasattr(model, "branches"):
            raise errors.refusal(
                f"branches of {type(model).__name__}",
                None,
                "a model that names its branches, or the kernels of each branch",
                "jinit.models.ResidualMLP, or fixup(…, branches=[('first/kernel', 'last/kernel')])",
            )
        branches = model.branches()
    _check_branches(branches, list(layers))
    factors = {output: 0.0}
    for branch in branches:
        roles = fixup_factors(len(branches), len(branch))
        factors |= dict.fromkeys(branch[:-1], roles["inner"]) | {branch[-1]: roles["last"]}
    last = [layers[branch[-1]][0] for branch in branches]
    changed = adjusted(params, factors)

    def added(params: PyTree) -> Array:
        z = pre_activations(captured, params, batch)
        return jnp.stack([jnp.mean(jnp.square(z[place])) for place in last])

    before, after = added(params), added(changed)
    return changed, Trace(before, after, jnp.ones(len(last), jnp.int32), after == 0)


def _check_branches(branches: Sequence[Sequence[str]], kernels: list[str]) -> None:
    """Refuses branches other than two or more kernels each, in call order, none twice."""
    fix = "[('first/kernel', 'last/kernel')]"
    if isinstance(branches, str) or not isinstance(branches, Sequence):
        raise errors.wrong_type("branches", branches, "a list of kernel paths per branch", fix)
    if not branches:
        raise errors.refusal("branches", "none", "at least one", "use a rule for a plain network")
    seen: set[str] = set()
    for branch in branches:
        several = isinstance(branch, Sequence) and not isinstance(branch, str)
        if not several or len(branch) < 2:
            raise errors.refusal("branch", branch, "two or more kernels", "('first', 'last')")
        for path in branch:
            errors.check_choice("kernel of a branch", path, kernels)
        places = [kernels.index(path) for path in branch]
        if sorted(set(places)) != places:
            raise errors.refusal("branch", branch, "its kernels in the order of their calls", fix)
        if seen & set(branch):
            twice = ", ".join(sorted(seen & set(branch)))
            raise errors.refusal("branches", f"{twice} twice", "each kernel in one branch", fix)
        seen |= set(branch)


def skipinit(
    key: Key, model: ModelLike, params: PyTree, batch: Array, *, scales: str = "*/scale"
) -> tuple[PyTree, Trace]:
    """SkipInit: sets the learnable scalar of every residual branch to 0; kernels do not change.

    Args:
      key: unused.
      model: unused.
      params: parameters with a scalar per branch, such as those of
        :class:`jinit.models.ResidualMLP`.
      batch: unused.
      scales: pattern of the paths of the scalars. Matching leaves with more than one entry
        (LayerNorm's scale) do not change.

    Returns:
      Parameters, and a :class:`Trace` of the scalars.

    Raises:
      ValueError: no scalar matches.
      TypeError: a pattern that is not a string, or a leaf that is not an array.

    Reference: De & Smith 2020, section 3.

    >>> from jinit.models import ResidualMLP
    >>> model, x = ResidualMLP(width=8, blocks=2, outputs=3), jnp.ones((8, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> _, trace = skipinit(jax.random.key(0), model, params, x)
    >>> trace.before.tolist(), trace.after.tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    if not isinstance(scales, str):
        raise errors.wrong_type("scales", scales, "a pattern of paths", "scales='*/scale'")
    leaves = arrays(params)
    scalars = [path for path, leaf in leaves.items() if np.size(leaf) == 1]
    chosen = [path for path in scalars if matches(scales, path)]
    if not chosen:
        raise errors.refusal(
            "scales",
            scales,
            "a pattern that matches a scalar of every branch; scalars in params: "
            + (", ".join(scalars) or "none"),
            "multiply each branch by a learnable scalar, or use fixup",
        )
    before = jnp.stack([jnp.reshape(leaves[path], ()) for path in chosen]).astype(jnp.float32)
    changed = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if path_of(path) in chosen else leaf, params
    )
    after = jnp.zeros_like(before)
    return changed, Trace(before, after, jnp.ones(len(chosen), jnp.int32), after == 0)


def rezero(
    key: Key, model: ModelLike, params: PyTree, batch: Array, *, scales: str = "*/scale"
) -> tuple[PyTree, Trace]:
    """ReZero: the same as :func:`skipinit`, for networks without normalization.

    Args:
      key, model, params, batch, scales: as in :func:`skipinit`.

    Returns:
      As :func:`skipinit`.

    Raises:
      ValueError, TypeError: as :func:`skipinit`.

    Reference: Bachlechner et al. 2021, equation 1.

    >>> params = {"block": {"scale": jnp.ones(())}}
    >>> float(rezero(jax.random.key(0), None, params, None)[0]["block"]["scale"])
    0.0
    """
    return skipinit(key, model, params, batch, scales=scales)


def antisymmetric(key: Key, model: ModelLike, params: PyTree, batch: Array) -> tuple[PyTree, Trace]:
    """Copies the parameters ``plus`` of a doubled network to ``minus``, so the output starts at 0.

    Args:
      key: unused.
      model: a :class:`jinit.models.Antisymmetric`, or any model with parameters ``plus`` and
        ``minus`` whose output is the difference of two copies of one network.
      params: its parameters.
      batch: ``(batch, …)``.

    Returns:
      Parameters, and a :class:`Trace` with one entry, the mean square of the outputs; ``after`` is
      0.

    Raises:
      ValueError: parameters other than ``plus`` and ``minus`` of equal shapes; as
        :func:`jinit.frameworks.capture`.

    Reference: Zhang, Xu, Luo & Ma 2020, section 4.

    >>> from jinit.models import MLP, Antisymmetric
    >>> model, x = Antisymmetric(MLP(features=(8, 3))), jnp.ones((4, 5))
    >>> params = model.init(jax.random.key(0), x)["params"]
    >>> _, trace = antisymmetric(jax.random.key(0), model, params, x)
    >>> bool(trace.before[0] > 0), trace.after.tolist()
    (True, [0.0])
    """
    captured = opened(model, params, batch)
    leaves = by_path(params)
    plus, minus = (
        {path.partition("/")[2]: leaf for path, leaf in leaves.items() if path.startswith(prefix)}
        for prefix in ("plus/", "minus/")
    )
    shapes = [{path: leaf.shape for path, leaf in half.items()} for half in (plus, minus)]
    if not plus or shapes[0] != shapes[1] or 2 * len(plus) != len(leaves):
        raise errors.refusal(
            "params",
            ", ".join(sorted({path.partition("/")[0] for path in leaves})),
            "plus and minus, of equal shapes",
            "model=jinit.models.Antisymmetric(model)",
        )

    def copied(path: KeyPath[Any], leaf: Array) -> Array:
        part, _, rest = path_of(path).partition("/")
        return plus[rest] if part == "minus" else leaf

    def square(params: PyTree) -> Array:
        return jnp.mean(jnp.square(captured.apply(params, batch, None)[0]))[None]

    changed = jax.tree_util.tree_map_with_path(copied, params)
    before, after = square(params), square(changed)
    return changed, Trace(before, after, jnp.ones(1, jnp.int32), after == 0)
