"""Do deep linear networks with orthogonal weights need less width than Gaussian ones?"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harness import FAILS, HOLDS, LIMITED, Scale, Verdict
from jinit import engine, initializers
from jinit.report import plots

NUMBER = None
PAPER = "Hu, Xiao & Pennington 2020"
TITLE = "Deep linear networks: Gaussian weights need width like depth, orthogonal ones do not"
WHERE = "theorems 1 and 2, figure 1"
CLAIM = (
    "The width needed for efficient convergence of deep linear networks to a global minimum is "
    "independent of the depth with orthogonal weights, and grows linearly with it with Gaussian "
    "ones."
)
TEST = (
    "L weight matrices, 16 inputs, 10 outputs, hidden width m; Y = W* X with Gaussian X (256 "
    "columns, entered through its singular values: the loss depends on nothing else) and W* of "
    "entries N(0, 1/16); ½‖f(X) − Y‖², 300 gradient steps, the best of seven rates from 1e-6 to "
    "1e-3 for each seed. Loss over the loss of f = 0, median over seeds. (a) L = 64, m = 32: "
    "orthogonal ≤ .02 and Gaussian at least ten times as much; (b) L = 4, m = 128: both < 1e-6; "
    "(c) at m = 128 from L = 4 to 64 orthogonal stays below 1e-4. Holds if all; with a limit if "
    "(a) and (b); else not."
)
INPUTS, OUTPUTS, SAMPLES, STEPS = 16, 10, 256, 300
RATES = tuple(float(rate) for rate in np.geomspace(1e-6, 1e-3, 7))
ARMS = {"orthogonal": "orthogonal", "Gaussian": "fan_in_normal(k=1.0)"}


def _losses(arm: str, depth: int, width: int, seed: jax.Array) -> jax.Array:
    """Final loss divided by the loss of f = 0, one value per learning rate."""
    draw, data, teacher = jax.random.split(jax.random.key(seed), 3)
    x = jax.random.normal(data, (INPUTS, SAMPLES))
    x = jnp.linalg.cholesky(x @ x.T)
    y = jax.random.normal(teacher, (OUTPUTS, INPUTS)) / INPUTS**0.5 @ x
    keys, init = jax.random.split(draw, depth), initializers.get(arm)
    start = (
        init(keys[0], (INPUTS, width)).T,
        jax.vmap(lambda key: init(key, (width, width)).T)(keys[1:-1]),
        init(keys[-1], (width, OUTPUTS)).T,
    )

    def loss(weights: tuple[jax.Array, ...]) -> jax.Array:
        first, middle, last = weights
        h, _ = jax.lax.scan(lambda h, w: (w @ h, None), first @ x, middle)
        return jnp.sum((last @ h - y) ** 2) / 2

    def train(rate: float) -> jax.Array:
        def step(weights, _):
            slopes = jax.grad(loss)(weights)
            return jax.tree.map(lambda w, g: w - rate * g, weights, slopes), None

        return loss(jax.lax.scan(step, start, None, length=STEPS)[0])

    return jax.lax.map(train, jnp.asarray(RATES)) / (jnp.sum(y**2) / 2)


def measure(scale: Scale) -> dict:
    seeds, rows = scale(3, 32), []
    for depth in scale((4, 64), (4, 16, 64)):
        for width in scale((32,), (32, 64, 128)):
            row = {"depth": depth, "width": width}
            for arm, spec in ARMS.items():
                run = functools.partial(_losses, spec, depth, width)
                losses = np.asarray(engine.run(run, np.arange(seeds, dtype=np.uint32)), np.float64)
                best = np.nan_to_num(losses, nan=np.inf).min(1)
                row[arm] = float(np.median(best))
                row[f"{arm} quartiles"] = np.quantile(best, (0.25, 0.75))
            rows.append(row)
    return {"rows": rows, "seeds": seeds}


def decide(numbers: dict) -> Verdict:
    rows = {(row["depth"], row["width"]): row for row in numbers["rows"]}
    narrow, shallow = rows[64, 32], rows.get((4, 128), rows[4, 32])
    lags = narrow["orthogonal"] <= 0.02 and narrow["Gaussian"] >= 10 * narrow["orthogonal"]
    both = max(shallow["orthogonal"], shallow["Gaussian"]) < 1e-6
    wide = [row["orthogonal"] for (_, width), row in rows.items() if width == 128]
    answer = "; ".join(
        f"L {depth}, m {width}: orthogonal {row['orthogonal']:.1e}, Gaussian {row['Gaussian']:.1e}"
        for (depth, width), row in rows.items()
        if width != 64
    )
    kind = HOLDS if lags and both and max(wide, default=0) < 1e-4 else LIMITED
    return Verdict(kind if lags and both else FAILS, answer)


def draw(numbers: dict):
    ax = plots.new_axes(5.4, 3.6)
    widths = sorted({row["width"] for row in numbers["rows"]})
    for arm, colour in (
        ("orthogonal", plots.COLORS["blue"]),
        ("Gaussian", plots.COLORS["vermilion"]),
    ):
        for width, style in zip(widths, ("-", "--", ":"), strict=False):
            rows = [row for row in numbers["rows"] if row["width"] == width]
            depth, loss = [row["depth"] for row in rows], [row[arm] for row in rows]
            ax.plot(depth, loss, "o", ls=style, color=colour, lw=1.6, label=f"{arm}, m = {width}")
            plots.record(ax, f"{arm}, m = {width}", depth, loss)
    ax.set(xlabel="weight matrices L", ylabel="relative loss after 300 steps", xscale="log",
           yscale="log", ylim=(1e-15, 1e5))  # fmt: skip
    ax.set_xticks([4, 16, 64], ["4", "16", "64"])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=8, ncol=2)
    return ax
