"""The command line: parses arguments, calls the library, prints. ``jinit --help`` loads no JAX."""

from __future__ import annotations

import dataclasses
import importlib.util
import json as json_format
import math
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from jinit import errors
from jinit.sweep.grid import Grid

try:
    import tyro
    from tyro.conf import arg
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None

from jinit.options import GridOptions, ProbeOptions, RunOptions


def sweep(grid: GridOptions, output: RunOptions = RunOptions()) -> int:
    """Trains every combination of the axes on every seed and says which initializer wins.

    Example: jinit sweep --dataset digits --initializer glorot_uniform he_normal orthogonal
    --activation relu tanh --depth 8 16 --width 32 --seeds 64 --baseline glorot_uniform
    """
    recipe, baseline = _checked(grid, output)
    from jinit.report import terminal
    from jinit.sweep.runner import SweepInterrupted, run

    status = 0
    try:
        with terminal.SweepProgress(output.metric) as progress:
            table = run(
                recipe,
                progress=progress,
                workers=output.workers,
                tile=output.tile,
                hang_after=output.hang_after,
            )
    except SweepInterrupted as interrupted:
        print(interrupted, file=sys.stderr)
        if interrupted.table is None:
            return 130
        table, status = interrupted.table, 130
        if baseline not in table["initializer"]:
            baseline = None
    if output.json:
        _dump(terminal.as_json(table, metric=output.metric, baseline=baseline))
    else:
        terminal.print_table(table, metric=output.metric, baseline=baseline)
    if output.out is not None:
        table.write(output.out)
        print(f"{len(table)} runs written to {output.out}", file=sys.stderr)
    if output.plots is not None:
        from jinit.report import plots

        metric = terminal.metric_for(table, output.metric)
        files = plots.save_all(table, output.plots, metric=metric, baseline=baseline)
        print(f"{len(files)} files written to {output.plots}/", file=sys.stderr)
    return status


def plan(grid: GridOptions, output: RunOptions = RunOptions()) -> int:
    """Prints the programs, FLOPs, memory and rough time of a sweep; trains nothing.

    Example: jinit plan --initializer he_normal orthogonal --depth 8 16 --seeds 64
    """
    recipe, _ = _checked(grid, output)
    from jinit.report import terminal
    from jinit.sweep.planner import plan as make_plan

    made = make_plan(recipe, tile=output.tile, workers=output.workers)
    if output.json:
        fields = ("name", "runs", "tile", "lane_bytes", "flops")
        programs = [{name: getattr(item, name) for name in fields} for item in made.programs]
        totals = {
            name: getattr(made, name) for name in ("runs", "flops", "result_bytes", "seconds")
        }
        _dump({**totals, "workers": made.workers, "programs": programs})
    else:
        terminal.print_plan(made)
    return 0


def list_initializers(
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False,
    markdown: Annotated[bool, arg(help="print the README's table")] = False,
) -> int:
    """Lists every initializer: its law, its source, and what other libraries call it.

    Example: jinit initializers
    """
    from jinit.initializers import registry

    rows = [registry.row(name) for name in registry.names()]
    if json:
        fields = ("name", "formula", "reference", "aliases")
        _dump([{name: getattr(row, name) for name in fields} for row in rows])
        return 0
    from jinit.report import explain

    if markdown:
        print(explain.markdown_table(rows))
        return 0
    explain.print_initializers(rows)
    return 0


def describe(
    name: Annotated[tyro.conf.Positional[str], arg(help="a name or a spec string")],
    shape: Annotated[
        tuple[int, ...], arg(help="receptive field…, in, out; a dense layer is: in out")
    ] = (10, 1000),
    seed: Annotated[int, arg(help="seed of the real draw, 0 <= seed < 2**32")] = 0,
    plot: Annotated[
        str | None, arg(help="draw the histogram over the law's density: FILE.png")
    ] = None,
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False,
) -> int:
    """Explains an initializer for one shape: law, source, expected numbers beside a real draw.

    Example: jinit describe fan_in_uniform --shape 10 1000
    """
    from jinit.initializers import describe as describe_initializer

    found = describe_initializer(name, shape, seed=seed)
    if plot is not None:
        from jinit.report import plots

        plots.check_picture(plot)
    if json:
        _dump(dataclasses.asdict(found))
    else:
        from jinit.report import explain

        explain.print_description(found)
    if plot is not None:
        plots.save(plots.weight_histogram(found), plot)
        print(f"picture written to {plot}", file=sys.stderr)
    return 0


