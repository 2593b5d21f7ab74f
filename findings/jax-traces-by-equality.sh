#!/usr/bin/env bash
# jax 0.9.2: eval_shape, make_jaxpr, jit and checkpoint repeat the trace of an equal callable object.
#
# The caches of traces hold a weak reference to the function. A function of def is equal to itself
# alone, so a second definition is traced anew. A callable object that compares by value, such as a
# frozen dataclass with __call__ (many model classes are), is found again through any object that is
# equal to it and still in memory: what the second one reads outside its fields is not seen, and
# eval_shape gives the shapes of the first one. vmap, grad and scan call the second object.
#
#   WIDTH = 3, then 2; two equal objects whose call returns zeros(WIDTH)
#   call, vmap              (3,) then (2,)
#   eval_shape, make_jaxpr  (3,) then (3,)
#   jit, checkpoint         (3,) then (3,)
#   eval_shape of a lambda that calls the object   (3,) then (2,)
#   the first object deleted, garbage collected    (3,) then (2,)
#
# The answer of eval_shape so depends on whether the garbage collector has run.
# Expected before the run: a new object is traced anew, by all of them.
#
# Prints the shapes and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "jax==0.9.2" "jaxlib==0.9.2" "numpy==2.4.6"
"$folder/venv/bin/python" - << 'PYTHON'
import gc
from dataclasses import dataclass

import jax
import jax.numpy as jnp

WIDTH = 3
X = jnp.ones(1)


@dataclass(frozen=True)
class Head:
    name: str

    def __call__(self, x):
        return jnp.zeros(WIDTH) * x


def two(ask, keep=True):
    """The shapes that a first object and an equal second one give, the width changed between."""
    global WIDTH
    WIDTH = 3
    one = Head(ask.__name__)
    shapes = [ask(one)]
    WIDTH = 2
    if not keep:
        del one
        gc.collect()
    shapes.append(ask(Head(ask.__name__)))
    return tuple(shapes)


def call(head):
    return head(X).shape


def vmap(head):
    return jax.vmap(head)(X[None]).shape[1:]


def eval_shape(head):
    return jax.eval_shape(head, X).shape


def make_jaxpr(head):
    return jax.make_jaxpr(head)(X).out_avals[0].shape


def jit(head):
    return jax.jit(head)(X).shape


def checkpoint(head):
    return jax.eval_shape(lambda x: jax.checkpoint(head)(x), X).shape


def of_a_lambda(head):
    return jax.eval_shape(lambda x: head(x), X).shape


def collected(head):
    return jax.eval_shape(head, X).shape


new, old = ((3,), (2,)), ((3,), (3,))
found = [(ask, two(ask), expected) for ask, expected in (
    (call, new), (vmap, new), (eval_shape, old), (make_jaxpr, old), (jit, old), (checkpoint, old),
    (of_a_lambda, new),
)]
found.append((collected, two(collected, keep=False), new))
for ask, shapes, _ in found:
    print(f"{ask.__name__}: {shapes[0]} then {shapes[1]}")
raise SystemExit(int(any(shapes != expected for _, shapes, expected in found)))
PYTHON
