#!/usr/bin/env bash
# NumPy's std of a bfloat16 kernel is 14 times too small, without a warning.
#
# A checkpoint in bfloat16 reaches NumPy through ml_dtypes (as np.asarray of a JAX array does). NumPy
# adds float16 in float32, but it adds bfloat16 in bfloat16, one entry after the other, so a sum of
# ones stops at 256, where adding 1 rounds to nothing.
#
#   NumPy 2.4.6, ml_dtypes 0.6.0              bfloat16   float16   float32
#   mean of 1,000,000 ones                    .000256    1         1
#   std of 1024 x 1024 draws with std .02     .0014      .0200     .0200
#
# `kernel.astype(np.float32).std()` and `jax.numpy.std(kernel)` are right. Who checks an initializer's
# standard deviation with NumPy reads a wrong number from a right kernel.
#
# Prints the numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "numpy==2.4.6" "ml_dtypes==0.6.0"
seen=$("$folder/venv/bin/python" - << 'PYTHON'
import ml_dtypes
import numpy as np

kernel = np.random.default_rng(0).normal(0, 0.02, (1024, 1024)).astype(np.float32)
for dtype in (ml_dtypes.bfloat16, np.float16, np.float32):
    ones = np.ones(1_000_000, dtype)
    print(
        np.dtype(dtype).name,
        f"mean {float(ones.mean()):.2g}",
        f"std {float(kernel.astype(dtype).std()):.4f}",
    )
PYTHON
)
expected="bfloat16 mean 0.00026 std 0.0014
float16 mean 1 std 0.0200
float32 mean 1 std 0.0200"
echo "$seen"
[ "$seen" = "$expected" ] || exit 1
