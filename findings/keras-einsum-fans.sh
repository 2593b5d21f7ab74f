#!/usr/bin/env bash
# Keras 3.15.1 draws the kernel of EinsumDense with another standard deviation than Keras 3.14.1.
#
# The layer is EinsumDense("abc,bcd->abd") with 8 experts, 32 inputs and 64 outputs, so its kernel has
# the shape (8, 32, 64) and each output sums over 32 inputs. The initializer is Keras' own HeNormal,
# whose documentation says: standard deviation sqrt(2 / fan_in).
#
#   Keras     standard deviation seen   fan_in that it implies
#   3.14.1    .0884                     256 = 8 * 32: the experts count as a receptive field
#   3.15.1    .2500                     32: the inputs of one output, read from the equation
#
# A network that is built by the same code therefore starts from other weights after a minor release.
#
# Prints both numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export KERAS_BACKEND=jax JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3
changed=0
for row in "3.14.1 0.0884" "3.15.1 0.2500"; do
  read -r version expected <<< "$row"
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "keras==$version" "jax==0.9.2" "jaxlib==0.9.2"
  seen=$("$folder/venv/bin/python" - << 'PYTHON'
import keras
import numpy as np

keras.utils.set_random_seed(0)
layer = keras.layers.EinsumDense(
    "abc,bcd->abd", output_shape=(8, 64), kernel_initializer=keras.initializers.HeNormal()
)
layer.build((None, 8, 32))
assert layer.kernel.shape == (8, 32, 64)
print(f"{np.asarray(layer.kernel).std():.4f}")
PYTHON
  )
  echo "keras $version: standard deviation $seen, expected $expected"
  # The sample standard deviation of 16,384 entries is within 3 % of the law's.
  python3 -c "import sys; sys.exit(abs($seen / $expected - 1) > 0.03)" || changed=1
done
exit "$changed"
