#!/usr/bin/env bash
# mlx 0.32.4: he_normal and he_uniform draw LeCun's standard deviation unless a gain is passed.
#
# He et al. 2015 derive Var w = 2 / fan_in for ReLU: the factor 2 is what tells He's rule from
# LeCun's. In MLX the factor is an argument of the returned function, gain, and its default is 1. The
# documentation states the formula with the gain; the name and the default together give LeCun's rule.
# jax, flax, torch (with its default slope) and Keras have the factor in their functions of this name.
#
#   mlx.nn.init of an array (64, 3, 3, 32), fan_in 288    standard deviation
#   he_normal()                                           .0590 = sqrt(1 / 288)
#   he_uniform()                                          .0589 = sqrt(1 / 288)
#   he_normal(), gain sqrt(2)                             .0833 = sqrt(2 / 288)
#
# A ReLU network started with the default loses half of its second moment in every layer: what is left
# after 20 layers of width 512 is 2**-20 of it.
# Expected before the run: sqrt(2 / 288) from both.
#
# Prints the numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "mlx[cpu]==0.32.4" "numpy==2.4.6"
"$folder/venv/bin/python" - << 'PYTHON'
import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np

mx.random.seed(0)
kernel = mx.zeros((64, 3, 3, 32))
normal, uniform = nn.init.he_normal(), nn.init.he_uniform()
changed = False
for name, drawn, expected in (
    ("he_normal()", normal(kernel), math.sqrt(1 / 288)),
    ("he_uniform()", uniform(kernel), math.sqrt(1 / 288)),
    ("he_normal(), gain sqrt(2)", normal(kernel, gain=math.sqrt(2)), math.sqrt(2 / 288)),
):
    deviation = np.array(drawn).std()
    print(f"{name}: standard deviation {deviation:.4f}, expected {expected:.4f}")
    # The standard deviation of 18,432 entries is within 3 % of the law's.
    changed |= abs(deviation / expected - 1) > 0.03

x = mx.random.normal((64, 512))
before = mx.mean(mx.square(x)).item()
for _ in range(20):
    x = nn.relu(x @ normal(mx.zeros((512, 512))).T)
left = mx.mean(mx.square(x)).item() / before
print(f"second moment after 20 ReLU layers: 2**{math.log2(left):.1f} of the input's")
changed |= not -22 < math.log2(left) < -19
raise SystemExit(int(changed))
PYTHON
