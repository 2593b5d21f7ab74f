"""Lists and runs the experiments, and prints the table of their verdicts."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from experiments import harness

EXAMPLES = """examples:
  python -m experiments list
  python -m experiments run zero_weights                # reproduces the committed result
  python -m experiments run zero_weights --scale small  # seconds; into experiments/results/small
  python -m experiments all --scale full
  python -m experiments table --write                   # into experiments/README.md
"""
PAGE = harness.FOLDER / "README.md"
START, END = "<!-- python -m experiments table -->", "<!-- end of table -->"


def show_list() -> None:
    """Prints one line per experiment, with its committed verdict."""
    for name in harness.names():
        module = harness.load(name)
        file = harness.RESULTS / f"{name}.json"
        verdict = json.loads(file.read_text())["verdict"]["kind"] if file.exists() else "not run"
        print(f"{module.NUMBER or '':>2}  {name:<24} {verdict:<20} {module.TITLE}")


def run(name: str, scale: harness.Scale, folder: Path) -> int:
    """Runs one experiment in this process."""
    print(f"{name}: {harness.load(name).TITLE} ({scale.name})", flush=True)
    start = time.perf_counter()
    verdict = harness.run(name, scale, folder)
    print(f"    {verdict.kind}. {verdict.answer}")
    print(f"    {time.perf_counter() - start:.0f} s; {folder / name}.json, .png", flush=True)
    return 0


def run_all(names: list[str], scale: harness.Scale, folder: Path) -> int:
    """Runs experiments one after the other; a failure does not stop the others.

    Each runs in its own process: the compiled programs of all experiments together would exceed the
    number of memory maps that the operating system allows one process.
    """
    failed = []
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] ", end="", flush=True)
        arguments = ["run", name, "--scale", scale.name, "--out", str(folder.absolute())]
        command = [sys.executable, "-m", "experiments", *arguments]
        if code := subprocess.run(command, cwd=harness.FOLDER.parent).returncode:
            if code in (130, -signal.SIGINT):
                raise KeyboardInterrupt
            failed.append(name)
    if failed:
        print(f"experiments: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def write_tables() -> None:
    """Writes the tables of verdicts into experiments/README.md."""
    before, _, rest = PAGE.read_text().partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{START}\n{harness.markdown_tables()}\n{END}{after}")


def main(argv: list[str] | None = None) -> int:
    """Parses the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments",
        description="Measures the claims of the source article and published results.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every experiment with its verdict")
    one = commands.add_parser("run", help="run one experiment")
    one.add_argument("name", help="a name that `list` prints")
    every = commands.add_parser("all", help="run every experiment")
    for command in (one, every):
        command.add_argument("--scale", choices=("small", "full"), default="full",
                             help="small: seconds, few seeds; full: minutes (default)")  # fmt: skip
        command.add_argument("--out", type=Path, help="folder for results")
    table = commands.add_parser("table", help="print the table of verdicts")
    table.add_argument("--write", action="store_true", help="write it into experiments/README.md")
    options = parser.parse_args(argv)
    try:
        if options.command == "list":
            show_list()
            sys.stdout.flush()
        elif options.command == "table":
            if options.write:
                write_tables()
            else:
                print(harness.markdown_tables())
        else:
            scale = harness.Scale(options.scale)
            folder = options.out or scale(harness.RESULTS / "small", harness.RESULTS)
            if options.command == "run":
                return run(options.name, scale, folder)
            return run_all(harness.names(), scale, folder)
    except BrokenPipeError:  # the reader, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"experiments: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("experiments: interrupted; finished results are kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
