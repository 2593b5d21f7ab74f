"""What is wrong with weights somebody else initialized: findings with evidence and a fix.

Every check compares a leaf with numbers, never with taste: entries with each other, σ with the fans
of the layer, one seed with another. A healthy leaf is one whose σ some usual rule explains with the
layer's true fans; what no rule explains, but a rule with somebody's wrong fans does, is a trap.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from jinit import errors
from jinit.initializers import Fans, NamedInitializer
from jinit.parameters.layout import HOSTS, Layout
from jinit.parameters.rules import Layers, Rules, assign, described_leaves
from jinit.parameters.traps import Explanation, explain, host_fans
from jinit.typing import PyTree

# Chance that a healthy model with rules given has any finding; each leaf gets an equal share.
ALPHA = 1e-3
_LEAST_ENTRIES = 64


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
      kind: ``"not finite"``, ``"symmetric"``, ``"zero"``, ``"duplicated"``, ``"mean"``,
        ``"wrong fan"``, ``"scale"``, ``"rule not applied"``, ``"host default"`` or ``"seed"``.
      leaf: its path.
      evidence: the numbers.
      fix: what to do.
    """

    kind: str
    leaf: str
    evidence: str
    fix: str

    def __str__(self) -> str:
        return f"{self.leaf}: {self.kind}: {self.evidence}; fix: {self.fix}"


def audit(
    params: PyTree,
    *,
    host: str = "flax",
    layers: Layers | None = None,
    rules: Rules | None = None,
    seed_fn: Callable[[int], PyTree] | None = None,
) -> list[Finding]:
    """Looks at initial weights and says what is wrong with them.

    Without ``rules`` a kernel is healthy if some usual rule (LeCun, He, Glorot, fan-in uniform,
    orthogonal, …) with the layer's true fans explains its σ within six standard errors. With
    ``rules`` the σ must be the rule's own, at a family-wise false-alarm rate of 10⁻³.

    Args:
      params: initial parameters: arrays, before any training.
      host: whose axis order; ``"flax"``, ``"haiku"``, ``"keras"``, ``"equinox"`` or ``"torch"``.
      layers: what the leaves are, best ``hosts.layers(model, x)``; see
        :func:`jinit.parameters.assign`. A kernel whose axes nobody named is not checked for fans.
      rules: the rules the weights should follow, as for :func:`jinit.initialize`.
      seed_fn: ``seed_fn(seed) -> params``: called with 0 and 1; a random leaf that is equal in both
        ignores its seed.

    Returns:
      Findings, by leaf in the tree's order; an empty list for a healthy model.

    Raises:
      ValueError, TypeError: bad rules, layers or leaves, as :func:`jinit.parameters.assign`.

    >>> import jax, jax.numpy as jnp
    >>> print(audit({"kernel": jnp.ones((8, 4))})[0].evidence)
    all 4 units are the same (every entry 1)
    """
    errors.check_choice("host", host, HOSTS)
    leaves = [
        _Leaf(path, np.asarray(leaf), made)
        for path, leaf, made in described_leaves(params, host, layers)
    ]
    findings = [finding for leaf in leaves for finding in _alone(leaf)]
    findings += _zeros(leaves)
    findings += _duplicates(leaves)
    if rules is not None:
        findings = _unless_meant(findings, params, rules, host, layers)
        findings += _against_rules(leaves, params, rules, host, layers)
    if seed_fn is not None:
        findings += _seeds(seed_fn, host, layers)
    order = {leaf.path: position for position, leaf in enumerate(leaves)}
    return sorted(findings, key=lambda finding: order.get(finding.leaf, len(order)))