def audit(
    checkpoint: Annotated[
        tyro.conf.Positional[str], arg(help="a .safetensors or .npz file of initial weights")
    ],
    host: Annotated[str, arg(help="axis order: flax, haiku, keras, equinox or torch")] = "flax",
    layer: Annotated[
        tuple[str, ...], arg(help="PATTERN=LAYER, e.g. '*fc*.weight=dense' 'emb.weight=embedding'")
    ] = (),
    rule: Annotated[
        tuple[str, ...], arg(help="PATTERN=INITIALIZER the weights should follow, in order")
    ] = (),
    json: Annotated[bool, arg(help="print JSON instead of sentences")] = False,
) -> int:
    """Says what is wrong with initial weights: wrong fans, dead symmetry, duplicated leaves, NaN.

    Exit code 0 if nothing is, 1 if something is.

    Example: jinit audit model.safetensors --host torch --layer '*.weight=dense'
    """
    from jinit.parameters import audit as find
    from jinit.parameters import checkpoints

    layers, rules = (_pairs(what, given) for what, given in (("layer", layer), ("rule", rule)))
    arrays = checkpoints.load(checkpoint)
    findings = find(arrays, host=host, layers=layers, rules=rules or None)
    if json:
        _dump([dataclasses.asdict(finding) for finding in findings])
    else:
        from jinit.report import explain

        explain.print_findings(findings, arrays, host=host, layers=layers)
    return 1 if findings else 0


def probe(network: ProbeOptions = ProbeOptions()) -> int:
    """Shows what reaches each layer, forward and backward, before any training, and what it means.

    Exit code 0 if the network is healthy, 1 if something is wrong.

    Example: jinit probe --initializer glorot_uniform --activation sigmoid --depth 20 --width 64
    """
    errors.check_integer("depth", network.depth, low=0, fix="use 10")
    errors.check_integer("seeds", network.seeds, low=1, fix="use 64")
    from jinit import data, probes
    from jinit.models import MLP
    from jinit.report import plots
    from jinit.report import profile as report

    if network.plot is not None:
        plots.check_picture(network.plot)
    source = data.get(network.dataset)
    if source.task == "regression":
        raise errors.refusal("dataset", network.dataset, "one with classes", "try 'digits'")
    errors.check_integer(
        "batch_size", network.batch_size, low=2, high=len(source.x_train), fix="use 64"
    )
    x, labels = source.x_train[: network.batch_size], source.y_train[: network.batch_size]
    model = MLP(
        features=(*[network.width] * network.depth, source.outputs),
        activation=network.activation,
        residual=network.residual,
        normalization=network.normalization,
    )
    captured = probes.capture(model, x)
    rules = {"*/kernel": network.initializer, "*/bias": network.bias_initializer}
    if network.normalization is not None and network.depth:
        rules |= {"*/scale": "ones", "*/shift": "zeros"}
    profile = probes.ensemble(
        captured,
        rules,
        x,
        probes.cross_entropy(labels),
        seeds=network.seeds,
        activation=network.activation,
    )
    findings = probes.verdict(captured, profile, activation=network.activation)
    if network.json:
        _dump(report.as_json(captured, profile, findings))
    else:
        report.print_profile(captured, profile, findings)
    if network.plot is not None:
        ax = plots.layer_profile(profile)
        ax.set_title(
            f"{network.initializer}, {network.activation}, {network.depth} × {network.width}",
            loc="left",
            fontsize=10,
        )
        plots.save(ax, network.plot)
        print(f"picture written to {network.plot}", file=sys.stderr)
    return 0 if findings[0].kind == "healthy" else 1


