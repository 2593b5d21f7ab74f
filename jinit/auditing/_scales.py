"""Compares the scale of kernels with their fans, and of other leaves with any sensible scale."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from jinit.auditing._fixes import Fixes
from jinit.auditing._leaves import Leaf, Moments, moments
from jinit.auditing._traps import (
    UsualRule,
    bound_departs,
    mistaken_fans,
    nearest,
    of_its_family,
    special,
    usual,
)
from jinit.findings import Finding
from jinit.frameworks._paths import leaf_name
from jinit.initializers import Fans
from jinit.parameters._norms import NORM

# A kernel's σ agrees with a usual rule up to this many standard errors of log σ, and with a rule
# of special networks up to 3: their σ may be one that a usual rule has with mistaken fans.
_STANDARD_ERRORS, _SPECIAL_ERRORS = 6, 3
_SIGMA_SOURCE = "six standard errors of log σ from the sample's kurtosis, at least 0.5 %"
# No rule gives an entry beyond OUTSIZED. A draw is within a factor _RATIO of its median, and tables
# of wavelengths and decay rates are within _TABLE_RATIO of theirs. Leftover memory is in neither.
OUTSIZED, _RATIO, _TABLE_RATIO = 1e6, 1e4, 1e6
# LayerScale starts at 1e-6 (Touvron et al. 2021); below this, a scale or an embedding is lost.
TINY = 1e-8
# Largest scalar product of two rows, as a share of their squared length. Four random rows are below
# it with a chance of 10⁻⁷; rounding to bfloat16 is far below.
_ORTHOGONAL, _FEWEST_ROWS = 0.02, 4
# Rows whose scalar products are below this share of those of random rows may be orthogonal. Six
# products of four random rows are below it with a chance of 0.3 %; bfloat16 is at 0.003, float8 at
# 0.05. At most _ROWS rows are compared.
_BELOW_RANDOM, _ROWS = 0.3, 64


def is_scale(leaf: Leaf) -> bool:
    """Whether a leaf multiplies a layer's outputs, by its name.

    Several axes are those of one scale, or of a stack of scales. A gate of one entry, or a stack
    of such gates, may start at 0 on purpose.
    """
    shape = leaf.values.shape
    kind = "vector" if leaf.layout is None else leaf.layout.kind
    # A matrix of an unknown layer may be a kernel if its name is that of kernels, too.
    is_known = leaf.layout is not None or len(shape) < 2
    names = ("scale", "gamma", "weight", "w") if is_known else ("scale", "gamma")
    several = math.prod(shape[1:] or shape) > 1
    return leaf_name(leaf.path) in names and kind == "vector" and several


def is_mask(leaf: Leaf) -> bool:
    """Whether entries are 0 or one large negative number, which a mask adds to logits.

    The number may be −∞ in a matrix that no layer reads as a kernel, an embedding or a bias.
    """
    if np.iscomplexobj(leaf.values):
        return False
    entries = leaf.entries
    low = float(entries.min())
    is_other = leaf.layout is None or leaf.layout.kind == "vector"
    if low == -math.inf and not (leaf.values.ndim > 1 and is_other):
        return False
    return entries.max() == 0 and low < -100 and bool(np.isin(entries, (0, low)).all())


def disproportion(leaf: Leaf, sample: Moments, fixes: Fixes) -> Finding | None:
    """Reports entries out of all proportion, as leftover memory has them."""
    top = max(abs(sample.low), abs(sample.high))
    if not top:
        return None
    sizes = np.abs(leaf.entries)
    middle = float(np.median(sizes[sizes > 0]))
    ratio = _RATIO if leaf.is_kernel or leaf.is_embedding else _TABLE_RATIO
    if top > OUTSIZED:
        evidence, threshold = f"the largest entry is {top:.3g}", f"|w| <= {OUTSIZED:g}"
    elif top > ratio * middle:
        evidence = f"the largest entry, {top:.3g}, is {top / middle:.2g} times the median"
        threshold = f"largest |w| <= {ratio:g} × median of |w| > 0"
    elif (leaf.is_embedding or is_scale(leaf)) and top < TINY:
        evidence, threshold = f"the largest entry is only {top:.3g}", f"largest |w| >= {TINY:g}"
    else:
        return None
    return Finding(
        "out of proportion",
        leaf.path,
        f"{evidence}: memory that was never initialized, or a wrong scale",
        threshold=threshold,
        fix=fixes.redraw(leaf.path, harmless(leaf)),
    )


def harmless(leaf: Leaf) -> str:
    """A rule that suits the leaf and any shape."""
    if leaf.layout is not None and leaf.layout.kind == "norm":
        return NORM
    if leaf.is_kernel:
        return "he_normal"
    if leaf.is_embedding:
        return "normal(stddev=1.0)"
    if is_scale(leaf):
        return "ones"
    return "normal(stddev=0.02)" if leaf.layout is None and leaf.values.ndim > 1 else "zeros"


def fans(leaf: Leaf, sample: Moments, fixes: Fixes) -> Iterator[Finding]:
    """Compares σ with every usual rule: with the true fans, then with commonly mistaken fans."""
    assert leaf.layout is not None
    shape, sigma = leaf.values.shape, sample.rms
    true = leaf.layout.fans(shape)
    if true is None or true.fan_in <= 0:
        return
    tolerance = _STANDARD_ERRORS * sample.error
    kernel = leaf.layout.kernels(shape)[1][0]
    rules = usual(kernel)
    if "ranspose" in leaf.layout.layer:
        # Drawn with in and out exchanged, the kernel has the σ of fan_out mode.
        rules = [rule for rule in rules if "fan_out" not in rule.name]
    close = _SPECIAL_ERRORS * sample.error
    others = [rule for rule in rules if "orthogonal" not in rule.name]
    orthogonal = [rule for rule in rules if "orthogonal" in rule.name]
    if (
        nearest(sigma, true, others, tolerance)
        or _of_packed(leaf, sample, kernel, true)
        or nearest(sigma, true, special(kernel), close)
        or (nearest(sigma, true, orthogonal, tolerance) and _may_be_orthogonal(leaf))
    ):
        return
    if found := _mistake(leaf, sample, true):
        yield _wrong_fan(leaf, sample, found, true, fixes)
    elif nearest(sigma, true, usual(kernel) + special(kernel), tolerance) is None:
        yield from _scale(leaf, sigma, true, fixes)


def _may_be_orthogonal(leaf: Leaf) -> bool:
    """Whether rows, or columns, of a kernel are nearer to orthogonal than random ones.

    σ alone does not tell: in a wide kernel, LeCun's σ for exchanged fans is the orthogonal σ.
    Scalar products of random rows have a root mean square of |row|²/√entries.
    """
    assert leaf.layout is not None
    first = leaf.layout.stacked(leaf.values)[0]
    if leaf.layout.fused:
        first = first[..., : leaf.layout.fused[0]]
    stored = leaf.values
    return any(
        _products(np.asarray(matrix)) < _BELOW_RANDOM
        for matrix in (
            first.reshape(-1, first.shape[-1]),
            stored.reshape(-1, stored.shape[-1]),
            stored.reshape(len(stored), -1),
        )
    )


def _products(matrix: np.ndarray) -> float:
    """Root mean square of the scalar products of the shorter side's rows; 1 if they are random."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    rows = short[:_ROWS].astype(np.complex128)
    if len(rows) < 2:
        return 0.0
    products = rows @ rows.conj().T
    squares = float(np.mean(np.diag(products).real))
    apart = np.abs(products[np.triu_indices(len(rows), 1)]) / squares
    return float(np.sqrt(np.mean(apart**2) * short.shape[1]))


