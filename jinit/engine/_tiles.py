"""Cuts lanes into tiles of constant width, so that one program serves every tile.

At a fixed width ≥ 2 a lane's result is bitwise independent of its position and its neighbours.
The last tile is therefore padded, never shrunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from jinit import errors
from jinit.engine._cost import LaneBytes
from jinit.typing import PyTree

# Measured on 2-core x86 machines, networks of width 32 to 512 and depth 3 to 16: the state that a
# tile carries from step to step fits the cores' cache up to about 1 MiB. More than 16 lanes gain
# nothing; a single lane would change the last bits.
_CPU_STATE_BYTES = 2**20
_CPU_WIDEST = 16
_NARROWEST = 2
# Windows of convolutions, see :mod:`jinit.engine._convolutions`: with more than the second-level
# cache holds, a step of CNNs on 8 × 8 and 16 × 16 images took 1.1 to 1.9 times as long.
_CPU_WINDOWS_BYTES = 2**21
# On accelerators, computed and not measured. A step of a small network starts some 60 kernels; on
# a GPU they take longer than the arithmetic of fewer than about 512 networks of width 64. A TPU
# starts its steps faster and often has eight devices, which share the tiles of a sweep.
_ACCELERATOR_WIDEST = {"gpu": 512, "tpu": 128}
# Fit a device with 8 GiB of memory, the smallest that sweeps meet.
_ACCELERATOR_STATE_BYTES = 2**30
_ACCELERATOR_PEAK_BYTES = 2**32


@dataclass(frozen=True)
class Tile:
    """Consecutive lanes of a job, computed by one call; the last tile may be shorter.

    Attributes:
      index: number of the tile in its job, from 0.
      start: number of the first lane.
      stop: number of the last lane plus 1.

    >>> Tile(index=1, start=16, stop=20).stop
    20
    """

    index: int
    start: int
    stop: int


def lane_count(lanes: PyTree) -> int:
    """The common length of the leading axes of all leaves.

    Raises:
      ValueError: no leaves, a leaf without axes, or leaves of different lengths.

    >>> lane_count({"seed": np.arange(4), "rate": np.ones(4)})
    4
    """
    leaves = jax.tree_util.tree_leaves_with_path(lanes)
    sizes = {jax.tree_util.keystr(path): np.shape(leaf)[:1] for path, leaf in leaves}
    if not sizes or len(set(sizes.values())) != 1 or () in sizes.values():
        raise errors.refusal(
            "lanes",
            {path: size[0] if size else "a scalar" for path, size in sizes.items()},
            "a pytree whose leaves share one leading lane axis",
            "stack the lanes; pass arrays that all lanes use as shared arguments",
        )
    count = int(next(iter(sizes.values()))[0])
    if not count:
        raise errors.refusal("lanes", "none", "at least one lane", "pass a longer leading axis")
    return count


def cut(count: int, width: int) -> list[Tile]:
    """Consecutive tiles that cover ``count`` lanes.

    >>> cut(5, 2)[-1]
    Tile(index=2, start=4, stop=5)
    """
    starts = range(0, count, width)
    return [Tile(index, start, min(start + width, count)) for index, start in enumerate(starts)]


def padded(tile: Tile, width: int) -> np.ndarray:
    """Lane numbers of a tile, ``(width,)`` int64; the last lane is repeated as padding.

    >>> padded(Tile(2, 4, 5), 2)
    array([4, 4])
    """
    return np.minimum(np.arange(tile.start, tile.start + width), tile.stop - 1)


def check_tile(width: int) -> int:
    """Returns ``width`` if it is an allowed number of lanes per call, 2 to 2²⁰."""
    return errors.check_integer(
        "tile", width, low=2, high=2**20, fix="use 2 or more: width 1 rounds differently"
    )


def tile_width(lane: LaneBytes, platform: str) -> int:
    """Lanes per call of the compiled program: a power of two.

    The width depends on the bytes of a lane and the platform alone: not on the number of lanes or
    devices, free memory or timing. More lanes, or the same lanes on more devices, change no result.

    Args:
      lane: what one lane needs.
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``; any other is treated like a TPU.

    >>> [tile_width(LaneBytes(size), "cpu") for size in (17_800, 68_000, 2_000_000)]
    [16, 8, 2]
    >>> [tile_width(LaneBytes(17_800), platform) for platform in ("gpu", "tpu")]
    [512, 128]
    """
    if platform == "cpu":
        limits = ((_CPU_STATE_BYTES, lane.carried), (_CPU_WINDOWS_BYTES, lane.windows))
        widest = _CPU_WIDEST
    else:
        limits = ((_ACCELERATOR_STATE_BYTES, lane.carried), (_ACCELERATOR_PEAK_BYTES, lane.peak))
        widest = _ACCELERATOR_WIDEST.get(platform, _ACCELERATOR_WIDEST["tpu"])
    return _power_of_two(min(most / max(needed, 1) for most, needed in limits), widest)


def _power_of_two(limit: float, widest: int) -> int:
    width = _NARROWEST
    while width * 2 <= min(limit, widest):
        width *= 2
    return width
