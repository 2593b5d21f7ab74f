"""Defines the options of the larger commands as frozen dataclasses, which tyro reads."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from jinit import errors
from jinit.sweep._grid import Grid
from jinit.sweep._names import listed

try:
    from tyro.conf import arg
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None

_KERNELS = "initializer of the kernels: name or spec string; `jinit initializers` lists the names"
_DATASET = f"source of inputs and labels: {listed('dataset')}"
# What stands for the value in the help of an option without a default.
_VALUES = {"evaluate_every": "N", "watch": "PROBE", "target": "RULE", "data_seeds": "N"}
_ACTIVATION = f"{listed('activation')}; or a spec string such as leaky_relu(0.1)"


def left_out(text: str, value: str) -> Any:  # the type that tyro declares is private
    """An option without a default of its own: its help names the value and shows no default."""
    return arg(help=text, metavar=value, help_behavior_hint="")


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How to run a sweep and what to do with its table."""

    baseline: Annotated[
        str | None, left_out("arm to compare with; default: glorot_uniform or the first", "NAME")
    ] = None
    metric: Annotated[str, arg(help="metric to rank by, e.g. test_loss")] = "test_accuracy"
    margin: Annotated[float, arg(help="smallest difference that matters, in the metric's unit")] = (
        0.0
    )
    tune: Annotated[
        tuple[str, ...],
        left_out(
            "axes whose best value each arm gets, chosen on other seeds: learning_rate",
            "AXIS [AXIS ...]",
        ),
    ] = ()
    out: Annotated[str | None, left_out("write all runs to FILE.parquet or FILE.csv", "FILE")] = (
        None
    )
    plots: Annotated[
        str | None, left_out("draw everything into DIR: PNG, SVG, and the numbers as CSV", "DIR")
    ] = None
    store: Annotated[
        str | None,
        left_out(
            "keep every finished run in FILE.db; the same command computes what is missing",
            "FILE.db",
        ),
    ] = None
    accept_environment: Annotated[
        bool, arg(help="take stored runs of other versions of JAX and other machines, marked")
    ] = False
    mirror: Annotated[
        str | None, left_out("copy the store to DIR, e.g. on a network or cloud drive", "DIR")
    ] = None
    grid: Annotated[
        str | None,
        left_out("read axes from FILE.toml, as in depth = [8, 16]; options here win", "FILE.toml"),
    ] = None
    time_limit: Annotated[
        str | None,
        left_out("stop cleanly after 90s, 30m, 2h or 1h30m and say how to go on", "TIME"),
    ] = None
    json: Annotated[bool, arg(help="print JSON on stdout instead of the table")] = False
    workers: Annotated[int | None, left_out("threads (CPU) or devices; default: all", "N")] = None
    devices: Annotated[
        int | None,
        left_out("first N devices, one thread each; on a CPU N host devices, to rehearse", "N"),
    ] = None
    distributed: Annotated[
        str | None,
        left_out(
            "the same command runs in several processes, whose devices train together: auto "
            "(Slurm, TPU pods), or HOST:PORT/PROCESSES/NUMBER; the first one prints and writes",
            "HOW",
        ),
    ] = None
    tile: Annotated[int | None, left_out("networks per call; default: from their size", "N")] = None
    hang_after: Annotated[float, arg(help="seconds without progress that count as a hang")] = 900.0
    no_cache: Annotated[
        bool, arg(help="neither read nor keep compiled programs, as JINIT_NO_CACHE=1 does")
    ] = False
    tracker: Annotated[
        str | None,
        left_out(
            "FILE.jsonl, tensorboard:FOLDER, wandb:NAME, mlflow:NAME or trackio:NAME", "WHERE"
        ),
    ] = None
    executor: Annotated[
        str | None,
        left_out("ray: run on the Ray cluster of this machine, or on one of its own", "ray"),
    ] = None
    address: Annotated[
        str | None,
        left_out(
            "host:port of a Ray cluster, as `ray start` says; with --executor ray", "HOST:PORT"
        ),
    ] = None
    until_settled: Annotated[
        bool,
        arg(
            help="add seeds, doubled each time, until every arm differs from the baseline or is "
            "equivalent within --margin; --seeds is the first batch"
        ),
    ] = False
    most_seeds: Annotated[int, arg(help="the most seeds of --until-settled")] = 512
    halving: Annotated[
        int | None,
        left_out(
            "drop all but the best 1/N of the combinations of axes after a few seeds, again "
            "and again; --seeds is the number of those that are left; --baseline is never dropped",
            "N",
        ),
    ] = None
    share: Annotated[
        str | None,
        left_out("3/16: run the third of 16 shares; each has all arms of its seeds", "I/N"),
    ] = None

    @property
    def workers_elsewhere(self) -> str | None:
        """The argument ``executor`` of :func:`jinit.run`."""
        if self.address is None:
            return self.executor
        if self.executor is None:
            raise errors.refusal("--address", self.address, "one with --executor", "--executor ray")
        return f"{self.executor}:{self.address}"