@dataclass(frozen=True)
class _Leaf:
    path: str
    values: np.ndarray
    layout: Layout | None

    @property
    def is_kernel(self) -> bool:
        return self.layout is not None and self.layout.kind in ("kernel", "recurrent")

    @property
    def matrix(self) -> bool:
        """Whether it holds units side by side, a kernel or of unknown layout."""
        known = self.layout is None or self.layout.kind in ("kernel", "recurrent", "embedding")
        return known and self.values.ndim > 1

    @property
    def flat(self) -> np.ndarray:
        if np.iscomplexobj(self.values):
            return np.concatenate([self.values.real.ravel(), self.values.imag.ravel()])
        return np.asarray(self.values, np.float64).ravel()

    @property
    def arrangements(self) -> list[np.ndarray]:
        """Its entries as they lie, and, for a matrix, transposed."""
        turned = self.values.ndim == 2 and not np.iscomplexobj(self.values)
        return [self.flat] + [np.asarray(self.values.T, np.float64).ravel()] * turned


def _alone(leaf: _Leaf) -> Iterator[Finding]:
    """What one leaf shows by itself."""
    kind = leaf.values.dtype
    if not np.issubdtype(kind, np.inexact) and kind.name != "bfloat16":
        return
    flat = leaf.flat
    bad = int((~np.isfinite(flat)).sum())
    if bad:
        evidence = f"{bad} of {flat.size} entries are NaN or inf"
        yield Finding("not finite", leaf.path, evidence, "draw it again; look at its stddev")
        return
    if not leaf.matrix or flat.size < 2 or not flat.any():
        return
    if leaf.is_kernel and (found := _same_units(leaf)):
        yield found
        return
    if leaf.is_kernel and flat.size >= _LEAST_ENTRIES:
        yield from _mean(leaf)
        yield from _fans(leaf)


def _same_units(leaf: _Leaf) -> Finding | None:
    """Units with the same incoming weights compute, and learn, the same thing for ever."""
    assert leaf.layout is not None
    kernels = leaf.layout.stacked(leaf.values)
    units = kernels.shape[-1]
    if units < 2 or leaf.layout.fan_in_one(leaf.values.shape):
        return None
    columns = np.moveaxis(kernels, -1, 1).reshape(kernels.shape[0] * units, -1)
    different = len(np.unique(columns, axis=0))
    # One repeated column may be chance in bfloat16 kernels with few inputs.
    if different > 0.75 * len(columns) or (columns.shape[1] < 4 and different > units / 2):
        return None
    constant = columns.min() == columns.max()
    value = f" (every entry {columns.flat[0]:g})" if constant else ""
    evidence = (
        f"all {units} units are the same{value}"
        if different == 1
        else f"only {different} of {len(columns)} units differ"
    )
    return Finding("symmetric", leaf.path, evidence, "draw it at random, e.g. 'he_normal'")


def _mean(leaf: _Leaf) -> Iterator[Finding]:
    flat = leaf.flat
    mean, stddev = flat.mean(), flat.std()
    if abs(mean) > 0.3 * stddev and abs(mean) > 6 * stddev / math.sqrt(flat.size):
        low, high = flat.min(), flat.max()
        evidence = f"mean {mean:.3g} beside σ {stddev:.3g}, range [{low:.3g}, {high:.3g}]"
        fix = "center it: jax.nn.initializers.uniform is one-sided, use uniform_range(-a, a)"
        yield Finding("mean", leaf.path, evidence, fix)


def _fans(leaf: _Leaf) -> Iterator[Finding]:
    """σ against every usual rule with the true fans, then with the fans others would see."""
    assert leaf.layout is not None
    flat, shape = leaf.flat, leaf.values.shape
    fans = leaf.layout.fans(shape)
    if fans is None or fans.fan_in < 1:
        return
    sigma = math.sqrt(float(np.mean(flat**2)))
    tolerance = 6 * _relative_error(flat)
    kernel = leaf.layout.kernels(shape)[1][0]
    if explain(sigma, fans, kernel, tolerance) is not None:
        return
    if leaf.layout.fused:
        # Gates or q, k, v drawn as one kernel: not the fans of one block, but everybody's habit.
        whole = (*kernel[:-1], sum(leaf.layout.fused))
        together = Fans(fans.fan_in, fans.fan_out * whole[-1] / kernel[-1])
        if explain(sigma, together, whole, tolerance) is not None:
            return
        # torch and Equinox: U[±1/√hidden] for every kernel of a cell.
        if abs(math.log(sigma * math.sqrt(3 * kernel[-1]))) < tolerance:
            return
    for what, wrong in host_fans(leaf.layout, shape, fans):
        found = explain(sigma, wrong, shape, tolerance)
        if found is not None and not 0.67 < found.stddev_with(fans) / sigma < 1.5:
            yield _trap(leaf, found, what, wrong, fans, sigma)
            return
    yield from _scale(leaf, sigma, fans)


