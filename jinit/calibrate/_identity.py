"""Networks that start as less than they are: branches that add nothing, outputs that are 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.calibrate._common import Trace, adjusted, arrays, by_kernel, opened, pre_activations
from jinit.frameworks._capture import by_path
from jinit.frameworks._paths import path_of
from jinit.parameters import fixup_factors, matches
from jinit.typing import Array, Key, PyTree


def fixup(
    key: Key,
    model: Any,
    params: PyTree,
    batch: Array,
    *,
    branches: Sequence[Sequence[str]] | None = None,
) -> tuple[PyTree, Trace]:
    """Fixup: branch kernels × L^(−1/(2m − 2)), the last of each branch and the output layer's 0.

    m is a branch's number of layers, L the number of branches. Draw the kernels with ``he_normal``
    first, as the paper does; biases and scalars are left as they are.

    Args:
      key: not used.
      model, params: what :func:`jinit.frameworks.capture` opens, and its parameters.
      batch: ``(batch, …)``.
      branches: paths of the kernels of each branch, first to last, two or more; None: what
        ``model.branches()`` says (:class:`jinit.models.ResidualMLP`).

    Returns:
      Parameters, and a :class:`Trace` of E z² of what each branch's last layer adds: 0 after, so
      that the stream's length grows by exactly 1 a branch (zero biases, which
      ``jinit.initialize`` draws unless told otherwise, given).

    Raises:
      ValueError: an output layer without a kernel of its own; no branches given or known, fewer
        than two kernels in one, a path that is no captured kernel, that stands twice or before one
        called earlier; as :func:`jinit.frameworks.capture`.

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
            "model", f"{output!r} called last and before",
            "an output layer with a kernel of its own, which becomes 0", "do not tie it",
        )  # fmt: skip
    if branches is None:
        if not hasattr(model, "branches"):
            raise errors.refusal(
                f"branches of {type(model).__name__}", None,
                "a model that names them, or the kernels of each",
                "jinit.models.ResidualMLP, or fixup(…, branches=[('first/kernel', 'last/kernel')])",
            )  # fmt: skip
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


def _check_branches(branches: Any, kernels: list[str]) -> None:
    """Paths of two or more kernels each, in the order of their calls, none twice."""
    fix = "[('first/kernel', 'last/kernel')]"
    if isinstance(branches, str) or not isinstance(branches, Sequence):
        raise errors.wrong_type("branches", branches, "a list of the kernels of each", fix)
    if not branches:
        raise errors.refusal("branches", "none", "at least one", "draw a plain network by a rule")
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
    key: Key, model: Any, params: PyTree, batch: Array, *, scales: str = "*/scale"
) -> tuple[PyTree, Trace]:
    """SkipInit: the learnable scalar on every branch starts at 0; kernels are left as drawn.

    Args:
      key, model, batch: not used: the tree decides.
      params: parameters in which every branch has a scalar, as
        :class:`jinit.models.ResidualMLP`'s.
      scales: pattern of the scalars' paths; leaves of more than one entry (LayerNorm's scale) are
        left alone.

    Returns:
      Parameters, and a :class:`Trace` of the scalars.

    Raises:
      ValueError: no scalar matches. TypeError: a pattern that is no text, a leaf that is no array.

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
    found = [path for path in scalars if matches(scales, path)]
    if not found:
        raise errors.refusal(
            "scales", scales, "a pattern that matches a scalar of every branch: of "
            + (", ".join(scalars) or "none here"),
            "multiply each branch by a learnable scalar, or use fixup",
        )  # fmt: skip
    before = jnp.stack([jnp.reshape(leaves[path], ()) for path in found]).astype(jnp.float32)
    changed = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if path_of(path) in found else leaf, params
    )
    after = jnp.zeros_like(before)
    return changed, Trace(before, after, jnp.ones(len(found), jnp.int32), after == 0)


def rezero(
    key: Key, model: Any, params: PyTree, batch: Array, *, scales: str = "*/scale"
) -> tuple[PyTree, Trace]:
    """ReZero: as :func:`skipinit`, meant for networks without any normalization.

    Args, Returns, Raises: as :func:`skipinit`.

    Reference: Bachlechner et al. 2021, equation 1.

    >>> params = {"block": {"scale": jnp.ones(())}}
    >>> float(rezero(jax.random.key(0), None, params, None)[0]["block"]["scale"])
    0.0
    """
    return skipinit(key, model, params, batch, scales=scales)


def antisymmetric(key: Key, model: Any, params: PyTree, batch: Array) -> tuple[PyTree, Trace]:
    """The part ``minus`` of a doubled network becomes a copy of ``plus``: the output starts at 0.

    Args:
      key: not used.
      model: :class:`jinit.models.Antisymmetric` of any network, or any model whose parameters are
        ``plus`` and ``minus`` and that subtracts one part's output from the other's.
      params: its parameters.
      batch: ``(batch, …)``.

    Returns:
      Parameters, and a :class:`Trace` of one entry, the outputs' mean square: 0 after.

    Raises:
      ValueError: parameters without two such parts of one shape; as
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
        {path.partition("/")[2]: leaf for path, leaf in leaves.items() if path.startswith(part)}
        for part in ("plus/", "minus/")
    )
    shapes = [{path: leaf.shape for path, leaf in part.items()} for part in (plus, minus)]
    if not plus or shapes[0] != shapes[1] or 2 * len(plus) != len(leaves):
        raise errors.refusal(
            "params", ", ".join(sorted({path.partition("/")[0] for path in leaves})),
            "two parts of one shape, plus and minus", "model=jinit.models.Antisymmetric(model)",
        )  # fmt: skip

    def copied(path: Any, leaf: Any) -> Any:
        part, _, rest = path_of(path).partition("/")
        return plus[rest] if part == "minus" else leaf

    def square(params: PyTree) -> Array:
        return jnp.mean(jnp.square(captured.apply(params, batch, None)[0]))[None]

    changed = jax.tree_util.tree_map_with_path(copied, params)
    before, after = square(params), square(changed)
    return changed, Trace(before, after, jnp.ones(1, jnp.int32), after == 0)
