"""Formats bench.json as the tables of the engine's page: `python scripts/bench.py table`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks import brought
from benchmarks.contenders import SIZES

# The order and the names of the contenders in the page's table.
COLUMNS = {
    "f": "hand-written tiles",
    "b": "`jit(vmap)`",
    "g": "hyperoptax",
    "e": "`torch.func.vmap`",
    "c": "step loop",
    "d": "PyTorch loop",
}
NAMES = {"equinox": "Equinox"}  # of libraries, where they differ from their packages'


def markdown_table(record: dict[str, Any]) -> str:
    """Formats bench.json as a Markdown table and a line with machine and versions."""
    timed = {letter for row in record["sizes"].values() for letter in row["slower"]}
    columns = {letter: name for letter, name in COLUMNS.items() if letter in timed}
    heads = ["networks × (width, depth, batch)", "jinit", "of matmul peak", *columns.values()]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in record["sizes"].values():
        cells = [
            _networks(row["runs"], row),
            f"{row['gflops']:.0f} GFLOP/s",
            f"{row['of_peak']:.2f}",
            *(ratio_text(row["slower"].get(letter)) for letter in columns),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    how = f"Medians of {record['rounds']} rounds on {_where(record)}."
    parts = ["\n".join([*lines, "", how])]
    if "models" in record:
        parts.append(models_table(record["models"]))
    if "against" in record:
        parts.append(against_table(record["against"]))
    if "profile" in record:
        parts.append(profile_table(record["profile"]))
    return "\n\n".join(parts)


def models_table(found: dict[str, Any]) -> str:
    """Formats the models of other libraries: ratios with their 95 % intervals."""

    def cells(ratios: dict[str, dict[str, float]]) -> list[str]:
        return ["{median:.2f} [{low:.2f}, {high:.2f}]".format(**one) for one in ratios.values()]

    kinds = next(iter(found["mlps"].values()))
    names = (NAMES.get(kind, kind) for kind in kinds)
    lines = [f"| MLPs, speed of the built-in one = 1 | {' | '.join(names)} |"]
    lines.append("|---" * (len(kinds) + 1) + "|")
    for size, ratios in found["mlps"].items():
        work = SIZES[size]
        row = [_networks(work.runs, vars(work)), *cells(ratios)]
        lines.append(f"| {' | '.join(row)} |")
    loops, cnn = found["cnn"], brought.CNN
    lines += ["", f"| CNNs, time of jinit = 1 | {' | '.join(loops)} |"]
    lines.append("|---" * (len(loops) + 1) + "|")
    row = [f"{cnn.runs} of 2 convolutions of 16 channels, 8 × 8, batch {cnn.batch}", *cells(loops)]
    lines.append(f"| {' | '.join(row)} |")
    how = f"Hodges–Lehmann ratios, 95 % intervals, {found['rounds']} rounds on {_where(found)}."
    return "\n".join([*lines, "", how])


def against_table(found: dict[str, Any]) -> str:
    """Formats the comparison with another build: seconds of both, and their ratio."""
    lines = [
        f"| work | build {found['revision'][:7]} | this build | faster by |",
        "|---|---|---|---|",
    ]

    def add(what: str, old: list[float], new: list[float]) -> None:
        ratio = statistics.median(a / b for a, b in zip(old, new, strict=True))
        seconds = " | ".join(f"{statistics.median(values):.1f} s" for values in (old, new))
        lines.append(f"| {what} | {seconds} | {ratio_text(ratio)} |")

    quick, wide = found.get("quickstart"), found.get("wide")
    if quick:
        for what, run, field in (
            ("quickstart, cold", "cold", "seconds"),
            ("quickstart, its first rows", "cold", "first_rows"),
            ("quickstart, a second time", "second", "seconds"),
        ):
            add(what, *([one[run][field] for one in quick[side]] for side in ("old", "new")))
    if wide:
        what = f"{wide['new'][0]['runs']:.0f} networks of 12 programs"
        add(what, *([one["seconds"] for one in wide[side]] for side in ("old", "new")))
    for row in found.get("rows", []):
        if "slower" in row:
            size = SIZES[row["size"]]
            what = f"{_networks(size.runs, vars(size))}, {row['kind']}"
            add(what, *([wall for wall, _ in row["seconds"][side]] for side in ("old", "new")))
    return "\n".join(
        [*lines, "", f"Medians of alternating rounds and of their ratios, on {_where(found)}."]
    )


def profile_table(found: dict[str, Any]) -> str:
    """Formats where a tile's time goes, in microseconds."""
    heads = [
        "one tile, one core", "a step", "its products", "at the core's peak",
        "other operations: kinds, time", "an evaluation",
    ]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for tile in found["tiles"]:
        step, evaluation = tile["step"], tile["evaluation"]
        cells = [
            _networks(tile["networks"], tile["work"]),
            f"{tile['unrecorded']:,.0f} µs",
            f"{step['products']:,.0f} µs",
            f"{tile['at_peak']:,.0f} µs",
            f"{step['operations']:.0f}, {step['others']:,.0f} µs",
            f"{evaluation['products'] + evaluation['others']:,.0f} µs",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"One profiled run on one core of {_where(found)}."])


def _networks(count: int, work: Mapping[str, Any]) -> str:
    """``256 × (32, 3, 32)``: a number of networks, and their width, depth and batch size."""
    return f"{count} × ({work['width']}, {work['depth']}, {work['batch']})"


def _where(found: dict[str, Any]) -> str:
    """The machine and the versions of a measurement."""
    return ", ".join(
        [found["machine"], *(f"{name} {text}" for name, text in found["versions"].items())]
    )


def ratio_text(ratio: float | None) -> str:
    """``1.42 ×``, without decimals from 10 on; empty if the contender did not run."""
    if ratio is None:
        return ""
    return f"{ratio:.0f} ×" if ratio >= 10 else f"{ratio:.2f} ×"
