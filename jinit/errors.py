"""Builds jinit's error messages: the argument, its value, the allowed values, and the fix."""

from __future__ import annotations

import contextlib
import difflib
import math
import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import jax
    import numpy as np

# The classes that users catch. The functions below are for jinit itself.
__all__ = ["HangError", "MissingExtraError", "Refusal", "StoreError"]

T = TypeVar("T")

# jinit is not on a package index yet. Every message that names an extra uses this command.
INSTALL = "pip install '.[{extra}]' in a checkout of jinit"
SEED_LIMIT = 2**32
"""Seeds of JAX keys are below this. By default JAX keeps only 32 bits: 2**32 gives the key of 0."""
_LONG_LIST = 20  # more names make a message hard to read


class HangError(RuntimeError):
    """A compilation or a tile of lanes made no progress for longer than the allowed time.

    Raised by :func:`jinit.run`, it has an attribute ``table`` with the finished runs, or None.
    """


class StoreError(OSError):
    """A store cannot be read or written any more: a full disk, a file that vanished."""


class MissingExtraError(ImportError):
    """A feature needs a package that is not installed."""


class Refusal(Exception):
    """Raised for bad input; every instance is also a ``ValueError`` or a ``TypeError``.

    Attributes:
      what: the argument or object that is refused.
      got: its value as text. Keeping the value itself would keep arrays and tracers alive.
      allowed: which values are accepted.
      fix: what to do.
    """

    def __init__(self, what: str, got: str, allowed: str, fix: str, message: str = "") -> None:
        # Exceptions are unpickled from these arguments; worker processes send errors pickled.
        super().__init__(what, got, allowed, fix, message)
        self.what, self.got, self.allowed, self.fix = what, got, allowed, fix
        self._message = message

    def __str__(self) -> str:
        return (
            self._message
            or f"{self.what}: got {self.got}; allowed: {self.allowed}; fix: {self.fix}"
        )


class ValueRefusal(Refusal, ValueError):
    """A refused value."""


class TypeRefusal(Refusal, TypeError):
    """A refused type."""


def refusal(what: str, got: object, allowed: str, fix: str) -> ValueRefusal:
    """A ``ValueError`` with a one-line message: what, got, allowed, fix.

    >>> str(refusal("depth", -1, "a whole number >= 0", "use depth=0 for softmax regression"))
    'depth: got -1; allowed: a whole number >= 0; fix: use depth=0 for softmax regression'
    """
    return ValueRefusal(what, _show(got), allowed, fix)


def wrong_type(what: str, got: object, allowed: str, fix: str) -> TypeRefusal:
    """A ``TypeError`` with the same message as :func:`refusal`.

    >>> str(wrong_type("shape", 3.5, "a tuple of ints", "pass (10, 1000)"))
    'shape: got 3.5; allowed: a tuple of ints; fix: pass (10, 1000)'
    """
    return TypeRefusal(what, _show(got), allowed, fix)


def located(place: str, error: ValueError) -> ValueError:
    """The same error, with the place where it arose in front of its message.

    >>> str(located("leaf 'a'", refusal("shape", (), "rank 2", "reshape")))
    "leaf 'a': shape: got (); allowed: rank 2; fix: reshape"
    """
    message = f"{place}: {error}"
    if isinstance(error, ValueRefusal):
        what = f"{place}: {error.what}"
        return ValueRefusal(what, error.got, error.allowed, error.fix, message)
    return ValueError(message)  # of a rule that the user wrote


@contextlib.contextmanager
def inside(place: str) -> Iterator[None]:
    """Puts a place in front of the messages of refusals that are raised inside, unless ""."""
    try:
        yield
    except Refusal as error:
        if not place:
            raise
        parts = (f"{place}: {error.what}", error.got, error.allowed, error.fix)
        raise type(error)(*parts, f"{place}: {error}") from error.__cause__


