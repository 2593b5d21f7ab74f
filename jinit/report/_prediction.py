"""Prints a theoretical prediction, alone or beside a measurement: one row per layer."""

from __future__ import annotations

import math
from typing import TextIO

import numpy as np

from jinit.probes._beside import Beside
from jinit.report._console import RichTable, escaped, natural_width, new_table, open_console, wider
from jinit.report._findings import print_findings
from jinit.report._text import MISSING, number, rows_shown
from jinit.theory._fixed_points import DepthScales, depth_formula
from jinit.theory._predict import Prediction

_ROWS = 16
_BAND = "95 % of networks"


def print_prediction(prediction: Prediction, stream: TextIO | None = None) -> None:
    """Prints expected E z², correlations and gradients layer by layer, and the findings.

    Args:
      prediction: from :func:`jinit.theory.predict`; at most 16 layers are shown, evenly spread.
      stream: default stdout.

    >>> from jinit import initializers, models, theory
    >>> kernel, bias = initializers.get("he_normal"), initializers.get("zeros")
    >>> network = models.MLP(features=(8, 2))
    >>> print_prediction(theory.predict(network, 8, kernel=kernel, bias=bias))
    ... # doctest: +ELLIPSIS
    <BLANKLINE>
     layer ...
    """
    console = open_console(stream)
    count = len(prediction.names)
    shown = rows_shown(count, _ROWS)
    table = _table(prediction, shown, bands=True)
    without_bands = natural_width(console, table) > console.width
    if without_bands:
        table = _table(prediction, shown, bands=False)
    console.print(table)
    more = f", {len(shown)} of {count} layers (--json has all)" if len(shown) < count else ""
    console.print(
        f"infinite-width theory; gradients relative to the output layer's{more}", style="dim"
    )
    if without_bands:
        console.print(f"Too narrow for the bands of {_BAND}. {wider(console)}, or use --json.")
    if prediction.scales is not None:
        console.print(_scales_text(prediction.scales))
    print_findings(console, prediction.findings)
    for note in prediction.notes:
        console.print(escaped(f"note: {note}"), style="dim")


def _table(prediction: Prediction, shown: list[int], *, bands: bool) -> RichTable:
    table = new_table()
    table.add_column("layer")
    band = (_BAND,) if bands else ()
    for heading in ("σ_w", "E z²", *band, "1 − corr.", "‖∂L/∂z‖²", *band):
        table.add_column(heading, justify="right")
    for i in shown:
        forward = [number(prediction.second_moment[i], 3)]
        backward = [number(prediction.gradient[i], 3)]
        if bands:
            forward.append(_ends(prediction.second_moment_band[:, i]))
            backward.append(_ends(prediction.gradient_band[:, i]))
        table.add_row(
            escaped(prediction.names[i]),
            number(prediction.sigma_w[i], 3),
            *forward,
            number(1 - prediction.correlation[i], 3),
            *backward,
        )
    return table


def print_beside(beside: Beside, stream: TextIO | None = None) -> None:
    """Prints measured means beside predicted ones, and the layers at which they differ.

    Args:
      beside: from :func:`jinit.probes.beside`; at most 16 layers are shown, evenly spread.
      stream: default stdout.

    >>> import numpy as np
    >>> from jinit.findings import healthy
    >>> one = np.ones(1)
    >>> print_beside(Beside(("output",), *[one] * 6, (healthy("as predicted"),)))
    ... # doctest: +ELLIPSIS
    <BLANKLINE>
     layer    ...
    """
    console = open_console(stream)
    table = new_table()
    table.add_column("layer")
    for heading in ("E z²", "theory", "corr.", "theory", "‖∂L/∂z‖²", "theory"):
        table.add_column(heading, justify="right")
    columns = (
        beside.second_moment,
        beside.expected_second_moment,
        beside.correlation,
        beside.expected_correlation,
        beside.gradient,
        beside.expected_gradient,
    )
    for i in rows_shown(len(beside.names), _ROWS):
        table.add_row(escaped(beside.names[i]), *(number(column[i], 3) for column in columns))
    console.print(table)
    console.print("means over networks; gradients relative to the output layer's", style="dim")
    print_findings(console, beside.findings)


def _scales_text(scales: DepthScales) -> str:
    """One line: the phase, χ₁, the fixed points and the trainable depth."""
    q, c, chi, depth = (
        float(np.asarray(value))
        for value in (scales.q_star, scales.c_star, scales.chi_1, scales.trainable_depth)
    )
    phase = "critical" if abs(chi - 1) < 1e-6 else "ordered" if chi < 1 else "chaotic"
    formula = depth_formula(scales).replace("xi_c", "ξ_c").replace("chi_1", "χ₁")
    reach = f"trainable depth about {number(depth, 3)} ({formula})"
    if math.isnan(depth):
        phase = "unknown phase" if math.isnan(chi) else phase
        reach = "no depth scale"
        if math.isinf(q):
            reach += ": lengths grow without bound, gradients change as a power of the depth"
    c_text = MISSING if math.isnan(c) else f"{c:.3f}"
    return f"hidden layers: {phase}, χ₁ {number(chi)}, q* {number(q, 3)}, c* {c_text}, {reach}"


def _ends(ends: np.ndarray) -> str:
    if np.isnan(ends).any():
        return MISSING
    return f"{number(ends[0], 3)} … {number(ends[1], 3)}"
