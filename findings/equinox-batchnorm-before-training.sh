#!/usr/bin/env bash
# Equinox 0.13.8: BatchNorm in its default mode multiplies by 316 if used for inference before training.
#
# The default mode of equinox.nn.BatchNorm is "ema" (a warning recommends "batch"). In inference mode,
# before the first training batch, its running variance is 0, so the layer divides by
# sqrt(0 + 1e-5) = 1/316. The documentation says that batch statistics fill the running statistics
# "until they are populated" during training; it says nothing about inference before that.
# Mode "batch", flax.linen.BatchNorm and torch.nn.BatchNorm1d start with mean 0 and variance 1.
#
#   layer, untrained, inference, standard normal input      standard deviation of the output
#   equinox BatchNorm(mode="ema")                           310
#   equinox BatchNorm(mode="batch")                         .979 (the input's)
#   flax.linen.BatchNorm(use_running_average=True)          .979
#
# So the test loss at step 0 of a learning curve, and a check of an initial network in inference
# mode, show an exploding network. Expected before the run: variance 1.
#
# Prints the three numbers and exits 0 while they are as above, 1 if one of them changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "equinox==0.13.8" "flax==0.12.6" "jax==0.9.2" "jaxlib==0.9.2"
"$folder/venv/bin/python" - << 'PYTHON'
import equinox as eqx
import flax.linen as nn
import jax

x = jax.random.normal(jax.random.key(0), (64, 8))


def with_equinox(mode):
    layer, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(8, "batch", mode=mode)
    apply = jax.vmap(eqx.nn.inference_mode(layer), axis_name="batch", in_axes=(0, None))
    return float(apply(x, state)[0].std())


def with_flax():
    layer = nn.BatchNorm(use_running_average=True)
    return float(layer.apply(layer.init(jax.random.key(0), x), x).std())


changed = False
for name, seen, expected in (
    ("equinox ema", with_equinox("ema"), 310.0),
    ("equinox batch", with_equinox("batch"), 0.979),
    ("flax", with_flax(), 0.979),
):
    print(f"{name}: {seen:.4g}, expected {expected:.4g}")
    changed |= abs(seen / expected - 1) > 0.01
raise SystemExit(int(changed))
PYTHON
