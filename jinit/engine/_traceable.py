"""Refuses functions of the user that JAX cannot trace."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import jax

from jinit import errors


@contextlib.contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turns JAX's errors of a function that cannot be traced into refusals.

    Errors of the function's own pass: only their authors can say what is wrong.

    Args:
      name: of the function.

    >>> with refusing("abs"):
    ...     jax.eval_shape(abs, 1.0).shape
    ()
    """
    try:
        yield
    except errors.Refusal:
        raise
    except TypeError as error:
        text = str(error).strip().partition("\n")[0]
        if isinstance(error, jax.errors.JAXTypeError):
            raise errors.wrong_type(
                f"function {name!r}",
                f"{type(error).__name__}: {text}",
                "a function of arrays that JAX can trace",
                "compute with jax.numpy: jnp.where for if, no float(), int() or NumPy on values",
            ) from error
        if "not a valid JAX type" in text:
            found = re.search(r"value of type <class '([^']+)'>", text)
            raise errors.wrong_type(
                f"result of {name!r}",
                text if found is None else f"a value of type {found[1]}",
                "arrays, numbers, and trees of both",
                "return the numbers, and keep text outside",
            ) from error
        raise
