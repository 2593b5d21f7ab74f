"""Times jinit and the programs that people would write instead, in one session.

    python scripts/bench.py sweep                 # all contenders, all sizes; writes bench.json
    python scripts/bench.py sweep --only a f      # two contenders
    python scripts/bench.py sweep --against REV   # the same, and another build, alternating
    python scripts/bench.py sweep --against REV --parts commands   # one part of that
    python scripts/bench.py memory                # peak memory at 64 and at 4,096 runs
    python scripts/bench.py store                 # opening and comparing a store of 10⁶ runs
    python scripts/bench.py table --write         # bench.json as the table of the engine's page
    python scripts/bench.py init                  # draws per second against JAX and PyTorch
    python scripts/bench.py profile               # where a step's time goes; writes bench.json
    python scripts/bench.py precision             # verdicts that another precision changes
    python scripts/bench.py theory                # phase diagram and propagation against a loop

Ratios carry over to other machines; absolute times do not. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import (
    against,
    brought,
    contenders,
    draws,
    precisions,
    profiles,
    stores,
    theories,
    whole,
)
from benchmarks.contenders import SIZES, Run, Work
from benchmarks.pages import markdown_table

from jinit import errors

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "benchmarks" / "bench.json"
PAGE = FOLDER.parent / "jinit" / "engine" / "README.md"
START, END = "<!-- python scripts/bench.py table -->", "<!-- end -->"
SMALL = {"runs": 8, "steps": 2, "hand_tile": 2}
INSTALL = errors.INSTALL.format(extra="bench")
CONTENDERS = {
    "a": ("jinit", contenders.jinit_sweep),
    "b": ("jit(vmap)", contenders.vmap_all),
    "c": ("step loop", contenders.python_loop),
    "d": ("torch loop", contenders.torch_loop),
    "e": ("torch vmap", contenders.torch_vmap),
    "f": ("hand tiles", contenders.hand_tiles),
    "g": ("hyperoptax", contenders.hyperoptax_grid),
}
PARTS = ("contenders", "models", "commands", "builds")
PARTS_HELP = (
    "the contenders; models of other libraries; with --against, whole commands and the sizes of "
    "both builds. The file keeps what it holds of the other parts (default: all)"
)
MODELS_ROUNDS = 12  # fewer give no useful interval


def measure(work: Work, letters: list[str], repeats: int) -> dict[str, Any]:
    """Times a cold start, then `repeats` rounds; each contender runs once per round."""
    runs: dict[str, Run] = {}
    cold: dict[str, float] = {}
    for letter in letters:
        start = time.perf_counter()
        runs[letter] = CONTENDERS[letter][1](work)
        runs[letter]()
        cold[letter] = time.perf_counter() - start
    seconds: dict[str, list[float]] = {letter: [] for letter in letters}
    peaks = []
    for _ in range(repeats):
        peaks.append(contenders.peak())
        for letter in letters:
            seconds[letter].append(runs[letter]())
    rows = {}
    for letter in letters:
        rates = [work.gflop / s for s in seconds[letter]]
        rows[letter] = {
            "steady_seconds": statistics.median(seconds[letter]),
            "cold_seconds": cold[letter],
            "gflops": statistics.median(rates),
            # The peak of the same round, because the machine's speed may drift between rounds.
            "of_peak": statistics.median(r / p for r, p in zip(rates, peaks, strict=True)),
            "slower": statistics.median(
                s / a
                for s, a in zip(seconds[letter], seconds.get("a", seconds[letter]), strict=True)
            ),
            "all_seconds": seconds[letter],
        }
    return {"work": vars(work), "gflop": work.gflop, "peaks": peaks, "rows": rows}


def sweep(arguments: argparse.Namespace) -> None:
    """Times the contenders and prints a row for each."""
    letters = [letter for letter in CONTENDERS if letter in arguments.only]
    if importlib.util.find_spec("torch") is None:
        print(f"PyTorch is not installed ({INSTALL}): no rows (d) and (e)")
        letters = [letter for letter in letters if letter not in "de"]
    if importlib.util.find_spec("hyperoptax") is None:
        print("hyperoptax is not installed (pip install hyperoptax): no row (g)")
        letters = [letter for letter in letters if letter != "g"]
    works = {
        name: replace(SIZES[name], **(SMALL if arguments.small else {})) for name in arguments.sizes
    }
    record = head(arguments) | {"rounds": arguments.repeats}
    if "contenders" in arguments.parts:
        record["sizes"] = {}
        for name, work in works.items():
            measured = measure(work, letters, arguments.repeats)
            print_rows(measured)
            record["sizes"][name] = summary(measured)
            write(arguments.out, record)
    if "models" in arguments.parts:
        cut = SMALL if arguments.small else {}
        models = brought.measure(
            {name: works[name] for name in works if works[name].width < 128},
            replace(brought.CNN, **cut),
            6 if arguments.small else max(MODELS_ROUNDS, arguments.repeats),
            torch="d" in letters,
        )
        write(arguments.out, {"models": head(arguments, "flax", "equinox") | models})
    if arguments.against:
        compare(arguments, {name: vars(work) for name, work in works.items()})
    print(f"\n{arguments.out} written")


def compare(arguments: argparse.Namespace, works: dict[str, dict[str, Any]]) -> None:
    """Times this build against another one; each finished part goes into the file."""
    record: dict[str, Any] = {"revision": arguments.against, **head(arguments)}
    before = read(arguments.out).get("against", {})
    if all(before.get(name) == value for name, value in record.items()):
        record = before  # the parts of an earlier session on the same machine stay
    with against.unpacked(arguments.against) as old:
        if "commands" in arguments.parts:
            rounds = min(arguments.repeats, 3)
            record |= whole.compare(old, small=arguments.small, rounds=rounds)
            write(arguments.out, {"against": record})
        if "builds" in arguments.parts:
            record["rows"] = []
            for name, work in works.items():
                one = {name: work}
                record["rows"] += against.compare(old, one, arguments.kinds, arguments.repeats)
                write(arguments.out, {"against": record})


def head(arguments: argparse.Namespace, *others: str) -> dict[str, Any]:
    """The machine and the versions of the packages that are timed, some ``others`` among them."""
    versions = {name: version(name) for name in ("jax", *others, "torch", "hyperoptax")}
    return {
        "machine": arguments.machine or f"{os.cpu_count()} cores, {platform.machine()}",
        "versions": {name: text for name, text in versions.items() if text},
    }


def write(file: str | Path, found: dict[str, Any]) -> None:
    """Adds to a JSON file, which keeps what it holds of other parts."""
    text = json.dumps(read(file) | found, indent=1, ensure_ascii=False)
    Path(file).write_text(text + "\n")


def read(file: str | Path) -> dict[str, Any]:
    """What a JSON file holds; nothing if there is none."""
    path = Path(file)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def print_rows(measured: dict[str, Any]) -> None:
    """Prints one size: a line of its work and a row for each contender."""
    work, peak = measured["work"], statistics.median(measured["peaks"])
    print(
        f"\n{work['runs']} runs, width {work['width']}, depth {work['depth']}, batch "
        f"{work['batch']}, {work['steps']} steps: {measured['gflop']:.0f} GFLOP; peak "
        f"{peak:.0f} GFLOP/s"
    )
    print("                steady s    cold s   GFLOP/s   of peak   jinit faster by")
    for letter, row in measured["rows"].items():
        print(
            f"({letter}) {CONTENDERS[letter][0]:<11}{row['steady_seconds']:9.2f}"
            f"{row['cold_seconds']:10.2f}{row['gflops']:10.1f}{row['of_peak']:10.2f}"
            f"{row['slower']:14.2f} ×",
            flush=True,
        )


def version(package: str) -> str | None:
    """The installed version without its build label; None if the package is not installed."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """The numbers of one size that the table shows."""
    work, rows = measured["work"], measured["rows"]
    ours = rows.get("a", {})
    return {
        **{name: work[name] for name in ("runs", "width", "depth", "batch")},
        "gflops": ours.get("gflops"),
        "of_peak": ours.get("of_peak"),
        "slower": {letter: row["slower"] for letter, row in rows.items() if letter != "a"},
    }


def table(arguments: argparse.Namespace) -> None:
    """Prints the table, or writes it into the engine's page."""
    text = markdown_table(json.loads(RESULTS.read_text()))
    if not arguments.write:
        print(text)
        return
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}")


