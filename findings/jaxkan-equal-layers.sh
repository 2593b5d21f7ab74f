#!/usr/bin/env bash
# jaxkan 0.3.7: hidden layers of equal shape start with equal weights, bit for bit.
#
# KAN(layer_dims=[2, 8, 8, 8, 1], …, seed=0) hands the one seed to every layer, and each layer makes
# its own generator of it. So the second and the third layer, both of 8 inputs and 8 outputs, draw the
# same coefficients of their basis functions, and the same weights of their residual functions. The
# documentation says that the seed is that of the model.
#
#   layer_type   leaf      shape       entries that differ between layers 2 and 3
#   spline       c_basis   (8, 8, 6)   0 of 384
#   spline       c_res     (8, 8)      0 of 64
#   chebyshev    c_basis   (8, 8, 4)   0 of 256
#
# The first layer, of 2 inputs and 8 outputs, has the first 96 of the 384 entries.
#
# Nothing is raised. Statistics of one layer look right, and so do those of many models with
# different seeds; only a comparison of layers shows the copies.
# Expected before the run: a key of its own for every layer, as nnx.Rngs gives one.
#
# Prints the numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "jaxkan==0.3.7" "jax==0.9.2" "jaxlib==0.9.2" "flax==0.12.6"
"$folder/venv/bin/python" -W ignore - << 'PYTHON'
import numpy as np
from jaxkan.models.KAN import KAN

changed = False
for kind, options, leaves in (
    ("spline", {"k": 3, "G": 3}, {"c_basis": (8, 8, 6), "c_res": (8, 8)}),
    ("chebyshev", {"D": 4}, {"c_basis": (8, 8, 4)}),
):
    model = KAN([2, 8, 8, 8, 1], kind, options, seed=0)
    for name, shape in leaves.items():
        second, third = (np.asarray(getattr(model.layers[n], name)[...]) for n in (1, 2))
        differ = int((second != third).sum())
        print(f"{kind} {name} {second.shape}: {differ} of {second.size} differ, σ {second.std():.3f}")
        changed |= differ != 0 or second.shape != shape or second.std() == 0
    if kind == "spline":
        first = np.asarray(model.layers[0].c_basis[...]).ravel()
        changed |= not np.array_equal(first, np.asarray(model.layers[1].c_basis[...]).ravel()[:96])
        print(f"the first layer has the first {first.size} entries of the second: {not changed}")
raise SystemExit(int(changed))
PYTHON
