"""Calibrations by name: ``"lsuv(orthogonal)"``, a calibration of weights that a rule has drawn."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinit import _specs, errors, initializers
from jinit.calibrate._analytic import analytic
from jinit.calibrate._common import Trace
from jinit.calibrate._identity import antisymmetric, fixup, rezero, skipinit
from jinit.calibrate._learned import gradinit, metainit
from jinit.calibrate._moments import lsuv, output_bias, within_layer
from jinit.calibrate._rates import between_layers
from jinit.typing import Array, Initializer, Key, PyTree

_FUNCTIONS: dict[str, Callable[..., tuple[PyTree, Trace]]] = {
    function.__name__: function
    for function in (
        lsuv, within_layer, between_layers, metainit, gradinit, fixup, skipinit, rezero,
        antisymmetric, analytic, output_bias,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """An initializer of the kernels, and what is done to them afterwards.

    Attributes:
      name: of the calibration.
      initializer: draws the kernels.
      arguments: of the calibration, as ``(name, value)`` pairs.

    Raises:
      ValueError: an unknown name, an argument it does not take.
    """

    name: str
    initializer: Initializer
    arguments: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.name not in _FUNCTIONS:
            raise errors.unknown_name("calibration", self.name, names(), "jinit.calibrate.names()")
        options = inspect.signature(_FUNCTIONS[self.name]).parameters
        allowed = [name for name, item in options.items() if item.kind == item.KEYWORD_ONLY]
        for name, _ in self.arguments:
            errors.check_choice(f"option of {self.name}", name, allowed)

    def __str__(self) -> str:
        return _specs.write(self.name, self.arguments, (_specs.label(self.initializer),))

    def __call__(
        self,
        key: Key,
        model: Any,
        params: PyTree,
        batch: Array,
        labels: Array,
        loss: Callable[[Array, Array], Array],
    ) -> tuple[PyTree, Trace]:
        """Calibrates parameters that :attr:`initializer` has drawn.

        Args:
          key, model, params, batch: as every calibration.
          labels: of the batch; only ``output_bias`` and ``gradinit`` look at them.
          loss: ``loss(outputs, labels) -> scalar``; only ``gradinit`` needs it.
        """
        options = dict(self.arguments)
        if self.name == "gradinit":
            options["loss"] = lambda outputs: loss(outputs, labels)
        if self.name == "output_bias":
            options["labels"] = labels
        return _FUNCTIONS[self.name](key, model, params, batch, **options)


def names() -> tuple[str, ...]:
    """The calibrations that can stand in a spec string.

    >>> names()[:5]
    ('lsuv', 'within_layer', 'between_layers', 'metainit', 'gradinit')
    """
    return tuple(_FUNCTIONS)


def get(text: str) -> Calibration:
    """The calibration for a spec string: ``name(initializer, option=…)``.

    Args:
      text: e.g. ``"lsuv(orthogonal)"`` or ``"lsuv(he_normal(mode=fan_out), tolerance=0.05)"``.

    Returns:
      A :class:`Calibration`; ``str(get(text))`` is its canonical spec string.

    Raises:
      ValueError: an unknown name, no initializer, an argument it does not take.

    >>> str(get("lsuv(kaiming_normal_, tolerance=0.05)"))
    'lsuv(he_normal, tolerance=0.05)'
    """
    spec = _specs.parse(text, "calibration", nested=True)
    if spec.name not in _FUNCTIONS:
        raise errors.unknown_name("calibration", spec.name, names(), "jinit.calibrate.names()")
    if len(spec.args) != 1:
        raise errors.refusal(
            f"calibration {spec.name!r}", text, "one initializer and named options",
            f"{spec.name}(orthogonal)",
        )  # fmt: skip
    if spec.args[0].partition("(")[0].strip() in _FUNCTIONS:
        raise errors.refusal(
            f"calibration {spec.name!r}", text, "one calibration of what an initializer draws",
            f"{spec.name}(orthogonal)",
        )  # fmt: skip
    return Calibration(spec.name, initializers.get(spec.args[0]), spec.kwargs)


def resolve(initializer: Any) -> Initializer | Calibration:
    """An initializer, or a calibration of what one draws, from a spec string or as it is.

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
        name = drawn.partition("(")[0].strip() if isinstance(drawn, str) else ""
        if difflib.get_close_matches(name, names()):
            raise errors.unknown_name(
                "calibration", name, names(), "jinit.calibrate.names()"
            ) from None
        raise


def split(initializer: Any) -> tuple[Any, Calibration | None]:
    """What draws the kernels, and the calibration after it if the text names one.

    >>> split("lsuv(orthogonal)")[1].name, split("he_normal")
    ('lsuv', ('he_normal', None))
    """
    if isinstance(initializer, Calibration):
        return initializer.initializer, initializer
    if isinstance(initializer, str) and initializer.partition("(")[0].strip() in _FUNCTIONS:
        found = get(initializer)
        return found.initializer, found
    return initializer, None
