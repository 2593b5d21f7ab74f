"""Describes a sweep: every axis is a value or a tuple of values. Importing it loads no JAX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from jinit import _specs, errors
from jinit.sweep._arms import OwnArms, arm, bias_arm, check_whole, expanded
from jinit.sweep._loss_axis import checked_metrics, checked_target, checked_weights, loss_axis
from jinit.sweep._names import listed
from jinit.sweep._twins import check_twins
from jinit.sweep._values import (
    AxisValue,
    canonical,
    check_distinct,
    check_numbers,
    checked_seeds,
    known_fields,
    plain,
)
from jinit.sweep._watch import PROBES, Watched, WatchFunction, checked_watch
from jinit.train._config import FitConfig

if TYPE_CHECKING:
    from jinit.train._own import OptimizerFor
    from jinit.train._own_loss import MetricFunction
    from jinit.typing import Array, Initializer

Value = TypeVar("Value")
Axis: TypeAlias = Value | tuple[Value, ...]
Metrics: TypeAlias = "Mapping[str, MetricFunction] | tuple[tuple[str, MetricFunction], ...]"

MOST_RUNS = 10**7

# Code axes change shapes or code: every combination is a program of its own. The values of a number
# axis share one, but a share of 0 and the constant schedule have programs of their own.
MODEL_AXES = ("activation", "depth", "width")
CODE_AXES = ("dataset", *MODEL_AXES, "optimizer", "batch_size", "loss")
NUMBER_AXES = (
    "initializer",
    "bias_initializer",
    "gain",
    "learning_rate",
    "momentum",
    "weight_decay",
    "label_noise",
    "label_smoothing",
    "schedule",
)


def _field(default: AxisValue | tuple[()], help: str) -> Any:
    return field(default=default, metadata={"help": help})


@known_fields
@dataclass(frozen=True, kw_only=True)
class Grid:
    """All combinations of the axes, each run on every seed; all arms share the seeds.

    An axis is one value or a tuple, list or array of different values. Names that the user
    registered work like built-in names.

    Attributes:
      dataset: names of :mod:`jinit.data`; default ``"digits"``.
      initializer: initializers of the kernels: names, spec strings or callables of
        :mod:`jinit.initializers`, calibrations of :mod:`jinit.calibrate`, your own functions
        ``(key, shape, dtype) -> array``, or ``{"name": function}`` for a name of your own. Two
        arms set all leaves, biases too: ``"own"`` keeps the model's own start, a function
        ``key -> params`` returns all parameters. Default ``"glorot_uniform"``.
      bias_initializer: initializers of the biases, or ``"own"``; default ``"zeros"``.
      activation: names, spec strings or callables of :mod:`jinit.activations`; default ``"relu"``.
      depth: hidden layers, 0 to 1,000; 0 is a linear model; default 2.
      width: units per hidden layer, 1 to 65,536; default 64.
      gain: factor on all initial kernels, > 0; default 1.
      optimizer: names or spec strings of :mod:`jinit.train.optimizers`; or your own functions
        ``(learning_rate, **numbers) -> optax transform``, see :func:`jinit.run`; default ``"sgd"``.
      learning_rate: > 0, per step; default 0.1.
      schedule: factors on the learning rate: spec strings of :mod:`jinit.train.schedules`, such as
        ``"warmup_cosine(warmup=0.1)"``, or any ``step -> factor``; default ``"constant"``.
      momentum: in [0, 1), for optimizers that have one; default 0.9.
      weight_decay: coefficient ≥ 0, multiplied by the learning rate; default 0.
      weight_decay_on: ``"all"`` leaves, as in optax, PyTorch and Keras, or ``"weights"``: no decay
        of biases, norm scales and shifts, as many recipes for large models; default ``"all"``.
      clip: rules of :mod:`jinit.clipping`, such as ``"leaf_norm(1.0)"``, or None; default None.
      batch_size: examples per gradient; default 32.
      accumulate: gradients per step, whose mean the optimizer gets: the same steps as with batches
        ``accumulate`` times as large, with less memory. Steps, schedules and curves count updates;
        clips act on the mean. Default 1.
      label_noise: share of the training labels replaced at random, 0 to 1; default 0.
      label_smoothing: share α of each training label given to all classes alike, in [0, 1), for
        cross-entropies; evaluations take the plain labels; default 0.
      class_weights: ``"balanced"`` (examples / (classes × examples of the class)) or one number ≥ 0
        per class: factors on the losses of training examples; default None.
      loss: names of :mod:`jinit.train.losses`; None (default) is cross-entropy for classes and the
        squared error for regression; or your own ``loss(outputs, y)``, a mean over the batch or one
        value per example, which may also take ``params`` and ``key``. ``{"mine": f, "theirs":
        "hinge"}`` names several.
      metrics: name → your own ``metric(outputs, y) -> number`` of the whole test set, traced and
        measured at every evaluation: column and curve ``test_NAME``. Default: none.
      sampling: ``"replacement"`` (default): each step draws its examples anew; or ``"epochs"``:
        every example once per epoch, the last batch smaller if need be.
      precision: ``"float32"`` (default), ``"bfloat16"`` or ``"float64"``, as in ``FitConfig``.
      steps: optimizer steps per run; default 300.
      evaluations: points of each learning curve, log-spaced in steps; default 16.
      evaluate_every: steps between evaluations, instead of log-spaced ones; default None.
      watch: what to measure at every evaluation, as curves: ``"parameter_norm"``,
        ``"weight_rms"`` (of each leaf), ``"second_moment"`` (of each layer's pre-activations), or
        name → your own ``probe(params) -> number or tree of numbers``. Default: none.
      target_accuracy: test accuracy in (0, 1] that defines ``steps_to_target``; default 0.9.
      target: another target, by the name of a curve: ``"test_loss<=0.1"``, ``"test_f1>=0.8"``, or
        ``("test_r2", 0.9)`` for a metric whose direction is known; default None.
      stop_at_target: whether a run ends at its first evaluation that reaches the target, or once it
        has diverged. Its values are those of this step, and its curves are NaN from there; what
        came before has the same bits. Default False.
      validation: share of the training examples, in [0, 0.9], that are held out to choose each
        run's best step (``best_step``, ``best_test_loss``, …); the test set never chooses. Default
        0: none.
      residual: whether a hidden layer's input is added to its output if both have equal width;
        default False.
      layer_norm: whether LayerNorm is applied to every hidden pre-activation; default False.
      seeds: number of seeds 0, 1, …, or the seeds themselves, below 2³²; default 32.
      data_seeds: seeds of the data order, crossed with ``seeds``; None (default): each run's seed
        also fixes its data order.
      pairing: ``"common"``: all initializers of one seed get the same noise; or
        ``"independent"``; default ``"common"``.

    Raises:
      ValueError: an unknown name, an axis without values or with a repeated value, a number out of
        range, a seed out of range or repeated, more than 10⁷ runs, an option without effect.
      TypeError: a value of the wrong type.

    >>> Grid(initializer=("he_normal", "glorot_uniform"), depth=(8, 16), seeds=64).runs
    256
    """

    dataset: Axis[str] = _field("digits", f"data sets: {listed('dataset')}")
    initializer: Axis[str | Initializer | OwnArms] = _field(
        "glorot_uniform",
        "initializers of the kernels, by name or spec string; `jinit initializers` lists them",
    )
    bias_initializer: Axis[str | Initializer | OwnArms] = _field(
        "zeros", "initializers of the biases"
    )
    activation: Axis[str | Callable[[Array], Array]] = _field(
        "relu", f"{listed('activation')}; or a spec string such as leaky_relu(0.1)"
    )
    depth: Axis[int] = _field(2, "hidden layers; 0 is a linear model")
    width: Axis[int] = _field(64, "units per hidden layer")
    gain: Axis[float] = _field(1.0, "factor on all initial kernels")
    optimizer: Axis[str | OptimizerFor] = _field("sgd", f"{listed('optimizer')}; or adamw(b2=0.99)")
    learning_rate: Axis[float] = _field(0.1, "learning rates, per step")
    schedule: Axis[str | Callable[[Array], Array]] = _field(
        "constant",
        f"factors on the learning rate: {listed('schedule')}; or warmup_cosine(warmup=0.1)",
    )
    momentum: Axis[float] = _field(0.9, "momentum of optimizers that have one; beta_1 of Adam")
    weight_decay: Axis[float] = _field(0.0, "coefficient of the decay, times the learning rate")
    weight_decay_on: str = _field(
        "all", "'all' leaves, or 'weights': no decay of biases, norm scales and shifts"
    )
    clip: Axis[str | None] = _field(
        None, f"gradient clips with their threshold, such as leaf_norm(1.0): {listed('clip')}"
    )
    batch_size: Axis[int] = _field(FitConfig.batch_size, "examples per gradient")
    accumulate: int = _field(FitConfig.accumulate, "gradients per step, whose mean is applied")
    label_noise: Axis[float] = _field(0.0, "share of training labels replaced at random")
    label_smoothing: Axis[float] = _field(0.0, "share of a training label given to all classes")
    class_weights: str | tuple[float, ...] | None = _field(
        None, "'balanced', or one factor per class on the losses of training examples"
    )
    loss: Axis[str | Callable[..., Array] | None] = _field(
        None, f"{listed('loss')}; default: cross-entropy, or mean_squared_error for regression"
    )
    metrics: Metrics = _field((), "further metrics of the test set; only in Python")
    sampling: str = _field(
        FitConfig.sampling, "'replacement', or 'epochs': every example once per epoch"
    )
    precision: str = _field(FitConfig.precision, "float32, bfloat16 or float64 (JAX_ENABLE_X64=1)")
    steps: int = _field(FitConfig.steps, "optimizer steps per run")
    evaluations: int = _field(FitConfig.evaluations, "points of each curve, log-spaced in steps")
    evaluate_every: int | None = _field(
        None, "steps between evaluations, instead of log-spaced ones"
    )
    watch: Watched | str | tuple[str, ...] | Mapping[str, WatchFunction] = _field(
        (), f"probes at every evaluation, in curves of the table: {', '.join(PROBES)}"
    )
    target_accuracy: float = _field(
        FitConfig.target_accuracy, "test accuracy in (0, 1] that defines steps-to-target"
    )
    target: str | tuple[str, float] | None = _field(
        None, "another target for steps-to-target, such as test_loss<=0.1"
    )
    stop_at_target: bool = _field(False, "end a run once it reaches the target")
    validation: float = _field(
        0.0, "share of the training examples by which the best step of each run is chosen"
    )
    residual: bool = _field(False, "add a hidden layer's input to its output if widths are equal")
    layer_norm: bool = _field(False, "apply LayerNorm to every hidden pre-activation")
    seeds: int | tuple[int, ...] = _field(32, "number of seeds 0, 1, …, or the seeds themselves")
    data_seeds: int | tuple[int, ...] | None = _field(
        None, "seeds of the data order, crossed with seeds; default: the seed itself"
    )
    pairing: str = _field(
        "common", "'common': one seed gives all initializers the same noise; or 'independent'"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", loss_axis(plain(self.loss)))
        object.__setattr__(self, "metrics", checked_metrics(self.metrics))
        object.__setattr__(self, "watch", checked_watch(self.watch))
        for name in (*CODE_AXES, *NUMBER_AXES, "clip"):
            self._set_axis(name, plain(getattr(self, name)))
        object.__setattr__(self, "class_weights", checked_weights(plain(self.class_weights)))
        object.__setattr__(self, "target", checked_target(self.target, self.target_accuracy))
        self._check_names()
        self._check_numbers()
        self._check_effects()
        errors.check_choice("pairing", self.pairing, ("common", "independent"))
        errors.check_bool("layer_norm", self.layer_norm)
        errors.check_number("validation", self.validation, low=0.0, high=0.9, fix="use 0.2 or 0.0")
        for name in ("seeds", "data_seeds"):
            object.__setattr__(self, name, checked_seeds(name, getattr(self, name)))
        self._check_size()

    def values(self, axis: str) -> tuple[Any, ...]:
        """The values of an axis as a tuple.

        >>> Grid(depth=8).values("depth")
        (8,)
        """
        value = getattr(self, axis)
        return value if isinstance(value, tuple) else (value,)

    def labels(self, axis: str) -> tuple[str, ...]:
        """The values of an axis as tables show them; functions with equal names are numbered.

        >>> Grid(activation=("relu", abs)).labels("activation")
        ('relu', 'abs')
        """
        if axis == "clip":
            from jinit.clipping import _rules as clip_rules

            rules = [(None, 0.0) if x is None else clip_rules.parse(x) for x in self.values(axis)]
            return tuple(clip_rules.label(*rule) for rule in rules)
        labels: list[str] = []
        for text in map(_specs.label, self.values(axis)):
            number = 1 + sum(label.partition("#")[0] == text for label in labels)
            labels.append(text if number == 1 else f"{text}#{number}")
        return tuple(labels)

    def share(self, number: int, of: int) -> Grid:
        """One of several shares of the runs, for as many machines; each has all arms of its seeds.

        Args:
          number: 1 to ``of``.
          of: the number of shares, at most the number of seeds.

        Returns:
          The grid with every ``of``-th seed. All shares together, joined by
          :func:`jinit.results.concat`, are the whole sweep bit for bit.

        Raises:
          ValueError, TypeError: a share out of range, or more shares than seeds.

        >>> Grid(seeds=8).share(2, 3).seeds
        (1, 4, 7)
        """
        fix = f"one machine for each of at most {len(self.seed_values)} seeds"
        errors.check_integer("shares", of, low=1, high=len(self.seed_values), fix=fix)
        errors.check_integer("share", number, low=1, high=of, fix=f"count from 1 to {of}")
        return replace(self, seeds=tuple(self.seed_values[number - 1 :: of]))

    def fit_config(self, batch_size: int) -> FitConfig:
        """The :class:`jinit.train.FitConfig` of the runs with this batch size.

        >>> Grid(steps=100).fit_config(32).steps
        100
        """
        return FitConfig(
            self.steps,
            batch_size,
            self.evaluations,
            self.target_accuracy,
            self.sampling,
            target=self.target,  # type: ignore[arg-type]  # a text once checked
            stop_at_target=self.stop_at_target,
            evaluate_every=self.evaluate_every,
            accumulate=self.accumulate,
            precision=self.precision,
        )

    @property
    def seed_values(self) -> Sequence[int]:
        """The seeds themselves."""
        return range(self.seeds) if isinstance(self.seeds, int) else self.seeds

    @property
    def data_seed_values(self) -> Sequence[int] | None:
        """The data seeds; None if every run's seed also fixes its data order."""
        if self.data_seeds is None:
            return None
        return range(self.data_seeds) if isinstance(self.data_seeds, int) else self.data_seeds

    @property
    def sizes(self) -> dict[str, int]:
        """The length of every axis, seeds included; their product is :attr:`runs`."""
        sizes = {name: len(self.values(name)) for name in (*CODE_AXES, *NUMBER_AXES, "clip")}
        data_seeds = self.data_seed_values
        return sizes | {
            "data_seeds": 1 if data_seeds is None else len(data_seeds),
            "seeds": len(self.seed_values),
        }

    @property
    def runs(self) -> int:
        """The number of networks that the sweep trains."""
        return math.prod(self.sizes.values())

    def _set_axis(self, name: str, value: AxisValue | tuple[AxisValue, ...]) -> None:
        check_distinct(name, value)
        object.__setattr__(self, name, value)

    def _check_names(self) -> None:
        # Imported here, because the command-line parser reads this module and must not load JAX.
        from jinit import activations, data
        from jinit.clipping import _rules as clip_rules
        from jinit.train import losses, optimizers, schedules
        from jinit.train._options import checked_axis

        getters: dict[str, Callable[[Any], Any]] = {
            "initializer": arm,
            "bias_initializer": bias_arm,
            "activation": activations.get,
            "schedule": schedules.get,
        }
        for name, get in getters.items():
            self._set_axis(name, canonical(expanded(name, getattr(self, name)), get))
            check_twins(name, self.values(name), self.labels(name))
        for clip in self.values("clip"):
            if clip is not None:
                clip_rules.parse(clip)
        self._set_axis("optimizer", checked_axis(self.optimizer, optimizers.get))
        check_distinct("clip", self.labels("clip"))
        for name, names, listing in (
            ("dataset", data.names(), "jinit.data.names()"),
            ("loss", (*losses.names(), None), "jinit.train.losses.names()"),
        ):
            for value in self.values(name):
                if value not in names and (name != "loss" or isinstance(value, str)):
                    existing = [other for other in names if other is not None]
                    raise errors.unknown_name(name, value, existing, listing)

    def _check_numbers(self) -> None:
        check_numbers(self.values)
        for batch_size in self.values("batch_size"):
            self.fit_config(batch_size)

    def _check_effects(self) -> None:
        """Refuses options that would have no effect."""
        from jinit.train._effects import check_effects

        numbers = {name: self.values(name) for name in ("momentum", "weight_decay")}
        check_effects(self.values("optimizer"), numbers, self.weight_decay_on)
        check_whole(self.values("initializer"), self.values("bias_initializer"))
        errors.check_bool("residual", self.residual)
        if self.residual and max(self.values("depth")) < 2:
            raise errors.refusal(
                "residual", True, "depth >= 2, for two layers of equal width", "depth=8"
            )

    def _check_size(self) -> None:
        if self.runs > MOST_RUNS:
            factors = [f"{size} {name}" for name, size in self.sizes.items() if size > 1]
            raise errors.refusal(
                "runs in the grid",
                self.runs,
                f"at most {MOST_RUNS:,}",
                f"{' × '.join(factors)} = {self.runs:,}; shorten an axis or split the grid",
            )


def settings(grid: Grid) -> dict[str, Any]:
    """The grid as plain values for JSON; a callable becomes its name.

    >>> settings(Grid(depth=(8, 16)))["depth"]
    [8, 16]
    """

    def jsonable(value: AxisValue | tuple[AxisValue, ...]) -> Any:
        if isinstance(value, tuple):
            return [jsonable(item) for item in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        return _specs.label(value)

    return {item.name: jsonable(getattr(grid, item.name)) for item in fields(grid)}
