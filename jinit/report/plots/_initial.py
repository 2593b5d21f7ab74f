"""Draws networks before training: weights, layers, singular values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jinit import errors
from jinit.initializers._describe import Description
from jinit.report._text import number
from jinit.report.plots._figure import axes_of, check_drawable, integer_ticks, record
from jinit.report.plots._style import BLUE, GREY, SKY, VERMILION, line_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from jinit.probes import Profile


def weight_histogram(description: Description, ax: Axes | None = None) -> Axes:
    """Draws the histogram of one draw, the law's density, and mean ± σ of the law.

    Args:
      description: from :func:`jinit.initializers.describe`.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.

    Raises:
      TypeError: ``description`` is not a Description.
      MissingExtraError: matplotlib is not installed.

    >>> from jinit import initializers
    >>> weight_histogram(initializers.describe("he_normal", (64, 64))).get_xlabel()
    'weight'
    """
    ax = axes_of(ax)
    check_drawable(description, Description, "initializers.describe('he_normal', (64, 64))")
    law = description.law
    counts = np.asarray(description.histogram, float)
    edges = _bin_edges(description, counts)
    heights = counts / counts.sum() / np.diff(edges)
    label = f"one draw of {description.shape}"
    ax.stairs(heights, edges, fill=True, color=SKY, alpha=0.6, label=label)
    record(ax, "one draw", (edges[:-1] + edges[1:]) / 2, heights)
    x, density = _density(description)
    top = max(heights.max(), density.max(initial=0.0))
    if density.any():
        ax.plot(x, density, color=VERMILION, lw=1.8, label=_law_text(description))
        record(ax, "density of the law", x, density)
    if density.any() and top > 10 * density.max():
        # Most entries are equal: their bar is cut off, and a note gives its share.
        top = 4 * density.max()
        share = counts.max() / counts.sum()
        note = f"{share:.0%} of the entries in the highest bar"
        ax.text(0.98, 0.94, note, fontsize=8, transform=ax.transAxes, ha="right")
    dashes = (0, (4, 3))
    for bound in (law.mean - law.stddev, law.mean + law.stddev):
        ax.axvline(bound, color=GREY, lw=0.9, ls=dashes)
    ax.plot([], [], color=GREY, lw=0.9, ls=dashes, label=f"mean ± σ, σ = {law.stddev:.3g}")
    ax.set(xlabel="weight", ylabel="density", ylim=(0, 1.06 * top))
    ax.locator_params(axis="x", nbins=6)
    ax.set_title(description.spec, loc="left", fontsize=11, pad=22)
    ax.legend(
        frameon=False,
        fontsize=7.5,
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.99),
        ncols=3,
        columnspacing=1.2,
        handlelength=1.4,
    )
    return ax


def _bin_edges(description: Description, counts: np.ndarray) -> np.ndarray:
    low, high = description.draw.minimum, description.draw.maximum
    if low == high:
        # All entries are equal: they are in the middle of one bar. The bars have width 1 in total,
        # or more where 1 is lost beside the entries.
        width = max(1.0, abs(low)) / len(counts)
        return low + (np.arange(len(counts) + 1) - counts.argmax() - 0.5) * width
    return np.linspace(low, high, len(counts) + 1)


def _density(description: Description) -> tuple[np.ndarray, np.ndarray]:
    """(x, density) of the law at 600 points; a bound of the law in view gets a vertical line."""
    law, low, high = description.law, description.draw.minimum, description.draw.maximum
    margin = 0.08 * (high - low or 1.0)
    left, right = max(low - margin, law.low), min(high + margin, law.high)
    x = np.linspace(left, right, 600)
    density = law.density(x)
    if density.any() and left == law.low:
        x, density = np.append(left, x), np.append(0.0, density)
    if density.any() and right == law.high:
        x, density = np.append(x, right), np.append(density, 0.0)
    return x, density


def layer_profile(profile: Profile, ax: Axes | None = None) -> Axes:
    """Draws E z² (forward) and the squared gradient norm (backward) by layer, on a log scale.

    Args:
      profile: ``(seeds, layers)``, or ``(layers,)`` of a single network. Lines are medians
        over seeds; bands reach from the 10th to the 90th percentile.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.

    Raises:
      TypeError: ``profile`` is not a Profile. MissingExtraError: matplotlib is not installed.

    >>> import jax.numpy as jnp
    >>> from jinit import frameworks, models, probes
    >>> x, rules = jnp.ones((4, 3)), {"*/kernel": "he_normal", "*/bias": "zeros"}
    >>> captured = frameworks.capture(models.MLP(features=(8, 2)), x)
    >>> loss = probes.cross_entropy(jnp.array([0, 1, 0, 1]))
    >>> layer_profile(probes.ensemble(captured, rules, x, loss, seeds=4)).get_yscale()
    'log'
    """
    # Imported here because probes load Flax, which no other picture needs.
    from jinit.probes import Profile

    ax = axes_of(ax)
    check_drawable(profile, Profile, "probes.ensemble(...)")
    moments, gradient = (
        np.atleast_2d(np.asarray(values, float))
        for values in (profile.second_moment, profile.gradient_norm)
    )
    depth = np.arange(1, moments.shape[1] + 1)
    for values, colour, style, label in (
        (moments, BLUE, "-", "E z² (forward)"),
        (gradient**2, VERMILION, (0, (5, 2)), "E‖∂L/∂z‖² (backward)"),
    ):
        # A log axis cannot show 0 or inf: the line ends where the signal vanishes or overflows.
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
    ax.set_xlim(0.5, len(depth) + 0.5)
    integer_ticks(ax)
    ax.legend(frameon=False, fontsize=8)
    return ax


def singular_values(
    values: np.ndarray, ax: Axes | None = None, *, label: str = "Jacobian", log: bool = False
) -> Axes:
    """Draws the spectrum of a Jacobian or a kernel: singular values from large to small.

    Args:
      values: ``(k,)`` or ``(seeds, k)``. The line is the median over seeds at each rank; the band
        reaches from the 10th to the 90th percentile.
      ax: matplotlib axes; None makes a figure. Pass the same axes again to compare spectra.
      label: the line's name in the legend.
      log: True for a logarithmic y axis, on which zeros leave a gap.

    Returns:
      The axes.

    Raises:
      ValueError: no values, an array of another shape, or NaN.
      MissingExtraError: matplotlib is not installed.

    >>> singular_values(np.array([0.5, 2.0])).lines[0].get_ydata().tolist()
    [2.0, 0.5]
    """
    values = np.asarray(values, float)
    if values.ndim not in (1, 2) or not values.size or np.isnan(values).any():
        raise errors.refusal(
            "singular values",
            f"shape {values.shape}, {int(np.isnan(values).sum())} NaN",
            "(k,) or (seeds, k), no NaN",
            "probes.jacobian_singular_values(...)",
        )
    ax = axes_of(ax)
    values = -np.sort(-np.atleast_2d(values), axis=1)
    rank = np.arange(1, values.shape[1] + 1) / values.shape[1]
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    if log:
        middle = np.where(middle > 0, middle, np.nan)
        ax.set_yscale("log")
    style = line_style(len(ax.lines))
    # Up to 32 values also get markers; a single value would be invisible as a line.
    marker = style["marker"] if len(rank) <= 32 else None
    ax.plot(
        rank,
        middle,
        lw=1.8,
        label=label,
        color=style["color"],
        ls=style["linestyle"],
        marker=marker,
        markersize=4,
        clip_on=False,
    )
    ax.fill_between(rank, low, high, color=style["color"], alpha=0.2, lw=0)
    ax.set(xlabel="rank / number of singular values", ylabel="singular value", xlim=(0, 1))
    record(ax, label, rank, middle, low, high)
    ax.legend(frameon=False, fontsize=8)
    return ax


def _law_text(description: Description) -> str:
    law = description.law
    if math.isfinite(law.low) and law.distribution in ("uniform", "truncated_normal"):
        return (
            f"{law.distribution.replace('_', ' ')} on [{number(law.low, 3)}, {number(law.high, 3)}]"
        )
    return f"{law.distribution.replace('_', ' ')} density"
