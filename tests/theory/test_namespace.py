"""What NumPy computes at once is what JAX compiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import sample

from jinit import theory
from jinit._float64 import in_float64
from jinit.models import MLP
from jinit.theory._finite_width import fluctuations_from_table
from jinit.theory._fixed_points import depth_scales_from_table
from jinit.theory._namespace import scan
from jinit.theory._propagation import Architecture, propagate_from_table
from jinit.theory._tabulate import moment_table

PLACES = {
    "chaotic": (2.0, 0.3, 1.0, 0.5), "ordered": (0.9, 0.1, 0.5, 0.3), "dies": (0.5, 0.0, 1.0, 1.0),
    "explodes": (40.0, 0.0, 1.0, 1.0), "close": (2.0, 0.3, 1.0, 1e-9),
    "nothing": (0.5, 0.0, 0.0, 0.0),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "activation", ["tanh", "relu", pytest.param("softplus", marks=pytest.mark.full)]
)
@pytest.mark.parametrize(
    "architecture",
    sample([Architecture(), Architecture(True, True), Architecture(normalized=True)], 2),
    ids=["plain", "residual", "normalized"],
)
@pytest.mark.sampled(14)
def test_numpy_and_jax_agree(place, activation, architecture):
    sigma_w, sigma_b, q, gap = PLACES[place]
    w, b, n = np.full(6, sigma_w), np.full(6, sigma_b), np.array([40.0, 40, 30, 30, 20, 10])
    numbers = w, b, np.float64(q), np.float64(gap), n
    table = moment_table(activation)

    def computed(w, b, q, gap, n):
        with np.errstate(all="ignore"):
            return (
                propagate_from_table(table, w, b, q, gap, architecture),
                fluctuations_from_table(table, n, n, w, b, q, True),
                depth_scales_from_table(table, w[0], b[0], q + 1e-6),
            )

    def both():
        return computed(*numbers), computed(*map(jnp.asarray, numbers))

    at_once, by_jax = (jax.tree.leaves_with_path(x) for x in in_float64(both))
    for (path, one), (_, other) in zip(at_once, by_jax, strict=True):
        np.testing.assert_allclose(
            one, other, rtol=1e-9, atol=1e-12, err_msg=jax.tree_util.keystr(path)
        )


def test_a_prediction_of_another_depth_compiles_nothing():
    durations = []
    theory.predict(MLP((32,) * 3, activation="tanh"), 32)
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: durations.append(name)
    )
    try:
        theory.predict(MLP((16,) * 30, activation="tanh"), 16)
        jax.jit(lambda x: x + 1)(1)  # What a compilation looks like.
    finally:
        jax.monitoring.clear_event_listeners()
    compiled = [name for name in durations if "backend_compile" in name]
    assert len(compiled) == 1


def test_the_loop_is_the_scan_of_jax():
    inputs = {"a": np.arange(5.0), "b": np.arange(10.0).reshape(5, 2)}

    def step(state, x):
        return 2 * state + x["b"].sum(), (state, x["a"] - state)

    for reverse in (False, True):
        state, rows = scan(step, np.float64(1.0), inputs, reverse=reverse)
        expected = jax.lax.scan(step, jnp.asarray(1.0), inputs, reverse=reverse)
        jax.tree.map(np.testing.assert_array_equal, (state, rows), expected)
    last, rows = scan(lambda state, _: (state + 1, None), np.float64(0.0), None, length=3)
    assert last == 3
    assert rows is None