def _grid_options() -> type[Any]:
    """Makes a dataclass with a flag per field of Grid; flags of axes take several values."""
    kinds: dict[str, Any] = dict.fromkeys(("depth", "width", "batch_size"), int)
    kinds |= dict.fromkeys(
        ("gain", "learning_rate", "momentum", "weight_decay", "label_noise", "label_smoothing"),
        float,
    )
    plain: dict[str, Any] = {
        "residual": bool,
        "steps": int,
        "evaluations": int,
        "evaluate_every": int | None,
        "watch": tuple[str, ...],
        "target_accuracy": float,
        "target": str | None,
        "stop_at_target": bool,
        "validation": float,
        "pairing": str,
        "weight_decay_on": str,
        "sampling": str,
        "accumulate": int,
        "precision": str,
        "layer_norm": bool,
    }
    options: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(Grid):
        if item.name == "metrics":  # functions
            continue
        help_text, default = item.metadata["help"], item.default
        kind = plain.get(item.name)
        if kind is None:
            one: Any = int if item.name.endswith("seeds") else kinds.get(item.name, str)
            kind, default = tuple[one, ...], () if default is None else (default,)
        if item.name.endswith("seeds"):
            help_text += "; one number is a count, several numbers are the seeds themselves"
        shown = arg(help=help_text)
        if default is None or default == ():
            value = _VALUES.get(item.name, "SPEC")
            shown = left_out(help_text, value if default is None else f"{value} [{value} ...]")
        options.append((item.name, Annotated[kind, shown], dataclasses.field(default=default)))
    return dataclasses.make_dataclass("GridOptions", options, frozen=True)


GridOptions: Any = _grid_options()


@dataclasses.dataclass(frozen=True)
class ProbeOptions:
    """A network, its input, and what to do with the profile."""

    initializer: Annotated[str, arg(help=_KERNELS)] = "he_normal"
    bias_initializer: Annotated[str, arg(help="initializer of the biases")] = "zeros"
    activation: Annotated[str, arg(help=_ACTIVATION)] = "relu"
    depth: Annotated[int, arg(help="number of hidden layers")] = 10
    width: Annotated[int, arg(help="units of a hidden layer")] = 64
    residual: Annotated[bool, arg(help="add a layer's input to its output")] = False
    layer_norm: Annotated[bool, arg(help="apply LayerNorm to hidden pre-activations")] = False
    seeds: Annotated[int, arg(help="number of networks")] = 64
    dataset: Annotated[str, arg(help=_DATASET)] = "digits"
    batch_size: Annotated[int, arg(help="examples, evenly spread over the training split")] = 64
    theory: Annotated[bool, arg(help="also compare with theory")] = False
    plot: Annotated[
        str | None,
        left_out("draw signal and gradient by layer: FILE.png, or FILE for PNG and SVG", "FILE"),
    ] = None
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """An MLP whose hidden layers are all alike."""

    activation: Annotated[str, arg(help=_ACTIVATION)] = "relu"
    depth: Annotated[int, arg(help="number of hidden layers")] = 10
    width: Annotated[int, arg(help="units of a hidden layer")] = 64
    inputs: Annotated[int | None, left_out("input features; default: the width", "N")] = None
    outputs: Annotated[int, arg(help="units of the output layer")] = 10
    residual: Annotated[bool, arg(help="add a layer's input to its output")] = False
    layer_norm: Annotated[bool, arg(help="apply LayerNorm to hidden pre-activations")] = False


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """The law of the weights, and what to do with the prediction."""

    initializer: Annotated[str, arg(help=_KERNELS)] = "he_normal"
    bias_initializer: Annotated[str, arg(help="initializer of the biases")] = "zeros"
    plot: Annotated[
        str | None,
        left_out("draw signal and gradient by layer: FILE.png, or FILE for PNG and SVG", "FILE"),
    ] = None
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False