def _pairs(what: str, given: tuple[str, ...]) -> dict[str, str]:
    """``PATTERN=VALUE`` options as a mapping; a spec's own ``=`` is left alone."""
    for text in given:
        if "=" not in text.partition("(")[0]:
            raise errors.refusal(f"--{what}", text, "PATTERN=NAME", f"--{what} '*kernel=dense'")
    return dict(text.split("=", 1) for text in given)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 2 for bad input, 130 after Ctrl-C, 1 else.

    >>> main(["describe", "he_normal", "--shape", "10", "-3"])
    2
    """
    if list(sys.argv[1:] if argv is None else argv) == ["--version"]:
        from jinit import __version__

        print(f"jinit {__version__}")
        return 0
    commands: dict[str, Any] = {
        "sweep": sweep,
        "plan": plan,
        "initializers": list_initializers,
        "describe": describe,
        "audit": audit,
        "probe": probe,
    }
    try:
        return int(
            tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="jinit",
                description=(
                    "Weight initialization for JAX: which initializer, why, and is the difference "
                    "real or luck? Example: jinit sweep --initializer glorot_uniform he_normal "
                    "--depth 8 --seeds 64"
                ),
                args=argv,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
        )
    except (ValueError, TypeError, errors.MissingExtraError) as error:
        # One line, no traceback: what, got, allowed, fix.
        print(f"jinit: {error}", file=sys.stderr)
        return 2
    except errors.HangError as error:
        print(f"jinit: {error}", file=sys.stderr, flush=True)
        # The hung thread is inside the compiler or a program and cannot be ended: an ordinary exit
        # would take the process down with a crash of the runtime.
        os._exit(1)
    except BrokenPipeError:
        # The reader has gone; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"jinit: cannot write: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jinit: interrupted", file=sys.stderr)
        return 130


def _checked(grid: Any, options: RunOptions) -> tuple[Grid, str | None]:
    """The recipe and the canonical baseline; everything wrong is said before any device work."""
    recipe = _recipe(grid)
    from jinit import data
    from jinit.sweep.comparison import arm_name
    from jinit.sweep.table import RANKABLE, check_output

    errors.check_choice("metric", options.metric, RANKABLE)
    if options.metric == "clip_fraction" and recipe.clip is None:
        raise errors.refusal("metric", "clip_fraction", "a metric these runs have", "add --clip")
    tasks = [data.get(name).task for name in recipe.values("dataset")]
    if options.metric == "train_accuracy" and set(tasks) == {"regression"}:
        raise errors.refusal("metric", options.metric, "a loss for regression", "use test_loss")
    errors.check_number(
        "hang_after", options.hang_after, low=0.0, open_low=True, fix="seconds, e.g. 900"
    )
    if options.out is not None:
        check_output(options.out)
    if options.plots is not None:
        _check_folder(options.plots)
    arms = recipe.labels("initializer")
    if options.baseline is not None:
        return recipe, arm_name(arms, "initializer", options.baseline)
    default = "glorot_uniform" if "glorot_uniform" in arms else arms[0]
    return recipe, default if len(arms) > 1 else None


def _check_folder(path: str) -> None:
    """Makes the folder of pictures, or refuses it now and not after hours of training."""
    if importlib.util.find_spec("matplotlib") is None:
        raise errors.missing_extra("matplotlib", "lab", "--plots")
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.refusal(
            "--plots", path, "a folder you may write", f"choose another ({error.strerror})"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise errors.refusal("--plots", path, "a folder you may write", "choose another")


def _recipe(grid: Any) -> Grid:
    values = {item.name: getattr(grid, item.name) for item in dataclasses.fields(grid)}
    for name in ("loss", "clip"):
        values[name] = tuple(None if v.lower() == "none" else v for v in values[name]) or None
    for name in ("seeds", "data_seeds"):
        given = values[name]
        values[name] = given[0] if len(given) == 1 else given or None
    return Grid(**values)


def _dump(value: Any) -> None:
    """Strict JSON on stdout, whole or not at all: NaN and inf become null."""
    text = json_format.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    in_main_thread = threading.current_thread() is threading.main_thread()
    # Ctrl-C while it is written would leave half of it to whoever reads.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        print(text, flush=True)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    return value


if __name__ == "__main__":
    sys.exit(main())
