"""A batched seed sweep to copy and change: your network, your arrays, many seeds, one verdict.

python scripts/seed_sweep.py --seeds 32 --out runs.parquet
"""

import argparse

import flax.linen as nn
import numpy as np

import jinit
from jinit.report import SweepProgress, show
from jinit.results import check_output


class Network(nn.Module):
    """Any Flax module works; jinit replaces its initial weights."""

    @nn.compact
    def __call__(self, x):
        for _ in range(4):
            x = nn.gelu(nn.Dense(48)(x))
        return nn.Dense(3)(x)


def arrays(examples: int = 600):
    """Three noisy rings in 6 dimensions: replace by your own x (examples, features) and y."""
    rng = np.random.default_rng(0)
    y = np.arange(examples) % 3
    x = rng.normal(size=(examples, 6))
    x *= ((1 + y) / np.linalg.norm(x, axis=1))[:, None]
    return x + 0.2 * rng.normal(size=x.shape), y


def main() -> None:
    """Trains every initializer on every seed and prints who wins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=32, help="networks per initializer")
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps per network")
    parser.add_argument("--out", help="write all runs to FILE.parquet or FILE.csv")
    options = parser.parse_args()
    if options.out:
        check_output(options.out)  # fails before the training

    grid = jinit.Grid(
        initializer=("lecun_normal", "glorot_uniform", "he_normal", "orthogonal"),
        learning_rate=(0.03, 0.1),
        clip="global_norm(1.0)",
        steps=options.steps,
        seeds=options.seeds,
    )
    with SweepProgress() as progress:
        table = jinit.run(grid, model=Network(), data=arrays(), progress=progress)
    show(table, baseline="lecun_normal")
    if options.out:
        table.write(options.out)


if __name__ == "__main__":
    main()
