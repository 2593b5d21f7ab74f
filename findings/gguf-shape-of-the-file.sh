#!/usr/bin/env bash
# gguf 0.19.0: a read tensor has two shapes, and .shape is the reverse of .data.shape.
#
# GGUF stores the sizes of a tensor fastest axis first. The writer of llama.cpp's own Python package
# takes NumPy arrays and reverses their shapes; the reader reverses them back for the array .data, but
# hands out the field .shape as it stands in the file. Of a kernel (outputs, inputs) = (64, 768):
#
#   what is asked of the reader           answer
#   tensor.data.shape                     (64, 768), as written
#   tensor.shape                          [768, 64]
#   quantized (Q8_0) tensor.data.shape    (64, 816): bytes, 34 for each block of 32 weights
#   quantized (Q8_0) tensor.shape         [768, 64]
#
# Whoever computes a fan-in from .shape, as from every other checkpoint reader, gets outputs for inputs
# unless the kernel is square: He's sigma is then sqrt(2 / 64) in place of sqrt(2 / 768), 3.5 times as
# large. Of a quantized tensor .data.shape is no way out.
# What the names let one expect: one shape in both places. (The source was read before the run.)
#
# Prints the shapes and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gguf==0.19.0" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - << 'PYTHON'
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants

kernel = np.random.default_rng(0).normal(0, (2 / 768) ** 0.5, (64, 768)).astype(np.float32)
writer = GGUFWriter("kernel.gguf", "llama")
writer.add_tensor("plain", kernel)
quantized = quants.quantize(kernel, GGMLQuantizationType.Q8_0)
writer.add_tensor("quantized", quantized, raw_dtype=GGMLQuantizationType.Q8_0)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

found = {
    tensor.name: (tuple(tensor.data.shape), tuple(int(size) for size in tensor.shape))
    for tensor in GGUFReader("kernel.gguf").tensors
}
for name, (of_data, of_field) in found.items():
    print(f"{name}: data.shape {of_data}, shape {of_field}")
expected = {"plain": ((64, 768), (768, 64)), "quantized": ((64, 816), (768, 64))}
raise SystemExit(int(found != expected))
PYTHON