def unknown_name(
    kind: str, got: object, known: Iterable[str], listing: str = "", aliases: Iterable[str] = ()
) -> ValueRefusal:
    """A ``ValueError`` for an unknown name. The message offers the nearest name or lists all.

    Args:
      kind: the noun for what a name stands for, in the singular: ``"loss"``.
      got: the unknown name.
      known: the existing names.
      listing: the call that lists all names; "" if the message itself should list them.
      aliases: other spellings, never listed but offered if one of them is the nearest.

    >>> str(unknown_name("loss", "hnge", ["hinge", "mse"], "jinit.train.losses.names()"))
    "loss 'hnge' is not known; did you mean 'hinge'? (jinit.train.losses.names() lists all 2)"
    >>> str(unknown_name("mode", "fanin", ["fan_in", "fan_out"]))
    "mode 'fanin' is not known; did you mean 'fan_in'? use one of fan_in, fan_out"
    """
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(got), [*names, *aliases], n=3, cutoff=0.5)
    plain = {name.lower(): name for name in names}  # and initials: HE_NORMAL, mse
    plain |= {"".join(word[:1] for word in n.split("_")): n for n in names if "_" in n}
    close = close or [plain[text] for text in [str(got).lower()] if text in plain]
    use, letters = f"use one of {', '.join(names)}", sorted(str(got))
    hint = f"did you mean {min(close, key=lambda n: sorted(n) != letters)!r}?" if close else ""
    # A call that lists all names spares the message a long list, or any list beside a hint.
    spared = bool(listing) and (bool(hint) or len(names) > _LONG_LIST)
    parts = [hint, "" if spared else use, f"({listing} lists all {len(names)})" if listing else ""]
    message = f"{kind} {_show(got)} is not known; {' '.join(part for part in parts if part)}"
    return ValueRefusal(kind, _show(got), ", ".join(names), hint or use, message)


def check_number(
    what: str,
    value: T,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    fix: str,
) -> T:
    """Returns ``value`` unchanged if it is one finite number in range, or a tracer.

    Args:
      what: name of the number, with its unit, for the message.
      value: a Python, NumPy or JAX number. A tracer has no value yet, so it is returned unchecked.
      low, high: the closed range allowed; ``open_low`` excludes ``low`` itself.
      fix: the advice at the end of the message.

    Raises:
      TypeError: ``value`` is not a number, or is an array of several.
      ValueError: ``value`` is NaN, infinite or out of range.

    >>> check_number("stddev", 0.1, low=0.0, fix="use a positive number")
    0.1
    """
    if not _is_traced(value):
        if getattr(value, "shape", ()) != ():
            raise wrong_type(what, value, f"one number: {_range_text(low, high, open_low)}", fix)
        check_numbers(what, value, low=low, high=high, open_low=open_low, fix=fix)
    return value


def check_numbers(
    what: str,
    value: T,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    fix: str,
) -> T:
    """Returns ``value`` unchanged if it is a number or an array as in :func:`check_number`.

    Raises:
      TypeError: ``value`` is not a number and not an array of numbers.
      ValueError: an entry is NaN, infinite or out of range.

    >>> check_numbers("sigma_w", 1.5, low=0.0, fix="use 1.0")
    1.5
    """
    allowed = _range_text(low, high, open_low)
    if _is_traced(value):
        return value
    if hasattr(value, "ravel") and not isinstance(value, numbers.Number | type):
        if not hasattr(value, "tolist"):  # an array of PRNG keys
            raise wrong_type(what, value, allowed, fix)
        for entry in value.ravel().tolist():
            check_numbers(what, entry, low=low, high=high, open_low=open_low, fix=fix)
        return value
    if not _is_real(value):
        raise wrong_type(what, value, allowed, fix)
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    too_low = number <= low if open_low else number < low
    if not math.isfinite(number) or too_low or number > high:
        raise refusal(what, value, allowed, fix)
    return value


def check_fraction(what: str, value: float, fix: str) -> float:
    """Returns ``value`` as a ``float`` if it is in the open interval (0, 1).

    Raises:
      TypeError: ``value`` is not a number.
      ValueError: ``value`` is not in (0, 1).

    >>> check_fraction("confidence", 0.95, "use 0.95")
    0.95
    """
    allowed = "a number in (0, 1)"
    if not _is_real(value):
        raise wrong_type(what, value, allowed, fix)
    if not 0 < value < 1:
        raise refusal(what, value, allowed, fix)
    return float(value)


def check_scalar(
    what: str,
    value: float | jax.Array,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    fix: str,
) -> float:
    """Returns ``value`` as a ``float`` if it is one finite number in range and not a tracer.

    Raises:
      TypeError: ``value`` is not a number, or is an array of several, or a tracer.
      ValueError: ``value`` is NaN, infinite or out of range.

    >>> check_scalar("sigma_w", 1, low=0.0, fix="use 1.0")
    1.0
    """
    if _is_traced(value) or getattr(value, "shape", ()) != ():
        raise wrong_type(
            what,
            value,
            "one concrete number, not a tracer",
            "call this once per number, outside of jit, grad and vmap",
        )
    return float(check_number(what, value, low=low, high=high, open_low=open_low, fix=fix))


def check_integer(
    what: str, value: int | np.integer, *, low: int, high: int | None = None, fix: str
) -> int:
    """Returns ``value`` as an ``int`` if it is a whole number in ``[low, high]``.

    Raises:
      TypeError: ``value`` is not a whole number; ``True`` is not one.
      ValueError: ``value`` is out of range.

    >>> check_integer("steps", 300, low=1, fix="use at least one step")
    300
    """
    allowed = f"a whole number >= {low}" + ("" if high is None else f" and <= {high}")
    if not _is_real(value) or not isinstance(value, numbers.Integral):
        raise wrong_type(what, value, allowed, fix)
    number = int(value)
    if number < low or (high is not None and number > high):
        raise refusal(what, value, allowed, fix)
    return number


