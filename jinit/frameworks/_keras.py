"""Keras: layers are objects; the parameter tree is a dictionary of variables by path."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import jax

from jinit import errors, initializers
from jinit.frameworks._common import (
    comes_from,
    einsum,
    equal_blocks,
    is_library_layer,
    strided,
    vector,
)
from jinit.frameworks._layout import Layout, bias_of, layout
from jinit.typing import Initializer, PyTree


def shapes(model: Any, *inputs: Any) -> PyTree:
    """Trainable variables by path, as ``jax.ShapeDtypeStruct``.

    >>> import pytest
    >>> keras = pytest.importorskip("keras")
    >>> dense = keras.layers.Dense(3, name="d")
    >>> dense.build((None, 2))
    >>> sorted(shapes(dense))
    ['d/bias', 'd/kernel']
    """
    return {
        variable.path: jax.ShapeDtypeStruct(tuple(variable.shape), variable.dtype)
        for variable in model.trainable_variables
    }


def layers(model: Any, *inputs: Any) -> dict[str, Layout]:
    """Leaf path → layout of every layer, nested ones too.

    >>> import pytest
    >>> keras = pytest.importorskip("keras")
    >>> dense = keras.layers.Dense(3, name="d")
    >>> dense.build((None, 2))
    >>> layers(dense)["d/kernel"].layer
    'Dense'
    """
    found: dict[str, Layout] = {}
    for node in model._flatten_layers():
        for variable, made in _describe(node):
            if variable is not None:
                found[variable.path] = made
    return found


def keras(initializer: str | Initializer, *, seed: int | None = None) -> Any:
    """A Keras initializer that draws with jinit, for ``kernel_initializer=``.

    Keras' own initializers give two layers that share one object equal weights. This one takes a
    new seed from a ``keras.random.SeedGenerator`` at every call, so no two layers are equal; with
    ``seed=`` the sequence of layers is reproducible. Models that have it can be cloned and saved;
    to load one, call this function once before.

    Keras tells an initializer the shape and not the layer, so that fans are those of the last two
    axes: say ``"he_normal(fan_in=9)"`` for a 3 × 3 ``DepthwiseConv2D``, or draw the whole model by
    :func:`jinit.initialize`.

    Args:
      initializer: a spec string or any ``init(key, shape, dtype)``.
      seed: of the generator, ``0 ≤ seed < 2**32``; None draws one from Keras.

    Raises:
      ValueError: an unknown name, a bad seed.
      MissingExtraError: Keras is not installed.

    >>> import pytest
    >>> k = pytest.importorskip("keras")
    >>> shared = keras("he_normal", seed=0)
    >>> bool((shared((4, 3)) == shared((4, 3))).all())
    False
    """
    try:
        kind = _keras_class()
    except ImportError:
        raise errors.missing_extra("keras", None, "frameworks.keras") from None
    if seed is not None:
        errors.check_seed(seed, limit=errors.SEED_LIMIT)
    return kind(initializers.get(initializer), seed)


@functools.cache
def _keras_class() -> Any:
    import keras as package

    @package.saving.register_keras_serializable("jinit", "Initializer")
    class Initializer(package.initializers.Initializer):
        """Draws with jinit; a copy from its configuration draws from a seed of its own."""

        def __init__(self, spec: Any, seed: int | None = None) -> None:
            self.draw = initializers.get(spec)
            self.generator = package.random.SeedGenerator(seed)

        def __call__(self, shape: Any, dtype: Any = None) -> Any:
            words = jax.numpy.asarray(self.generator.next(), jax.numpy.uint32)
            name = package.backend.standardize_dtype(dtype)
            drawn = self.draw(jax.random.wrap_key_data(words), shape, name)
            return package.ops.convert_to_tensor(drawn)

        def clone(self) -> Any:
            # Keras gives each layer a clone, which would begin at the same seed again.
            return self

        def get_config(self) -> dict[str, Any]:
            if not isinstance(self.draw, initializers.NamedInitializer):
                raise errors.wrong_type(
                    "initializer", self.draw, "a registered one", "register it before saving"
                )
            return {"spec": str(self.draw)}

    return Initializer


def _describe(node: Any) -> list[tuple[Any, Layout]]:
    def is_a(*names: str) -> bool:
        return comes_from(node, "keras", *names)

    def variable(name: str) -> Any:
        found = getattr(node, name, None)
        return found if hasattr(found, "path") and hasattr(found, "shape") else None

    name, bias = type(node).__name__, variable("bias")
    if is_a("LSTMCell", "GRUCell", "SimpleRNNCell"):
        count = 4 if is_a("LSTMCell") else 3 if is_a("GRUCell") else 1
        cell = Layout(layer=name, fused=equal_blocks(node.kernel.shape[-1], count))
        inner = replace(cell, kind="recurrent")
        return [
            (node.kernel, cell),
            (node.recurrent_kernel, inner),
            (bias, bias_of(cell, node.kernel.shape)),
        ]
    if is_a("Embedding"):
        return [(variable("embeddings"), replace(layout("embedding"), layer=name))]
    if is_a("BaseSeparableConv"):
        point = layout("conv", "keras")
        return [
            (node.depthwise_kernel, replace(layout("depthwise", "keras"), layer=name)),
            (node.pointwise_kernel, replace(point, layer=name)),
            (bias, bias_of(point, node.pointwise_kernel.shape)),
        ]
    if not is_library_layer(node, "keras"):
        return []
    kernel = variable("kernel")
    if kernel is None:
        names = ("gamma", "beta", "scale", "alpha", "bias")
        return [(variable(each), vector(name)) for each in names]
    shape = tuple(kernel.shape)
    made = _kernel(node, shape, is_a)
    if made is None:
        return []
    made = replace(made, layer=name)
    return [(kernel, made), (bias, bias_of(made, shape))]


def _kernel(node: Any, shape: tuple[int, ...], is_a: Any) -> Layout | None:
    if is_a("BaseConvTranspose"):
        return strided(layout("transposed", "keras"), shape, node.strides, len(shape) - 2)
    if is_a("BaseDepthwiseConv"):
        return layout("depthwise", "keras")
    if is_a("BaseConv"):
        return layout(f"conv(groups={node.groups})", "keras")
    if is_a("EinsumDense"):
        return einsum(node.equation)
    return layout("dense", "keras") if is_a("Dense") else None
