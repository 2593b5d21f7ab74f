"""Convolutions as products of windows against lax's own, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jinit.engine._products import with_fast_products

RNG = np.random.default_rng(0)
CASES = {
    "same": {},
    "valid": {"padding": "VALID"},
    "strides": {"window_strides": (2, 3)},
    "uneven padding": {"padding": ((2, 0), (-1, 3))},
    "dilated kernel": {"rhs_dilation": (2, 1)},
    "dilated input": {"lhs_dilation": (2, 3), "padding": ((1, 2), (2, 2))},
    "all": {"window_strides": (2, 1), "rhs_dilation": (1, 2), "padding": ((3, 1), (0, 2))},
    "channels first": {"dimension_numbers": ("NCHW", "OIHW", "NCHW")},
    "channels elsewhere": {"dimension_numbers": ("CHNW", "HOWI", "WNHC")},
    "many taps": {"taps": (5, 4)},
    "a sequence": {"dimension_numbers": ("NWC", "WIO", "NWC")},
    "groups": {"feature_group_count": 2},
    "a group of each channel": {"feature_group_count": 4, "outputs": 8},
}


def made(options):
    """The convolution of a case, and lanes of inputs and kernels in its layout."""
    options = {"window_strides": (1, 1), "padding": "SAME", **options}
    taps, outputs = options.pop("taps", (3, 3)), options.pop("outputs", 6)
    specs = options.setdefault("dimension_numbers", ("NHWC", "HWIO", "NHWC"))
    groups = options.get("feature_group_count", 1)
    sizes = {"N": 3, "H": 9, "W": 8, "C": 4}
    of_kernel = {"H": taps[0], "W": taps[1], "I": 4 // groups, "O": outputs}
    if "H" not in specs[0]:
        options["window_strides"] = (1,)
    x = RNG.normal(size=(2, *(sizes[letter] for letter in specs[0])))
    w = RNG.normal(size=(2, *(of_kernel[letter] for letter in specs[1])))
    arrays = jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)
    return lambda x, w: lax.conv_general_dilated(x, w, precision="highest", **options), arrays


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.sampled(5)
def test_a_convolution_and_its_gradients_are_those_of_lax(name):
    convolve, arrays = made(CASES[name])

    def both(x, w):
        value, back = jax.vjp(convolve, x, w)
        return value, back(jnp.sin(value))

    fast, plain = jax.vmap(with_fast_products(both)), jax.vmap(both)
    left = str(jax.make_jaxpr(fast)(*arrays)).count("conv_general_dilated[")
    assert (left == 0) == ("group" not in name)
    results = jax.tree.leaves((jax.jit(fast)(*arrays), jax.jit(plain)(*arrays)))
    for ours, exact in zip(results[:3], results[3:], strict=True):
        scale = float(jnp.abs(exact).max())
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.slow
def test_the_gradient_of_a_lane_is_the_same_at_every_position(assert_same_bits):
    convolve, (x, w) = made(CASES["strides"])
    slope = with_fast_products(jax.grad(lambda w, x: jnp.mean(jnp.tanh(convolve(x, w)) ** 2)))
    tiles = jax.jit(jax.vmap(slope))
    order = jnp.array([0, 1, 1, 0, 1])
    first, second = tiles(w[order], x[order]), tiles(w[1 - order], x[1 - order])
    for lane in range(5):
        assert_same_bits(first[lane], first[order[lane]])
        assert_same_bits(second[lane], first[4 if order[lane] == 0 else 0])