@dataclasses.dataclass(frozen=True)
class PhaseOptions:
    """A grid of σ_w² and σ_b², and the point to mark on it."""

    activation: Annotated[str, arg(help=_ACTIVATION)] = "tanh"
    out: Annotated[str, arg(help="the picture: FILE.png, .svg or .pdf")] = "phase.png"
    weight_variance: Annotated[
        tuple[float, float], arg(help="lowest and highest σ_w² (fan_in × Var W)")
    ] = (0.25, 4.0)
    bias_variance: Annotated[tuple[float, float], arg(help="lowest and highest σ_b²")] = (0.0, 0.5)
    points: Annotated[int, arg(help="grid points along each side")] = 200
    initializer: Annotated[
        str | None, left_out("initializer to mark, for a layer of --width units", "SPEC")
    ] = None
    bias_initializer: Annotated[str, arg(help="initializer of the marked layer's biases")] = "zeros"
    width: Annotated[int, arg(help="units of the marked layer")] = 256
    json: Annotated[bool, arg(help="print the critical line and the mark as JSON")] = False


@dataclasses.dataclass(frozen=True)
class RecommendOptions:
    """Which initializers to rank, and how."""

    initializer: Annotated[
        tuple[str, ...],
        left_out(
            "candidates; default: common ones, and those that suit the activation by theory",
            "SPEC [SPEC ...]",
        ),
    ] = ()
    seeds: Annotated[int, arg(help="networks to measure per candidate")] = 8
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Which arms to compare, by what, and how to print the verdicts."""

    metric: Annotated[
        str | None,
        left_out("any numeric column; default: test_accuracy, or test_loss without one", "COLUMN"),
    ] = None
    baseline: Annotated[
        str | None, left_out("arm to compare with; default: glorot_uniform or the first", "NAME")
    ] = None
    across: Annotated[str, arg(help="axis whose values are the arms")] = "initializer"
    by: Annotated[
        tuple[str, ...],
        left_out("axes that make the cells; default: all others that vary", "AXIS [AXIS ...]"),
    ] = ()
    margin: Annotated[float, arg(help="smallest difference that matters, in the metric's unit")] = (
        0.0
    )
    tune: Annotated[
        tuple[str, ...],
        left_out(
            "axes whose best value each arm gets, chosen on other seeds: learning_rate",
            "AXIS [AXIS ...]",
        ),
    ] = ()
    better: Annotated[
        str | None,
        left_out("'higher' or 'lower', for a column that is no metric of a sweep", "HOW"),
    ] = None
    ignore: Annotated[
        tuple[str, ...],
        left_out(
            "settings that may differ between the files: versions.jax", "SETTING [SETTING ...]"
        ),
    ] = ()
    out: Annotated[
        str | None, left_out("write the joined runs to FILE.parquet or FILE.csv", "FILE")
    ] = None
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False
