"""Predictions against sampled networks and what the commands print of them."""

import io
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import frameworks, initializers, probes, report, theory
from jinit.cli import main
from jinit.models import MLP, ResidualMLP
from jinit.report import plots
from jinit.theory._mean_field import correlation_fixed_point


def measured(model, rules, x, seeds):
    captured = frameworks.capture(model, x)
    return probes.ensemble(
        captured, rules, x, probes.random_projection(jax.random.key(2)), seeds=seeds
    )


@pytest.mark.full
@pytest.mark.parametrize(
    ("activation", "kernel", "bias", "options"),
    [("relu", "he_normal", "zeros", {}), ("tanh", "fan_in_normal(k=2.0)", "normal(0.2)", {}),
     ("gelu", "lecun_normal", "normal(0.3)", {}),
     ("relu", "orthogonal(1.4142, method=householder)", "zeros", {}),
     ("relu", "glorot_normal", "zeros", {"residual": True}),
     ("tanh", "lecun_normal", "zeros", {"residual": True}),
     ("relu", "lecun_normal", "zeros", {"layer_norm": True}),
     ("tanh", "he_normal", "normal(0.1)", {"layer_norm": True, "residual": True})],
)  # fmt: skip
def test_predictions_against_sampled_networks(activation, kernel, bias, options):
    model = MLP(features=(128,) * 6 + (16,), activation=activation, **options)
    direction = jax.random.normal(jax.random.key(0), (8, 96))
    common = jax.random.normal(jax.random.key(1), (1, 96))
    # Equal lengths and equal angles between all inputs: the means say all there is.
    q, _ = jnp.linalg.qr(jnp.concatenate([common, direction]).T)
    x = 96**0.5 * (0.7 * q[:, :1] + math.sqrt(1 - 0.49) * q[:, 1:]).T
    rules = {"*/kernel": kernel, "*/bias": bias, "*/scale": "ones", "*/shift": "zeros"}
    rules = rules if model.layer_norm else {k: rules[k] for k in ("*/kernel", "*/bias")}
    seeds = 128
    seen = measured(model, rules, x, seeds)
    made = initializers.get(kernel), initializers.get(bias)
    found = theory.predict(model, x, kernel=made[0], bias=made[1])
    square = np.asarray(seen.second_moment, float)
    error = square.std(0, ddof=1) / seeds**0.5 / found.second_moment
    # What is left of order depth/width, beside the error of the mean.
    assert np.all(np.abs(square.mean(0) / found.second_moment - 1) < 4 * error + 0.06)
    correlation = np.asarray(seen.correlation, float).mean(0)
    np.testing.assert_allclose(correlation, found.correlation, atol=0.05)
    gradient = np.asarray(seen.gradient_norm, float) ** 2 / 16
    error = gradient.std(0, ddof=1) / seeds**0.5 / found.gradient
    assert np.all(np.abs(gradient.mean(0) / found.gradient - 1) < 4 * error + 0.1)


