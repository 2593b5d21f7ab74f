"""Traces a function of the user once per set of shapes, and compares functions by their traces.

A function of the user may read globals, closures and attributes that change, so what was made from
it in an earlier call may be used again only if the function still computes the same. Its jaxpr,
which takes a fraction of the time of lowering a training program, says so.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex_core

from jinit.engine._known import is_known
from jinit.typing import Array, PyTree

T = TypeVar("T")
Code: TypeAlias = Hashable
"""What a trace computes, equal for traces that compute the same."""

_PLAIN = (type(None), bool, int, str, bytes, np.dtype)
# Where these primitives keep the functions that give their derivatives.
_RULES = ("jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "out_trees")
# Derivatives of derivatives that are compared.
_DEEPEST = 3
# Constants of JAX that can decorate functions, and so have a call.
_DECORATORS = ("Mesh", "AbstractMesh")


@dataclass(frozen=True)
class Signature:
    """The arguments of one call, without their values.

    Attributes:
      tree: their structure.
      leaves: shape, dtype and weak type of each leaf.
      precision: JAX's precision of products during the call.
    """

    tree: jax.tree_util.PyTreeDef
    leaves: tuple[tuple[tuple[int, ...], Any, bool], ...]
    precision: str | None

    @classmethod
    def of(cls, args: tuple[PyTree, ...], named: Mapping[str, PyTree]) -> Signature:
        """The signature of a call that happens now."""
        leaves, tree = jax.tree.flatten((args, dict(named)))
        avals = [jax.typeof(leaf) for leaf in leaves]
        described = tuple((tuple(a.shape), a.dtype, bool(a.weak_type)) for a in avals)
        return cls(tree, described, cast(Any, jax.config).jax_default_matmul_precision)


class Traced:
    """A pure function of arrays that calls the function of the user once per signature.

    A later call with the same signature repeats the operations of the first. A new instance asks
    the function again.

    Attributes:
      function: the user's.
      traces: how often the function was called.

    >>> double = Traced(lambda x: 2 * x)
    >>> [float(double(jnp.float32(value))) for value in (1, 2)], double.traces
    ([2.0, 4.0], 1)
    """

    def __init__(self, function: Callable[..., PyTree]) -> None:
        self.function = function
        self.traces = 0
        self._lock = threading.RLock()
        self._made: dict[Signature, tuple[jex_core.ClosedJaxpr, jax.tree_util.PyTreeDef]] = {}
        self._codes: dict[Signature, Code | None] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Traced) and bool(self.function == other.function)

    def __hash__(self) -> int:
        return hash(self.function)

    def __reduce__(self) -> tuple[type[Traced], tuple[Callable[..., PyTree]]]:
        """Pickles the function; another process traces anew."""
        return Traced, (self.function,)

    def __call__(self, *args: PyTree, **named: PyTree) -> Any:
        closed, results = self._trace(Signature.of(args, named))
        outputs = jex_core.jaxpr_as_fun(closed)(*jax.tree.leaves((args, named)))
        return jax.tree.unflatten(results, outputs)

    def signatures(self) -> tuple[Signature, ...]:
        """The signatures of all calls so far."""
        with self._lock:
            return tuple(self._made)

    def code(self, signature: Signature) -> Code | None:
        """What a call computes; None if the trace does not show all of it."""
        with self._lock:
            if signature not in self._codes:
                closed, results = self._trace(signature)
                try:
                    self._codes[signature] = _encoded(closed), results
                except _Hidden:
                    self._codes[signature] = None
            return self._codes[signature]

    def _trace(self, signature: Signature) -> tuple[jex_core.ClosedJaxpr, jax.tree_util.PyTreeDef]:
        with self._lock:
            if signature not in self._made:
                shapes = [
                    jax.ShapeDtypeStruct(shape, dtype, weak_type=weak)
                    for shape, dtype, weak in signature.leaves
                ]

                # A new function each time: JAX keeps traces by function.
                def called(args: tuple[PyTree, ...], named: dict[str, PyTree]) -> PyTree:
                    self.traces += 1
                    return self.function(*args, **named)

                with jax.default_matmul_precision(cast(Any, signature.precision)):
                    closed, results = jax.make_jaxpr(called, return_shape=True)(
                        *jax.tree.unflatten(signature.tree, shapes)
                    )
                self._made[signature] = closed, jax.tree.structure(results)
            return self._made[signature]


@runtime_checkable
class Divided(Protocol):
    """A function whose parts of the user are :class:`Traced`."""

    def divided(self) -> tuple[Hashable, tuple[Traced, ...]] | None:
        """The known part, equal for equal functions, and the functions of the user.

        None if the function reads anything else.
        """
        ...


class Recall(Generic[T]):
    """Keeps what was made from functions of the user, for functions that trace as those did.

    >>> kept = Recall[str]()
    >>> first, same, other = Traced(jnp.sin), Traced(lambda x: jnp.sin(x)), Traced(jnp.cos)
    >>> value = first(1.0)
    >>> kept.keep("key", (first,), "made")
    >>> kept.find("key", (same,)), kept.find("key", (other,))
    ('made', None)
    """

    def __init__(self, size: int = 64, each: int = 8) -> None:
        """Args:
        size: number of keys.
        each: number of values under one key.
        """
        self._size, self._each = size, each
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[tuple[_Seen, T], ...]] = OrderedDict()

    def find(self, key: Hashable, parts: tuple[Traced, ...]) -> T | None:
        """The value that was kept under this key for parts that compute the same."""
        with self._lock:
            kept = self._kept.get(key, ())
        for seen, value in kept:
            if len(seen) == len(parts) and all(map(_repeats, parts, seen)):
                return value
        return None

    def keep(self, key: Hashable, parts: tuple[Traced, ...], value: T) -> None:
        """Keeps a value that all calls of these parts so far decide."""
        seen = tuple(tuple((one, part.code(one)) for one in part.signatures()) for part in parts)
        if any(code is None for part in seen for _, code in part):
            return
        with self._lock:
            others = [item for item in self._kept.pop(key, ()) if item[0] != seen]
            self._kept[key] = ((seen, value), *others[: self._each - 1])
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._kept.clear()


_Seen: TypeAlias = tuple[tuple[tuple[Signature, Code], ...], ...]


def _repeats(part: Traced, seen: tuple[tuple[Signature, Code], ...]) -> bool:
    """Whether a part computes what was seen, for every signature."""
    return all(part.code(signature) == code for signature, code in seen)


def divided(function: Callable[..., PyTree]) -> tuple[Hashable, tuple[Traced, ...]] | None:
    """The parts of a function as in :class:`Divided`; None if it has no such method."""
    if isinstance(function, Traced):
        return None, (function,)
    return function.divided() if isinstance(function, Divided) else None


class _Hidden(Exception):
    """A trace holds a function that is called later, or anything else that cannot be compared."""


def _encoded(closed: jex_core.ClosedJaxpr) -> Code:
    return _Encoder().closed(closed)


class _Encoder:
    """Writes a jaxpr as nested tuples: variables by number, constants by their bits."""

    def __init__(self) -> None:
        self._bodies: dict[int, Code] = {}
        self._alive: list[jex_core.Jaxpr] = []
        self._rules: set[Code] = set()  # those that are being written
        self._depth = 0

    def closed(self, closed: jex_core.ClosedJaxpr | jex_core.Jaxpr) -> Code:
        """A jaxpr with or without its constants; newer versions of JAX have one class for both."""
        jaxpr: jex_core.Jaxpr = cast(Any, getattr(closed, "jaxpr", closed))
        # A function under jax.jit has one jaxpr, however often it is called.
        if id(jaxpr) not in self._bodies:
            self._bodies[id(jaxpr)] = self._equations(jaxpr)
            self._alive.append(jaxpr)
        return self._bodies[id(jaxpr)], tuple(map(_array, getattr(closed, "consts", ())))

    def _equations(self, jaxpr: jex_core.Jaxpr) -> Code:
        if jaxpr.effects:
            raise _Hidden
        numbers: dict[int, int] = {}

        def atom(value: Any) -> Code:
            if isinstance(value, jex_core.Literal):
                return "literal", _array(value.val), _aval(value)
            return numbers.setdefault(id(value), len(numbers))

        inputs = tuple((atom(v), _aval(v)) for v in (*jaxpr.constvars, *jaxpr.invars))
        rows = []
        for equation in jaxpr.eqns:
            read = tuple(map(atom, equation.invars))
            written = tuple((atom(v), _aval(v)) for v in equation.outvars)
            rows.append((equation.primitive.name, read, self._params(equation, jaxpr), written))
        return inputs, tuple(rows), tuple(map(atom, jaxpr.outvars))

    def _params(self, equation: jex_core.JaxprEqn, jaxpr: jex_core.Jaxpr) -> Code:
        name = equation.primitive.name
        if "callback" in name or "debug" in name:
            raise _Hidden
        custom = name.startswith(("custom_jvp_call", "custom_vjp_call"))
        found = tuple(
            (key, self._value(value))
            for key, value in sorted(equation.params.items())
            if not (custom and key in _RULES)
        )
        return (found, self._rule(equation, jaxpr, found)) if custom else found

    def _rule(self, equation: jex_core.JaxprEqn, jaxpr: jex_core.Jaxpr, found: Code) -> Code:
        """What the derivative computes that the user gave for a function."""
        code = (equation.primitive.name, found, tuple(map(_aval, equation.invars)))
        if code in self._rules:
            return "as before"
        self._rules.add(code)
        inputs = list(dict.fromkeys(v for v in equation.invars if isinstance(v, jex_core.Var)))
        outputs = [v for v in equation.outvars if type(v).__name__ != "DropVar"]
        names = jaxpr.debug_info._replace(
            arg_names=("",) * len(inputs), result_paths=("",) * len(outputs)
        )
        alone = jaxpr.replace(
            constvars=[], invars=inputs, outvars=outputs, eqns=[equation], debug_info=names
        )
        function = jex_core.jaxpr_as_fun(jex_core.ClosedJaxpr(alone, ()))
        shapes = [jax.ShapeDtypeStruct(*_aval(v)[:2]) for v in inputs]
        smooth = [i for i, s in enumerate(shapes) if jnp.issubdtype(s.dtype, jnp.inexact)]

        def pulled(*args: Array) -> PyTree:
            def of_smooth(*inner: Array) -> PyTree:
                values = dict(enumerate(args)) | dict(zip(smooth, inner, strict=True))
                made = function(*values.values())
                return [one for one in made if jnp.issubdtype(one.dtype, jnp.inexact)]

            primals, back = jax.vjp(of_smooth, *(args[place] for place in smooth))
            return back(primals)

        # A rule that calls its own function never ends.
        if self._depth >= _DEEPEST:
            raise _Hidden
        self._depth += 1
        try:
            return self.closed(jax.make_jaxpr(pulled)(*shapes))
        finally:
            self._depth -= 1
            # Another function with this code may have another derivative.
            self._rules.discard(code)

    def _value(self, value: Any) -> Code:
        kind = type(value).__name__
        if isinstance(value, jex_core.ClosedJaxpr | jex_core.Jaxpr):
            return self.closed(value)
        if isinstance(value, _PLAIN):
            return kind, value
        if isinstance(value, float | complex):
            return kind, repr(value)
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return _array(value)
        if isinstance(value, dict):
            return kind, tuple((key, self._value(item)) for key, item in value.items())
        if isinstance(value, tuple | list):
            return kind, tuple(map(self._value, value))
        called = kind == "WrappedFun" or (callable(value) and kind not in _DECORATORS)
        of_jax = type(value).__module__.partition(".")[0] in ("jax", "jaxlib")
        # A function that JAX calls later may have changed until then.
        if (called or not of_jax) and not is_known(value):
            raise _Hidden
        try:
            hash(value)
        except TypeError:
            raise _Hidden from None
        return kind, value


def _aval(variable: jex_core.Var | jex_core.Literal) -> tuple[Any, ...]:
    """Shape, dtype and weak type of a variable."""
    aval: Any = variable.aval
    if not hasattr(aval, "shape"):
        raise _Hidden
    return tuple(aval.shape), aval.dtype, bool(getattr(aval, "weak_type", False))


def _array(value: Any) -> Code:
    """A constant by its shape, dtype and bits."""
    if isinstance(value, jax.core.Tracer):
        raise _Hidden
    is_key = jnp.issubdtype(getattr(value, "dtype", float), jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(value) if is_key else value)
    digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()
    return type(value).__name__, array.shape, str(array.dtype), digest
