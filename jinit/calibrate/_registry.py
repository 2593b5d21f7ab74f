"""Registers calibrations and parses their spec strings, such as ``"lsuv(orthogonal)"``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Concatenate, TypeAlias

from jinit import _specs, errors, initializers
from jinit._registry import WORDS, Registry
from jinit._switches import own_switches
from jinit.calibrate._analytic import analytic
from jinit.calibrate._common import Trace
from jinit.calibrate._identity import antisymmetric, fixup, rezero, skipinit
from jinit.calibrate._learned import gradinit, metainit
from jinit.calibrate._moments import lsuv, output_bias, within_layer
from jinit.calibrate._rates import between_layers
from jinit.typing import Array, Initializer, Key, LossFunction, ModelLike, PyTree

CalibrationFunction: TypeAlias = Callable[
    Concatenate[Key, ModelLike, PyTree, Array, ...], tuple[PyTree, Trace]
]
"""``function(key, model, params, batch, **options) -> (params, trace)``."""

_FIRST = ("key", "model", "params", "batch")
# Parameters that a calibration may take after the batch; a sweep passes its labels and loss.
_FROM_SWEEP = ("labels", "loss")

_FUNCTIONS: Registry[CalibrationFunction] = Registry(
    "calibration",
    "jinit.calibrate.names()",
    {
        "lsuv": lsuv,
        "within_layer": within_layer,
        "between_layers": between_layers,
        "metainit": metainit,
        "gradinit": gradinit,
        "fixup": fixup,
        "skipinit": skipinit,
        "rezero": rezero,
        "antisymmetric": antisymmetric,
        "analytic": analytic,
        "output_bias": output_bias,
    },
    reserved=WORDS,
    beside="initializer",
)


@dataclass(frozen=True)
class Calibration:
    """An initializer for the kernels and the calibration that follows it.

    Attributes:
      name: a name from :func:`names`.
      initializer: draws the kernels; a spec string becomes the initializer that it names.
      arguments: options of the calibration as ``(name, value)`` pairs.
      function: the function registered under ``name``.

    Raises:
      TypeError: an initializer that is no initializer, or arguments that are no pairs.
      ValueError: an unknown name, or an option that the calibration does not take.

    >>> from jinit import initializers
    >>> str(Calibration("lsuv", initializers.get("orthogonal"), (("tolerance", 0.05),)))
    'lsuv(orthogonal, tolerance=0.05)'
    """

    name: str
    initializer: Initializer
    arguments: tuple[tuple[str, Any], ...] = ()
    # A field, so that calibrations with different functions are unequal and compile separately.
    function: CalibrationFunction = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", _FUNCTIONS.get(self.name))
        object.__setattr__(self, "initializer", initializers.get(self.initializer))
        if not _are_pairs(self.arguments):
            raise errors.wrong_type(
                f"arguments of {self.name}",
                self.arguments,
                "a tuple of pairs (name, value)",
                "(('tolerance', 0.05),)",
            )
        options = inspect.signature(self.function).parameters
        allowed = [name for name, item in options.items() if item.kind == item.KEYWORD_ONLY]
        for name, _ in self.arguments:
            errors.check_choice(f"option of {self.name}", name, allowed)

    def __str__(self) -> str:
        return _specs.write(self.name, self.arguments, (_specs.label(self.initializer),))

    def __call__(
        self,
        key: Key,
        model: ModelLike,
        params: PyTree,
        batch: Array,
        labels: Array,
        loss: LossFunction,
    ) -> tuple[PyTree, Trace]:
        """Calibrates parameters that :attr:`initializer` has drawn.

        Args:
          key, model, params, batch: as every calibration takes them.
          labels: the labels of the batch, ``(batch,)``; passed on to a calibration with a parameter
            ``labels``, such as ``output_bias``.
          loss: ``loss(outputs, labels) -> scalar``; passed on as ``loss(outputs)`` to a calibration
            with a parameter ``loss``, such as ``gradinit``.

        Returns:
          The calibrated parameters and the calibration's :class:`Trace`.
        """
        from_sweep = {"labels": labels, "loss": lambda outputs: loss(outputs, labels)}
        taken = {name: from_sweep[name] for name in _positional(self.function)[len(_FIRST) :]}
        with own_switches():
            return self.function(key, model, params, batch, **taken, **dict(self.arguments))


def names() -> tuple[str, ...]:
    """The names of all calibrations, in the order of registration.

    >>> names()[:5]
    ('lsuv', 'within_layer', 'between_layers', 'metainit', 'gradinit')
    """
    return _FUNCTIONS.names()


def register(name: str, function: CalibrationFunction) -> None:
    """Adds a calibration to the registry of this process.

    ``"name(initializer, option=…)"`` is then a value of a sweep's initializer axis.

    Args:
      name: a new identifier, which is neither a name or an alias of an initializer nor a word of
        rules (``keep``, ``norm``, ``own``).
      function: ``function(key, model, params, batch, *, …) -> (params, trace)``, which must be pure
        and traceable, because a sweep jits and vmaps it. Its keyword-only parameters are
        the options of the spec string. After ``batch`` it may take ``labels``, ``(batch,)``, and
        ``loss``, ``loss(outputs) -> scalar``; a sweep passes those of its task.

    Raises:
      ValueError: the name is taken, is a word of rules or is not an identifier; the function has
        other parameters.
      TypeError: the function is not callable.

    Registering the same function under the same name again changes nothing.

    >>> import jax
    >>> def halved(key, model, params, batch):
    ...     one = jax.numpy.ones(1)
    ...     return jax.tree.map(lambda w: w / 2, params), Trace(one, one / 2, one, one > 0)
    >>> register("halved", halved)
    >>> str(get("halved(orthogonal)"))
    'halved(orthogonal)'
    >>> _FUNCTIONS.remove("halved")
    """
    if callable(function):
        parameters = _positional(function)
        first, others = parameters[: len(_FIRST)], parameters[len(_FIRST) :]
        if len(first) < len(_FIRST) or not set(others) <= set(_FROM_SWEEP):
            raise errors.refusal(
                f"calibration {name!r}",
                f"parameters ({', '.join(parameters)})",
                "(key, model, params, batch), then labels or loss",
                "make options keyword-only: def calibrate(key, model, params, batch, *, option=1)",
            )
    _FUNCTIONS.register(name, function)


def get(text: str) -> Calibration:
    """The calibration for a spec string ``name(initializer, option=…)``.

    Args:
      text: e.g. ``"lsuv(orthogonal)"`` or ``"lsuv(he_normal(mode=fan_out), tolerance=0.05)"``.

    Returns:
      A :class:`Calibration`; ``str(get(text))`` is its canonical spec string.

    Raises:
      ValueError: an unknown name, no initializer, an option that the calibration does not take.

    >>> str(get("lsuv(kaiming_normal_, tolerance=0.05)"))
    'lsuv(he_normal, tolerance=0.05)'
    """
    spec = _specs.parse(text, "calibration", nested=True)
    _FUNCTIONS.get(spec.name)
    if len(spec.args) != 1:
        raise errors.refusal(
            f"calibration {spec.name!r}",
            text,
            "one initializer and named options",
            f"{spec.name}(orthogonal)",
        )
    if _name_in(spec.args[0]) in _FUNCTIONS:
        raise errors.refusal(
            f"calibration {spec.name!r}",
            text,
            "one calibration around one initializer",
            f"{spec.name}(orthogonal)",
        )
    return Calibration(spec.name, initializers.get(spec.args[0]), spec.kwargs)


def resolve(initializer: str | Initializer | Calibration) -> Initializer | Calibration:
    """The initializer or the calibration that a spec string names; other values unchanged.

    Raises:
      ValueError, TypeError: as :func:`jinit.initializers.get` and :func:`get`.

    >>> str(resolve("kaiming_normal_")), str(resolve("lsuv(kaiming_normal_)"))
    ('he_normal', 'lsuv(he_normal)')
    """
    drawn, calibration = split(initializer)
    if calibration is not None:
        return calibration
    try:
        return initializers.get(drawn)
    except ValueError:
        name = _name_in(drawn)
        if difflib.get_close_matches(name, names()):
            raise _FUNCTIONS.unknown(name) from None
        raise


def split(
    initializer: str | Initializer | Calibration,
) -> tuple[str | Initializer, Calibration | None]:
    """The initializer that draws the kernels, and the calibration after it or None.

    >>> split("lsuv(orthogonal)")[1].name, split("he_normal")
    ('lsuv', ('he_normal', None))
    """
    if isinstance(initializer, Calibration):
        return initializer.initializer, initializer
    if _name_in(initializer) in _FUNCTIONS:
        calibration = get(str(initializer))
        return calibration.initializer, calibration
    return initializer, None


def _are_pairs(arguments: Sequence[tuple[str, Any]]) -> bool:
    return isinstance(arguments, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)
        for pair in arguments
    )


def _name_in(initializer: str | Initializer) -> str:
    """The name before the parenthesis of a spec string; "" for anything else."""
    return initializer.partition("(")[0].strip() if isinstance(initializer, str) else ""


def _positional(function: CalibrationFunction) -> tuple[str, ...]:
    """The names of a function's positional parameters; () if Python does not tell them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(item.name for item in parameters if item.kind in kinds)
