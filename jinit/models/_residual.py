"""Defines residual MLPs with linear branch outputs, and models whose output starts at 0."""

from __future__ import annotations

import flax.linen as nn

from jinit import errors
from jinit.activations import ActivationLike
from jinit.activations import get as get_activation
from jinit.initializers import lecun_normal, ones, zeros
from jinit.typing import Array, Initializer


class ResidualMLP(nn.Module):
    """x₀ = W x + b; x_l = x_{l−1} + s_l F_l(x_{l−1}), l = 1 … blocks; W x_L + b.

    A branch F_l has ``branch_layers`` affine maps with φ between them and no φ after the last; with
    two maps F_l(x) = W₂ φ(W₁ x + b₁) + b₂. A branch that ended in φ would have a nonzero mean; the
    means of all branches would add up, and the residual stream would grow faster.

    Parameters are ``stem``, ``block_0/layer_0 …``, ``block_0/scale`` (s, a learnable scalar that
    starts at 1) and ``output``.

    Attributes:
      width: units of the residual stream and of the branches.
      blocks: number of branches L, ≥ 0.
      outputs: number of outputs.
      activation: a name, a spec string or a callable.
      branch_layers: m, affine maps in a branch, ≥ 2.
      use_bias: whether layers have a bias.
      kernel_init, bias_init: used by Flax's own ``init``; jinit's rules are used instead of them.

    Raises:
      ValueError: a count is out of range, an unknown activation.
      TypeError: a count is not a whole number.

    Reference: Zhang, Dauphin & Ma 2019, figure 1; He et al. 2016, equation 1.

    >>> import jax, jax.numpy as jnp
    >>> model = ResidualMLP(width=32, blocks=4, outputs=10)
    >>> params = model.init(jax.random.key(0), jnp.zeros((1, 64)))["params"]
    >>> model.apply({"params": params}, jnp.zeros((5, 64))).shape, sorted(params["block_3"])
    ((5, 10), ['layer_0', 'layer_1', 'scale'])
    """

    width: int
    blocks: int
    outputs: int
    activation: ActivationLike = "relu"
    branch_layers: int = 2
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal()
    bias_init: Initializer = zeros

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Outputs ``(batch, outputs)`` for x ``(batch, …)``; examples are flattened."""
        for name in ("width", "outputs"):
            errors.check_integer(name, getattr(self, name), low=1, fix="use 32")
        errors.check_integer("blocks", self.blocks, low=0, fix="use 8")
        errors.check_integer("branch_layers", self.branch_layers, low=2, fix="use 2")
        x = self._dense(self.width, "stem")(x.reshape(x.shape[0], -1))
        for index in range(self.blocks):
            block = _Block(
                self.branch_layers,
                self.activation,
                self.use_bias,
                self.kernel_init,
                self.bias_init,
                name=f"block_{index}",
            )
            x = x + block(x)
        return self._dense(self.outputs, "output")(x)

    def branches(self) -> tuple[tuple[str, ...], ...]:
        """The paths of the kernels of each branch, in the order of the branch's layers.

        >>> ResidualMLP(width=8, blocks=1, outputs=2).branches()
        (('block_0/layer_0/kernel', 'block_0/layer_1/kernel'),)
        """
        return tuple(
            tuple(f"block_{block}/layer_{layer}/kernel" for layer in range(self.branch_layers))
            for block in range(self.blocks)
        )

    def _dense(self, width: int, name: str) -> nn.Dense:
        return nn.Dense(
            width,
            self.use_bias,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            name=name,
        )


class _Block(nn.Module):
    """A scaled branch: s · F(x)."""

    layers: int
    activation: ActivationLike
    use_bias: bool
    kernel_init: Initializer
    bias_init: Initializer

    @nn.compact
    def __call__(self, x: Array) -> Array:
        phi = get_activation(self.activation).function
        width = x.shape[-1]
        for index in range(self.layers):
            x = phi(x) if index else x
            x = nn.Dense(
                width,
                self.use_bias,
                kernel_init=self.kernel_init,
                bias_init=self.bias_init,
                name=f"layer_{index}",
            )(x)
        scale: Array = self.param("scale", ones, ())
        return scale * x


class Antisymmetric(nn.Module):
    """f(x) = (g(x; plus) − g(x; minus))/√2, which is 0 for every x if the two trees are equal.

    The parameters are two trees, ``plus`` and ``minus``, each shaped like g's;
    :func:`jinit.calibrate.antisymmetric` makes them equal. The outputs then start at 0, and f has
    the same neural tangent kernel as g, so both have the same linearized training dynamics.

    Attributes:
      model: g, any linen module.

    Reference: Zhang, Xu, Luo & Ma 2020, section 4.

    >>> import jax, jax.numpy as jnp
    >>> model = Antisymmetric(ResidualMLP(width=8, blocks=1, outputs=2))
    >>> sorted(model.init(jax.random.key(0), jnp.zeros((1, 4)))["params"])
    ['minus', 'plus']
    """

    model: nn.Module

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Outputs ``(batch, outputs)``, shaped like g's."""
        plus, minus = (self.model.clone(parent=self, name=name) for name in ("plus", "minus"))
        difference: Array = (plus(x) - minus(x)) / 2**0.5
        return difference
