"""Convolutions as products of windows against lax's own, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jinit.engine._convolutions import with_fast_convolutions
from jinit.engine._cost import lane_bytes

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
    "no overlap": {"taps": (2, 3), "window_strides": (2, 3), "padding": "VALID"},
    "a sequence": {"dimension_numbers": ("NWC", "WIO", "NWC")},
    "groups": {"feature_group_count": 2},
    "a group of each channel": {"feature_group_count": 4, "outputs": 8},
    "groups and strides, channels elsewhere": {
        "feature_group_count": 2,
        "window_strides": (2, 1),
        "dimension_numbers": ("CHNW", "HOWI", "WNHC"),
    },
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

    def both(convolve):
        def value_and_gradients(x, w):
            value, back = jax.vjp(convolve, x, w)
            return value, back(jnp.sin(value))

        return jax.vmap(value_and_gradients)

    fast, plain = both(with_fast_convolutions(convolve)), both(convolve)
    assert "conv_general_dilated[" not in str(jax.make_jaxpr(fast)(*arrays))
    results = jax.tree.leaves((jax.jit(fast)(*arrays), jax.jit(plain)(*arrays)))
    for ours, exact in zip(results[:3], results[3:], strict=True):
        scale = float(jnp.abs(exact).max())
        np.testing.assert_allclose(ours, exact, rtol=1e-5, atol=2e-6 * scale)


@pytest.mark.slow
def test_the_gradient_of_a_lane_is_the_same_at_every_position(assert_same_bits):
    convolve, (x, w) = made(CASES["strides"])
    fast = with_fast_convolutions(convolve)
    slope = jax.grad(lambda w, x: jnp.mean(jnp.tanh(fast(x, w)) ** 2))
    tiles = jax.jit(jax.vmap(slope))
    order = jnp.array([0, 1, 1, 0, 1])
    first, second = tiles(w[order], x[order]), tiles(w[1 - order], x[1 - order])
    for lane in range(5):
        assert_same_bits(first[lane], first[order[lane]])
        assert_same_bits(second[lane], first[4 if order[lane] == 0 else 0])


CALLERS = {
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "scan": lambda convolve: (
        lambda x, w: lax.scan(lambda _, one: (None, convolve(one, w)), None, x[None])[1][0]
    ),
}


@pytest.mark.parametrize("name", CALLERS)
def test_convolutions_inside_called_functions_are_rewritten(name):
    convolve, (x, w) = made({})
    fast = with_fast_convolutions(CALLERS[name](convolve))
    assert "conv_general_dilated[" not in str(jax.make_jaxpr(fast)(x[0], w[0]))
    np.testing.assert_allclose(
        jax.jit(fast)(x[0], w[0]), convolve(x[0], w[0]), rtol=1e-5, atol=2e-6
    )


def test_what_has_no_convolution_is_called_as_it_is():
    """Its program is the plain one, so that stored runs are found again."""

    def plain(x):
        return jnp.tanh(x @ x.T)

    text, fast = (
        jax.jit(function).lower(jnp.ones((3, 3))).as_text()
        for function in (plain, with_fast_convolutions(plain))
    )
    assert fast == text.replace("jit_plain", "jit_call")


def stack(layers, groups=1, size=8):
    """Kernels of a network of convolutions, images, and its loss in the fast form."""
    kernels = [jnp.ones((3, 3, 4 // groups, 4))] * layers
    axes = ("NHWC", "HWIO", "NHWC")

    def loss(kernels, x):
        for w in kernels:
            x = jnp.tanh(
                lax.conv_general_dilated(
                    x, w, (1, 1), "SAME", dimension_numbers=axes, feature_group_count=groups
                )
            )
        return jnp.mean(x)

    return kernels, jnp.ones((2, size, size, 4)), with_fast_convolutions(loss)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_windows_are_counted_whatever_the_groups(groups):
    kernels, x, loss = stack(1, groups)
    assert lane_bytes(jax.grad(loss), kernels, (x,)).windows == 2 * 8 * 8 * 9 * 4 * 4


@pytest.mark.parametrize(("size", "kept"), [(8, True), (128, False)])
def test_a_gradient_keeps_small_windows_and_cuts_large_ones_again(size, kept):
    kernels, x, loss = stack(5, size=size)
    lane = lane_bytes(jax.grad(loss), kernels, (x,))
    of_one = 2 * size * size * 9 * 4 * 4
    assert lane.windows == (5 if kept else 1) * of_one
    # Unfused, a slice of each tap, the windows and their gradient are alive at once.
    assert (lane.peak > 5 * of_one) == kept


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((1, 80, 1), (65, 1, 1)), ((1, 4, 1), (6, 1, 1))],
    ids=["many taps", "an empty result"],
)
def test_what_windows_do_not_pay_for_stays(shape, kernel):
    def convolve(x, w):
        return lax.conv_general_dilated(
            x, w, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )

    args = jnp.ones(shape), jnp.ones(kernel)
    fast = with_fast_convolutions(convolve)
    assert "conv_general_dilated[" in str(jax.make_jaxpr(fast)(*args))
    np.testing.assert_allclose(jax.jit(fast)(*args), convolve(*args), rtol=1e-6)
