#!/usr/bin/env bash
# safetensors 0.8.0 writes a transposed NumPy kernel with its numbers in another order; 0.7.0 wrote it
# rightly.
#
# A PyTorch Linear keeps its weight as (out, in), a Flax Dense its kernel as (in, out), so a converter
# transposes. `weight.T` is a view whose bytes lie in the order of (out, in).
#
#   safetensors   what comes back from safetensors.numpy.save(weight.T)
#   0.7.0         weight.T
#   0.8.0         the shape of weight.T, the bytes of weight: no error, other numbers
#
# In 0.8.0 safetensors.flax.save returns a transposed JAX array rightly, and safetensors.torch.save
# refuses a transposed tensor. The statistics of a kernel (mean, variance, histogram) do not show that
# its entries are permuted. `numpy.ascontiguousarray(weight.T)` is written rightly by both.
#
# Prints what both versions return and exits 0 while this is as above, 1 if it changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
changed=0
for row in "0.7.0 kept" "0.8.0 permuted"; do
  read -r version expected <<< "$row"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "safetensors==$version" "numpy==2.3.5"
  seen=$("$folder/venv/bin/python" - << 'PYTHON'
import numpy as np
from safetensors.numpy import load, save

weight = np.arange(12, dtype=np.float32).reshape(4, 3)
kernel = weight.T
returned = load(save({"kernel": kernel}))["kernel"]
copied = load(save({"kernel": np.ascontiguousarray(kernel)}))["kernel"]
assert returned.shape == kernel.shape and np.array_equal(copied, kernel)
if np.array_equal(returned, kernel):
    print("kept")
elif np.array_equal(returned.ravel(), weight.ravel()):
    print("permuted")
else:
    print("neither")
PYTHON
  )
  echo "safetensors $version: numbers $seen, expected $expected"
  [ "$seen" = "$expected" ] || changed=1
done
exit "$changed"