def drawn(model, x, bias, networks):
    """E z² and the mean cosine of z by layer, of He networks with ReLU, by NumPy alone."""
    rng, rows = np.random.default_rng(3), []
    for _ in range(networks):
        h, row = x, []
        for index, width in enumerate(model.features):
            z = h @ rng.normal(0, (2 / h.shape[1]) ** 0.5, (h.shape[1], width)) + bias
            unit = z / np.linalg.norm(z, axis=1, keepdims=True)
            n = len(z)
            row.append(((z**2).mean(), ((unit @ unit.T).sum() - n) / (n * (n - 1))))
            if model.layer_norm and index < model.depth:
                z = (z - z.mean(1, keepdims=True)) / z.std(1, keepdims=True)
            phi = np.maximum(z, 0)
            h = phi + h if model.residual and phi.shape == h.shape else phi
        rows.append(row)
    return np.moveaxis(np.array(rows), 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("features", "bias", "networks", "options"),
    [((64, 32, 32, 64), 0.0, 200, {"residual": True}),  # no skip where the width changes
     ((64, 64, 64, 64), 0.0, 200, {"residual": True, "uniform": True}),  # inputs have a mean
     ((1000,) * 4, 1.0, 8, {"layer_norm": True}),  # which subtracts the mean of the biases
     ((1000,) * 4, -0.5, 8, {})],
)  # fmt: skip
def test_what_has_a_mean_and_what_has_no_skip_against_sampled_networks(
    features, bias, networks, options
):
    rng = np.random.default_rng(0)
    uniform = "uniform" in options
    options = {name: value for name, value in options.items() if name != "uniform"}
    x = rng.uniform(size=(32, 64)) if uniform else rng.normal(size=(32, 64))
    x *= (8 if not uniform else 8 / 3**0.5) / np.linalg.norm(x, axis=1, keepdims=True)
    model = MLP(features=features, activation="relu", **options)
    made = initializers.get("he_normal"), initializers.get(f"constant({bias})")
    found = theory.predict(model, x, kernel=made[0], bias=made[1])
    square, cosine = drawn(model, x, bias, networks)
    error = square.std(0, ddof=1) / networks**0.5 / found.second_moment
    assert np.all(np.abs(square.mean(0) / found.second_moment - 1) < 4 * error + 0.02)
    np.testing.assert_allclose(cosine.mean(0), found.correlation, atol=0.03)
    if options == {"residual": True} and not uniform:
        # A skip connection doubles what He weights keep.
        np.testing.assert_allclose(found.gradient, [2, 2, 1, 1], rtol=1e-6)
        np.testing.assert_allclose(found.second_moment[:3], [2, 4, 4], rtol=0.05)


@pytest.mark.parametrize("rows", [1, 3])
def test_equal_inputs_do_not_collapse(rows):
    x = np.repeat(np.random.default_rng(0).normal(size=(1, 64)), rows, axis=0)
    found = theory.predict(MLP((64,) * 8 + (10,)), x, kernel=initializers.get("he_normal"))
    assert [finding.kind for finding in found.findings] == ["healthy"]


@pytest.mark.full
def test_bands_hold_95_percent_of_networks():
    model = MLP(features=(64,) * 12 + (1,), activation="relu", use_bias=False)
    x = jax.random.normal(jax.random.key(0), (4, 64))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True) * 8
    seen = measured(model, {"*": "he_normal"}, x[:2], 400)
    found = theory.predict(model, x, kernel=initializers.get("he_normal"))
    low, high = found.second_moment_band
    # Two inputs are averaged, which the band of one input knows nothing of: the band is wide.
    inside = (seen.second_moment[:, :-1] > low[:-1]) & (seen.second_moment[:, :-1] < high[:-1])
    assert np.all(inside.mean(0) > 0.93)
    low, high = found.gradient_band
    last = np.asarray(seen.gradient_norm, float)[:, -1:] ** 2
    ratio = (np.asarray(seen.gradient_norm, float) ** 2 / last)[:, :-1]
    inside = (ratio > low[:-1]) & (ratio < high[:-1])
    assert np.all(inside.mean(0) > 0.9)


@pytest.mark.slow
def test_findings_say_what_is_wrong():
    def of(activation, kernel, depth, width=64):
        model = MLP(features=(width,) * depth + (10,), activation=activation)
        found = theory.predict(model, width, kernel=initializers.get(kernel))
        return " ".join(map(str, found.findings))

    assert "healthy" in of("relu", "he_normal", 10)
    assert "signal vanishes" in of("relu", "lecun_normal", 30)
    assert "gradient vanishes" in of("sigmoid", "glorot_uniform", 10)
    assert "inputs become parallel" in of("sigmoid", "glorot_uniform", 10)
    assert "gradient explodes" in of("tanh", "fan_in_normal(k=9.0)", 40)
    assert "networks differ" in of("relu", "he_normal", 40, width=20)
    assert "trainable to about" in of("tanh", "fan_in_normal(k=0.7)", 40)


