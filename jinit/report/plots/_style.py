"""What all pictures share: colours, axes, and the numbers that are saved beside them.

Colours are Okabe and Ito's, told apart by colour-blind readers; lines also differ in dash, so that
they are told apart in greyscale.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from jinit import errors

ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GREY = (
    "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A",
)  # fmt: skip
# Dark before light, so that the first arms also stand out in print.
_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def new_figure(width: float = 6.0, height: float = 3.6) -> Any:
    """A figure of its own, in inches; no global state of matplotlib is touched.

    Raises:
      MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise errors.missing_extra("matplotlib", "lab", "plots") from None
    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def new_axes(width: float = 6.0, height: float = 3.6) -> Any:
    """Axes of a new figure without the frame's top and right.

    Args:
      width, height: inches.

    Raises:
      MissingExtraError: matplotlib is not installed.
    """
    return open_frame(new_figure(width, height).add_subplot())


def axes_of(ax: Any, width: float = 6.0, height: float = 3.6) -> Any:
    """The axes to draw on: ``ax``, or those of a new figure for None.

    Raises:
      TypeError: no matplotlib axes. MissingExtraError: matplotlib is not installed.
    """
    if ax is None:
        return new_axes(width, height)
    if not hasattr(ax, "plot") or not hasattr(ax, "figure"):
        raise errors.wrong_type("ax", ax, "matplotlib axes, or None", "figure.subplots()")
    return ax


def check_found(found: Any, kind: type, source: str) -> None:
    """What a picture shows is of its kind.

    Raises:
      TypeError: something else.
    """
    if not isinstance(found, kind):
        raise errors.wrong_type("what to draw", found, f"a {kind.__name__}", source)


def open_frame(ax: Any) -> Any:
    """The axes without the frame's top and right."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def line_style(number: int) -> dict[str, Any]:
    """Colour, dash and marker of the arm with this number; 35 arms differ.

    >>> line_style(0)["color"] == BLUE
    True
    """
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def short(name: object, most: int = 34) -> str:
    """A name that fits where it is written: its middle is left out if it is longer.

    >>> short("variance_scaling(scale=2.0, mode=fan_out)", 21)
    'variance_s…e=fan_out)'
    """
    text = str(name)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[-half:]}"


def record(
    ax: Any,
    series: str,
    x: Any,
    y: Any,
    low: Any = None,
    high: Any = None,
) -> None:
    """Remembers on the axes what was drawn, for :func:`save` to write beside the picture.

    Args:
      series: the line's name.
      x, y: ``(k,)``; low, high: ``(k,)``, ends of the band, if any.
    """
    size = np.size(x)
    columns = [np.asarray(c).ravel() if c is not None else [""] * size for c in (x, y, low, high)]
    rows = [(series, *values) for values in zip(*columns, strict=True)]
    ax.drawn_numbers = [*getattr(ax, "drawn_numbers", []), *rows]


def check_picture(path: str | Path) -> str:
    """``path`` if a picture can be written there.

    Raises:
      ValueError: an ending other than .png, .svg or .pdf, or none; a folder, or a file in one that
        does not exist.

    >>> check_picture("weights.png")
    'weights.png'
    """
    target = Path(path)
    allowed = (
        "a file ending in .png, .svg or .pdf (or in nothing: PNG and SVG) in a folder that exists"
    )
    if target.suffix not in ("", ".png", ".svg", ".pdf") or not target.name or target.is_dir():
        raise errors.refusal("picture", str(path), allowed, f"e.g. {target.stem or 'picture'}.png")
    if not target.parent.is_dir():
        raise errors.refusal("picture", str(path), allowed, f"create {target.parent}")
    return str(path)


def save(axes: Any, path: str | Path) -> list[Path]:
    """Writes the figure that holds the axes, and beside it the numbers as CSV.

    Args:
      axes: what a plot function returned: axes, or an array of them.
      path: of the picture; without an ending it is written as PNG and as SVG.

    Returns:
      The files written, the CSV file last (columns: panel, series, x, y, low, high).

    Raises:
      ValueError: as :func:`check_picture`. TypeError: no axes.
    """
    if axes is None:
        raise errors.wrong_type("axes", axes, "what a plot function returned", "plots.forest(…)")
    first, target = axes_of(np.ravel(axes)[0]), Path(check_picture(path))
    written = [target] if target.suffix else [target.with_suffix(end) for end in (".png", ".svg")]
    for file in written:
        # Without a date the same picture is the same file.
        dated = {"metadata": {"Date": None}} if file.suffix == ".svg" else {}
        first.figure.savefig(file, **dated)
    rows = [
        (ax.get_title(loc="left") or ax.get_title(), *row)
        for ax in first.figure.axes
        for row in getattr(ax, "drawn_numbers", [])
    ]
    with target.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["panel", "series", "x", "y", "low", "high"])
        writer.writerows(rows)
    return [*written, target.with_suffix(".csv")]
