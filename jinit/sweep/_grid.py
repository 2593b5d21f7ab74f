"""The recipe of a sweep: every axis a value or a tuple of values. Loads no JAX until checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from jinit import _specs, errors
from jinit.train._config import FitConfig

if TYPE_CHECKING:
    from jinit.typing import Array, Initializer

Value = TypeVar("Value")
Axis: TypeAlias = Value | tuple[Value, ...]

MOST_RUNS = 10**7

# Axes that change shapes or code cost a program each; axes that change numbers share one.
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
)


def _axis(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help, "axis": True})


def _setting(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All combinations of the axes, each run on every seed; one seed is the same in every arm.

    Attributes: see each field's ``help`` metadata, which ``jinit sweep --help`` prints.

    Raises:
      ValueError: an unknown name, an empty or repeated axis, a number out of range, a seed out of
        ``0 ≤ seed < 2**32`` or repeated, more than 10⁷ runs.
      TypeError: a value of the wrong type.

    >>> Grid(initializer=("he_normal", "glorot_uniform"), depth=(8, 16), seeds=64).runs
    256
    """

    dataset: Axis[str] = _axis(
        "digits",
        "data sets: digits, iris, wine, breast_cancer, mnist5k, two_moons, spirals, parity, xor,"
        " linear_teacher, mnist1d",
    )
    initializer: Axis[str | Initializer] = _axis(
        "glorot_uniform", "initializers of the kernels, by name or spec string"
    )
    bias_initializer: Axis[str | Initializer] = _axis("zeros", "initializers of the biases")
    activation: Axis[str | Callable[[Array], Array]] = _axis(
        "relu",
        "identity, sigmoid, tanh, relu, leaky_relu(0.1), elu, selu, gelu, silu, softplus, softsign,"
        " hard_tanh, relu6, sin, erf, lecun_tanh",
    )
    depth: Axis[int] = _axis(2, "hidden layers; 0 is softmax regression")
    width: Axis[int] = _axis(64, "units per hidden layer")
    gain: Axis[float] = _axis(1.0, "factor on all initial kernels")
    optimizer: Axis[str] = _axis("sgd", "sgd, momentum, nesterov, adam, adamw or rmsprop")
    learning_rate: Axis[float] = _axis(0.1, "learning rates, per step")
    momentum: Axis[float] = _axis(0.9, "of momentum and nesterov; beta_1 of adam and adamw")
    weight_decay: Axis[float] = _axis(0.0, "coefficient of the decay, times the learning rate")
    clip: Axis[str | None] = _axis(
        None, "gradient clips such as leaf_norm(1.0), global_norm(1.0), value(0.5)"
    )
    batch_size: Axis[int] = _axis(FitConfig.batch_size, "examples per step, drawn with replacement")
    label_noise: Axis[float] = _axis(0.0, "share of training labels replaced at random")
    loss: Axis[str | None] = _axis(
        None,
        "softmax_cross_entropy, sigmoid_binary_cross_entropy, hinge, mean_squared_error; default:"
        " the data set's usual one",
    )
    steps: int = _setting(FitConfig.steps, "optimizer steps per run")
    evaluations: int = _setting(
        FitConfig.evaluations, "points of each learning curve, log-spaced in steps"
    )
    target_accuracy: float = _setting(
        FitConfig.target_accuracy, "test accuracy that steps-to-target waits for, in (0, 1]"
    )
    residual: bool = _setting(False, "add each hidden layer's input to its output")
    layer_norm: bool = _setting(False, "apply LayerNorm to every hidden pre-activation")
    seeds: int | tuple[int, ...] = _setting(32, "number of seeds 0, 1, …, or the seeds themselves")
    data_seeds: int | tuple[int, ...] | None = _setting(
        None, "seeds of the data order, crossed with seeds; default: tied to the seed"
    )
    pairing: str = _setting(
        "common", "'common': one seed gives all initializers the same noise; or 'independent'"
    )

    def __post_init__(self) -> None:
        check_number, check_integer = errors.check_number, errors.check_integer
        for name in (*CODE_AXES, *NUMBER_AXES, "clip"):
            self._check_axis(name)
        self._check_names()
        for name, low, high, fix in (
            ("depth", 0, 1000, "use 8"),
            ("width", 1, 2**16, "use 32"),
        ):
            for value in self.values(name):
                check_integer(name, value, low=low, high=high, fix=fix)
        for name, most, fix in (
            ("learning_rate", 3e38, "try 0.1"),
            ("gain", 3e38, "use 1.0"),
            ("momentum", 0.999999, "try 0.9"),
            ("weight_decay", 3e38, "try 1e-4, or 0.0 for none"),
            ("label_noise", 1.0, "it is a share: try 0.2"),
        ):
            positive = name in ("learning_rate", "gain")
            for value in self.values(name):
                check_number(name, value, low=0.0, high=most, open_low=positive, fix=fix)
                if 0 < value < 1e-38:
                    raise errors.refusal(name, value, "0 or a float32 >= 1e-38", fix)
        for batch_size in self.values("batch_size"):
            self.fit_config(batch_size)
        self._check_effects()
        errors.check_choice("pairing", self.pairing, ("common", "independent"))
        errors.check_bool("layer_norm", self.layer_norm)
        for name in ("seeds", "data_seeds"):
            object.__setattr__(self, name, _checked_seeds(name, getattr(self, name)))
        self._check_size()

    def fit_config(self, batch_size: int) -> FitConfig:
        """The shape of the runs with this batch size.

        >>> Grid(steps=100).fit_config(32).steps
        100
        """
        return FitConfig(self.steps, batch_size, self.evaluations, self.target_accuracy)

    def values(self, axis: str) -> tuple[Any, ...]:
        """The values of an axis as a tuple.

        >>> Grid(depth=8).values("depth")
        (8,)
        """
        value = getattr(self, axis)
        return value if isinstance(value, tuple) else (value,)

    @property
    def seed_values(self) -> Sequence[int]:
        """The seeds themselves."""
        return range(self.seeds) if isinstance(self.seeds, int) else self.seeds

    @property
    def data_seed_values(self) -> Sequence[int] | None:
        """The data seeds, or None where they are tied to the seeds."""
        if self.data_seeds is None:
            return None
        return range(self.data_seeds) if isinstance(self.data_seeds, int) else self.data_seeds

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every axis, seeds included; their product is :attr:`runs`."""
        sizes = {name: len(self.values(name)) for name in (*CODE_AXES, *NUMBER_AXES, "clip")}
        data_seeds = self.data_seed_values
        return sizes | {
            "data_seeds": 1 if data_seeds is None else len(data_seeds),
            "seeds": len(self.seed_values),
        }

    @property
    def runs(self) -> int:
        """How many networks the sweep trains."""
        return math.prod(self.sizes.values())

    def _check_axis(self, name: str) -> None:
        # JSON and notebooks give lists, NumPy arrays and NumPy numbers.
        object.__setattr__(self, name, value := _plain(getattr(self, name)))
        if isinstance(value, tuple):
            if not value:
                raise errors.refusal(name, value, "at least one value", "leave the axis out")
            for position, item in enumerate(value):
                if item in value[:position]:
                    raise errors.refusal(
                        name, _specs.label(item), "each value once", "drop the repetition"
                    )

    def labels(self, axis: str) -> tuple[str, ...]:
        """What tables call the values of an axis; functions of one name are numbered.

        >>> Grid(activation=("relu", abs)).labels("activation")
        ('relu', 'abs')
        """
        if axis == "clip":
            from jinit import clipping

            rules = [(None, 0.0) if x is None else clipping.parse(x) for x in self.values(axis)]
            return tuple(clipping.label(*rule) for rule in rules)
        labels: list[str] = []
        for text in map(_specs.label, self.values(axis)):
            number = 1 + sum(label.partition("#")[0] == text for label in labels)
            labels.append(text if number == 1 else f"{text}#{number}")
        return tuple(labels)

    def _check_effects(self) -> None:
        """Refuses options that would change nothing."""
        from jinit.train import optimizers

        chosen = self.values("optimizer")
        ignored = [name for name in chosen if not optimizers.get(name).momentum]
        momenta, none_used = self.values("momentum"), len(ignored) == len(chosen)
        if (ignored and len(momenta) > 1) or (none_used and momenta != (Grid.momentum,)):
            raise errors.refusal(
                "momentum",
                self.momentum,
                f"its default with optimizer {ignored[0]!r}, which has none",
                "optimizer='momentum', or leave it out",
            )
        errors.check_bool("residual", self.residual)
        if self.residual and max(self.values("depth")) < 2:
            raise errors.refusal(
                "residual", True, "depth >= 2: a first layer has no input to add", "depth=8"
            )

    def _check_names(self) -> None:
        # Imported here, so that building the parser of the command line does not load JAX.
        from jinit import activations, clipping, data, initializers
        from jinit.calibrate._registry import resolve
        from jinit.train import losses, optimizers

        for name, get in (
            ("initializer", resolve),
            ("bias_initializer", initializers.get),
            ("activation", activations.get),
        ):
            object.__setattr__(self, name, _each(getattr(self, name), get))
            self._check_axis(name)
        for clip in self.values("clip"):
            if clip is not None:
                clipping.parse(clip)
        for name, kind, known, listing in (
            ("dataset", "dataset", data.names(), "jinit.data.names()"),
            ("optimizer", "optimizer", optimizers.names(), "jinit.train.optimizers.names()"),
            ("loss", "loss", losses.names(), "jinit.train.losses.names()"),
        ):
            for value in self.values(name):
                if value not in known and not (name == "loss" and value is None):
                    raise errors.unknown_name(kind, value, known, listing)

    def _check_size(self) -> None:
        if self.runs > MOST_RUNS:
            factors = [f"{size} {name}" for name, size in self.sizes.items() if size > 1]
            raise errors.refusal(
                "runs in the grid",
                self.runs,
                f"at most {MOST_RUNS:,}",
                f"{' × '.join(factors)} = {self.runs:,}; shorten an axis or split the grid",
            )


def _each(value: Any, get: Callable[[Any], Any]) -> Any:
    """Spec strings in canonical form; a callable stays what it is."""
    if isinstance(value, tuple):
        return tuple(_each(item, get) for item in value)
    return str(get(value)) if isinstance(value, str) else get(value)


def _plain(value: Any) -> Any:
    """Lists and arrays as tuples, NumPy and JAX scalars as Python numbers."""
    if isinstance(value, list | tuple | range):
        return tuple(_plain(item) for item in value)
    if hasattr(value, "tolist") and hasattr(value, "shape"):
        return _plain(value.tolist())
    return value


def _checked_seeds(name: str, given: Any) -> Any:
    seeds = _plain(given)
    if not (name == "data_seeds" and seeds is None):
        _check_seeds(name, seeds)
    return seeds


def _check_seeds(name: str, seeds: Any) -> None:
    allowed = "a number of seeds >= 1, or different seeds with 0 <= seed < 2**32"
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if not 1 <= seeds <= errors.SEED_LIMIT:
            raise errors.refusal(name, seeds, allowed, "use 32")
        return
    if not isinstance(seeds, tuple):
        raise errors.wrong_type(name, seeds, allowed, "use 32, or a tuple of seeds")
    if not seeds:
        raise errors.refusal(name, seeds, allowed, "use at least one seed")
    for seed in seeds:
        errors.check_seed(seed, name, errors.SEED_LIMIT)
    if len(set(seeds)) != len(seeds):
        repeated = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise errors.refusal(name, f"{repeated} more than once", allowed, "list each seed once")


def settings(grid: Grid) -> dict[str, Any]:
    """The grid as plain values for JSON, callables by name.

    >>> settings(Grid(depth=(8, 16)))["depth"]
    [8, 16]
    """

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return (
            value
            if value is None or isinstance(value, bool | int | float | str)
            else (_specs.label(value))
        )

    return {item.name: plain(getattr(grid, item.name)) for item in fields(grid)}