@pytest.mark.parametrize(("depth", "vanishes"), [(18, False), (24, True)])
def test_gradients_vanish_by_their_norm_as_in_verdicts(depth, vanishes):
    """Glorot's rule halves the squared gradient at each ReLU layer."""
    model = MLP((64,) * (depth + 1), "relu")
    found = theory.predict(model, 64, kernel=initializers.get("glorot_uniform"))
    kinds = [finding.kind for finding in found.findings]
    assert (2 ** (-(depth - 1) / 2) < 1e-3) == vanishes == ("vanishing backward" in kinds)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: theory.predict(m, 8, kernel=initializers.get("zeros")), "kernel law"),
        (lambda m: theory.predict(m, 8, kernel=initializers.get("ones")), "kernel law"),
        (lambda m: theory.predict(m, 0), "x: got 0"),
        (lambda m: theory.predict(m, np.zeros((3, 8))), "all zeros"),
        (lambda m: theory.predict(m, np.full((3, 8), np.nan)), "NaN"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(MLP(features=(4, 4, 2)))
    with pytest.raises(TypeError, match="law"):
        theory.predict(MLP(features=(4, 2)), 8, kernel="he_normal")


@pytest.mark.slow
def test_the_trainable_depth_has_the_formula_of_its_regime():
    """Without biases LeCun's ReLU network has q* = 0 and χ₁ = ½: 6/ln 2 = 8.66 layers."""
    model = MLP(features=(64,) * 10 + (10,), activation="relu")
    found = theory.predict(model, 64, kernel=initializers.get("lecun_normal"))
    (finding,) = [each for each in found.findings if each.kind == "too deep"]
    assert "8.66 hidden layers (6/|ln chi_1|)" in finding.evidence
    out = io.StringIO()
    report.show(found, stream=out)
    assert "trainable depth about 8.66 (6/|ln χ₁|)" in " ".join(out.getvalue().split())


@pytest.mark.slow
def test_the_predict_command(capsys, tmp_path):
    assert main(["predict", "--depth", "30", "--activation", "tanh", "--initializer",
                 "fan_in_normal(k=9.0)", "--plot", str(tmp_path / "p.png")]) == 1  # fmt: skip
    out = capsys.readouterr().out
    assert "chaotic" in out
    assert "gradient explodes" in out
    assert "(6 ξ_c)" in out
    assert (tmp_path / "p.csv").read_text().count("\n") == 1 + 2 * 31
    assert main(["predict", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["layers"]) == 11
    (finding,) = found["findings"]
    assert finding["ok"]
    assert finding["evidence"] == "nothing vanishes, explodes or collapses"
    assert main(["predict", "--initializer", "zeros"]) == 2
    assert main(["predict", "--depth", "-1"]) == 2


@pytest.mark.full
@pytest.mark.slow
def test_the_phase_command(capsys, tmp_path):
    file = tmp_path / "phase.png"
    assert main(["phase", "--out", str(file), "--points", "40", "--initializer", "he_normal",
                 "--json"]) == 0  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert found["mark"][:2] == [pytest.approx(2.0), 0.0]
    assert found["scales"]["chi_1"] == pytest.approx(1.106, abs=1e-3)
    assert len(found["critical_line"]) > 100
    grid = theory.phase_diagram("tanh", *(np.sqrt(found[name]) for name in
                                          ("weight_variance", "bias_variance")))  # fmt: skip
    depth = np.array(found["trainable_depth"], float)
    np.testing.assert_allclose(depth, grid.scales.trainable_depth, rtol=1e-6)
    for sigma_w_squared, sigma_b_squared in found["critical_line"][::20]:
        exact = theory.edge_of_chaos("tanh", sigma_b_squared**0.5) ** 2
        assert sigma_w_squared == pytest.approx(
            exact, rel=2e-5 if sigma_b_squared < 1e-12 else 1e-8
        )
    assert file.stat().st_size > 10_000
    assert main(["phase", "--out", str(tmp_path / "x.txt")]) == 2
    assert main(["phase", "--out", str(tmp_path)]) == 2
    assert main(["phase", "--out", str(file), "--weight-variance", "2", "1"]) == 2


@pytest.mark.full
def test_no_edge_of_chaos_is_drawn_where_lengths_diverge():
    """ReLU's χ₁ passes 1 at σ_w² = 2, but only at σ_b = 0 has a length to be critical at."""
    sigma_w = np.sqrt([1.5, 1.9, 2.1, 2.5])
    found = theory.phase_diagram("relu", sigma_w, np.sqrt([0.1, 0.3]))
    assert found.critical_line().shape == (0, 2)
    (point,) = theory.phase_diagram("relu", sigma_w, np.array([0.0, 0.3])).critical_line()
    assert point == pytest.approx((2, 0), abs=1e-9)
    assert found.divergence_line() == pytest.approx(np.array([[2, 0.1], [2, 0.3]]))
    ax = plots.phase_diagram(found)
    assert {text.get_text() for text in ax.texts} >= {"ordered", "lengths diverge"}
    assert not {text.get_text() for text in ax.texts} & {"chaotic", "edge of chaos"}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: jax.jit(lambda b: theory.edge_of_chaos("tanh", b))(0.1),
         TypeError, "not a tracer"),
        (lambda x: theory.edge_of_chaos("tanh", np.ones(2)), TypeError, "one concrete number"),
        (lambda x: theory.length_fixed_points("tanh", -1.0), ValueError, "sigma_w: got -1.0"),
        (lambda x: theory.depth_scales("tanh", np.ones(3), np.ones(2)), ValueError, "broadcast"),
        (
            lambda x: theory.jacobian_spectrum("tanh", np.ones(3), np.ones(2), depth=2),
            ValueError, "shapes of sigma_w",
        ),
        (lambda x: theory.kernels("relu", x * np.nan, depth=1), ValueError, "NaN, inf"),
        (
            lambda x: theory.propagate("relu", 1.0, depth=2, architecture="residual"),
            TypeError, "an Architecture",
        ),
        (lambda x: theory.predict(ResidualMLP(4, 2, 3), x), TypeError, "got 'ResidualMLP'"),
        (lambda x: theory.fluctuations("relu", 5, 1.0), TypeError, "widths: got 5"),
        (lambda x: theory.fluctuations("relu", [5] * 3, np.ones(2)), ValueError, r"\(\) or \(3,\)"),
        (
            lambda x: theory.fluctuations("relu", [5] * 3, 1.0, q=np.ones(2)),
            ValueError, "shape of q",
        ),
        (lambda x: theory.phase_diagram("tanh", "a", [0.1]), TypeError, "sigma_w: got 'a'"),
        (lambda x: theory.condition_number(x), ValueError, r"kernel: got \(4, 3\)"),
        (lambda x: theory.condition_number(np.triu(np.ones((2, 2)))), ValueError, "not symmetric"),
        (
            lambda x: theory.linearized_loss(
                np.eye(2) * np.nan, x[:2, 0], learning_rate=1, steps=1
            ),
            ValueError, "ntk: got 'NaN or inf'",
        ),
        (lambda x: theory.kernels("tanh", "a", depth=1), TypeError, "x: got 'a'"),
        (lambda x: theory.length_map("tanh", x[0], x[:2, 0]), ValueError, "shapes of sigma_w"),
        (lambda x: theory.cross_moments("tanh", x[0], x[:2, 0]), ValueError, "shapes of q, c"),
        (lambda x: theory.propagate("relu", x[0], q=x[:2, 0], depth=2), ValueError, "broadcast"),
        (lambda x: theory.Architecture(residual=True, branch_scale="a"), TypeError, "got 'a'"),
        (lambda x: theory.Architecture(branch_scale=0.5), ValueError, "residual=True"),
        (lambda x: theory.Architecture(residual="no"), TypeError, "True or False"),
        (lambda x: theory.Architecture(residual_first=True), ValueError, "residual=True"),
        (
            lambda x: theory.kernels("relu", x, depth=1, sigma_w=np.ones(4)),
            ValueError, "one number",
        ),
        (lambda x: theory.kernels("tanh", 0 * x, depth=1), ValueError, "an input of zeros"),
        (lambda x: theory.kernels("tanh", x, depth=1, sigma_w=0), ValueError, "sigma_w = 0"),
        (lambda x: theory.kernels("tanh", 1j * x, depth=1), TypeError, "complex"),
        (
            lambda x: theory.linearized_loss(
                np.eye(2), x[:2, 0], learning_rate=np.ones(2), steps=2
            ),
            ValueError, "shape of learning_rate",
        ),
        (
            lambda x: theory.linearized_loss(np.eye(2), np.nan * x[:2], learning_rate=1, steps=2),
            ValueError, "targets",
        ),
        (lambda x: theory.condition_number(np.zeros((0, 0))), ValueError, "kernel"),
        (lambda x: theory.failure_modes("relu", [5] * 3, 0.0), ValueError, "both 0"),
        (
            lambda x: jax.jit(lambda s: theory.failure_modes("relu", [5] * 3, s))(1.0),
            TypeError, "known",
        ),
        (lambda x: theory.correlation_fixed_points("tanh", 0.0, 0.0, 1.0), ValueError, "both 0"),
        (lambda x: correlation_fixed_point("tanh", 0.0, 0.0, 1.0), ValueError, "both 0"),
        (lambda x: theory.moments(["tanh"], 1.0), TypeError, "activation"),
        (lambda x: theory.moments("tanh", 10**400), ValueError, "q: got"),
        (lambda x: theory.predict(MLP(()), 8), ValueError, "features"),
        (lambda x: theory.predict(MLP((3.7, 2)), 8), TypeError, "width: got 3.7"),
        (lambda x: theory.predict(MLP((8, 2), layer_norm="layer"), 8), TypeError, "layer_norm"),
        (lambda x: theory.predict(MLP((8, 2)), x[:0]), ValueError, "at least one"),
        (lambda x: theory.predict(MLP((8, 2)), 1e200 * x), ValueError, "too large"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((4, 3)))


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    "activation", [lambda x: jnp.sin(50 * x), lambda x: jnp.sqrt(jnp.abs(x)), "sin"]
)
def test_what_is_not_known_is_not_healthy(activation, capsys):
    kernel = initializers.get("normal(100.0)" if activation == "sin" else "he_normal")
    found = theory.predict(MLP((64,) * 5 + (10,), activation=activation), 64, kernel=kernel)
    assert str(found.findings[0]).startswith("hidden_0: not known")
    assert not any(finding.ok for finding in found.findings)
    if activation == "sin":
        command = [
            "predict",
            "--activation",
            "sin",
            "--initializer",
            "normal(100.)",
            "--depth",
            "5",
        ]
        assert main(command) == 1
        assert "hidden layers: unknown phase" in capsys.readouterr().out