def _trap(
    leaf: _Leaf, found: Explanation, what: str, wrong: Fans, true: Fans, sigma: float
) -> Finding:
    factor = found.stddev_with(true) / sigma
    evidence = (
        f"σ {sigma:.3g} is {found.name} for fan_in {wrong.fan_in:g}, fan_out {wrong.fan_out:g} "
        f"({what}); the layer's are {true.fan_in:g} and {true.fan_out:g}: "
        f"{factor:.2g}× too {'small' if factor > 1 else 'large'}"
    )
    fix = f"initialize(…, {{'{leaf.path}': '{found.name}'}}, layers=hosts.layers(model, x))"
    return Finding("wrong fan", leaf.path, evidence, fix)


def _scale(leaf: _Leaf, sigma: float, fans: Fans) -> Iterator[Finding]:
    """No rule explains σ: say so where the layer changes the signal's square more than 20 times."""
    growth = sigma**2 * fans.fan_in
    if 1 / 20 <= growth <= 20:
        return
    verb = "grows" if growth > 1 else "shrinks"
    evidence = (
        f"σ {sigma:.3g} with fan_in {fans.fan_in:g}: the signal's square {verb} to {growth:.3g} of"
        f" itself in this layer; σ does not follow the width"
    )
    fix = f"σ = √(k/fan_in), k = 1 or 2: {math.sqrt(1 / fans.fan_in):.3g} or so"
    yield Finding("scale", leaf.path, evidence, fix)


def _zeros(leaves: list[_Leaf]) -> list[Finding]:
    """One zero kernel learns; zero kernels in series pass no gradient to each other."""
    kernels = [leaf for leaf in leaves if leaf.is_kernel and leaf.values.size]
    zero = [leaf for leaf in kernels if not leaf.flat.any()]
    if len(zero) < 2 or len(zero) <= len(kernels) / 2:
        return []
    evidence = f"all zero, as are {len(zero)} of {len(kernels)} kernels: no gradient reaches them"
    fix = "draw all but the last at random, e.g. 'he_normal'"
    return [Finding("zero", leaf.path, evidence, fix) for leaf in zero]


def _duplicates(leaves: list[_Leaf]) -> list[Finding]:
    """Random leaves of one size that are multiples of each other: one key was used twice."""
    found: list[Finding] = []
    seen: dict[int, list[_Leaf]] = {}
    for leaf in leaves:
        flat = leaf.flat
        if not leaf.matrix or flat.size < 16 or not np.isfinite(flat).all() or _few_values(flat):
            continue
        for other in seen.get(flat.size, []):
            theirs = other.flat
            scale = math.sqrt((flat @ flat) * (theirs @ theirs))
            cosine = max((mine @ theirs / scale for mine in leaf.arrangements), key=abs)
            if abs(cosine) > 0.99:
                ratio = math.copysign(math.sqrt((flat @ flat) / (theirs @ theirs)), cosine)
                evidence = f"{ratio:.3g} × {other.path}, entry by entry (cosine {cosine:.4f})"
                fix = "give every layer its own key; jinit.initialize folds in the path"
                found.append(Finding("duplicated", leaf.path, evidence, fix))
                break
        else:
            seen.setdefault(flat.size, []).append(leaf)
    return found


def _few_values(flat: np.ndarray) -> bool:
    """Deterministic arrays (zeros, identities, Hadamard) may repeat without a key being reused."""
    return len(np.unique(flat[:4096])) < 8


