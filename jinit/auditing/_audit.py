"""Checks initial weights of any origin and reports faults with evidence and a fix.

Checks compare entries with each other, σ with the fans of the layer, and one seed with another. A
kernel is healthy if a usual rule gives its σ with the layer's true fans. If only a rule with
wrong fans gives that σ, the finding names the mistake.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit.auditing._copies import duplicates, few_values
from jinit.auditing._departures import against_rules, unless_meant
from jinit.auditing._entries import leaf_findings
from jinit.auditing._fixes import Fixes
from jinit.auditing._leaves import Leaf
from jinit.auditing._norms import with_rescaled
from jinit.auditing._scales import is_scale, unless_depth_scaled
from jinit.findings import Finding
from jinit.frameworks._layout import Layers
from jinit.frameworks._paths import leaf_name
from jinit.frameworks._table import conventions_of
from jinit.parameters._leaves import TreeLeaf, tree_leaves
from jinit.parameters._norms import NormOf
from jinit.parameters._patterns import matches
from jinit.parameters._rules import Assignment, Rules, assign
from jinit.typing import PyTree


def audit(
    params: PyTree,
    *,
    host: str = "flax",
    layers: Layers | None = None,
    rules: Rules | None = None,
    seed_fn: Callable[[int], PyTree] | None = None,
) -> list[Finding]:
    """Checks initial weights and reports what is wrong with them.

    Without ``rules``, a kernel is healthy if a usual rule (LeCun, He, Glorot, fan-in uniform,
    orthogonal, …) with the layer's true fans gives its σ within six standard errors (at least
    0.5 %), or a rule of special networks (siren, mup, σ .02 and .01, policy heads, …) within three.
    If only a rule with mistaken fans does, and σ is off by a factor of 1.5 or more, the mistake is
    reported with the nearest rule. If no rule does, σ is reported only if σ² · fan_in lies outside
    [1/20, 20] (for N kernels of branches that are scaled alike, [1/(20 N), 20]).

    Entries out of all proportion (memory that was never initialized) are reported in any leaf:
    |w| > 10⁶, or far beyond the median. Slices that repeat others are reported too, one kernel of a
    stack or more than 5 % along any other axis (chance in a healthy leaf: below 10⁻⁶). Leaves that
    share memory, and tables of smooth functions, may be equal.

    With ``rules``, a leaf must have its rule's entries if the rule is deterministic, and the scale
    of a weight norm must hold the norms of its kernel. Otherwise the leaf must have the rule's σ
    and mean (at a family-wise false-alarm rate of 10⁻³), its bounds, and its orthogonality. A rule
    that is a function is drawn eight times; σ, mean and E|w − mean|/σ of the leaf must be among
    those of the draws by Student's t, at the same rate.

    A parameter tree does not record layer order, so zero kernels are reported only if they are more
    than half of all kernels. (Two in a row block every gradient.) Zero scales of norms follow the
    same rule. One zero kernel is right at the end of a residual branch and wrong on the only path:
    :func:`jinit.probes.verdict` runs the model and tells.

    The σ of a kernel that its layer divides by a norm has no effect and is not judged. (Under
    weight norm a scale that holds the kernel's norms undoes the division.)

    The σ of an orthogonal kernel counts only if its rows or columns are orthogonal. He's rule with
    ``mode="fan_out"`` is a rule of its own, so He's σ with in and out exchanged is not reported.

    Args:
      params: a pytree of arrays: initial parameters, before any training.
      host: the axis order of the kernels, one of :func:`jinit.frameworks.hosts`.
      layers: the layer kinds of the leaves, preferably ``frameworks.layers(model, x)``; see
        :func:`jinit.parameters.assign`. The fans of a kernel with unknown axes are not checked.
      rules: the rules that the weights should follow, as for :func:`jinit.initialize`.
      seed_fn: ``seed_fn(seed) -> params``, called with seeds 0 and 1. A random leaf that is equal
        for both seeds is reported.

    Returns:
      A list of :class:`Finding`, in the tree's order; empty for a healthy model. Most fixes are
      statements that run where ``audit`` ran, with ``params``, ``layers`` and ``rules`` as given.

    Raises:
      ValueError: a tree without arrays.
      ValueError, TypeError: bad rules, layers or leaves, as :func:`jinit.parameters.assign`; trees
        of ``seed_fn`` that differ in structure.

    >>> import jax, jax.numpy as jnp
    >>> print(audit({"kernel": jnp.ones((8, 4))})[0].evidence)
    all 4 units are the same (every entry 1)
    """
    every = [
        Leaf(leaf.path, _array(leaf), leaf.layout, _is_named(leaf.path, host, layers))
        for leaf in _weights(params, host, layers)
    ]
    leaves = with_rescaled([leaf for leaf in every if not _is_text(leaf)])
    if not every:
        raise errors.refusal(
            "params", "no arrays", "a tree of weights", "pass initialized parameters"
        )
    assignments = [] if rules is None else assign(params, rules, host=host, layers=layers)
    known = {leaf.path for leaf in leaves}
    assignments = [assignment for assignment in assignments if assignment.leaf in known]
    fixes = _fixes(params, leaves, host, layers, rules, assignments)
    findings = [_no_numbers(leaf) for leaf in every if _is_text(leaf)]
    findings += [finding for leaf in leaves for finding in leaf_findings(leaf, fixes)]
    findings = unless_depth_scaled(findings, leaves) + _zeros(leaves, fixes)
    findings += duplicates(leaves, fixes)
    if rules is not None:
        findings = unless_meant(findings, assignments)
        findings += against_rules(leaves, assignments, params, fixes)
    if seed_fn is not None:
        findings += _seeds(seed_fn, host, layers)
    order = {leaf.path: position for position, leaf in enumerate(every)}
    return sorted(findings, key=lambda finding: order.get(finding.where, len(order)))


def _is_text(leaf: Leaf) -> bool:
    """Whether a leaf holds texts, dates or Python objects: nothing that can be computed with."""
    # bfloat16 and other dtypes of ml_dtypes are of kind V, too.
    return leaf.values.dtype.kind in "OSUMm" or leaf.values.dtype.names is not None


def _no_numbers(leaf: Leaf) -> Finding:
    return Finding(
        "dtype",
        leaf.path,
        f"{leaf.values.dtype} entries are no numbers",
        fix="params without this leaf, or the numbers it should hold as a float32 array",
    )


def _fixes(
    params: PyTree,
    leaves: list[Leaf],
    host: str,
    layers: Layers | None,
    rules: Rules | None,
    assignments: list[Assignment],
) -> Fixes:
    given = [item for item in assignments if item.initializer is not None]
    kept = {item.leaf for item in assignments if item.initializer is None}
    known = [(leaf.path, leaf.layout) for leaf in leaves if leaf.layout is not None]
    rescaled = [(path, layout) for path, layout in known if layout.rescaled]
    has_wide = any(str(leaf.values.dtype) in ("float64", "complex128") for leaf in leaves)
    return Fixes(
        leaves=len(jax.tree.leaves(params)),
        host=host,
        layers=layers,
        rules=rules,
        patterns={
            item.leaf: item.rule
            for item in given
            if isinstance(rules, str) or not isinstance(item.initializer, NormOf)
        },
        norms={
            layout.of: path for path, layout in known if layout.kind == "norm" and path not in kept
        },
        rescaled=[path for path, layout in rescaled if layout.is_cut],
        unknown=[path for path, layout in rescaled if not layout.is_cut],
        is_wide=has_wide and not jax.config.read("jax_enable_x64"),
        is_narrow=any(leaf.is_inexact and leaf.values.dtype.itemsize == 1 for leaf in leaves),
    )


def _weights(params: PyTree, host: str, layers: Layers | None) -> list[TreeLeaf]:
    """All leaves except PRNG keys, which a model with dropout may hold."""
    return [
        leaf
        for leaf in tree_leaves(params, host, layers)
        if not (isinstance(leaf.value, jax.Array) and _is_key(leaf.value))
    ]


def _is_named(path: str, host: str, layers: Layers | None) -> bool:
    """Whether ``layers`` or the host's own leaf names say what a leaf is."""
    conventions = conventions_of(host)
    named = leaf_name(path) in (*conventions.kernels, *conventions.leaves)
    return named or any(matches(pattern, path) for pattern in layers or ())


def _is_key(value: jax.Array) -> bool:
    return bool(jnp.issubdtype(value.dtype, jax.dtypes.prng_key))


def _array(leaf: TreeLeaf) -> np.ndarray:
    if isinstance(leaf.value, jax.ShapeDtypeStruct | jax.core.Tracer):
        raise errors.wrong_type(
            f"leaf {leaf.path!r}",
            type(leaf.value).__name__,
            "an array of initial weights",
            "pass initialized parameters: model.init(key, x)",
        )
    return np.asarray(leaf.value)


def _zeros(leaves: list[Leaf], fixes: Fixes) -> list[Finding]:
    """Reports zero kernels or zero scales if most of them are zero.

    One zero kernel alone learns, two in a row get no gradient. A minority of zeros belongs to
    residual branches that start at 0 on purpose: Fixup, zero-gamma, LoRA.
    """
    full = [leaf for leaf in leaves if leaf.values.size]
    kernels = _mostly_zero([leaf for leaf in full if leaf.is_kernel and leaf.is_inexact], least=2)
    scales = _mostly_zero([leaf for leaf in full if is_scale(leaf)], least=1)
    return [
        Finding(
            "zero",
            leaf.path,
            f"one of {len(kernels[0])} zero kernels (of {kernels[1]}): no gradient reaches them",
            threshold="at most half of all kernels are zero",
            fix=fixes.redraw(leaf.path, "he_normal", "all but the last at random"),
        )
        for leaf in kernels[0]
    ] + [
        Finding(
            "zero",
            leaf.path,
            f"one of {len(scales[0])} zero scales (of {scales[1]}): the layer's outputs are 0",
            threshold="at most half of all scales are zero",
            fix=fixes.redraw(leaf.path, "ones", "unless the layer multiplies by 1 + scale"),
        )
        for leaf in scales[0]
    ]


def _mostly_zero(leaves: list[Leaf], least: int) -> tuple[list[Leaf], int]:
    """The zero leaves, if they are the majority and at least so many; and how many leaves exist."""
    zero = [leaf for leaf in leaves if not leaf.values.any()]
    return (zero if len(zero) >= least and len(zero) > len(leaves) / 2 else []), len(leaves)


def _seeds(seed_fn: Callable[[int], PyTree], host: str, layers: Layers | None) -> list[Finding]:
    """Reports random leaves that are equal for seeds 0 and 1."""
    first, second = (_weights(seed_fn(seed), host, layers) for seed in (0, 1))
    paths = [[leaf.path for leaf in leaves] for leaves in (first, second)]
    if paths[0] != paths[1] or not paths[0]:
        raise errors.wrong_type(
            "seed_fn",
            f"{len(paths[0])} and {len(paths[1])} leaves for seeds 0 and 1",
            "a function seed_fn(seed) that returns parameter trees of one structure",
            "return the parameters drawn for the seed",
        )
    findings = []
    for one, other in zip(first, second, strict=True):
        a, b = np.asarray(one.value), np.asarray(other.value)
        if a.size > 1 and a.shape == b.shape and np.array_equal(a, b) and not few_values(a.ravel()):
            evidence = f"{a.size} random entries are equal for seeds 0 and 1"
            fix = "derive the layer's key from the seed"
            findings.append(Finding("seed", one.path, evidence, fix=fix))
    return findings