def memory(arguments: argparse.Namespace) -> None:
    """Prints the peak resident memory of processes that train 64 and 4,096 networks."""
    code = (
        "import resource, jinit, sys; n = int(sys.argv[1]);"
        "jinit.run(jinit.Grid(width=64, depth=4, batch_size=64, steps=5, seeds=n));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    peak = {
        runs: float(subprocess.check_output([sys.executable, "-c", code, str(runs)]))
        for runs in (64, 4096)
    }
    weights = 4096 * 4 * (64 * 64 * 4 + 64 * 10 + 4 * 64 + 10) / 2**20
    print(
        f"peak memory: {peak[64]:.0f} MiB at 64 runs, {peak[4096]:.0f} MiB at 4,096 runs, ratio "
        f"{peak[4096] / peak[64]:.2f} (all 4,096 weights alone would be {weights:.0f} MiB)"
    )


def init(arguments: argparse.Namespace) -> None:
    """Prints draws per second of square kernels, one and 64 at a time, in alternating rounds."""
    makers = {"jinit": draws.jinit_draw, "jax": draws.jax_draw, "torch": draws.torch_draw}
    if importlib.util.find_spec("torch") is None:
        print(f"PyTorch is not installed ({INSTALL}): no torch columns")
        del makers["torch"]
    results: dict[str, Any] = {}
    print("initializer               size  lanes   jinit draws/s   over jit(vmap)   over torch")
    for kind in arguments.only:
        for size in (64, 256, 1024):
            for lanes in (1, 64):
                runs = {name: make(kind, size, lanes) for name, make in makers.items()}
                for run in runs.values():
                    run()
                seconds: dict[str, list[float]] = {name: [] for name in runs}
                for _ in range(arguments.repeats):
                    for name, run in runs.items():
                        # PyTorch's threads spin for a while after a call.
                        time.sleep(0.1)
                        seconds[name].append(run())
                ratios = {
                    name: statistics.median(
                        other / ours for other, ours in zip(times, seconds["jinit"], strict=True)
                    )
                    for name, times in seconds.items()
                }
                rate = lanes / statistics.median(seconds["jinit"])
                results[f"{kind} {size} {lanes}"] = {"draws_per_second": rate, "faster_by": ratios}
                row = f"{kind:<24}{size:6d}{lanes:7d}{rate:16,.0f}{ratios['jax']:15.2f} ×"
                row += f"{ratios['torch']:11.2f} ×" if "torch" in ratios else ""
                print(row, flush=True)
    Path(arguments.out).write_text(json.dumps(results, indent=1))
    print(f"\n{arguments.out} written")


