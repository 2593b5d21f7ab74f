"""Defines the colours, dashes and markers that all pictures share.

Colours are those of Okabe and Ito 2008, which colour-blind readers can tell apart. Lines also
differ in dash, so that they can be told apart in greyscale.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Style: TypeAlias = dict[str, Any]
"""Colour, line style and marker of a line, as keyword arguments of matplotlib."""

ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, GREY = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#8A8A8A",
)
COLORS = {
    "blue": BLUE,
    "vermilion": VERMILION,
    "green": GREEN,
    "orange": ORANGE,
    "sky": SKY,
    "purple": PURPLE,
    "grey": GREY,
}
"""The colours of all pictures, for matplotlib's ``color=``."""
# Dark before light, so that the first arms also stand out in print.
_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, "#000000")
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")


def line_style(number: int) -> Style:
    """Colour, dash and marker of the arm with this number; the first 35 arms differ.

    Args:
      number: ≥ 0.

    Returns:
      A dict with the keys color, linestyle and marker, as matplotlib takes them.

    Reference: Okabe & Ito 2008 (colours).

    >>> line_style(0)["color"] == COLORS["blue"]
    True
    """
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "linestyle": _DASHES[number % len(_DASHES)],
        "marker": _MARKERS[number % len(_MARKERS)],
    }


def without_marker(style: Style) -> Style:
    """The style without its marker."""
    return {name: value for name, value in style.items() if name != "marker"}


def short(name: str | float, most: int = 34) -> str:
    """A name of at most ``most`` characters; a longer one loses its middle.

    >>> short("variance_scaling(scale=2.0, mode=fan_out)", 21)
    'variance_s…e=fan_out)'
    """
    text = str(name)
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[-half:]}"
