"""Records and perturbs the outputs of layers, for :func:`jinit.frameworks.capture`.

An opened model is ``opened(params, x, taps) -> (outputs, values)``.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
from flax.core.tracers import current_trace

from jinit import errors
from jinit.frameworks._paths import KeyPath, path_of
from jinit.typing import Array, PyTree

Taps: TypeAlias = OrderedDict[str, Array]
Opened: TypeAlias = Callable[[PyTree, Array, Taps | None], tuple[Array, Taps]]
Tap: TypeAlias = Callable[[str, PyTree], PyTree]
"""``z = tap(name, z)``: records a layer's value and adds the tap of that name."""
PlainApply: TypeAlias = Callable[[PyTree, Array, Tap], PyTree]


class Recorder:
    """Adds taps to values and keeps the sums, in the order of the calls.

    A second value with the same name is kept as ``name#2``.

    Raises:
      ValueError: a value inside ``scan``, ``vmap`` or ``remat``, which cannot leave its trace.

    >>> tap = Recorder(None)
    >>> tap("dense", 1.0), tap("dense", 2.0), list(tap.values)
    (1.0, 2.0, ['dense', 'dense#2'])
    """

    def __init__(self, taps: Taps | None) -> None:
        # An OrderedDict, because a plain dictionary comes out of a trace sorted.
        self.values: Taps = OrderedDict()
        self._taps = taps
        self._trace = current_trace()

    def __call__(self, name: str, z: PyTree) -> PyTree:
        """The value plus its tap; a value that is not an array is returned and not recorded."""
        if not hasattr(z, "shape") and not isinstance(z, float):
            return z
        if current_trace() != self._trace:
            raise errors.refusal(
                "model",
                f"layer {name!r} inside scan, vmap or remat",
                "layers called outside of them",
                "probe a plain apply(params, x, tap) that unrolls the loop",
            )
        calls = sum(recorded.partition("#")[0] == name for recorded in self.values)
        name = f"{name}#{calls + 1}" if calls else name
        self.values[name] = z if self._taps is None else z + self._taps[name]
        return self.values[name]


def plain(apply: PlainApply) -> Opened:
    """Opens an ``apply(params, x, tap)`` that calls the tap itself.

    >>> opened = plain(lambda params, x, tap: tap("dense", x * params))
    >>> outputs, values = opened(2.0, 3.0, None)
    >>> outputs, dict(values)
    (6.0, {'dense': 6.0})
    """

    try:
        inspect.signature(apply).bind(None, None, None)
    except ValueError:
        pass  # A function without a signature.
    except TypeError as problem:
        raise errors.wrong_type(
            "model",
            f"a function with {problem}",
            "apply(params, x, tap)",
            "z = tap('path/of/its/parameters', z) on each layer's pre-activation",
        ) from None

    def opened(params: PyTree, x: Array, taps: Taps | None) -> tuple[Array, Taps]:
        tap = Recorder(taps)
        return apply(params, x, tap), tap.values

    return opened


def check_taps(opened: Opened, params: PyTree, x: Array) -> None:
    """Checks that every tap reaches the output; otherwise its gradient would always be 0.

    Raises:
      ValueError: a call ``tap(name, z)`` whose return value the model does not use.
    """
    _, values = jax.eval_shape(lambda params, x: opened(params, x, None), params, x)
    jaxpr = jax.make_jaxpr(lambda taps, params, x: opened(params, x, taps)[0])(values, params, x)
    # Walk backwards from the output. Literals have a value ``val``, variables do not.
    needed = {id(variable) for variable in jaxpr.jaxpr.outvars}
    for equation in reversed(jaxpr.jaxpr.eqns):
        if needed & {id(variable) for variable in equation.outvars}:
            needed |= {id(entry) for entry in equation.invars if not hasattr(entry, "val")}
    for name, variable in zip(values, jaxpr.jaxpr.invars, strict=False):
        if id(variable) not in needed:
            raise errors.refusal(
                f"tap {name!r}",
                "a value that is not used",
                "a model that continues with the returned value",
                f"z = tap({name!r}, z)",
            )


def owners_of(shapes: PyTree, vectors: Sequence[str] = ()) -> set[str]:
    """Paths of the layers that own an array of rank ≥ 2, other than one of these ``vectors``.

    A module that owns such an array and also contains other layers is left out: its output is not
    the pre-activation of its own kernel.
    """
    owners = {
        owner_of(path)
        for path, leaf in jax.tree.leaves_with_path(shapes)
        if len(leaf.shape) > 1 and path_of(path).rpartition("/")[2] not in vectors
    }

    def contains(owner: str, other: str) -> bool:
        return other != owner and f"/{other}".startswith(f"/{owner}/".replace("//", "/"))

    return {owner for owner in owners if not any(contains(owner, other) for other in owners)}


def owner_of(path: KeyPath) -> str:
    """The path of a leaf's layer, cut from the text because path_of drops a last ``value``."""
    return path_of(path).rpartition("/")[0]
