"""Makes figures and axes, and saves them with the numbers that were drawn."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from jinit import errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_T = TypeVar("_T")


@overload
def new_axes(width: float = ..., height: float = ..., *, panels: None = ...) -> Axes: ...
@overload
def new_axes(
    width: float = ..., height: float = ..., *, panels: int, sharex: bool = ..., sharey: bool = ...
) -> np.ndarray: ...


def new_axes(
    width: float = 6.0,
    height: float = 3.6,
    *,
    panels: int | None = None,
    sharex: bool = False,
    sharey: bool = False,
) -> Axes | np.ndarray:
    """Makes a figure and returns its axes, without the top and right side of the frame.

    The global state of matplotlib does not change.

    Args:
      width, height: of the figure, in inches.
      panels: number of axes side by side; None makes one.
      sharex, sharey: whether the panels have the same limits.

    Returns:
      The axes; with ``panels`` an array ``(panels,)`` of axes.

    Raises:
      MissingExtraError: matplotlib is not installed.
      ValueError: ``panels`` below 1.

    >>> new_axes().spines["top"].get_visible()
    False
    >>> new_axes(8, 3, panels=2, sharey=True).shape
    (2,)
    """
    if panels is None:
        return open_frame(new_figure(width, height).add_subplot())
    errors.check_integer("panels", panels, low=1, fix="use 2")
    axes: np.ndarray = new_figure(width, height).subplots(
        1, panels, sharex=sharex, sharey=sharey, squeeze=False
    )[0]
    for ax in axes:
        open_frame(ax)
    return axes


def new_figure(width: float = 6.0, height: float = 3.6) -> Figure:
    """Makes a figure without changing the global state of matplotlib; sizes in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise errors.missing_extra("matplotlib", "lab", "plots") from None
    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def axes_of(ax: Axes | None, width: float = 6.0, height: float = 3.6) -> Axes:
    """``ax``, or the axes of a new figure for None.

    Raises:
      TypeError: ``ax`` is not matplotlib axes. MissingExtraError: matplotlib is not installed.
    """
    if ax is None:
        return new_axes(width, height)
    if not hasattr(ax, "plot") or not hasattr(ax, "figure"):
        raise errors.wrong_type("ax", ax, "matplotlib axes, or None", "figure.subplots()")
    return ax


def check_drawable(value: _T, kind: type[_T], source: str) -> None:
    """Raises TypeError if ``value`` is not a ``kind``; ``source`` is code that makes one."""
    if not isinstance(value, kind):
        raise errors.wrong_type("what to draw", value, f"a {kind.__name__}", source)


def open_frame(ax: Axes) -> Axes:
    """Hides the top and right side of the frame, and returns the axes."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def integer_ticks(ax: Axes) -> None:
    """Puts the ticks of the x axis at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))


def record(
    ax: Axes,
    series: str,
    x: ArrayLike,
    y: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
) -> None:
    """Appends drawn numbers to ``ax.drawn_numbers``, which :func:`save` writes as CSV.

    Args:
      ax: the axes drawn on.
      series: the line's name.
      x, y: ``(k,)``.
      low, high: ``(k,)``, the lower and upper edge of a band; None if there is no band.

    >>> ax = new_axes()
    >>> record(ax, "loss", [1, 2], [0.5, 0.4])
    >>> ax.drawn_numbers[0][:2]
    ('loss', np.int64(1))
    """
    size = np.size(x)
    columns = [
        [""] * size if column is None else np.asarray(column).ravel()
        for column in (x, y, low, high)
    ]
    rows = [(series, *values) for values in zip(*columns, strict=True)]
    vars(ax).setdefault("drawn_numbers", []).extend(rows)


def check_picture(path: str | Path) -> str:
    """Refuses a path that no picture can be written to, and returns the path as text."""
    target = Path(path)
    allowed = (
        "a file ending in .png, .svg or .pdf (or without ending: PNG and SVG) in a folder that"
        " exists"
    )
    if target.suffix not in ("", ".png", ".svg", ".pdf") or not target.name or target.is_dir():
        raise errors.refusal("picture", str(path), allowed, f"e.g. {target.stem or 'picture'}.png")
    if not target.parent.is_dir():
        raise errors.refusal("picture", str(path), allowed, f"create {target.parent}")
    for file in (*_pictures(target), target.with_suffix(".csv")):
        # Opening a FIFO would wait for a reader.
        if os.path.exists(file) and not os.path.isfile(file):
            raise errors.refusal("picture", str(path), allowed, f"{file} is no regular file")
    return str(path)


def _pictures(target: Path) -> list[Path]:
    """The files of a picture; a path without an ending has two."""
    return [target] if target.suffix else [target.with_suffix(end) for end in (".png", ".svg")]


def save(axes: Axes | np.ndarray, path: str | Path) -> list[Path]:
    """Writes the figure of the axes, and the drawn numbers as a CSV file beside it.

    Args:
      axes: the result of a plot function: axes, or an array of axes of one figure.
      path: the picture's file; without an ending it is written as PNG and as SVG.

    Returns:
      The files written, the CSV file last (columns: panel, series, x, y, low, high).

    Raises:
      ValueError: an ending other than .png, .svg or .pdf; a path whose folder does not exist, or
        where something other than a file is (a folder, a FIFO), also beside it, where the CSV file
        goes. TypeError: ``axes`` is not axes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [file.name for file in save(new_axes(), f"{folder}/empty")]
    ['empty.png', 'empty.svg', 'empty.csv']
    """
    if axes is None:
        raise errors.wrong_type(
            "axes", axes, "axes that a plot function returned", "plots.forest(…)"
        )
    first = axes_of(axes.ravel()[0] if isinstance(axes, np.ndarray) else axes)
    target = Path(check_picture(path))
    figure = first.get_figure(root=True)
    if figure is None:
        raise errors.wrong_type("axes", axes, "axes of a figure", "plots.new_axes()")
    written = _pictures(target)
    for file in written:
        # Without a date, equal pictures give equal files.
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    rows = [
        (ax.get_title(loc="left") or ax.get_title(), *row)
        for ax in figure.axes
        for row in getattr(ax, "drawn_numbers", [])
    ]
    with target.with_suffix(".csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["panel", "series", "x", "y", "low", "high"])
        writer.writerows(rows)
    return [*written, target.with_suffix(".csv")]
