"""Finds the usual rule that gives a σ, with the layer's fans or with mistaken fans."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jinit.auditing._leaves import Moments
from jinit.frameworks._layout import Layout
from jinit.initializers import Fans
from jinit.initializers._laws import TRUNCATED_STDDEV

# spec string → σ from the fans: rules that a library applies by default or that textbooks name.
_RULES: dict[str, Callable[[Fans], float]] = {
    "lecun_normal": lambda f: math.sqrt(1 / f.fan_in),
    "lecun_uniform": lambda f: math.sqrt(1 / f.fan_in),
    "he_normal": lambda f: math.sqrt(2 / f.fan_in),
    "he_uniform": lambda f: math.sqrt(2 / f.fan_in),
    "glorot_uniform": lambda f: math.sqrt(2 / (f.fan_in + f.fan_out)),
    "glorot_normal": lambda f: math.sqrt(2 / (f.fan_in + f.fan_out)),
    "fan_in_uniform": lambda f: math.sqrt(1 / (3 * f.fan_in)),
    "he_normal(mode=fan_out)": lambda f: math.sqrt(2 / f.fan_out),
    "he_uniform(mode=fan_out)": lambda f: math.sqrt(2 / f.fan_out),
    "spectral": lambda f: math.sqrt(min(1.0, f.fan_out / f.fan_in) / f.fan_in),
}
# Truncated at ±2 σ without correcting σ: a spec string has the number, not 1/√fan_in.
_UNCORRECTED = "truncated_normal(1/√fan_in)"
# Rules of special networks. With the true fans they make a kernel healthy. They are not tried with
# mistaken fans, with which they would explain a σ by chance. Tables of gains: Sitzmann et al. 2020
# (siren), Yang et al. 2022 (mup), 1/√E φ(z)² (scaled_for), torch's calculate_gain (tanh 5/3).
_SPECIAL: dict[str, Callable[[Fans], float]] = {
    "siren": lambda f: math.sqrt(2 / f.fan_in) / 30,
    "siren(is_first=True)": lambda f: 1 / (math.sqrt(3) * f.fan_in),
    "mup(role=output)": lambda f: 1 / f.fan_in,
    "scaled_for(activation=tanh)": lambda f: 1.5925374 / math.sqrt(f.fan_in),
    "scaled_for(activation=gelu)": lambda f: 1.5335304 / math.sqrt(f.fan_in),
    "scaled_for(activation=silu)": lambda f: 1.6765324 / math.sqrt(f.fan_in),
    "gain 5/3": lambda f: 5 / 3 / math.sqrt(f.fan_in),
    "gain 3/4": lambda f: 3 / 4 / math.sqrt(f.fan_in),
    # σ of BERT (Devlin et al. 2019), also truncated without correction; of detection heads (Lin et
    # al. 2017); U[−0.003, 0.003] of the last layers of policies (Lillicrap et al. 2016).
    "normal(stddev=0.02)": lambda f: 0.02,
    "truncated_normal(stddev=0.02)": lambda f: 0.02 * TRUNCATED_STDDEV,
    "normal(stddev=0.01)": lambda f: 0.01,
    "uniform_range(low=-0.003, high=0.003)": lambda f: 0.003 / math.sqrt(3),
}
# Orthogonal kernels of policy networks: Engstrom et al. 2020 (√2, and .01 for the last layer).
_ORTHOGONAL_SCALES = {"orthogonal": 1.0, "orthogonal(scale=√2)": math.sqrt(2)}
_POLICY_HEAD = "orthogonal(scale=0.01)"
# Beyond this many entries, uniform and normal entries can be told apart by max|w|/σ: √3 if uniform,
# above 1.9 with a chance of 1 − 10⁻⁶ if truncated at 2.27 σ.
_TOLD_APART = 256
_UNIFORM = 1.9


@dataclass(frozen=True)
class UsualRule:
    """A rule that libraries or textbooks use.

    Attributes:
      name: a spec string, or a spec string with a formula.
      stddev: σ from the fans.
    """

    name: str
    stddev: Callable[[Fans], float]

    def spec(self, fans: Fans) -> str:
        """The spec string that draws this rule with these fans.

        >>> UsualRule("orthogonal(scale=√2)", lambda f: 1.0).spec(Fans(4.0, 4.0))
        'orthogonal(scale=1.41421)'
        """
        if self.name == _UNCORRECTED:
            return f"truncated_normal(stddev={1 / math.sqrt(fans.fan_in):.4g})"
        return self.name.replace("√2", f"{math.sqrt(2):.6g}")


def usual(shape: tuple[int, ...]) -> list[UsualRule]:
    """The usual rules for a kernel ``(…, in, out)``."""
    orthogonal = _orthogonal(shape)
    rules: dict[str, Callable[[Fans], float]] = {
        **_RULES,
        _UNCORRECTED: lambda f: TRUNCATED_STDDEV / math.sqrt(f.fan_in),
        **{
            name: lambda f, scale=scale: scale * orthogonal  # type: ignore[misc]
            for name, scale in _ORTHOGONAL_SCALES.items()
        },
    }
    return [UsualRule(name, rule) for name, rule in rules.items()]


def special(shape: tuple[int, ...]) -> list[UsualRule]:
    """The rules of special networks for a kernel ``(…, in, out)``."""
    head = UsualRule(_POLICY_HEAD, lambda f: 0.01 * _orthogonal(shape))
    return [*(UsualRule(name, rule) for name, rule in _SPECIAL.items()), head]


def _orthogonal(shape: tuple[int, ...]) -> float:
    columns = max(shape[-1], 1)
    return 1 / math.sqrt(max(math.prod(shape) // columns, columns, 1))


def nearest(
    sigma: float, fans: Fans, rules: list[UsualRule], tolerance: float
) -> tuple[float, UsualRule] | None:
    """The rule whose σ is nearest to ``sigma``, with |log(sigma / σ)|; None beyond the tolerance.

    Args:
      sigma: root mean square of the entries, > 0.
      fans: the fans to try.
      rules: the rules to try; of two with one σ, the first.
      tolerance: largest |log(sigma / σ)|; values below 0.005 count as 0.005.

    >>> nearest(0.1, Fans(100.0, 10.0), usual((100, 10)), 0.01)[1].name
    'lecun_normal'
    """
    distances = [(abs(math.log(sigma / rule.stddev(fans))), rule) for rule in rules]
    best = min(distances, key=lambda item: item[0])
    return best if best[0] < max(tolerance, 0.005) else None


def of_its_family(rules: list[UsualRule], sample: Moments) -> list[UsualRule]:
    """The rules whose entries are uniform if the sample's are, and not uniform if they are not."""
    if sample.count < _TOLD_APART:
        return rules
    is_uniform = max(abs(sample.low), abs(sample.high)) < _UNIFORM * sample.rms
    return [rule for rule in rules if ("uniform" in rule.name) is is_uniform]


