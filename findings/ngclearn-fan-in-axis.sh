#!/usr/bin/env bash
# ngclearn 3.2.3: fan_in_uniform takes the number of outputs for the fan_in, fan_in_gaussian does not.
#
# DenseSynapse(shape=(784, 64)) multiplies inputs (batch, 784) by weights (784, 64). Both initializers
# are documented with "fan_in is inferred from the shape": the Gaussian one reads shape[0] = 784, the
# uniform one shape[1] = 64.
#
#   initializer       bound or sigma asked        sigma expected      sigma drawn
#   fan_in_gaussian   sqrt(1 / 784)               .0357               .0357
#   fan_in_uniform    uniform(+-sqrt(1 / 784))    .0206               .0722, 3.50 times as large
#
# The outputs of the layer for inputs of variance 1 have sigma 2.02 in place of .58. Nothing is raised;
# a square matrix is right. use_numpy=True gives the same.
# Expected before the run: the same axis in both.
#
# ngclearn 3.2.3 needs jax 0.11.1 or newer, hence Python 3.12 or newer: set PYTHON to one.
# Prints the numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.13}" -m venv "$folder/venv"
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "ngclearn==3.2.3" "jax==0.12.0.1" "jaxlib==0.12.0.1"
cd "$folder"
"$folder/venv/bin/python" -W ignore - << 'PYTHON'
import jax
import numpy as np
from ngclearn.utils.distribution_generator import DistributionGenerator

changed = False
for make, expected in (
    (DistributionGenerator.fan_in_gaussian, 784**-0.5),
    (DistributionGenerator.fan_in_uniform, (3 * 64) ** -0.5),
):
    for numpy in (False, True):
        weights = make(use_numpy=numpy)((784, 64), 0 if numpy else jax.random.key(0))
        sigma = float(np.asarray(weights).std())
        inputs = np.random.default_rng(1).normal(size=(2000, 784))
        outputs = float((inputs @ np.asarray(weights)).std())
        print(f"{make.__name__}, use_numpy={numpy}: sigma {sigma:.4f}, of the outputs {outputs:.2f}")
        # The sigma of 50,176 entries is within 2 % of the law's.
        changed |= abs(sigma / expected - 1) > 0.02
raise SystemExit(int(changed))
PYTHON
