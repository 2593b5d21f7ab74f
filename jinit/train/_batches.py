"""Gives each step its minibatch: drawn with replacement, once per epoch, or generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jinit import errors
from jinit.data import Dataset
from jinit.train._config import FitConfig
from jinit.typing import Array, Key

T = TypeVar("T")
Batch: TypeAlias = tuple[Array, Array]


@dataclass(frozen=True)
class Batches:
    """The minibatches of one run.

    Attributes:
      x, y: the training examples.
      key: the key of the data order.
      size: examples per step.
      epochs: whether each epoch holds each example once, rather than draws with replacement.
      generator: draws new examples by a key and a size; None for the training examples.
    """

    x: Array
    y: Array
    key: Key
    size: int
    epochs: bool
    generator: Callable[[Key, int], Batch] | None = None

    @classmethod
    def of(cls, data: Dataset, key: Key, config: FitConfig) -> Batches:
        """The minibatches of a run on these data.

        Raises:
          ValueError: draws with replacement of a batch larger than the training set, epochs of
            generated data.
        """
        x, y = jnp.asarray(data.x_train), jax.tree.map(jnp.asarray, data.y_train)
        check_size(config, data)
        return cls(x, y, key, config.examples, config.sampling == "epochs", data.generator)

    def begin(self) -> Array | tuple[()]:
        """What is carried from step to step: the order of the examples in the epoch, or nothing."""
        return jnp.zeros(len(self.x), jnp.int32) if self.epochs else ()

    def each(
        self, number: Array, order: Array | tuple[()], step: Callable[[Batch], T]
    ) -> tuple[T, Array | tuple[()]]:
        """Calls ``step(batch)`` with the minibatch of a step; returns its result and the carry.

        If the batch size does not divide the number of examples, the last batch of an epoch is
        smaller: the step is compiled for both sizes, so that every example counts once, and
        BatchNorm and any loss see the batch that they would see alone.

        Args:
          number: number of earlier steps, equal in all lanes.
          order: the carry.
          step: a function of a batch.
        """
        if self.generator is not None:
            return step(self.generator(jax.random.fold_in(self.key, number), self.size)), order
        if isinstance(order, tuple):
            return step(self._rows(minibatch(self.key, number, self.size, len(self.x)))), order
        whole = len(self.x) // self.size  # batches of full size
        last = len(self.x) - whole * self.size
        epoch, place = jnp.divmod(number, whole + (last > 0))
        # Under vmap the number of the step is the same in all lanes, so that one branch runs.
        now: Array = jax.lax.cond(
            place == 0,
            lambda kept: epoch_order(self.key, epoch, len(self.x)),
            lambda kept: kept,
            order,
        )

        def full() -> T:
            return step(self._rows(jax.lax.dynamic_slice_in_dim(now, place * self.size, self.size)))

        def short() -> T:
            return step(self._rows(now[whole * self.size :]))

        if not last:
            return full(), now
        result: T = short() if not whole else jax.lax.cond(place == whole, short, full)
        return result, now

    def _rows(self, chosen: Array) -> Batch:
        return _rows(self.x, chosen), jax.tree.map(lambda y: _rows(y, chosen), self.y)


def check_size(config: FitConfig, data: Dataset) -> None:
    """Refuses a ``batch_size`` above the number of examples, and epochs of generated data."""
    examples = len(data.x_train)
    if data.generator is not None:
        if config.sampling == "epochs":
            fix = "leave sampling out"
            raise errors.refusal("sampling", "epochs", "'replacement' for generated data", fix)
        return
    if config.sampling == "replacement" and config.batch_size > examples:
        raise errors.refusal(
            "batch_size",
            config.batch_size,
            f"at most the {examples} training examples of {data.name!r}",
            "lower it, or sampling='epochs', whose batch is then the whole set",
        )


def minibatch(key: Key, number: ArrayLike, batch_size: int, examples: int) -> Array:
    """Example numbers ``(batch_size,)`` int32 of step ``number``: uniform, with replacement.

    ⌊u · examples / 2³²⌋ for 32 random bits u: the probabilities of two examples differ by at most
    2⁻³². ``jax.random.randint`` draws twice the bits and takes two remainders, which would cost
    5 % of a small network's step.
    """
    bits = jax.random.bits(jax.random.fold_in(key, number), (batch_size,), jnp.uint32)
    return _high_word(bits, examples).astype(jnp.int32)


def epoch_order(key: Key, epoch: ArrayLike, examples: int) -> Array:
    """The order ``(examples,)`` int32 of an epoch: a permutation by ``fold_in(key, epoch)``.

    >>> sorted(epoch_order(jax.random.key(0), 3, 4).tolist())
    [0, 1, 2, 3]
    """
    numbers = jnp.arange(examples, dtype=jnp.int32)
    return jax.random.permutation(jax.random.fold_in(key, epoch), numbers)


def _high_word(bits: Array, factor: int) -> Array:
    """⌊bits · factor / 2³²⌋ in 32-bit arithmetic, by 16-bit halves; factor < 2³²."""
    high, low = bits >> 16, bits & 0xFFFF
    factor_high, factor_low = jnp.uint32(factor >> 16), jnp.uint32(factor & 0xFFFF)
    if factor < 2**16:
        return (high * factor_low + (low * factor_low >> 16)) >> 16
    cross, other = high * factor_low, low * factor_high
    carry = (low * factor_low >> 16) + (cross & 0xFFFF) + (other & 0xFFFF)
    return high * factor_high + (cross >> 16) + (other >> 16) + (carry >> 16)


def _rows(array: Array, chosen: Array) -> Array:
    # Every index is in range by construction; without this mode the gather checks every index.
    return array.at[chosen].get(mode="promise_in_bounds")
