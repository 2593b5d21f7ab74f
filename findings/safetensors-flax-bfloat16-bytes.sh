#!/usr/bin/env bash
# safetensors.flax.save writes bfloat16 arrays that safetensors.flax.load cannot read back, although
# load_file reads the same bytes from a file. Seen with safetensors 0.8.0 and jax 0.9.2.
#
#   safetensors.flax.load(save(tree))          KeyError: 'BF16'
#   safetensors.flax.load_file(save_file(…))   the array in bfloat16
#
# Float32 and float16 trees come back both ways. Two readers of one module differ, because `load`
# looks the dtype up in a table for NumPy, which has no bfloat16, and `load_file` does not.
#
# Prints what each reader returns and exits 0 while this is as above, 1 if it changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "safetensors==0.8.0" "jax==0.9.2" "jaxlib==0.9.2"
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3 FOLDER=$folder
seen=$("$folder/venv/bin/python" - << 'PYTHON'
import os

import jax.numpy as jnp
from safetensors.flax import load, load_file, save, save_file

path = os.path.join(os.environ["FOLDER"], "kernel.safetensors")
for dtype in ("float32", "float16", "bfloat16"):
    tree = {"kernel": jnp.full((2, 3), 0.5, dtype)}
    save_file(tree, path)
    from_file = load_file(path)["kernel"].dtype
    try:
        from_bytes = load(save(tree))["kernel"].dtype
    except KeyError as error:
        from_bytes = f"KeyError {error}"
    print(f"{dtype}: file {from_file}, bytes {from_bytes}")
PYTHON
)
expected="float32: file float32, bytes float32
float16: file float16, bytes float16
bfloat16: file bfloat16, bytes KeyError 'BF16'"
echo "$seen"
[ "$seen" = "$expected" ] || exit 1