@pytest.mark.slow
def test_gradients_beyond_float64_are_infinite():
    network = MLP((64,) * 2000, activation="tanh")
    found = theory.predict(network, 64, kernel=initializers.get("normal(2.0)"))
    assert np.isinf(found.gradient[:3]).all()
    assert np.isfinite(found.gradient[-3:]).all()
    assert "the gradient explodes" in " ".join(map(str, found.findings))


@pytest.mark.slow
def test_a_narrow_output_of_orthogonal_weights_varies_from_network_to_network():
    orthogonal = initializers.orthogonal()
    net = MLP(features=(64,) * 8 + (10,), activation="tanh")
    found = theory.predict(net, 64, kernel=orthogonal, bias=initializers.zeros)
    x = jax.random.normal(jax.random.key(1), (64,))
    x = x / jnp.sqrt(jnp.mean(x**2))

    def output(key):
        h = x
        for each, out in zip(jax.random.split(key, 9), net.features, strict=True):
            z = h @ orthogonal(each, (64, out))
            h = jnp.tanh(z)
        return jnp.mean(z**2)

    sizes = np.asarray(jax.jit(jax.vmap(output))(jax.random.split(jax.random.key(2), 1000)))
    low, high = found.second_moment_band[:, -1]
    assert 0.93 < ((sizes > low) & (sizes < high)).mean() < 0.97
