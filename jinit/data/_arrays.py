"""Reads the user's arrays as NumPy does, and refuses what is no array of numbers."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from jinit import errors

Task: TypeAlias = Literal["multiclass", "binary", "multilabel", "regression", "several"]
# Their labels are numbers of classes, one for an example or one at each position.
CLASSES: tuple[Task, ...] = ("multiclass", "binary")
# Their targets are no classes: there is no accuracy.
WITHOUT_CLASSES: tuple[Task, ...] = ("regression", "several")
TASKS: tuple[Task, ...] = ("multiclass", "binary", "multilabel", "regression")
SCALED = "y = (y - y.mean(0)) / y.std(0)"


def plain(name: str, given: ArrayLike) -> np.ndarray:
    """The array as NumPy reads it; ragged lists and masked entries are refused."""
    if isinstance(given, np.ma.MaskedArray):
        masked = int(np.ma.getmaskarray(given).sum())
        if masked:
            raise errors.refusal(
                name,
                f"a masked array with {masked} masked entries",
                "numbers in every entry",
                "drop these examples, or fill them in: x.filled(x.mean())",
            )
        return np.asarray(given.data)
    if hasattr(given, "toarray"):
        raise errors.wrong_type(
            name, f"a sparse matrix {type(given).__name__}", "a dense array", f"{name}.toarray()"
        )
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, OverflowError):
        fix = "pass a NumPy or JAX array; pad rows of different lengths"
        raise errors.wrong_type(name, given, "an array of numbers", fix) from None
    except RuntimeError:  # a tensor of torch that is part of a graph or on another device
        fix = f"{name}.detach().cpu().numpy()"
        raise errors.wrong_type(name, type(given).__name__, "an array in memory", fix) from None
    if array.dtype.kind == "O" and array.ndim == 0:
        ended = hasattr(given, "__next__")
        raise errors.wrong_type(
            name,
            f"a generator, {type(given).__name__}" if ended else given,
            "an array of numbers",
            f"np.stack(list({name}))" if ended else "pass a NumPy or JAX array",
        )
    return array


def check_indicators(name: str, array: np.ndarray) -> None:
    """Refuses any other number than 0 and 1 among labels that are present or absent."""
    other = array[(array != 0) & (array != 1)]
    if other.size:
        raise errors.refusal(name, other.ravel()[0].item(), "0 and 1", "y = (y > 0.5)")


def check_order(*arrays: ArrayLike) -> None:
    """Refuses ``(x_train, x_test, y_train, y_test)``, the order of scikit-learn."""
    shapes = [getattr(array, "shape", None) for array in arrays]
    if any(not isinstance(shape, tuple) or not shape for shape in shapes):
        return
    first, second, third, fourth = (shape for shape in shapes if isinstance(shape, tuple))
    alike = first[1:] == second[1:] and third[1:] == fourth[1:] and first[1:] != third[1:]
    if alike and first[:1] == third[:1] and second[:1] == fourth[:1]:
        raise errors.refusal(
            "data",
            shapes,
            "(x_train, y_train, x_test, y_test)",
            "this looks like the order of train_test_split: "
            "x_train, x_test, y_train, y_test = train_test_split(x, y)",
        )


def as_float32(name: str, x: np.ndarray, fix: str = "standardize=True") -> np.ndarray:
    """Casts to float32; refuses numbers that would become inf."""
    largest = float(np.abs(x).max(initial=0.0))
    if largest > float(np.finfo(np.float32).max):
        raise errors.refusal(name, f"an entry of {largest:.3g}", "numbers that fit float32", fix)
    return x.astype(np.float32)


def text_in(values: np.ndarray) -> Any:
    """The first entry that is not a real number, or None."""
    for value in values.ravel().tolist():
        try:
            float(value)
        except (TypeError, ValueError, OverflowError):
            return value
    return None


def first_text(values: np.ndarray) -> Any:
    """The first entry that is not a real number, or the first entry."""
    text = text_in(values)
    return values.ravel().tolist()[0] if text is None and values.size else text


def check_finite(name: str, array: np.ndarray, fix: str = "drop or impute them") -> None:
    """Refuses NaN and inf; the message names the columns."""
    good = np.isfinite(array)
    bad = int(np.size(array) - good.sum())
    if bad:
        where = ""
        if array.ndim == 2 and array.shape[1] > 1:
            columns = np.flatnonzero(~good.all(axis=0)).tolist()
            shown = ", ".join(map(str, columns[:3])) + (", …" if len(columns) > 3 else "")
            where = f" in column{'s' if len(columns) > 1 else ''} {shown}"
        raise errors.refusal(
            name, f"{bad} entries that are NaN or inf{where}", "finite numbers", fix
        )
