"""Says what draws the leaves in each arm, and draws what a function of the key alone returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors, parameters
from jinit._anew import anew
from jinit._specs import label
from jinit.calibrate import Calibration
from jinit.calibrate._registry import split
from jinit.engine._program import Program, cached
from jinit.frameworks._paths import path_of
from jinit.initializers import NamedInitializer
from jinit.parameters._norms import NormOf
from jinit.parameters._rules import KEEP, Assignment
from jinit.sweep._arms import OWN, Arm, Whole, content
from jinit.sweep._network import run_key
from jinit.sweep._rules import ModelLeaves, RulesFor, assignments
from jinit.sweep._weights import check_drawn, in_batches
from jinit.typing import Array, Initializer, PyTree


def assigned(
    leaves: ModelLeaves, rules: RulesFor, pair: tuple[Arm, Arm]
) -> tuple[list[Assignment], Calibration | None]:
    """What draws each leaf in one arm, and the calibration after it.

    Args:
      leaves: the leaves of the model.
      rules: ``rules(initializer, bias_initializer)``, all rules of an arm.
      pair: an initializer and a bias initializer of the grid.

    Raises:
      ValueError, TypeError: rules that do not fit the model; what a function of the user returns is
        no array of the leaf's shape and dtype, or not all parameters.
    """
    kernel, bias = map(content, pair)
    if isinstance(kernel, Whole):
        WholeWeights(leaves, kernel, "init")
        kept = parameters.assign(leaves.shapes, {"*": KEEP}, host=leaves.host, layers=leaves.layers)
        # Every leaf comes from the function, which the printed plan names.
        named: Any = kernel
        return [dataclasses.replace(one, initializer=named) for one in kept], None
    if kernel == OWN and not leaves.own:
        raise errors.refusal(
            "initializer",
            OWN,
            f"a model with a start of its own; {leaves.model.name} has shapes alone",
            "model=YourModule(), or name an initializer such as 'lecun_normal'",
        )
    drawn, calibration = split(kernel)
    found = assignments(leaves, rules(drawn, OWN if kernel == OWN else bias))
    for one in {(one.initializer, one.shape, str(one.dtype)): one for one in found}.values():
        _check_draw(one)
    return found, calibration


def _check_draw(one: Assignment) -> None:
    """Traces the draw of a leaf by a function of the user, so that its errors appear at once."""
    made = one.initializer
    if made is None or isinstance(made, NamedInitializer | NormOf):
        return
    _traced(label(made), lambda key: one.draw(key))


def _traced(name: str, function: Any) -> Any:
    """The shapes of what a function of a key returns.

    Raises:
      ValueError: the function needs the bits of its key, as NumPy's functions do.
    """
    try:
        return jax.eval_shape(anew(function), jax.random.key(0))
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        problem = str(error).partition("\n")[0]
        raise errors.refusal(
            f"initializer {name!r}",
            problem,
            "a function that JAX can trace",
            "draw with jax.random and the key that the function gets",
        ) from None


class WholeWeights:
    """Draws the parameters of a tile of networks with a function of the key alone."""

    kept: tuple[int, ...] = ()

    def __init__(self, leaves: ModelLeaves, whole: Whole, purpose: str) -> None:
        """Args:
        leaves: the leaves of the model.
        whole: the function; it must return exactly these leaves.
        purpose: purpose of the keys, see :func:`run_key`.
        """
        self._tree: jax.tree_util.PyTreeDef = jax.tree.structure(leaves.shapes)
        self._name = str(whole)
        paths = tuple(leaf.path for leaf in leaves.leaves)
        self._draw = _WholeStart(whole, purpose, paths)
        given = _by_path(_traced(self._name, whole))
        wanted = {leaf.path: leaf.value for leaf in leaves.leaves}
        if set(given) != set(wanted):
            missing, extra = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
            raise errors.ValueRefusal(
                f"parameters of initializer {self._name!r}",
                f"no {', '.join(missing[:5])}" if missing else f"also {', '.join(extra[:5])}",
                f"all leaves of {leaves.model.name}: {', '.join(list(wanted)[:8])}",
                "return a tree like frameworks.shapes(model, x)",
            )
        for path, leaf in wanted.items():
            mine, theirs = given[path], (tuple(leaf.shape), jnp.dtype(leaf.dtype))
            if (tuple(mine.shape), jnp.dtype(mine.dtype)) != theirs:
                raise errors.ValueRefusal(
                    f"leaf {path!r} of initializer {self._name!r}",
                    f"shape {tuple(mine.shape)}, dtype {mine.dtype}",
                    f"shape {theirs[0]}, dtype {theirs[1].name}",
                    "return what frameworks.shapes(model, x) describes",
                )
        self._program: Program | None = None

    def programs(self, width: int) -> Sequence[Program]:
        """The programs that :meth:`draw` calls for tiles of this width."""
        lane = {"seed": jax.ShapeDtypeStruct((), np.dtype(np.uint32))}
        self._program = cached(self._draw, lane, (), width=width, name=f"draw {self._name}")
        return [self._program]

    def code(self) -> tuple[object, ...]:
        """As :meth:`Weights.code`."""
        assert self._program is not None
        return (self._program.fingerprint(),)

    def draw(
        self,
        seeds: np.ndarray,
        kept: Mapping[int, np.ndarray],
        state: PyTree,
        device: jax.Device | None,
    ) -> tuple[PyTree, np.ndarray]:
        """The parameters of networks with these seeds, and that nothing failed to calibrate."""
        assert self._program is not None
        leaves = in_batches(self._program, {"seed": seeds}, (), device)
        for path, values in zip(self._draw.paths, leaves, strict=True):
            check_drawn(f"leaf {path!r} of initializer {self._name!r}", values, seeds)
        return jax.tree.unflatten(self._tree, leaves), np.ones(len(seeds), bool)


@dataclass(frozen=True)
class _WholeStart:
    """Maps ``{seed}`` to the leaves in the model's order; equal instances share a program."""

    whole: Whole
    purpose: str
    paths: tuple[str, ...]

    def __call__(self, lane: Mapping[str, Any]) -> list[Array]:
        given = _by_path(self.whole(run_key(lane["seed"], self.purpose)))
        return [given[path] for path in self.paths]


def _by_path(tree: PyTree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_of(path): leaf for path, leaf in leaves}


def drawn_by(pair: tuple[Arm, Arm]) -> tuple[str | Initializer, str | Initializer]:
    """The pair as a user's ``rules`` function gets it: without names and calibrations."""
    kernel, bias = map(content, pair)
    return split(kernel)[0], OWN if kernel == OWN else bias
