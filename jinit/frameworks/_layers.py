"""Lists the layers and the parameters of a model of any framework.

Models are recognized by class names, so a framework is imported only if the model comes from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import jax

from jinit import errors
from jinit.frameworks import _table
from jinit.frameworks._framework import Framework
from jinit.frameworks._layout import Layout
from jinit.typing import ModelLike, PyTree

T = TypeVar("T")


def host_of(model: ModelLike) -> str:
    """The host of a model's framework: the value of ``host=`` that fits its parameters.

    Args:
      model: an instance of a model.

    Returns:
      One of :func:`jinit.frameworks.hosts`; linen and nnx share ``"flax"``.

    Raises:
      TypeError: a model of no known framework.

    >>> import flax.linen as nn
    >>> host_of(nn.Dense(3))
    'flax'
    """
    return _framework_of(model).host


def layers(
    model: ModelLike, *inputs: PyTree, keywords: Mapping[str, PyTree] | None = None
) -> dict[str, Layout]:
    """The layout of each leaf by its path, for every layer that the model uses.

    Args:
      model: a model of any framework in :func:`jinit.frameworks.names`.
      *inputs: example inputs, arrays or ``jax.ShapeDtypeStruct``. Only frameworks that make their
        layers while the model runs (linen, Haiku) need them. Nothing is computed.
      keywords: keyword arguments of the model's call, such as ``{"train": False}``, for the same
        frameworks.

    Returns:
      The layouts for ``jinit.initialize(…, layers=layers(model, x))``. Leaves of layers that jinit
      does not know are missing, and so are leaves that a class of yours adds to a known layer, and
      the slope of an nnx or Equinox ``PReLU`` without one value: add them yourself,
      ``{**layers(model, x), "*/mixer/weight": "dense"}``.

    Raises:
      TypeError: a model of no known framework.
      ValueError: the model does not run on these inputs.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> layers(nn.Conv(8, (3, 3), feature_group_count=4), jnp.zeros((1, 8, 8, 4)))["kernel"].groups
    4
    """
    framework = _framework_of(model)
    return _asked("layers", framework, framework.layers, model, inputs, keywords)


def shapes(
    model: ModelLike, *inputs: PyTree, keywords: Mapping[str, PyTree] | None = None
) -> PyTree:
    """The parameter tree of a model as ``jax.ShapeDtypeStruct``, with the paths of :func:`layers`.

    The tree is the framework's own: linen's ``params`` collection, ``nnx.state(model, nnx.Param)``,
    Haiku's dictionary, an Equinox module; for Keras and torch a dictionary by variable path or
    parameter name, without Keras' non-trainable variables and torch's buffers.

    Args:
      model, *inputs, keywords: as :func:`layers`.

    Returns:
      A pytree with one ``jax.ShapeDtypeStruct`` or array for each parameter.

    Raises:
      TypeError: a model of no known framework.
      ValueError: the model does not run on these inputs; a model without parameters, or whose
        parameters do not exist yet (a Keras model that is not built, a lazy torch layer); two
        parameters with one path.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> shapes(nn.Dense(3), jnp.zeros((1, 2)))["kernel"].shape
    (2, 3)
    """
    framework = _framework_of(model)
    tree = _asked("shapes", framework, framework.shapes, model, inputs, keywords)
    if not jax.tree.leaves(tree):
        raise errors.refusal(
            f"{framework.name} model {type(model).__name__}",
            "no parameters",
            "a model with at least one parameter",
            "build the model or call it once on an example first",
        )
    return tree


def _asked(
    what: str,
    framework: Framework,
    function: Callable[..., T],
    model: ModelLike,
    inputs: tuple[PyTree, ...],
    keywords: Mapping[str, PyTree] | None,
) -> T:
    """What a function of the framework says of a model; errors of the model become refusals."""
    try:
        return function(model, *inputs, **_call(framework, keywords))
    except errors.Refusal:
        raise
    except Exception as error:
        if not framework.needs_inputs:
            raise
        raise raised_by_model(what, len(inputs), error) from error


def raised_by_model(what: str, inputs: int, error: Exception) -> errors.Refusal:
    """The refusal of inputs on which a model raises an error of its own.

    Args:
      what: the name of the function in :mod:`jinit.frameworks` that was called.
      inputs: number of inputs.
      error: what the model raised.

    >>> raised_by_model("capture", 1, TypeError("missing 'train'")).fix[:30]
    'frameworks.capture(model, x), '
    """
    reason = str(error).strip().partition("\n")[0][:120]
    return errors.refusal(
        "inputs of the model",
        f"{inputs} inputs, on which the model does not run ({type(error).__name__})",
        "example inputs, arrays or jax.ShapeDtypeStruct",
        f"frameworks.{what}(model, x), with keywords={{'train': False}} if the call needs "
        f"flags; the model raised: {reason}",
    )


def _call(
    framework: Framework, keywords: Mapping[str, PyTree] | None
) -> dict[str, Mapping[str, PyTree]]:
    """The argument ``keywords`` for a function of the framework that runs the model."""
    if not keywords:
        return {}
    if not isinstance(keywords, Mapping):
        raise errors.wrong_type(
            "keywords", keywords, "a mapping from argument to value", "{'train': False}"
        )
    if not framework.needs_inputs:
        raise errors.refusal(
            "keywords",
            sorted(keywords),
            f"no keywords, because {framework.name} layers exist before the model runs",
            "leave keywords out",
        )
    return {"keywords": keywords}


def layout(spec: str | Layout, host: str = "flax") -> Layout:
    """The layout that a layer spec names, in a host's axis order.

    The built-in layer kinds are ``dense`` and ``conv(groups=1)``; ``dense(inputs=2, outputs=1,
    batch=0)`` for several axes, in the order batch, in, out (torch, Equinox: batch, out, in);
    ``transposed(groups=1)``;
    ``depthwise`` for kernels (…, in, multiplier), as Keras has them (torch, Equinox, Haiku:
    ``conv(groups=C)`` for C input channels); ``fused((64, 64, 64))`` for blocks packed along
    the out axis; ``recurrent`` for a hidden-to-hidden kernel, ``recurrent((32, 32, 32, 32))`` if it
    packs its gates; ``embedding``; ``bias``; ``vector``. :func:`layer_kinds` lists them all.

    Args:
      spec: a spec string, or a :class:`Layout`, which is returned unchanged.
      host: the axis order, one of :func:`jinit.frameworks.hosts`.

    Returns:
      The :class:`Layout`.

    Raises:
      ValueError: an unknown kind or host, arguments that the kind does not take, or ``depthwise``
        for a host without such kernels.

    >>> layout("conv(groups=4)", "torch").out_axes
    (0,)
    """
    return _table.conventions_of(host).layout(spec)


def _framework_of(model: ModelLike) -> Framework:
    framework = _table.find(model)
    if framework is not None:
        return framework
    if isinstance(model, type):
        raise errors.wrong_type("model", model.__name__, "an instance", "call the class first")
    raise errors.wrong_type(
        "model",
        type(model).__name__,
        f"a model of {_table.listed()}",
        "pass layers={pattern: 'dense'} for a tree of your own",
    )