def check_seed(seed: int | np.integer, what: str = "seed", limit: int | None = None) -> int:
    """Returns a seed as an ``int`` if it is a whole number, ``0 ≤ seed < limit``.

    Args:
      seed: the seed.
      what: the name of the argument, for the message.
      limit: ``SEED_LIMIT`` for a JAX key; None for a NumPy generator, which has no limit.

    Raises:
      TypeError: ``seed`` is not a whole number.
      ValueError: ``seed`` is out of range.

    >>> check_seed(2**32, limit=SEED_LIMIT)
    Traceback (most recent call last):
    jinit.errors.ValueRefusal: seed: got 4294967296; allowed: a whole number >= 0 and <= 4294967295;
    fix: use 0
    """
    return check_integer(what, seed, low=0, high=None if limit is None else limit - 1, fix="use 0")


def check_bool(what: str, value: bool) -> bool:
    """Returns ``value`` as a ``bool`` if it is a Python or NumPy ``True`` or ``False``.

    Raises:
      TypeError: ``value`` is anything else, even if Python could treat it as a truth value.

    >>> check_bool("residual", True)
    True
    """
    # NumPy comparisons return numpy.bool, recognized by name: this module does not import NumPy.
    if not (isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")):
        raise wrong_type(what, value, "True or False", "use True")
    return bool(value)


def check_choice(what: str, value: str, allowed: Sequence[str]) -> str:
    """Returns ``value`` if it is one of ``allowed``.

    Raises:
      ValueError: ``value`` is not one of them; the message offers the nearest choice.

    >>> check_choice("mode", "fan_in", ["fan_in", "fan_out"])
    'fan_in'
    """
    if not isinstance(value, str) or value not in allowed:
        raise unknown_name(what, value, allowed)
    return str(value)


def check_key(key: jax.Array) -> None:
    """Checks that ``key`` is one JAX PRNG key: typed, raw, or traced.

    Raises:
      TypeError: ``key`` is not a PRNG key.
      ValueError: ``key`` is a batch of keys.

    >>> check_key("seed")
    Traceback (most recent call last):
    jinit.errors.TypeRefusal: key: got 'seed'; allowed: a PRNG key; fix: jax.random.key(0)
    """
    kind = str(getattr(key, "dtype", ""))
    typed = kind.startswith("key<")
    # A raw key has two uint32 words, or four for the rbg generator.
    if not typed and (kind != "uint32" or not key.ndim or key.shape[-1] not in (2, 4)):
        raise wrong_type("key", key, "a PRNG key", "jax.random.key(0)")
    if key.ndim > (0 if typed else 1):
        raise refusal(
            "key",
            f"a batch of keys of shape {key.shape}",
            "one key",
            "jax.vmap(lambda key: init(key, shape))(keys)",
        )


def missing_extra(package: str, extra: str | None, purpose: str) -> MissingExtraError:
    """The error for a package that is not installed.

    Args:
      package: the missing package.
      extra: the extra of jinit that installs it; None if the user installs the package alone.
      purpose: the feature that needs the package.

    >>> str(missing_extra("rich", "lab", "printing tables"))
    "printing tables needs the package 'rich'; fix: pip install '.[lab]' in a checkout of jinit"
    >>> str(missing_extra("keras", None, "frameworks.keras"))
    "frameworks.keras needs the package 'keras'; fix: pip install keras"
    """
    fix = f"pip install {package}" if extra is None else INSTALL.format(extra=extra)
    return MissingExtraError(f"{purpose} needs the package {package!r}; fix: {fix}")


def _is_real(value: object) -> bool:
    """Whether ``value`` is a number that NumPy and JAX compute with; a bool is not one."""
    if isinstance(value, bool) or type(value).__name__ == "timedelta64":  # NumPy: an integer
        return False
    # NumPy and JAX compute with no fractions.Fraction.
    known = isinstance(value, int | float) or hasattr(value, "dtype")
    return known and isinstance(value, numbers.Real)


def _is_traced(value: object) -> bool:
    return any(kind.__name__ == "Tracer" for kind in type(value).__mro__)


def _range_text(low: float, high: float, open_low: bool) -> str:
    if low == -math.inf and high == math.inf:
        return "a finite number"
    if high == math.inf:
        return f"a finite number {'>' if open_low else '>='} {low:g}"
    return f"a number in {'(' if open_low else '['}{low:g}, {high:g}]"


def _show(value: object, limit: int = 80) -> str:
    """``repr`` on one line, cut to ``limit`` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
