"""Checks losses and metrics on shapes, and that a loss has a gradient, before anything trains."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors
from jinit._anew import anew
from jinit._warn import warn
from jinit.data import Dataset
from jinit.data._arrays import CLASSES, WITHOUT_CLASSES
from jinit.engine._divided import parts_of, untraced
from jinit.engine._known import is_known
from jinit.engine._traced import Recall
from jinit.sweep._grid import Grid
from jinit.sweep._network import TrainNetwork
from jinit.sweep._opened import OpenedModel
from jinit.sweep._values import replaced
from jinit.train import FitConfig
from jinit.train._fit import measured
from jinit.train._own_loss import MetricFunction, OwnFunction, OwnLossFunction
from jinit.train._positions import plain
from jinit.train._softened import SMOOTHED
from jinit.train.losses import Loss, at
from jinit.typing import Array, PyTree

# A batch of so many examples shows in a shape: layers seldom have so many units.
_ODD = 89
# Whether losses of the user have a gradient, by what their functions trace as.
_HAS_GRADIENT: Recall[bool] = Recall()


def check_target(config: FitConfig, loss: Loss, dataset: Dataset) -> None:
    """Refuses a target on a curve that the runs do not have."""
    if config.target is None:
        return
    sets = ("test",) if dataset.x_validation is None else ("test", "validation")
    known = ["train_loss", *(f"{name}_{what}" for name in sets for what in measured(loss))]
    if dataset.task in WITHOUT_CLASSES:
        known = [name for name in known if not name.endswith("accuracy")]
    if config.goal.metric not in known:
        name, own = config.goal.metric, config.goal.metric.removeprefix("test_")
        builtin = own in ("loss", "accuracy", "balanced_accuracy")
        near = builtin or difflib.get_close_matches(name, known, cutoff=0.8)
        if name.startswith("test_") and not near:
            raise errors.refusal(
                "metric of the target",
                name,
                f"one of {', '.join(known)}, or test_NAME of a metric of your own",
                f"Grid(metrics={{{own!r}: function}}, target={str(config.target)!r})",
            )
        raise errors.unknown_name("metric of the target", name, known)


def class_weights(
    weights: str | tuple[float, ...] | None, dataset: Dataset, loss: Loss
) -> tuple[float, ...]:
    """The weight of each class; () without weights."""
    if weights is None:
        return ()
    if dataset.task not in CLASSES:
        fix = "drop class_weights"
        raise errors.refusal("class_weights", f"a {dataset.task} data set", "classes", fix)
    if isinstance(loss.function, OwnFunction) and (dataset.ignores or dataset.y_train.ndim > 1):
        got, fix = f"loss {loss.name!r} of labels at positions", "weigh the labels inside the loss"
        raise errors.refusal("class_weights", got, "a loss by name", fix)
    if isinstance(weights, tuple):
        if len(weights) != dataset.outputs:
            allowed = f"one weight for each of the {dataset.outputs} classes of {dataset.name!r}"
            raise errors.refusal("class_weights", weights, allowed, "class_weights='balanced'")
        return weights
    labels = np.asarray(dataset.y_train)
    labels = labels[labels >= 0] if dataset.ignores else labels.ravel()
    counts = np.bincount(labels, minlength=dataset.outputs)
    return tuple((len(labels) / (len(counts) * np.maximum(counts, 1))).tolist())


def check_softened(network: TrainNetwork, opened: OpenedModel, dataset: Dataset) -> None:
    """Refuses smoothed labels and class weights for a loss that cannot have them."""
    loss = network.loss
    if network.smooths and plain(loss).function not in SMOOTHED:
        raise errors.refusal(
            "label_smoothing",
            f"loss {loss.name!r}",
            " or ".join(function.__name__ for function in SMOOTHED),
            "smooth the labels inside the loss",
        )
    if network.weights:
        outputs = _outputs(opened, dataset, 2)

        def value(params: PyTree, outputs: PyTree, y: PyTree) -> Array:
            return at(network.objective(0.0), params, 0)(outputs, y)

        y = _batch(dataset.y_train, 2)
        _traced(
            f"loss {loss.name!r}", value, f"outputs {outputs}", opened.leaves.shapes, outputs, y
        )


def with_objective(
    grid: Grid,
    loss: OwnLossFunction | Mapping[str, OwnLossFunction | str] | None,
    metrics: Mapping[str, MetricFunction] | None,
) -> Grid:
    """The grid with this loss and these metrics; refuses what it would say twice."""
    both: dict[str, Any] = {"loss": loss, "metrics": metrics}
    given = {name: value for name, value in both.items() if value is not None}
    if not given or not dataclasses.is_dataclass(grid):
        return grid  # the plan refuses what is no grid
    for name, value in given.items():
        if getattr(grid, name):
            raise errors.refusal(
                name, value, f"None beside Grid({name}=…)", "give it in one of the two places"
            )
    checked = Grid(**given)
    made = replaced(grid, **{name: getattr(checked, name) for name in given})
    made._check_size()
    return made


def check_objective(opened: OpenedModel, dataset: Dataset, loss: Loss) -> None:
    """Refuses a loss or a metric that does not fit the model's outputs and the targets.

    Raises:
      ValueError, TypeError: the loss or a metric raises an error, returns another shape or dtype
        than a loss or a metric has, or the loss has no gradient.

    Warns:
      UserWarning: outputs (batch, 1) and labels (batch,) were broadcast to (batch, batch).
    """
    outputs, shapes = _outputs(opened, dataset, 2), opened.leaves.shapes
    seen = f"outputs {_shapes(outputs)} and y {_shapes(dataset.y_train)}"
    # A trace would refuse what is no array in words of its own.
    if isinstance(loss.function, OwnFunction):
        _check_own_loss(untraced(loss), shapes, outputs, dataset, seen)
        if "params" not in loss.takes:
            _check_gradient(loss, outputs, dataset)
    for name, function in loss.metrics:
        _check_metric(name, untraced(function), outputs, dataset, seen)


def _outputs(opened: OpenedModel, dataset: Dataset, batch: int) -> PyTree:
    """The shapes of the outputs for a batch, as a loss gets them: one output is a column."""
    outputs = opened.outputs(dataset, batch)
    one = getattr(outputs, "shape", None) == (batch,)
    return jax.ShapeDtypeStruct((batch, 1), outputs.dtype) if one else outputs


def _check_own_loss(
    loss: Loss, shapes: PyTree, outputs: PyTree, dataset: Dataset, seen: str
) -> None:
    def value(params: PyTree, outputs: PyTree, y: PyTree) -> Array:
        return loss.at(params, 0)(outputs, y)

    y = _batch(dataset.y_train, _ODD)
    many = _batch(outputs, _ODD)
    traced = _traced(f"loss {loss.name!r}", value, seen, shapes, many, y)
    alone = getattr(many, "shape", None) == (_ODD, 1) and getattr(y, "shape", None) == (_ODD,)
    if alone and _makes(traced.jaxpr, (_ODD, _ODD)):
        warn(
            f"the loss {loss.name!r} makes an array of shape (batch, batch) from outputs "
            "(batch, 1) and y (batch,): if this is broadcasting, use outputs[:, 0]"
        )


def _check_gradient(loss: Loss, outputs: PyTree, dataset: Dataset) -> None:
    """Refuses a loss whose gradient is 0 at random outputs.

    One that computes the same as an earlier one was checked then.
    """
    x, y = dataset.spread(32)
    shapes, key = _batch(outputs, len(x)), jax.random.key(0)
    rest, parts = parts_of(loss)
    leaves, tree = jax.tree.flatten(shapes)
    described = tree, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    targets = tuple(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(y))
    known = (rest, targets, jax.tree.structure(y), described) if is_known(rest) else None
    if known and _HAS_GRADIENT.find(known, parts):
        return

    def size(scale: float) -> Array:
        leaves, tree = jax.tree.flatten(shapes)
        drawn = [
            scale * jax.random.normal(jax.random.fold_in(key, number), leaf.shape, leaf.dtype)
            for number, leaf in enumerate(leaves)
        ]
        gradient = jax.grad(lambda z: loss.at((), 0)(z, y))(jax.tree.unflatten(tree, drawn))
        return sum((jnp.abs(g).sum() for g in jax.tree.leaves(gradient)), jnp.zeros(()))

    if not any(float(jax.jit(size)(scale)) != 0 for scale in (1.0, 3.0)):
        raise errors.refusal(
            f"loss {loss.name!r}",
            "a gradient of 0 for random outputs",
            "a loss that depends smoothly on the outputs",
            "no argmax, comparison or stop_gradient between outputs and loss",
        )
    if known:
        _HAS_GRADIENT.keep(known, parts, True)


def _check_metric(
    name: str, function: MetricFunction, outputs: PyTree, dataset: Dataset, seen: str
) -> None:
    tested = len(dataset.x_test)
    what = f"metric {name!r}"
    many = _batch(outputs, tested), _batch(dataset.y_test, tested)
    allowed, fix = "one number: an array of shape ()", "return e.g. jnp.mean(values)"
    found = _traced(what, function, seen, *many).out_avals
    if len(found) != 1 or found[0].shape != ():
        got = ", ".join(f"shape {value.shape}" for value in found) or "None"
        raise errors.refusal(what, got, allowed, fix)
    if not jnp.issubdtype(found[0].dtype, jnp.number) or jnp.iscomplexobj(found[0]):
        raise errors.wrong_type(what, f"dtype {found[0].dtype}", allowed, fix)


def _traced(what: str, function: Callable[..., Any], seen: str, *arguments: PyTree) -> Any:
    """The jaxpr of a user's function; its errors become refusals that name the function."""
    try:
        return jax.make_jaxpr(anew(function))(*arguments)
    except errors.Refusal as error:
        raise type(error)(what, error.got, error.allowed, error.fix) from None
    except Exception as error:
        text = str(error).strip().partition("\n")[0]
        raise errors.refusal(
            what,
            f"{type(error).__name__}: {text}",
            f"a function of {seen} that JAX can trace",
            "compute with jax.numpy, without float(), if or NumPy on the values",
        ) from error


def _makes(jaxpr: Any, shape: tuple[int, ...]) -> bool:
    """Whether a traced program makes an array of this shape."""
    for equation in jaxpr.eqns:
        if any(getattr(out.aval, "shape", None) == shape for out in equation.outvars):
            return True
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and _makes(inner, shape):
                return True
    return False


def _batch(tree: PyTree, count: int) -> PyTree:
    """The shapes of arrays with another number of examples."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape[1:]), np.dtype(leaf.dtype)), tree
    )


def _shapes(tree: PyTree) -> str:
    """The shapes of the arrays of a tree by path, the number of examples as "batch"."""
    shown = [
        f"{jax.tree_util.keystr(path)} ({', '.join(['batch', *map(str, leaf.shape[1:])])})"
        f" {leaf.dtype}".strip()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    return ", ".join(shown)