def theory(arguments: argparse.Namespace) -> None:
    """Prints the times of phase diagrams, propagation and kernels, with jinit and with NumPy."""
    print("what                               jinit, warm    NumPy, SciPy    faster by")
    for what, mine, loop in theories.measure():
        print(f"{what:<35}{mine:9.3f} s{loop:14.2f} s{loop / mine:11,.1f} ×")
    print("NumPy's time for the first two is scaled up from a part of the grid.")


def store(arguments: argparse.Namespace) -> None:
    """Prints the times of opening a store of many runs and of comparing its arms."""
    found = stores.measure(arguments.runs, arguments.repeats)
    print(
        f"{found['runs']:,.0f} runs of {found['bytes_a_run']:.0f} bytes: opening from rows "
        f"{found['rows']:.2f} s, from packs {found['packs']:.2f} s "
        f"({found['rows'] / found['packs']:.1f} times as fast); "
        f"44 comparisons {found['compare']:.2f} s"
    )


def profile(arguments: argparse.Namespace) -> None:
    """Prints where the time of one tile goes, on one core, and keeps it in the file."""
    profiles.one_core()
    found = []
    for name in arguments.sizes:
        found.append(profiles.measure(replace(SIZES[name], steps=arguments.steps)))
        print(found[-1], flush=True)
    write(arguments.out, {"profile": head(arguments) | {"tiles": found}})
    print(f"{arguments.out} written")


