#!/usr/bin/env bash
# brainstate 0.5.4 with braintools 0.3.0: a convolution starts 6.5 times too small.
#
# brainstate.nn.Conv2d keeps its kernel as (height, width, in, out). The documentation of its argument
# w_init names braintools.init.XavierNormal() as an example of an initializer. The initializers of
# braintools read an array of three or more axes as (out, in, *spatial), PyTorch's order, and a matrix
# as (in, out). So a kernel (3, 3, 64, 128) has a fan_in of 3 * 64 * 128 = 24,576 for them instead of
# 3 * 3 * 64 = 576. brainstate's own initializers of the same names read the kernel rightly.
#
#   w_init                               standard deviation    sqrt(2 / 576) = .0589
#   brainstate.nn.init.KaimingNormal()   .0588                 1.00 of it
#   braintools.init.KaimingNormal()      .0090                  .15 of it
#
# Nothing is raised, and a Linear layer with either initializer is right: its matrix is (in, out).
# Expected before the run: the same standard deviation from both packages of one project.
#
# Prints both numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "brainstate==0.5.4" "braintools==0.3.0" "jax==0.9.2" "jaxlib==0.9.2"
"$folder/venv/bin/python" -W ignore - << 'PYTHON'
import brainstate
import braintools
import numpy as np

brainstate.random.seed(0)
changed = False
for name, start, expected in (
    ("brainstate", brainstate.nn.init.KaimingNormal(), 0.0588),
    ("braintools", braintools.init.KaimingNormal(), 0.0090),
):
    layer = brainstate.nn.Conv2d((28, 28, 64), 128, 3, w_init=start)
    kernel = np.asarray(layer.states()[("weight",)].value["weight"])
    assert kernel.shape == (3, 3, 64, 128)
    print(f"{name}: standard deviation {kernel.std():.4f}, expected {expected:.4f}")
    # The standard deviation of 73,728 entries is within 2 % of the law's.
    changed |= abs(kernel.std() / expected - 1) > 0.02
raise SystemExit(int(changed))
PYTHON