def _unless_meant(
    findings: list[Finding], params: PyTree, rules: Rules, host: str, layers: Layers | None
) -> list[Finding]:
    """Drops what the rules ask for: constants where the rule is a constant, its own σ and mean."""
    meant = {each.leaf for each in assign(params, rules, host=host, layers=layers)
             if each.initializer is not None}  # fmt: skip
    kinds = ("symmetric", "zero", "mean", "wrong fan", "scale")
    return [each for each in findings if each.kind not in kinds or each.leaf not in meant]


def _against_rules(
    leaves: list[_Leaf], params: PyTree, rules: Rules, host: str, layers: Layers | None
) -> list[Finding]:
    """σ must be the rule's, at a family-wise false-alarm rate of ALPHA."""
    from statistics import NormalDist

    assignments = assign(params, rules, host=host, layers=layers)
    reach = NormalDist().inv_cdf(1 - ALPHA / (2 * max(1, len(assignments))))
    defaults = {}
    # A leaf of an unknown layer has no default to compare with.
    with contextlib.suppress(ValueError, TypeError):
        defaults = {each.leaf: each for each in assign(params, host, host=host, layers=layers)}
    found = []
    for leaf, each in zip(leaves, assignments, strict=True):
        if not isinstance(each.initializer, NamedInitializer) or each.stddev is None:
            continue
        flat = leaf.flat
        if not np.isfinite(flat).all() or flat.size < 2:
            continue
        sigma, error = float(flat.std()), _allowed(flat, reach)
        if _agrees(sigma, each.stddev, error):
            continue
        evidence = f"σ {sigma:.3g}, but {each.initializer} gives {each.stddev:.3g}"
        default = defaults.get(leaf.path)
        if default is not None and default.stddev and _agrees(sigma, default.stddev, error):
            evidence += f"; it is the default of {host} ({default.initializer})"
            fix = f"pass the drawn parameters on: the rule {each.rule!r} never reached this leaf"
            found.append(Finding("host default", leaf.path, evidence, fix))
        else:
            fix = f"check that rule {each.rule!r} is applied, and its fans"
            found.append(Finding("rule not applied", leaf.path, evidence, fix))
    return found


def _agrees(sigma: float, expected: float, error: float) -> bool:
    if not expected or not sigma:
        return max(sigma, expected) < 1e-12
    return abs(math.log(sigma / expected)) < error + 0.005  # half precision rounds σ by 0.4 %


def _allowed(flat: np.ndarray, reach: float) -> float:
    """How far log σ of a sample may fall below the truth at ``reach`` normal quantiles.

    Wilson & Hilferty's cube root for the χ² of a sample variance; heavier tails than a normal's
    count as fewer degrees of freedom.
    """
    freedom = (flat.size - 1) / (2 * _relative_error(flat) ** 2 * flat.size)
    freedom = min(freedom, flat.size - 1)
    root = 1 - 2 / (9 * freedom) - reach * math.sqrt(2 / (9 * freedom))
    return math.inf if root <= 0 else -1.5 * math.log(root)


def _relative_error(flat: np.ndarray) -> float:
    """Standard error of log σ, from the sample's own kurtosis, never below a normal's half."""
    centred = flat - flat.mean()
    variance = float(np.mean(centred**2))
    kurtosis = float(np.mean(centred**4)) / variance**2 if variance else 3.0
    return math.sqrt(max(kurtosis - 1, 0.5) / flat.size) / 2


def _seeds(seed_fn: Callable[[int], PyTree], host: str, layers: Layers | None) -> list[Finding]:
    """Random leaves that are the same for two seeds."""
    first, second = (described_leaves(seed_fn(seed), host, layers) for seed in (0, 1))
    found = []
    for (path, one, _), (_, other, _) in zip(first, second, strict=True):
        a, b = np.asarray(one), np.asarray(other)
        if (
            a.size > 1
            and a.shape == b.shape
            and np.array_equal(a, b)
            and not _few_values(a.ravel())
        ):
            evidence = f"{a.size} random entries are equal for seeds 0 and 1"
            found.append(Finding("seed", path, evidence, "pass the seed to the layer's key"))
    return found
