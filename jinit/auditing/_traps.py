"""Finds the usual rule that gives a σ, with the layer's fans or with mistaken fans."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jinit.frameworks._layout import Layout
from jinit.initializers import Fans
from jinit.initializers._laws import TRUNCATED_STDDEV

# name → σ from the fans: every rule that a library applies by default or that textbooks name.
_RULES: dict[str, Callable[[Fans], float]] = {
    "lecun_normal": lambda f: math.sqrt(1 / f.fan_in),
    "he_normal": lambda f: math.sqrt(2 / f.fan_in),
    "glorot_uniform": lambda f: math.sqrt(2 / (f.fan_in + f.fan_out)),
    "fan_in_uniform": lambda f: math.sqrt(1 / (3 * f.fan_in)),
    # Truncated at ±2 σ without correcting σ.
    "truncated_normal(1/√fan_in)": lambda f: TRUNCATED_STDDEV / math.sqrt(f.fan_in),
    "he_normal(mode=fan_out)": lambda f: math.sqrt(2 / f.fan_out),
    "spectral": lambda f: math.sqrt(min(1.0, f.fan_out / f.fan_in) / f.fan_in),
    "siren": lambda f: math.sqrt(2 / f.fan_in) / 30,
    "siren(is_first=True)": lambda f: 1 / (math.sqrt(3) * f.fan_in),
    "mup(role=output)": lambda f: 1 / f.fan_in,
}
# Rules for special networks. With the true fans they make a kernel healthy. They are not tried with
# mistaken fans, with which they would explain a σ by chance.
SPECIAL = ("siren", "siren(is_first=True)", "mup(role=output)")


@dataclass(frozen=True)
class UsualRule:
    """A rule that libraries or textbooks use.

    Attributes:
      name: the spec string, or a formula.
      stddev: σ from the fans.
    """

    name: str
    stddev: Callable[[Fans], float]


def explain(
    sigma: float,
    fans: Fans,
    shape: tuple[int, ...],
    tolerance: float,
    without: tuple[str, ...] = (),
) -> UsualRule | None:
    """The first usual rule that gives ``sigma`` with these fans, or None.

    Args:
      sigma: root mean square of the entries, > 0.
      fans: the fans to try.
      shape: the shape of one kernel (…, in, out), for orthogonal rules.
      tolerance: largest |log(sigma / σ of the rule)|; values below 0.005 count as 0.005.
      without: names of rules to leave out.

    >>> explain(0.1, Fans(100.0, 10.0), (100, 10), 0.01).name
    'lecun_normal'
    """
    columns = max(shape[-1], 1)
    rows = max(math.prod(shape) // columns, 1)
    orthogonal = 1 / math.sqrt(max(rows, columns))
    rules: dict[str, Callable[[Fans], float]] = {
        **_RULES,
        "orthogonal": lambda f: orthogonal,
        "orthogonal(scale=√2)": lambda f: math.sqrt(2) * orthogonal,
    }
    for name, rule in rules.items():
        if name not in without and abs(math.log(sigma / rule(fans))) < max(tolerance, 0.005):
            return UsualRule(name, rule)
    return None


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
