#!/usr/bin/env bash
# thinc 9.1.1: Maxout's Glorot bound uses the number of pieces for the number of inputs.
#
# Maxout(nO, nI, nP) keeps its weights as (outputs, pieces, inputs), each piece a linear layer with nI
# inputs. Its default, glorot_uniform_init, reads shape[0] and shape[1], which are outputs and pieces,
# so that the inputs do not enter the bound. he_normal_init and lecun_normal_init read shape[1] alone
# and take the 3 pieces for the fan-in. Linear, whose weights are (outputs, inputs), is right.
#
#   Maxout(nO=96, nI=288, nP=3), the shape of spaCy's default text encoder
#   initializer            sigma of one piece by its formula     sigma drawn
#   glorot_uniform_init    sqrt(2 / (288 + 96)) = .0722          .1421, 1.97 times as large
#   he_normal_init         sqrt(2 / 288) = .0833                 .8165, 9.80 times as large
#   lecun_normal_init      sqrt(1 / 288) = .0589                 .5774, 9.80 times as large
#
# Ten inputs in place of 288 leave every bound as it is. Nothing is raised.
# What the names let one expect: fan-in 288 in all three. (The source was read before the run.)
#
# Prints the numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "thinc==9.1.1" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - << 'PYTHON'
import math

import numpy as np
from thinc.api import Linear, Maxout
from thinc.initializers import glorot_uniform_init, he_normal_init, lecun_normal_init

np.random.seed(0)
changed = False
rows = (
    (glorot_uniform_init, math.sqrt(2 / (96 + 3)), math.sqrt(2 / (288 + 96))),
    (he_normal_init, math.sqrt(2 / 3), math.sqrt(2 / 288)),
    (lecun_normal_init, math.sqrt(1 / 3), math.sqrt(1 / 288)),
)
for initializer, drawn, formula in rows:
    sigmas = []
    for inputs in (288, 10):
        layer = Maxout(nO=96, nI=inputs, nP=3, init_W=initializer)
        layer.initialize()
        weights = layer.get_param("W")
        assert weights.shape == (96, 3, inputs)
        sigmas.append(float(weights.std()))
    linear = Linear(nO=96, nI=288, init_W=initializer)
    linear.initialize()
    of_linear = float(linear.get_param("W").std())
    print(
        f"{initializer.__name__}: Maxout {sigmas[0]:.4f}, with 10 inputs {sigmas[1]:.4f}, "
        f"Linear {of_linear:.4f}, formula {formula:.4f}"
    )
    # The sigma of 2,880 entries is within 6 % of the law's, that of 27,648 within 2 %.
    changed |= abs(sigmas[0] / drawn - 1) > 0.02 or abs(sigmas[1] / drawn - 1) > 0.06
    changed |= abs(of_linear / formula - 1) > 0.02
default = Maxout(nO=96, nI=288, nP=3)
default.initialize()
changed |= abs(float(default.get_param("W").std()) / rows[0][1] - 1) > 0.02
raise SystemExit(int(changed))
PYTHON
