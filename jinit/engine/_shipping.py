"""Sends jobs to other processes: one pickle per job, and each large array apart, once.

Functions that Python's pickle knows by name alone (lambdas, local functions and models, anything of
``__main__``) need cloudpickle.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jinit import errors

# Arrays from this size on travel apart, so that jobs which share a data set send the data once.
_LARGE = 2**16


@dataclass(frozen=True)
class Parcel:
    """A pickled object.

    Attributes:
      digest: identifies the object.
      body: its pickle, without large arrays.
      arrays: digest of a large array → its pickle.
    """

    digest: str
    body: bytes
    arrays: Mapping[str, bytes]


class Packer:
    """Pickles jobs; remembers the arrays that earlier ones contained.

    >>> data = np.zeros(100_000, np.uint8)
    >>> packer = Packer()
    >>> first, second = packer.pack(("a", data)), packer.pack(("b", data))
    >>> first.arrays == second.arrays, len(first.body) < 500
    (True, True)
    """

    def __init__(self) -> None:
        # The array itself is kept, so that no other one gets its id.
        self._seen: dict[int, tuple[Any, str]] = {}
        self._arrays: dict[str, bytes] = {}

    def pack(self, value: object, *, apart: bool = True) -> Parcel:
        """Pickles a value.

        Args:
          value: anything that can be pickled.
          apart: whether large arrays travel apart.

        Raises:
          TypeError: the value cannot be pickled.
        """
        used: dict[str, bytes] = {}

        def persistent_id(item: object) -> tuple[str, str] | None:
            if not apart or not _is_large(item):
                return None
            digest = self._digest(item)
            used[digest] = self._arrays[digest]
            return type(item).__name__, digest

        body = _pickled(value, persistent_id)
        digest = hashlib.blake2b(body, digest_size=16).hexdigest()
        return Parcel(digest, body, used)

    def _digest(self, item: Any) -> str:
        if id(item) in self._seen:
            return self._seen[id(item)][1]
        array = np.asarray(item)
        content = pickle.dumps(np.ascontiguousarray(array), protocol=5)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        self._seen[id(item)] = (item, digest)
        self._arrays[digest] = content
        return digest


def unpack(body: bytes, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value of a parcel whose arrays are here.

    >>> parcel = Packer().pack({"x": np.arange(100_000)})
    >>> arrays = {digest: pickle.loads(content) for digest, content in parcel.arrays.items()}
    >>> unpack(parcel.body, arrays)["x"][-1]
    np.int64(99999)
    """

    class Reader(pickle.Unpickler):
        def persistent_load(self, known: tuple[str, str]) -> Any:
            array = arrays[known[1]]
            return array if known[0] == "ndarray" else jnp.asarray(array)

    return Reader(io.BytesIO(body)).load()


class KnownArrays:
    """The large arrays that live in this process, by digest; none is kept alive for its own sake.

    >>> KnownArrays().get("0" * 32) is None
    True
    """

    def __init__(self) -> None:
        self._arrays: weakref.WeakValueDictionary[str, np.ndarray] = weakref.WeakValueDictionary()

    def get(self, digest: str) -> np.ndarray | None:
        """The array with this digest, if it is here."""
        return self._arrays.get(digest)

    def add(self, digest: str, content: bytes) -> np.ndarray:
        """Keeps an array while somebody uses it."""
        return self._arrays.setdefault(digest, pickle.loads(content))


def _is_large(item: object) -> bool:
    if type(item) is np.ndarray:
        return item.nbytes >= _LARGE and not item.dtype.hasobject
    if isinstance(item, jax.Array) and not isinstance(item, jax.core.Tracer):
        return not jnp.issubdtype(item.dtype, jax.dtypes.prng_key) and item.nbytes >= _LARGE
    return False


def _pickled(value: object, persistent_id: Callable[[object], tuple[str, str] | None]) -> bytes:
    """The pickle, by cloudpickle if it is installed."""
    target, pickler = io.BytesIO(), _pickler()

    class Writer(pickler):  # type: ignore[misc, valid-type]
        def persistent_id(self, item: object) -> tuple[str, str] | None:
            return persistent_id(item)

    try:
        Writer(target, protocol=5).dump(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise errors.wrong_type(
            "a job for other processes",
            str(error),
            "functions and models that can be pickled",
            "define them at the top level of a module that the workers can import"
            if pickler is not pickle.Pickler
            else "python -m pip install cloudpickle (or jinit's extra cluster), or define them at "
            "the top level of a module that the workers can import",
        ) from None
    return target.getvalue()


def _pickler() -> Any:
    """The class that pickles functions by value, or Python's."""
    try:
        import cloudpickle
    except ImportError:
        return pickle.Pickler
    return cloudpickle.Pickler
