"""What the layers of a model are, asked of the model itself, for every framework of the family.

Frameworks are recognized by class names, so that none is imported that the model did not bring.
"""

from __future__ import annotations

from typing import Any

from jinit import errors
from jinit.frameworks import _equinox, _haiku, _keras, _linen, _nnx, _torch
from jinit.frameworks._common import comes_from
from jinit.frameworks._layout import Layout
from jinit.typing import PyTree

_ROOMS = {
    "linen": _linen,
    "nnx": _nnx,
    "haiku": _haiku,
    "equinox": _equinox,
    "keras": _keras,
    "torch": _torch,
}


def host_of(model: Any) -> str:
    """The framework a model was made with.

    Returns:
      ``"flax"`` (linen and nnx), ``"haiku"``, ``"equinox"``, ``"keras"`` or ``"torch"``.

    Raises:
      TypeError: none of them.

    >>> import flax.linen as nn
    >>> host_of(nn.Dense(3))
    'flax'
    """
    room = _room(model)
    return "flax" if room in ("linen", "nnx") else room


def layers(model: Any, *inputs: Any) -> dict[str, Layout]:
    """Leaf path → what the leaf is in its layer, for every layer the model uses.

    Args:
      model: a linen or nnx module, a Haiku ``Transformed``, an Equinox, Keras or torch module.
      *inputs: example inputs, arrays or ``jax.ShapeDtypeStruct``; linen and Haiku modules need
        them, because they make their layers while they run. Nothing is computed.

    Returns:
      For ``jinit.initialize(…, layers=layers(model, x))``. Leaves of layers it does not know are
      missing: name them yourself, ``{**layers(model, x), "*/mixer/weight": "dense"}``.

    Raises:
      TypeError: a model of no known framework.

    >>> import flax.linen as nn, jax, jax.numpy as jnp
    >>> layers(nn.Conv(8, (3, 3), feature_group_count=4), jnp.zeros((1, 8, 8, 4)))["kernel"].groups
    4
    """
    room = _ROOMS[_room(model)]
    try:
        found: dict[str, Layout] = room.layers(model, *inputs)
    except Exception as error:
        if room not in (_linen, _haiku):
            raise
        raise errors.refusal(
            "inputs of the model",
            f"{len(inputs)} of them, with which it does not run ({type(error).__name__})",
            "example inputs, arrays or jax.ShapeDtypeStruct",
            "frameworks.layers(model, x); it said: " + str(error).strip().partition("\n")[0][:120],
        ) from error
    return found


def shapes(model: Any, *inputs: Any) -> PyTree:
    """The parameter tree of a model as ``jax.ShapeDtypeStruct``, in the paths of :func:`layers`.

    linen: the ``params`` collection; nnx: ``nnx.state(model, nnx.Param)``; Haiku: its dictionary;
    Equinox: the module's arrays; Keras: trainable variables by path; torch: parameters by name.

    Raises:
      TypeError: a model of no known framework.

    >>> import flax.linen as nn, jax.numpy as jnp
    >>> shapes(nn.Dense(3), jnp.zeros((1, 2)))["kernel"].shape
    (2, 3)
    """
    return _ROOMS[_room(model)].shapes(model, *inputs)


def _room(model: Any) -> str:
    for name, package, kind in (
        ("linen", "flax.linen", "Module"),
        ("nnx", "flax.nnx", "Module"),
        ("haiku", "haiku", "Transformed"),
        ("haiku", "haiku", "TransformedWithState"),
        ("equinox", "equinox", "Module"),
        ("keras", "keras", "Layer"),
        ("torch", "torch", "Module"),
    ):
        if comes_from(model, package, kind):
            return name
    if isinstance(model, type):
        raise errors.wrong_type("model", model.__name__, "an instance", "call the class first")
    raise errors.wrong_type(
        "model",
        type(model).__name__,
        "a linen, nnx, Haiku, Equinox, Keras or torch model",
        "pass layers={pattern: 'dense'} for a tree of your own",
    )