def _of_packed(leaf: Leaf, sample: Moments, kernel: tuple[int, ...], true: Fans) -> bool:
    """Whether a packed kernel has the σ of one kernel with the fans of all blocks together."""
    assert leaf.layout is not None
    if not leaf.layout.fused:
        return False
    whole = (*kernel[:-1], sum(leaf.layout.fused))
    together = Fans(true.fan_in, true.fan_out * whole[-1] / kernel[-1])
    tolerance = _STANDARD_ERRORS * sample.error
    rules = [rule for rule in usual(whole) if "orthogonal" not in rule.name]
    if nearest(sample.rms, together, rules, tolerance) is not None:
        return True
    # Some frameworks draw every kernel of a cell from U[−1/√hidden, 1/√hidden].
    return abs(math.log(sample.rms * math.sqrt(3 * kernel[-1]))) < tolerance


def _mistake(leaf: Leaf, sample: Moments, true: Fans) -> tuple[str, Fans, UsualRule] | None:
    """The nearest usual rule with mistaken fans that is 1.5 times too small or too large."""
    assert leaf.layout is not None
    found = []
    rules = of_its_family(usual(leaf.values.shape), sample)
    for mistake, wrong in mistaken_fans(leaf.layout, leaf.values.shape, true):
        fitting = [rule for rule in rules if not bound_departs(rule, wrong, sample)]
        off = [rule for rule in fitting if not 0.67 < rule.stddev(true) / sample.rms < 1.5]
        best = nearest(sample.rms, wrong, off, _STANDARD_ERRORS * sample.error) if off else None
        if best is not None:
            found.append((best[0], mistake, wrong, best[1]))
    return min(found, key=lambda item: item[0])[1:] if found else None


