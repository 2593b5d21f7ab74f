"""Residual branches in theory: closed forms, and what networks of linear-ended branches measure."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit import models, theory
from jinit._float64 import in_float64

FIRST = {"residual": True, "residual_first": True}


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "sigma_v"), [(1.0, 1.0), (0.5, 1.3), (20**-0.5, 1.0)])
def test_relu_branches_that_end_linearly_grow_by_a_closed_form(scale, sigma_v):
    """E h² grows by 1 + (scale σ_v)² where He's weights feed the ReLU; gradients by the same."""
    branches = theory.Architecture(**FIRST, branch_scale=scale, sigma_v=sigma_v)
    found = in_float64(
        lambda: theory.propagate("relu", 2**0.5, depth=21, q=3.0, architecture=branches)
    )
    growth = 1 + (scale * sigma_v) ** 2
    np.testing.assert_allclose(found.q, 3 * growth ** np.arange(21), rtol=1e-9)
    log = np.asarray(found.log_gradient)[:-1]
    np.testing.assert_allclose(np.diff(log), -np.log(growth), rtol=1e-6)


@pytest.mark.slow
def test_branches_that_end_in_relu_add_up_in_step_and_grow_faster():
    ends = [theory.Architecture(**FIRST, sigma_v=v) for v in (None, 1.0)]
    last = [theory.propagate("relu", 2**0.5, depth=12, architecture=a).q[-1] for a in ends]
    assert last[0] > 3 * last[1]


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("tanh", 1.0),
        *(pytest.param(*p, marks=pytest.mark.full) for p in (("relu", 0.5), ("gelu", 0.7))),
    ],
)
def test_residual_mlps_measure_what_theory_says(name, scale):
    width, blocks, networks = 256, 6, 48
    model = models.ResidualMLP(width, blocks, width, name)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, width)), jnp.float32)
    # The stem keeps lengths: E h² = (q − σ_b²)/σ_w².
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True) * width**0.5
    start = ((2.0 - 0.2**2) / 1.3**2) ** 0.5
    shapes = models.as_model(model).shapes(x)
    rules = {
        "stem/kernel": f"fan_in_normal(k={start**2})", "*/layer_1/kernel": "fan_in_normal(k=1.44)",
        "*/kernel": "fan_in_normal(k=1.69)", "*/layer_0/bias": "normal(0.2)",
        "output/bias": "normal(0.2)", "*/bias": "zeros", "*/scale": f"constant({scale})",
    }  # fmt: skip

    def lengths(key):
        params = jinit.initialize(key, shapes, rules)
        captured = jinit.frameworks.capture(model, x)
        _, values = captured.apply(params, x, None)
        places = [f"block_{i}/layer_0" for i in range(blocks)] + ["output"]
        z = jnp.stack([values[place] for place in places])
        return jnp.mean(z**2, (1, 2)), jnp.mean((z[:, 0] - z[:, 1]) ** 2, 1) / 2

    keys = jax.random.split(jax.random.key(1), networks)
    square, apart = (np.asarray(v, np.float64) for v in jax.jit(jax.vmap(lengths))(keys))
    cosine = float(x[0] @ x[1]) / width
    # The last layer of the theory is the output layer.
    expected = theory.propagate(
        name, 1.3, 0.2, depth=blocks + 1, q=2.0, c=1 - (1 - cosine) * (1.3 * start) ** 2 / 2.0,
        architecture=theory.Architecture(**FIRST, branch_scale=scale, sigma_v=1.2),
    )  # fmt: skip
    for measured, theory_says in ((square, expected.q), (apart, expected.q * expected.gap)):
        error = measured.std(0, ddof=1) / networks**0.5
        # Beside the sampling error finite width bends the mean, by order depth/width.
        allowed = 4 * error + 0.02 * measured.mean(0)
        assert (np.abs(measured.mean(0) - theory_says) <= allowed).all()


@pytest.mark.slow
def test_a_first_layer_without_a_branch_has_no_scale():
    """h_1 = φ(z_1), then branches: E z² = 1, then 1 + s² with V, and 2 s E h E φ more without."""
    for sigma_v, scale in ((1.0, 0.25), (None, 0.25)):
        branches = theory.Architecture(residual=True, branch_scale=scale, sigma_v=sigma_v)
        found = theory.propagate("relu", 2**0.5, depth=3, architecture=branches)
        # E h² = ½ and (E h)² = 1/(2π) for q = 1 (ReLU).
        cross = 0.0 if sigma_v else 2 * 2 * scale / (2 * np.pi)
        np.testing.assert_allclose(found.q, [1, 1, 1 + scale**2 + cross], rtol=1e-6)


def test_branch_options_without_branches_are_refused():
    for options in ({"branch_scale": 0.5}, {"sigma_v": 1.0}):
        with pytest.raises(ValueError, match="residual=True"):
            theory.Architecture(**options)
    with pytest.raises(ValueError, match="sigma_v"):
        theory.Architecture(residual=True, sigma_v=-1.0)
