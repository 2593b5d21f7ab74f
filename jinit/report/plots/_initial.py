"""Pictures of networks before training: weights, layers, singular values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jinit import errors
from jinit.initializers import Description
from jinit.probes import Profile
from jinit.report.plots._style import (
    BLUE,
    GREY,
    SKY,
    VERMILION,
    axes_of,
    check_found,
    line_style,
    record,
)


def weight_histogram(found: Description, ax: Any = None) -> Any:
    """The histogram of one real draw over the law's density, with its mean ± one σ.

    Args:
      found: from ``initializers.describe``.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.
    """
    ax = axes_of(ax)
    check_found(found, Description, "initializers.describe('he_normal', (64, 64))")
    low, high = found.draw.minimum, found.draw.maximum
    counts = np.asarray(found.histogram, float)
    edges = np.linspace(low, high, len(counts) + 1)
    if low == high:
        # One number: a bar of its own width, with the number in its middle.
        edges = low + (np.arange(len(counts) + 1) - counts.argmax() - 0.5) / len(counts)
    heights = counts / counts.sum() / np.diff(edges)
    ax.stairs(heights, edges, fill=True, color=SKY, alpha=0.6, label=f"one draw of {found.shape}")
    record(ax, "one draw", (edges[:-1] + edges[1:]) / 2, heights)
    law = found.law
    margin = 0.08 * (high - low or 1.0)
    left, right = max(low - margin, law.low), min(high + margin, law.high)
    x = np.linspace(left, right, 600)
    density = law.density(x)
    top = max(heights.max(), density.max(initial=0.0))
    if density.any():
        # A bound inside the picture is a wall.
        x = np.concatenate([[left] * (left == law.low), x, [right] * (right == law.high)])
        wall_low, wall_high = ([0.0] * (end == bound) for end, bound in
                               ((left, law.low), (right, law.high)))  # fmt: skip
        density = np.concatenate([wall_low, density, wall_high])
        ax.plot(x, density, color=VERMILION, lw=1.8, label=_law_text(found))
        record(ax, "density of the law", x, density)
    if density.any() and top > 10 * density.max():
        # Most entries are one number: the bar runs out of the picture, and the title says so.
        top = 4 * density.max()
        most = counts.argmax()
        share = counts[most] / counts.sum()
        ax.text(0.98, 0.94, f"{share:.0%} of the entries in the highest bar", fontsize=8,
                transform=ax.transAxes, ha="right")  # fmt: skip
    for bound in (law.mean - law.stddev, law.mean + law.stddev):
        ax.axvline(bound, color=GREY, lw=0.9, ls=(0, (4, 3)))
    ax.plot([], [], color=GREY, lw=0.9, ls=(0, (4, 3)), label=f"mean ± σ, σ = {law.stddev:.3g}")
    ax.set(xlabel="weight", ylabel="density", ylim=(0, 1.06 * top))
    ax.locator_params(axis="x", nbins=6)
    ax.set_title(found.spec, loc="left", fontsize=11, pad=22)
    ax.legend(frameon=False, fontsize=7.5, loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3,
              columnspacing=1.2, handlelength=1.4)  # fmt: skip
    return ax


def layer_profile(profile: Profile, ax: Any = None) -> Any:
    """E z² forward and the mean squared gradient norm backward, layer by layer, on a log scale.

    Args:
      profile: of many networks, ``(seeds, layers)``, or of one, ``(layers,)``; lines are medians
        over seeds, bands reach from the 10th to the 90th percentile.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.
    """
    ax = axes_of(ax)
    check_found(profile, Profile, "probes.ensemble(...)")
    moments, gradient = (
        np.atleast_2d(np.asarray(values, float))
        for values in (profile.second_moment, profile.gradient_norm)
    )
    depth = np.arange(1, moments.shape[1] + 1)
    for values, colour, style, label in (
        (moments, BLUE, "-", "E z² (forward)"),
        (gradient**2, VERMILION, (0, (5, 2)), "E‖∂L/∂z‖² (backward)"),
    ):
        # A log axis has no place for 0 or inf: the line ends where the signal does.
        shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        if np.isnan(shown).all():
            ax.plot([], [], color=colour, ls=style, label=f"{label}: 0 or not finite everywhere")
            continue
        seen = ~np.isnan(shown).all(0)
        low, middle, high = np.nanquantile(shown[:, seen], [0.1, 0.5, 0.9], axis=0)
        ax.plot(depth[seen], middle, color=colour, ls=style, lw=1.8, label=label)
        ax.fill_between(depth[seen], low, high, color=colour, alpha=0.18, lw=0)
        record(ax, label, depth[seen], middle, low, high)
    ax.set(xlabel="layer (the last is the output)", ylabel="per layer", yscale="log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize=8)
    return ax


def singular_values(
    values: np.ndarray, ax: Any = None, *, label: str = "Jacobian", log: bool = False
) -> Any:
    """The spectrum of a Jacobian or a kernel: singular values from large to small.

    Args:
      values: ``(k,)``, or ``(seeds, k)``: then the line is the median at each rank, and the band
        reaches from the 10th to the 90th percentile.
      ax: matplotlib axes; None makes a figure. Call it again with the same axes to compare.
      label: of the legend.
      log: logarithmic values; those that are 0 leave a gap.

    Returns:
      The axes.

    Raises:
      ValueError: no values, another rank, NaN.
    """
    values = np.asarray(values, float)
    if values.ndim not in (1, 2) or not values.size or np.isnan(values).any():
        raise errors.refusal(
            "singular values", f"shape {values.shape}, {int(np.isnan(values).sum())} NaN",
            "(k,) or (seeds, k), no NaN", "probes.jacobian_singular_values(...)",
        )  # fmt: skip
    ax = axes_of(ax)
    values = -np.sort(-np.atleast_2d(values), axis=1)
    rank = np.arange(1, values.shape[1] + 1) / values.shape[1]
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    if log:
        middle = np.where(middle > 0, middle, np.nan)
        ax.set_yscale("log")
    style = line_style(len(ax.lines))
    # A line through few values does not show them, and through one there is none.
    marker = style["marker"] if len(rank) <= 32 else None
    ax.plot(rank, middle, lw=1.8, label=label, color=style["color"], ls=style["linestyle"],
            marker=marker, markersize=4, clip_on=False)  # fmt: skip
    ax.fill_between(rank, low, high, color=style["color"], alpha=0.2, lw=0)
    ax.set(xlabel="rank / number of singular values", ylabel="singular value", xlim=(0, 1))
    record(ax, label, rank, middle, low, high)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _law_text(found: Description) -> str:
    law = found.law
    if math.isfinite(law.low) and law.distribution in ("uniform", "truncated_normal"):
        return f"{law.distribution.replace('_', ' ')} on [{law.low:.3g}, {law.high:.3g}]"
    return f"{law.distribution.replace('_', ' ')} density"
