"""Evolves the weights of a network with evosax, as a pure function of a seed and a population."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jinit import data, models, parameters
from jinit.train import losses

POPULATION = 64


@dataclass(frozen=True)
class Evolve:
    """Maps a seed and its first population to a test accuracy, without gradients."""

    name: str
    model: models.Model
    generations: int

    def __call__(self, lane, digits: data.Dataset):
        from evosax import algorithms

        loss, members = losses.get(None, digits.task), lane["population"]
        first = jax.tree.map(lambda leaf: leaf[0], members)
        key = jax.random.fold_in(jax.random.key(0), lane["seed"])
        if self.name == "genetic algorithm":
            noise = optax.exponential_decay(0.05, transition_steps=100, decay_rate=0.5)
            search = algorithms.SimpleGA(POPULATION, first, std_schedule=noise)
        else:
            search = algorithms.Open_ES(
                POPULATION, first, optimizer=optax.adam(0.02),
                std_schedule=optax.constant_schedule(0.03),
            )  # fmt: skip

        def fitness(population, key):
            chosen = jax.random.randint(key, (256,), 0, len(digits.x_train))
            x, y = jnp.asarray(digits.x_train)[chosen], jnp.asarray(digits.y_train)[chosen]
            return jax.vmap(lambda params: loss(self.model.apply(params, x), y))(population)

        def generation(state, number):
            keys = jax.random.split(jax.random.fold_in(key, number), 3)
            population, state = search.ask(keys[0], state, search.default_params)
            scores = fitness(population, keys[1])
            state, _ = search.tell(keys[2], population, scores, state, search.default_params)
            # The current solution: the fittest member, or the mean of the distribution.
            best = jax.tree.map(lambda leaf: leaf[scores.argmin()], population)
            return state, best if self.name == "genetic algorithm" else search.get_mean(state)

        start = jax.random.fold_in(key, 2**31)
        if self.name == "genetic algorithm":
            state = search.init(start, members, fitness(members, start), search.default_params)
        else:
            state = search.init(start, first, search.default_params)
        _, champions = jax.lax.scan(generation, state, jnp.arange(self.generations))
        last = jax.tree.map(lambda leaf: leaf[-1], champions)
        return loss.accuracy(self.model.apply(last, jnp.asarray(digits.x_test)),
                             jnp.asarray(digits.y_test))  # fmt: skip


def populations(model: models.Model, x, arm: str, seeds: int):
    """Draws each seed's first population, as lanes of :class:`Evolve`; all arms share the noise."""
    shapes, numbers = model.shapes(x[:1]), jnp.arange(seeds, dtype=jnp.uint32)

    def draw(seed):
        key = jax.random.fold_in(jax.random.key(1), seed)
        return parameters.population(key, POPULATION, shapes, {"*/kernel": arm, "*/bias": "zeros"})

    return {"seed": np.asarray(numbers), "population": jax.jit(jax.vmap(draw))(numbers)}
