#!/usr/bin/env bash
# optax 0.2.8: contrib.muon trains vectors with NAdam, not with the AdamW that its page names.
#
# Muon orthogonalizes matrices; "the non-2D parameters are instead passed through an AdamW optimizer".
# muon hands its own nesterov=True, meant for the matrices' momentum, to that AdamW, where it means
# NAdam (Dozat 2016). With muon(nesterov=False) the vectors get Adam, and the matrices lose Nesterov's
# momentum: there is no argument for one alone.
#
#   steps of a bias whose gradient is always 1, learning rate .01
#   step                               1        2        3
#   adamw                              .0100    .0100    .0100
#   muon                               .0147    .0116    .0108, as nadamw
#   muon(nesterov=False)               .0100    .0100    .0100
#
# Whoever compares Muon with Adam on biases, norms and embeddings of rank 1 compares NAdam with Adam.
# What the page lets one expect: the steps of adamw. (The source was read before the run.)
#
# Prints the steps and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "optax==0.2.8" "jax==0.9.2" "jaxlib==0.9.2"
cd "$folder"
"$folder/venv/bin/python" -W ignore - << 'PYTHON'
import jax.numpy as jnp
import numpy as np
import optax


def steps(optimizer):
    params = {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}
    gradient = {"kernel": jnp.ones((4, 4)), "bias": jnp.ones(4)}
    state, taken = optimizer.init(params), []
    for _ in range(3):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        taken.append(-float(updates["bias"][0]))
    return np.array(taken)


found = {
    "adamw": steps(optax.adamw(0.01, weight_decay=0.0)),
    "nadamw": steps(optax.nadamw(0.01, weight_decay=0.0)),
    "muon": steps(optax.contrib.muon(0.01)),
    "muon(nesterov=False)": steps(optax.contrib.muon(0.01, nesterov=False)),
}
for name, taken in found.items():
    print(f"{name}: {' '.join(f'{step:.4f}' for step in taken)}")
same = (
    np.allclose(found["muon"], found["nadamw"], rtol=1e-5)
    and np.allclose(found["muon(nesterov=False)"], found["adamw"], rtol=1e-5)
    and np.allclose(found["adamw"], 0.01, rtol=1e-4)
    and np.allclose(found["muon"][0], 0.01474, rtol=1e-3)
)
raise SystemExit(int(not same))
PYTHON
