"""Makes the network of each program: the built-in MLP, one model, a factory, or several by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from jinit import activations, errors, frameworks, models
from jinit._specs import label
from jinit.engine._known import is_known
from jinit.frameworks import _table
from jinit.models import Model
from jinit.sweep._grid import CODE_AXES, MODEL_AXES, Grid
from jinit.typing import Array, ModelLike

ModelFactory: TypeAlias = Callable[..., ModelLike]
"""``factory(depth, width, activation, …) -> model``, with any of the grid's axes as arguments."""

Models: TypeAlias = ModelLike | ModelFactory | Mapping[str, ModelLike | ModelFactory]
"""What ``model=`` takes: a model, a factory of models, or a mapping of names to both."""

# Options of the grid that shape the built-in MLP and that a factory may take, too.
OPTIONS = ("residual", "layer_norm")
_EXAMPLE = "model=lambda depth, width: YourModule(depth, width)"


@dataclass(frozen=True)
class ModelArms:
    """The models of a sweep.

    Attributes:
      grid: the sweep.
      given: name → model or factory, in the user's order; None for the built-in MLP.
      named: whether the names are the user's, and so an axis of the sweep.
    """

    grid: Grid
    given: Mapping[str, ModelLike | ModelFactory] | None
    named: bool = False

    @classmethod
    def of(cls, grid: Grid, model: Models | None) -> ModelArms:
        """The models that a user gave.

        Raises:
          ValueError: an axis of the grid that a model does not take, an empty mapping or name, a
            factory with an argument that is no axis.
          TypeError: a name that is not text, a class instead of a model.

        >>> ModelArms.of(Grid(), None).axes[:3]
        ('dataset', 'activation', 'depth')
        """
        if model is None:
            return cls(grid, None)
        named = isinstance(model, Mapping)
        given = dict(model) if isinstance(model, Mapping) else {"": model}
        if not given:
            raise errors.refusal("model", "{}", "at least one model", "{'mlp': YourModule()}")
        for name, one in given.items():
            if named and not isinstance(name, str):
                raise errors.wrong_type("name of a model", name, "text", "{'mlp': YourModule()}")
            if named and not name.strip():
                raise errors.refusal("name of a model", name, "a name", "{'mlp': YourModule()}")
            _check_axes(grid, one, f"model {name!r}" if named else "the model")
        return cls(grid, given, named)

    @property
    def taken(self) -> tuple[str, ...]:
        """The grid's axes and options that all models take."""
        if self.given is None:
            return (*MODEL_AXES, *OPTIONS)
        taken = [_arguments(one) for one in self.given.values()]
        return tuple(axis for axis in (*MODEL_AXES, *OPTIONS) if all(axis in one for one in taken))

    @property
    def axes(self) -> tuple[str, ...]:
        """The code axes of the sweep, in the order of its columns."""
        axes = [axis for axis in CODE_AXES if axis not in MODEL_AXES or axis in self.taken]
        return ("dataset", "model", *axes[1:]) if self.named else tuple(axes)

    def options(self, axis: str) -> list[tuple[Any, Any]]:
        """The values of a code axis with their labels.

        >>> ModelArms.of(Grid(depth=(2, 4)), None).options("depth")
        [(2, '2'), (4, '4')]
        """
        if axis == "model":
            return [(name, name) for name in self.given or {}]
        return list(zip(self.grid.values(axis), self.grid.labels(axis), strict=True))

    def make(self, code: Mapping[str, Any], outputs: int, x: Array) -> Model:
        """The model of one combination of the code axes.

        Args:
          code: code axis → value.
          outputs: number of outputs that the loss wants.
          x: an example batch.

        Raises:
          ValueError: a factory that raises, a model that does not run.
          TypeError: a factory that returns no model.
        """
        values = {
            name: code.get(name, getattr(self.grid, name)) for name in (*MODEL_AXES, *OPTIONS)
        }
        if self.given is None:
            return _mlp(values, outputs)
        one = self.given[code.get("model", "")]
        if _is_factory(one):
            taken = {axis: values[axis] for axis in _arguments(one)}
            if "activation" in taken:
                taken["activation"] = activations.get(taken["activation"])
            one = _called(one, taken)
        return frameworks.as_model(one, x)

    def place(self, code: Mapping[str, Any]) -> str:
        """:meth:`name` in front of an error's message."""
        name = self.name(code)
        return f"model {name}" if name else ""

    def name(self, code: Mapping[str, Any]) -> str:
        """The name of one combination's model, for settings; "" if there is only one.

        >>> ModelArms.of(Grid(), lambda depth: None).name({"depth": 3, "batch_size": 32})
        'depth=3'
        """
        if self.given is None:
            return ""
        name = code.get("model", "")
        taken = [axis for axis in _arguments(self.given[name]) if axis in code]
        parts = [name, *(f"{axis}={label(code[axis])}" for axis in taken)]
        return ", ".join(part for part in parts if part)