def precision(arguments: argparse.Namespace) -> None:
    """Prints what bfloat16 and float64 change in the verdicts of the quickstart's grid."""
    found = {}
    for name in ("float32", "bfloat16", "float64"):
        found[name] = precisions.measure(name, arguments.seeds)
        print(f"{name}: {found[name].seconds:.1f} s", flush=True)
    usual = found.pop("float32")
    for name, other in found.items():
        changed = {key: (usual.verdicts[key], said) for key, said in other.verdicts.items()
                   if said != usual.verdicts[key]}  # fmt: skip
        gap = max(abs(other.differences[key] - usual.differences[key]) for key in usual.verdicts)
        print(
            f"{name}: {len(changed)} of {len(usual.verdicts)} verdicts change; differences of "
            f"accuracies by at most {gap:.3f}"
        )
        for key, (before, after) in changed.items():
            print(f"  {', '.join(key)}: {before} → {after}")


def main() -> None:
    """Parses the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("sweep", help="time the contenders")
    one.add_argument("--only", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    one.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    one.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    one.add_argument("--against", metavar="REV", help="compare with this revision, too")
    one.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help=PARTS_HELP)
    one.add_argument("--small", action="store_true", help="tiny sizes, to try the program itself")
    one.add_argument("--kinds", nargs="+", default=list(against.KINDS), choices=against.KINDS)
    one.add_argument("--out", default=RESULTS, help="JSON file (default benchmarks/bench.json)")
    one.add_argument("--machine", help='for the page, e.g. "two cores of an AMD EPYC with AVX2"')
    one.set_defaults(run=sweep)
    page = commands.add_parser("table", help="print the engine page's table from bench.json")
    page.add_argument("--write", action="store_true", help="write it into jinit/engine/README.md")
    page.set_defaults(run=table)
    two = commands.add_parser("init", help="draws per second against JAX and PyTorch")
    two.add_argument("--only", nargs="+", default=list(draws.KINDS), choices=list(draws.KINDS))
    two.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    two.add_argument("--out", default="bench-init.json", help="JSON file")
    two.set_defaults(run=init)
    commands.add_parser("theory", help="theory against NumPy and SciPy").set_defaults(run=theory)
    commands.add_parser("memory", help="peak memory of 64 and 4,096 runs").set_defaults(run=memory)
    three = commands.add_parser("store", help="opening and comparing a store of many runs")
    three.add_argument("--runs", type=int, default=10**6, help="rows (default 10⁶)")
    three.add_argument("--repeats", type=int, default=5, help="rounds (default 5)")
    three.set_defaults(run=store)
    four = commands.add_parser("precision", help="verdicts that another precision changes")
    four.add_argument("--seeds", type=int, default=64, help="seeds (default 64)")
    four.set_defaults(run=precision)
    five = commands.add_parser("profile", help="where the time of a training step goes")
    five.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    five.add_argument("--steps", type=int, default=100, help="training steps (default 100)")
    five.add_argument("--out", default=RESULTS, help="JSON file (default benchmarks/bench.json)")
    five.add_argument("--machine", help='for the page, e.g. "an AMD EPYC with AVX2"')
    five.set_defaults(run=profile)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
