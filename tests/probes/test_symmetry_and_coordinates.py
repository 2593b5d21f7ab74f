"""Duplicate units, ranks, symmetry through training, and the coordinate check across widths."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jinit
from jinit import data, frameworks, models, probes
from jinit.probes._symmetry import duplicate_units
from jinit.train import FitConfig, fit, losses, mup_learning_rate, optimizers


@pytest.mark.full
def test_rank_and_duplicates_against_numpy():
    rng = np.random.default_rng(0)
    thin = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 20))
    thin[:, 7] = thin[:, 2]
    thin[:, 9] = thin[:, 4] * (1 + 1e-3)
    params = {"layer": {"w": jnp.asarray(thin, jnp.float32)}}
    captured = frameworks.capture(
        lambda p, x, tap: tap("layer", x @ p["layer"]["w"]), jnp.zeros((2, 12)), params
    )
    found = probes.symmetry(captured, params)
    singular = np.linalg.svd(thin, compute_uv=False)
    assert found.rank.tolist() == [3.0] == [np.linalg.matrix_rank(thin)]
    assert found.stable_rank[0] == pytest.approx((singular**2).sum() / singular[0] ** 2, rel=1e-4)
    assert found.duplicates.tolist() == [np.float32(2 / 20)]
    assert found.near_duplicates.tolist() == [np.float32(4 / 20)]


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [0.01, 0.05, 0.3])
def test_near_duplicates_against_all_pairs(tolerance):
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(5, 40))
    kernel[:, 20:] = kernel[:, :20] + 0.2 * rng.normal(size=(5, 20)) * rng.random(20) ** 3
    gaps = np.linalg.norm(kernel[:, :, None] - kernel[:, None], axis=0)
    lengths = np.linalg.norm(kernel, axis=0)
    near = gaps <= tolerance * np.maximum(lengths[:, None], lengths)
    expected = (near & ~np.eye(40, dtype=bool)).any(0).mean()
    found = duplicate_units(jnp.asarray(kernel, jnp.float32), tolerance=tolerance)
    assert found == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_bitwise_duplicates_in_half_precision(dtype):
    kernel = jax.random.normal(jax.random.key(0), (64, 512)).astype(dtype)
    assert duplicate_units(jnp.concatenate([kernel, kernel], 1)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_near_duplicates_at_any_scale(scale):
    kernel = scale * jax.random.normal(jax.random.key(0), (16, 24))
    assert duplicate_units(kernel, tolerance=0.01) == 0
    twins = jnp.concatenate([kernel, kernel * 1.005], 1)
    assert duplicate_units(twins, tolerance=0.01) == 1


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 3.0])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_projections_find_near_duplicates(share, scale):
    """Distances in 16 projections are right to about a fifth; others are 100 times as far."""
    inner, outer = jax.random.split(jax.random.key(0))
    kernel = jax.random.normal(inner, (100, 30))
    noise = share * 0.01 * jax.random.normal(outer, kernel.shape)
    twins = scale * jnp.concatenate([kernel, kernel + noise, 3 * kernel[:, :5] + 1], 1)
    found = duplicate_units(twins, jnp.zeros(65), 0.01, projections=16)
    assert found == pytest.approx(60 / 65 if share < 1 else 0)
    biased = duplicate_units(twins, scale * jnp.arange(65.0), 0.01, projections=16)
    assert biased == 0


@pytest.mark.full
def test_units_of_few_weights_are_no_near_duplicates():
    """4,096 numbers lie within 1 % of one another by chance."""
    x = jax.random.normal(jax.random.key(1), (16, 1))
    captured = frameworks.capture(models.MLP(features=(4096, 2)), x)
    params = jinit.initialize(jax.random.key(0), captured.params, {"*": "normal"})
    loss = probes.random_projection(jax.random.key(2))
    assert probes.propagation(captured, params, x, loss).near_duplicates[0] == 0
    kernel = params["hidden_0"]["kernel"]
    assert duplicate_units(kernel, tolerance=0.01) > 0.9


def test_a_tolerance_that_float32_cannot_tell_is_refused():
    with pytest.raises(ValueError, match="tolerance"):
        duplicate_units(jnp.ones((3, 3)), tolerance=1e-5)
    with pytest.raises(ValueError, match="projections"):
        duplicate_units(jnp.ones((3, 3)), tolerance=0.1, projections=0)
    with pytest.raises(ValueError, match="tolerance is 0"):
        duplicate_units(jnp.ones((3, 3)), projections=16)


@pytest.mark.full
@pytest.mark.parametrize(
    ("rules", "start", "end"),
    [
        ({"*": "zeros"}, 1.0, 1.0),
        ({"*/kernel": "constant(value=0.1)", "*": "zeros"}, 1.0, 1.0),
        # Rows of equal columns in, but different weights out: training tells the units apart.
        ({"hidden_0/kernel": "ones", "*/kernel": "he_normal", "*": "zeros"}, 1.0, 0.0),
        ({"*/kernel": "he_normal", "*": "zeros"}, 0.0, 0.0),
    ],
)
def test_symmetry_kept_or_broken_after_training(rules, start, end):
    xor, model = data.get("xor"), models.MLP(features=(8, 1), activation="tanh")
    captured = frameworks.capture(model, jnp.asarray(xor.x_train[:2]))
    params = jinit.initialize(jax.random.key(0), captured.params, rules)
    assert probes.symmetry(captured, params).duplicates[0] == start
    _, metrics = fit(
        params, xor, jax.random.key(1), apply=models.as_model(model).apply,
        loss=losses.get(None, "binary"), optimizer=optimizers.make("sgd", 0.1),
        config=FitConfig(steps=20, evaluations=20),
        watch=lambda p: probes.symmetry(captured, p),
    )  # fmt: skip
    watched = metrics["watched"].duplicates
    assert watched.shape == (len(FitConfig(steps=20, evaluations=20).evaluation_steps()), 2)
    assert watched[-1, 0] == end


@pytest.mark.full
def test_watching_changes_nothing():
    xor = data.get("xor")
    model = models.as_model(models.MLP(features=(8, 1), activation="tanh"))
    rules = {"*kernel": "he_normal", "*": "zeros"}
    params = jinit.initialize(jax.random.key(0), model.shapes(xor.x_train[:1]), rules)
    runs = [
        fit(
            params, xor, jax.random.key(1), apply=model.apply, loss=losses.get(None, "binary"),
            optimizer=optimizers.make("sgd", 0.1), config=FitConfig(steps=20, evaluations=5),
            watch=watch,
        )
        for watch in (None, lambda p: p)
    ]  # fmt: skip
    (plain, metrics), (state, watched) = runs
    assert "watched" not in metrics
    for one, other in zip(
        jax.tree.leaves(plain.params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    last = jax.tree.map(lambda leaf: leaf[-1], watched["watched"])
    for one, other in zip(jax.tree.leaves(last), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(one, other)


WIDTHS = (64, 128, 256, 512)
X = jax.random.normal(jax.random.key(3), (8, 32))
LABELS = jnp.arange(8) % 4


def mlp(width):
    return models.MLP(features=(width, width, 4), activation="relu")


@pytest.mark.full
def test_standard_parameterization_under_adam_explodes_with_width():
    # Adam moves every weight by the learning rate: fan_in weights of one sign add up, z ~ width.
    found = probes.coordinate_check(
        mlp, WIDTHS, {"*/kernel": "he_normal", "*": "zeros"}, X, probes.cross_entropy(LABELS),
        optimizer=optax.adam(1e-4), steps=2, seeds=8,
    )  # fmt: skip
    assert found.change.shape == (4, 8, 3)
    first, *deep = found.slopes
    # The first layer's fan_in is that of the data.
    assert abs(first.estimate) < 0.15
    assert all(0.7 < slope.low < slope.high < 1.3 for slope in deep)


@pytest.mark.full
def test_rates_that_fall_with_width_are_flat():
    def optimizer(width):
        rates = {
            role: optax.adam(64e-4 * mup_learning_rate(role, width, width))
            for role in ("hidden", "output")
        }
        return optax.multi_transform(
            rates | {"input": optax.adam(1e-4)},
            lambda params: jax.tree_util.tree_map_with_path(
                lambda path, leaf: "input" if leaf.ndim == 1 or "hidden_0" in str(path)
                else "output" if "output" in str(path) else "hidden", params),
        )  # fmt: skip

    rules = {"output/kernel": "mup(role=output)", "*/kernel": "he_normal", "*": "zeros"}
    found = probes.coordinate_check(
        mlp, WIDTHS, rules, X, probes.cross_entropy(LABELS), optimizer=optimizer, steps=2, seeds=8
    )
    assert all(abs(slope.estimate) < 0.2 for slope in found.slopes), found.slopes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"widths": (64,)}, "two different"),
        ({"seeds": 1}, "seeds"),
        ({"steps": 0}, "steps"),
        ({"optimizer": None}, "an optax transform"),
        ({"loss": None}, "loss: got None"),
        ({"model": 3}, "model: got 3"),
        ({"rules": {"*": "zeros"}}, "hidden_0"),
        ({"model": lambda width: models.MLP(features=(8,) * (width // 8))}, "same at every width"),
    ],
)
@pytest.mark.sampled(3)
def test_what_a_coordinate_check_refuses(options, match):
    given = {"model": mlp, "widths": (8, 16), "rules": {"*/kernel": "he_normal", "*": "zeros"}}
    given |= {"x": X, "loss": probes.cross_entropy(LABELS), "optimizer": optax.sgd(0.1), "seeds": 2}
    with pytest.raises((ValueError, TypeError), match=match):
        probes.coordinate_check(**(given | options))
