# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which initializer should this network have, and is the difference real or luck?
#
# Runs on Colab's TPU, GPU or CPU. Set `SOURCE` to a checkout of jinit, an archive, or an address
# that pip understands, and run all cells.

# %%
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = os.environ.get("JINIT_SOURCE", "/content/jinit")
SEEDS = int(os.environ.get("JINIT_SEEDS", "1024"))

# Only what is missing is installed, and nothing that is there changes its version.
packages = {"optax": "optax", "flax": "flax", "chex": "chex", "tyro": "tyro", "rich": "rich",
            "matplotlib": "matplotlib", "pandas": "pandas", "pyarrow": "pyarrow",
            "sklearn": "scikit-learn"}  # fmt: skip
missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
installs = [missing] if missing else []
if importlib.util.find_spec("jinit") is None:
    installs.append(["--no-deps", SOURCE])
with tempfile.TemporaryDirectory() as folder:
    kept = Path(folder, "kept.txt")
    here = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    kept.write_text("".join(f"{name}=={version}\n" for name, version in here.items() if name))
    for words in installs:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(kept)]
        subprocess.run([*pip, *words], check=True)

# %% [markdown]
# ## What it runs on
#
# A red warning says that JAX fell back to the CPU of a machine with an accelerator: choose
# *Runtime → Change runtime type*, then restart.

# %%
import jax
import numpy as np

import jinit
from jinit import initializers, report, theory
from jinit.cli import main
from jinit.report import plots

print(f"{jax.default_backend().upper()}: {jax.local_device_count()} devices, jax {jax.__version__}")
if main(["doctor"]):
    print("\nREAD THE WARNINGS ABOVE FIRST.")

# %% [markdown]
# ## Draw, and look at what was drawn

# %%
kernel = initializers.he_normal()(jax.random.key(0), (512, 256))
print(f"standard deviation {np.std(kernel):.4f}, by theory {np.sqrt(2 / 512):.4f}")
report.show(initializers.describe("he_normal", (512, 256)))

# %% [markdown]
# ## Audit weights that somebody else made
#
# The kernel below has the fan of a layer that it does not belong to.

# %%
weights = {"hidden": {"kernel": initializers.normal(1.0)(jax.random.key(1), (256, 256))}}
for finding in jinit.audit(weights):
    if not finding.ok:
        print(finding.evidence, "→", finding.fix)

# %% [markdown]
# ## Predict a network before training

# %%
model = jinit.models.MLP(features=(32,) * 16 + (10,), activation="relu")
report.show(theory.predict(model, 64, kernel=initializers.get("glorot_uniform"),
                           bias=initializers.get("zeros")))  # fmt: skip

# %% [markdown]
# ## Sweep
#
# All seeds of all arms train together, on all devices. Finished runs are in `runs.db`: run this
# cell again after an interruption, and it computes what is missing. The file is lost with its
# machine; if Drive is mounted under `/content/drive`, copies go there. On a new machine mount
# Drive, then run all cells: the copy comes back, with all but the runs of the last minute.

# %%
drive = Path("/content/drive/MyDrive")
store = jinit.engine.FileStore("runs.db", mirror=drive if drive.is_dir() else None)
grid = jinit.Grid(
    dataset="digits",
    initializer=("glorot_uniform", "he_normal", "orthogonal"),
    depth=8,
    width=32,
    steps=min(300, 10 * SEEDS),
    seeds=SEEDS,
)
table = jinit.run(grid, store=store)

# %% [markdown]
# ## Who wins?

# %%
report.show(table, baseline="glorot_uniform")
for comparison in jinit.compare(table, baseline="glorot_uniform"):
    print(f"{comparison.arm} against {comparison.baseline}: {comparison.sentence}")

# %%
from IPython.display import Image

axes = plots.paired_differences(table, baseline="glorot_uniform")
plots.save(axes, "differences.png")
Image("differences.png")