def bound_departs(rule: UsualRule, fans: Fans, sample: Moments) -> bool:
    """Whether uniform entries have another bound: n of them reach 1 − 14/n of it (1 − 10⁻⁶)."""
    if sample.count < _TOLD_APART or "uniform" not in rule.name:
        return False
    bound = math.sqrt(3) * rule.stddev(fans)
    reached = max(abs(sample.low), abs(sample.high)) / bound
    return not 1 - 14 / sample.count - 0.005 < reached < 1.005


def mistaken_fans(layout: Layout, shape: tuple[int, ...], true: Fans) -> Iterator[tuple[str, Fans]]:
    """Yields (mistake, resulting fans) for common mistakes that change the fans.

    >>> depthwise = Layout(in_axes=(), batch_axes=(-2,))
    >>> next(mistaken_fans(depthwise, (3, 3, 64, 1), Fans(9.0, 9.0)))[1].fan_in
    576.0
    """
    if len(shape) < 2:
        return
    field = math.prod(shape[:-2])
    last_two = Fans(float(field * shape[-2]), float(field * shape[-1]))
    outputs = math.prod(shape[axis] for axis in layout.out_axes)
    flat = Fans(float(math.prod(shape) // max(outputs, 1)), float(outputs))
    mistakes = [
        ("the last two axes read as in and out", last_two),
        ("in and out exchanged", Fans(true.fan_out, true.fan_in)),
        ("batch axes counted as inputs", flat),
        ("groups not counted", Fans(true.fan_in * layout.groups, true.fan_out * layout.groups)),
        ("groups counted only in fan_out", Fans(true.fan_in, true.fan_out * layout.groups)),
    ]
    kernel = layout.kernels(shape)[1][0]
    whole = math.prod(kernel[:-1])
    if whole != true.fan_in:
        mistakes.append(("strides not counted", Fans(float(whole), true.fan_out)))
    for mistake, fans in mistakes:
        if fans != true and fans.fan_in > 0 and fans.fan_out > 0:
            yield mistake, fans
