"""Pictures, with matplotlib: every function takes an ``ax`` and returns it, or makes a figure.

Colours are Okabe and Ito's, told apart by colour-blind readers and in greyscale.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from jinit import errors
from jinit.initializers import Description
from jinit.probes import Profile

ORANGE, SKY, GREEN, BLUE, VERMILION, GREY = (
    "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#8A8A8A",
)  # fmt: skip


def new_axes(width: float = 6.0, height: float = 3.6) -> Any:
    """Axes of a new figure without the frame's top and right; no global state is touched.

    Args:
      width, height: inches.

    Raises:
      MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise errors.missing_extra("matplotlib", "lab", "plots") from None
    figure = Figure(figsize=(width, height), layout="constrained", dpi=150)
    ax = figure.add_subplot()
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def weight_histogram(found: Description, ax: Any = None) -> Any:
    """The histogram of one real draw over the law's density, with its mean ± one σ.

    Args:
      found: from ``initializers.describe``.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.
    """
    ax = new_axes() if ax is None else ax
    low, high = found.draw.minimum, found.draw.maximum
    edges = np.linspace(low, high, len(found.histogram) + 1)
    if low == high:
        edges = np.linspace(low - 0.5, high + 0.5, len(found.histogram) + 1)
    counts = np.asarray(found.histogram, float)
    heights = counts / counts.sum() / np.diff(edges)
    ax.stairs(heights, edges, fill=True, color=SKY, alpha=0.6, label=f"one draw of {found.shape}")
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
    ax.set_title(found.spec, loc="left", fontsize=11, pad=22)
    ax.legend(frameon=False, fontsize=7.5, loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3,
              columnspacing=1.2, handlelength=1.4)  # fmt: skip
    return ax


def layer_profile(profile: Profile, ax: Any = None) -> Any:
    """E z² forward and the mean squared gradient norm backward, layer by layer, on a log scale.

    Args:
      profile: from ``probes.ensemble``, ``(seeds, layers)``; lines are medians over seeds, bands
        reach from the 10th to the 90th percentile.
      ax: matplotlib axes; None makes a figure.

    Returns:
      The axes.
    """
    ax = new_axes() if ax is None else ax
    depth = np.arange(1, np.shape(profile.mean)[-1] + 1)
    gradient = np.asarray(profile.gradient_norm, float)
    for values, colour, style, label in (
        (np.asarray(profile.second_moment, float), BLUE, "-", "E z² (forward)"),
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
    ax.set(xlabel="layer (the last is the output)", ylabel="per layer", yscale="log")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(frameon=False, fontsize=8)
    return ax


def check_picture(path: str | Path) -> str:
    """``path`` if a picture can be written there.

    Raises:
      ValueError: an ending other than .png, .svg or .pdf, a folder that does not exist.

    >>> check_picture("weights.png")
    'weights.png'
    """
    target = Path(path)
    allowed = "a file ending in .png, .svg or .pdf in a folder that exists"
    if target.suffix not in (".png", ".svg", ".pdf"):
        raise errors.refusal("picture", str(path), allowed, f"e.g. {target.stem}.png")
    if not target.parent.is_dir():
        raise errors.refusal("picture", str(path), allowed, f"create {target.parent}")
    return str(path)


def save(ax: Any, path: str | Path) -> None:
    """Writes the figure that holds ``ax``."""
    ax.figure.savefig(check_picture(path))


def _law_text(found: Description) -> str:
    law = found.law
    if math.isfinite(law.low) and law.distribution in ("uniform", "truncated_normal"):
        return f"{law.distribution.replace('_', ' ')} on [{law.low:.3g}, {law.high:.3g}]"
    return f"{law.distribution.replace('_', ' ')} density"
