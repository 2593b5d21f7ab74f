"""Does SELU with LeCun's weights pull every layer to mean 0 and variance 1?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import FAILS, HOLDS, Scale, Verdict
from jinit import engine, initializers, theory
from jinit.report import plots
from jinit.theory import in_float64

NUMBER = None
PAPER = "Klambauer et al. 2017"
TITLE = "SELU has a stable fixed point at mean 0 and variance 1"
WHERE = "equations 4 to 8, section 'Deriving the mean and variance mapping function'"
CLAIM = (
    "With weights of mean 0 and variance 1/n the mapping of mean and variance from layer to layer "
    "has an attracting fixed point (0, 1): activations converge towards zero mean and unit "
    "variance even under noise."
)
TEST = (
    "(a) E selu(z) = 0 and E selu(z)² = 1 for z ~ N(0, 1) to 1e-9, by jinit's moments in float64; "
    "(b) the Jacobian of (mean, variance) → (mean, variance) at (0, 1) is ((0, .0888348), (0, "
    ".7826479)) to 1e-6: it contracts; (c) lecun_normal, width 1,024, 64 layers, inputs of mean "
    ".5 and variance 2: from layer 16 to 64 the variance over units, averaged over networks, is in "
    "[.8, 1.2] and the mean in [-.1, .1]. Holds if all; else not."
)
WIDTH, DEPTH = 1024, 64


def _moments(name: str, width: int, seed: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over units of a network's activations, layer by layer."""
    init = initializers.get("lecun_normal")
    phi = {"selu": jax.nn.selu, "relu": jax.nn.relu}[name]

    def layer(h: jax.Array, key: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        h = phi(h @ init(key, (width, width)))
        return h, (jnp.mean(h), jnp.var(h))

    start, rest = jax.random.split(jax.random.key(seed))
    h = 0.5 + 2**0.5 * jax.random.normal(start, (8, width))
    return jax.lax.scan(layer, h, jax.random.split(rest, DEPTH))[1]


def _jacobian() -> list[list[float]]:
    """Jacobian of the map of (mean, variance) from layer to layer, by finite differences.

    The weights have mean 0, so z ~ N(0, E h²) with E h² = variance + mean².
    """

    def mapped(mean: float, variance: float) -> np.ndarray:
        moment = theory.moments("selu", variance + mean**2)
        return np.array([float(moment.mean), float(moment.second - moment.mean**2)])

    step, rows = 1e-4, []
    for move in ((step, 0.0), (0.0, step)):
        up, down = mapped(move[0], 1 + move[1]), mapped(-move[0], 1 - move[1])
        rows.append((up - down) / (2 * step))
    return np.array(rows).T.tolist()


def measure(scale: Scale) -> dict:
    networks, width = scale(4, 32), scale(256, WIDTH)
    at_one = in_float64(theory.moments, "selu", 1.0)
    numbers = {"first": float(at_one.mean), "second": float(at_one.second - 1)}
    numbers["jacobian"] = in_float64(_jacobian)
    for name in ("selu", "relu"):
        run = functools.partial(_moments, name, width)
        mean, variance = engine.run(run, np.arange(networks, dtype=np.uint32))
        numbers[name] = {
            "mean": np.asarray(mean, np.float64).mean(0),
            "variance": np.asarray(variance, np.float64).mean(0),
        }
    return numbers | {"seeds": networks, "slack": scale(1.5, 1.0)}


def decide(numbers: dict) -> Verdict:
    mean, variance = (np.array(numbers["selu"][name])[15:] for name in ("mean", "variance"))
    exact = np.array([[0.0, 0.0888348], [0.0, 0.7826479]])
    passed = max(abs(numbers["first"]), abs(numbers["second"])) <= 1e-9
    passed &= bool(np.abs(np.array(numbers["jacobian"]) - exact).max() <= 1e-6)
    passed &= bool(np.abs(variance - 1).max() <= 0.2 * numbers["slack"])
    passed &= bool(np.abs(mean).max() <= 0.1 * numbers["slack"])
    answer = (
        f"E selu {numbers['first']:.0e}, E selu² − 1 {numbers['second']:.0e}; Jacobian column "
        f"({numbers['jacobian'][0][1]:.6f}, {numbers['jacobian'][1][1]:.6f}); layers 16 to "
        f"{DEPTH}: variance {variance.min():.3f} to {variance.max():.3f}, mean "
        f"{mean.min():+.3f} to {mean.max():+.3f}; ReLU with the same weights ends at variance "
        f"{numbers['relu']['variance'][-1]:.0e}"
    )
    return Verdict(HOLDS if passed else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.4, 3.6)
    layer = np.arange(1, DEPTH + 1)
    for name, colour, style in (
        ("selu", plots.COLORS["blue"], "-"),
        ("relu", plots.COLORS["vermilion"], "--"),
    ):
        variance = np.array(numbers[name]["variance"])
        ax.plot(layer, variance, color=colour, ls=style, lw=1.8, label=f"{name}: variance")
        plots.record(ax, f"{name}, variance", layer, variance)
    mean = np.abs(numbers["selu"]["mean"])
    ax.plot(layer, mean, color=plots.COLORS["blue"], ls=":", lw=1.4, label="selu: |mean|")
    ax.axhline(1.0, color=plots.COLORS["grey"], lw=0.8)
    ax.set(xlabel="layer", yscale="log", ylabel="over the units of a layer", ylim=(1e-5, 100))
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax
