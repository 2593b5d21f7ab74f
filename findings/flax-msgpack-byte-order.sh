#!/usr/bin/env bash
# Flax's msgpack checkpoints lose the byte order of NumPy arrays: big-endian weights come back as other
# numbers, without an error. Seen with flax 0.12.6.
#
# Arrays in big-endian order come from formats that store numbers so (NetCDF classic, FITS, IDX, HDF5
# files of big-endian machines). flax.serialization.to_bytes writes the bytes as they lie and the name
# of the dtype without its byte order; from_bytes then reads them as little-endian.
#
#   array                    what from_bytes(to_bytes(array)) returns
#   [.5, -2] in '<f4'        [.5, -2]
#   [.5, -2] in '>f4'        [8.8e-44, 2.7e-43]
#   [1, 2] in '>i4'          [16777216, 33554432]
#
# NumPy itself holds both orders to be equal (np.array_equal is true), and numpy.save keeps the order.
# `array.astype(array.dtype.newbyteorder("="))` before saving is right.
#
# Prints what comes back and exits 0 while this is as above, 1 if it changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "flax==0.12.6" "jax==0.9.2" "jaxlib==0.9.2" "numpy==2.4.6"
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3
seen=$("$folder/venv/bin/python" - << 'PYTHON'
import numpy as np
from flax import serialization

for values, dtype in (([0.5, -2], "<f4"), ([0.5, -2], ">f4"), ([1, 2], ">i4")):
    array = np.array(values, dtype)
    back = serialization.from_bytes({"kernel": array}, serialization.to_bytes({"kernel": array}))
    print(dtype, " ".join(f"{value:.2g}" for value in np.asarray(back["kernel"], np.float64)))
PYTHON
)
expected="<f4 0.5 -2
>f4 8.8e-44 2.7e-43
>i4 1.7e+07 3.4e+07"
echo "$seen"
[ "$seen" = "$expected" ] || exit 1