def _is_factory(model: ModelLike | ModelFactory) -> bool:
    """Whether a value makes models: a callable that is no model and no class."""
    return (
        callable(model)
        and not isinstance(model, Model | tuple | type)
        and _table.find(model) is None
    )


def _arguments(model: ModelLike | ModelFactory) -> tuple[str, ...]:
    """The axes and options that a factory takes; () for a model."""
    known = (*MODEL_AXES, *OPTIONS)
    if not _is_factory(model):
        return ()
    parameters = inspect.signature(model).parameters.values()
    if any(item.kind is item.VAR_KEYWORD for item in parameters):
        return known
    names = [item.name for item in parameters if item.kind is not item.POSITIONAL_ONLY]
    return tuple(axis for axis in known if axis in names)


def _check_axes(grid: Grid, model: ModelLike | ModelFactory, who: str) -> None:
    """Refuses a class, a factory with other arguments, and axes without effect on the model."""
    if isinstance(model, type):
        raise errors.wrong_type(
            who, f"the class {model.__name__}", "a model, or a factory of models",
            f"call the class first, or pass a factory: {_EXAMPLE}",
        )  # fmt: skip
    taken = _arguments(model)
    if _is_factory(model):
        others = [
            item.name
            for item in inspect.signature(model).parameters.values()
            if item.name not in taken
            and item.default is item.empty
            and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
        ]
        if others:
            raise errors.refusal(
                f"factory {label(model)!r}",
                f"the argument {others[0]!r}",
                f"arguments that are axes of the grid: {', '.join((*MODEL_AXES, *OPTIONS))}",
                "give the argument a default; an apply function is a model with its parameters' "
                "shapes: model=(shapes, apply)",
            )
    for axis in (*MODEL_AXES, *OPTIONS):
        if axis not in taken and getattr(grid, axis) != getattr(Grid, axis):
            raise errors.refusal(
                f"grid axis {axis!r}",
                getattr(grid, axis),
                f"its default, because {who} does not take it",
                f"leave it out, or pass a factory that takes it: {_EXAMPLE}",
            )


def _called(factory: ModelFactory, values: Mapping[str, Any]) -> ModelLike:
    """What a factory returns; its exception becomes a refusal that quotes it."""
    try:
        model = factory(**values)
    except errors.Refusal:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise errors.refusal(
            "factory", type(error).__name__, "a model", f"correct the factory; it raised: {reason}"
        ) from error
    if _is_factory(model):
        raise errors.wrong_type("factory", label(model), "a model", "return a module")
    return model


def _mlp(values: Mapping[str, Any], outputs: int) -> Model:
    if not outputs:
        raise errors.refusal(
            "model",
            "the grid's own MLP for several targets",
            "a model of your own, because no number of outputs follows from them",
            "model=YourModule(), which returns the outputs that your loss takes",
        )
    # A function of the user must be seen behind its name, because another one may get the name.
    activation = activations.get(values["activation"])
    return models.as_model(
        models.MLP(
            features=(values["width"],) * values["depth"] + (outputs,),
            activation=values["activation"] if is_known(activation) else activation,
            residual=values["residual"],
            layer_norm=values["layer_norm"],
        )
    )
