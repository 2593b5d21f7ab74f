"""What theory says, in a terminal: a row a layer and the findings; and candidates, best first."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from jinit import errors
from jinit.advise import Candidate
from jinit.probes import Beside
from jinit.report._findings import print_findings
from jinit.report._terminal import console_width, escaped, rows_shown
from jinit.theory import DepthScales, Prediction

try:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
except ImportError:
    raise errors.missing_extra("rich", "lab", "printing tables") from None

_ROWS = 16


def print_prediction(found: Prediction, stream: TextIO | None = None) -> None:
    """Prints expected lengths, correlations and gradients layer by layer, and what they mean.

    Args:
      found: from :func:`jinit.theory.predict`; of a deep network some layers are shown.
      stream: default stdout.
    """
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("layer")
    for heading in ("σ_w", "E z²", "95 % of networks", "1 − corr.", "‖∂L/∂z‖²", "95 % of networks"):
        grid.add_column(heading, justify="right")
    count = len(found.names)
    shown = rows_shown(count, _ROWS)
    for i in shown:
        grid.add_row(
            found.names[i],
            f"{found.sigma_w[i]:.3g}",
            _number(found.second_moment[i]),
            _band(found.second_moment_band[:, i]),
            _number(1 - found.correlation[i]),
            _number(found.gradient[i]),
            _band(found.gradient_band[:, i]),
        )
    console.print(grid)
    more = f", {len(shown)} of {count} layers (--json has all)" if len(shown) < count else ""
    console.print(f"wide-network theory; gradients over the output's{more}", style="dim")
    if found.scales is not None:
        console.print(_scales_text(found.scales))
    print_findings(console, found.findings)
    for note in found.notes:
        console.print(escaped(f"note: {note}"), style="dim")


def print_beside(found: Beside, stream: TextIO | None = None) -> None:
    """Prints measured means beside theory, and where they part."""
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("layer")
    for heading in ("E z²", "theory", "corr.", "theory", "‖∂L/∂z‖²", "theory"):
        grid.add_column(heading, justify="right")
    count = len(found.names)
    shown = rows_shown(count, _ROWS)
    columns = (
        found.second_moment, found.expected_second_moment, found.correlation,
        found.expected_correlation, found.gradient, found.expected_gradient,
    )  # fmt: skip
    for i in shown:
        grid.add_row(escaped(found.names[i]), *(_number(column[i]) for column in columns))
    console.print(grid)
    console.print("means over networks; gradients over the output's", style="dim")
    print_findings(console, found.findings)


def _scales_text(scales: DepthScales) -> str:
    q, c, chi, depth = (
        float(np.asarray(x))
        for x in (scales.q_star, scales.c_star, scales.chi_1, scales.trainable_depth)
    )
    phase = "critical" if abs(chi - 1) < 1e-6 else "ordered" if chi < 1 else "chaotic"
    reach = f"trainable depth about {_number(depth)} (6 ξ_c)"
    if math.isnan(depth):
        phase = "not known" if math.isnan(chi) else phase
        reach = "no depth scale"
        if math.isinf(q):
            reach += ": lengths grow for ever, gradients change as a power of the depth"
    return f"hidden layers: {phase}, χ₁ {chi:.4g}, q* {_number(q)}, c* {c:.3f}, {reach}"


def _number(value: float) -> str:
    value = float(value)
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.3g}"


def _band(ends: np.ndarray) -> str:
    return "—" if np.isnan(ends).any() else f"{_number(ends[0])} … {_number(ends[1])}"


def prediction_json(found: Prediction) -> dict[str, Any]:
    """All layers as plain data."""
    rows = [
        {
            "layer": name,
            "fan_in": int(found.fan_in[i]),
            "width": int(found.width[i]),
            "sigma_w": float(found.sigma_w[i]),
            "sigma_b": float(found.sigma_b[i]),
            "second_moment": float(found.second_moment[i]),
            "second_moment_band": found.second_moment_band[:, i].tolist(),
            "correlation": float(found.correlation[i]),
            "gradient": float(found.gradient[i]),
            "gradient_band": found.gradient_band[:, i].tolist(),
        }
        for i, name in enumerate(found.names)
    ]
    scales = None
    if found.scales is not None:
        scales = {k: float(v) for k, v in dataclasses.asdict(found.scales).items()}
    return {
        "layers": rows,
        "scales": scales,
        "findings": [dataclasses.asdict(finding) for finding in found.findings],
        "notes": found.notes,
    }


def print_candidates(found: Sequence[Candidate], stream: TextIO | None = None) -> None:
    """Prints initializers for one network, the best first, and the line that makes the best one."""
    console = Console(file=stream or sys.stdout, width=console_width(stream), highlight=False)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "initializer", "bias"):
        grid.add_column(heading)
    for heading in ("signal", "gradient", "theory", "spread", "corr."):
        grid.add_column(heading, justify="right")
    grid.add_column("why")
    for place, each in enumerate(found, 1):
        grid.add_row(
            str(place),
            escaped(each.initializer),
            escaped(each.bias_initializer),
            _decades(each.measured_forward),
            _decades(each.measured_backward),
            f"{_decades(each.forward)}, {_decades(each.backward)}",
            "—" if math.isnan(each.spread) else f"{each.spread:.2f}",
            f"{each.correlation:.3f}",
            escaped(each.reason),
        )
    console.print(grid)
    console.print(
        "signal and gradient: factor on their squares through the hidden layers, measured (means "
        "of logarithms); theory: both expected; spread: deviation of ln E z² over seeds; corr.: of "
        "two inputs at the last hidden layer",
        style="dim",
    )
    if math.isinf(found[0].score):
        console.print(
            "[bold red]none of these lets a signal and a gradient through every network[/]"
        )
    else:
        console.print(f"[bold green]{escaped(found[0].code)}[/]")


def _decades(log: float) -> str:
    if math.isnan(log):
        return "—"
    if math.isinf(log):
        return "0" if log < 0 else "inf"
    if abs(log) < math.log(1000):
        return f"{math.exp(log):.3g}"
    return f"10^{log / math.log(10):.1f}"