def _wrong_fan(
    leaf: Leaf, sample: Moments, found: tuple[str, Fans, UsualRule], true: Fans, fixes: Fixes
) -> Finding:
    mistake, wrong, rule = found
    factor = rule.stddev(true) / sample.rms
    size = f"{max(factor, 1 / factor):.2g}× too {'small' if factor > 1 else 'large'}"
    tolerance = max(_STANDARD_ERRORS * sample.error, 0.005)
    return Finding(
        "wrong fan",
        leaf.path,
        f"σ {sample.rms:.3g} is {rule.name} for fan_in {wrong.fan_in:g}, fan_out {wrong.fan_out:g} "
        f"({mistake}); the layer's are {true.fan_in:g} and {true.fan_out:g}: {size}",
        threshold=f"|log(σ / σ of the rule)| < {tolerance:.2g}",
        source=_SIGMA_SOURCE,
        fix=fixes.redraw(leaf.path, rule.spec(true)),
    )


def _scale(leaf: Leaf, sigma: float, true: Fans, fixes: Fixes) -> Iterator[Finding]:
    """Reports a σ that no rule gives if the layer changes E z² by more than a factor of 20."""
    log_growth = 2 * math.log(sigma) + math.log(true.fan_in)
    if abs(log_growth) <= math.log(20):
        return
    # Powers of ten: σ² can leave the range of floats.
    growth = f"10^{log_growth / math.log(10):.1f}"
    yield Finding(
        "scale",
        leaf.path,
        f"σ {sigma:.3g} with fan_in {true.fan_in:g}: the layer multiplies the signal's mean square "
        f"by {growth}, and no usual rule has this σ",
        threshold="σ² fan_in in [1/20, 20]",
        fix=fixes.redraw(
            leaf.path, "lecun_normal", "σ = √(k/fan_in), k = 1, or he_normal for ReLU, k = 2"
        ),
    )


def unless_depth_scaled(findings: list[Finding], leaves: list[Leaf]) -> list[Finding]:
    """Drops small scales of kernels that the depth explains: branches of variance 1/depth.

    Fixup, GPT-2 (σ .02/√(2 depth)) and others scale the kernels of all branches alike. If N kernels
    have one value of σ² fan_in, and N times this value is at least 1/20, the branches together add
    as much as one layer.
    """
    by_path = {leaf.path: leaf for leaf in leaves}
    small = {
        finding.where: _log_growth(by_path[finding.where])
        for finding in findings
        if finding.kind == "scale"
    }

    def explained(path: str) -> bool:
        own, error = small[path]
        alike = [
            by_path[other]
            for other, (growth, other_error) in small.items()
            if abs(growth - own) < _STANDARD_ERRORS * 2 * math.hypot(error, other_error) + 0.01
        ]
        number = sum(leaf.layout.kernels(leaf.values.shape)[0] for leaf in alike if leaf.layout)
        return own < 0 and number > 1 and own + math.log(number) >= -math.log(20)

    return [f for f in findings if f.kind != "scale" or not explained(f.where)]


def _log_growth(leaf: Leaf) -> tuple[float, float]:
    """log(σ² fan_in) of a kernel, and the standard error of log σ."""
    assert leaf.layout is not None
    true, sample = leaf.layout.fans(leaf.values.shape), moments(leaf.entries)
    assert true is not None
    return 2 * math.log(sample.rms) + math.log(true.fan_in), sample.error


def gates(leaf: Leaf, fixes: Fixes) -> Finding | None:
    """Reports a recurrent kernel whose gates were drawn as one orthogonal matrix.

    The rows of (hidden, gates · hidden) are orthonormal then, and each gate has 1/√gates of the
    scale of an orthogonal kernel of its own.
    """
    layout = leaf.layout
    if layout is None or layout.kind != "recurrent" or len(layout.fused) < 2:
        return None
    size = layout.fused[0]
    for whole in layout.stacked(leaf.values):
        rows = whole.reshape(-1, whole.shape[-1])
        together = len(rows) == size >= _FEWEST_ROWS and _has_orthogonal_rows(rows)
        if not together or _has_orthogonal_rows(rows[:, :size]):
            return None
    number = len(layout.fused)
    return Finding(
        "wrong fan",
        leaf.path,
        f"the {number} gates were drawn as one orthogonal kernel: each has 1/√{number} = "
        f"{1 / math.sqrt(number):.2g} of the scale of an orthogonal kernel of its own",
        threshold=f"rows of all gates together orthogonal within {_ORTHOGONAL:.0%}",
        fix=fixes.redraw(leaf.path, "orthogonal", "gate by gate"),
    )


def _has_orthogonal_rows(rows: np.ndarray) -> bool:
    wide = rows.astype(np.complex128)
    products = wide @ wide.conj().T
    square = float(np.trace(products).real) / len(rows)
    return square > 0 and bool(np.abs(products / square - np.eye(len(rows))).max() < _ORTHOGONAL)
