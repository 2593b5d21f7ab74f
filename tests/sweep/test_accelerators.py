"""Programs of a sweep lower for TPUs without one, with a width that fits them."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jinit
from jinit.engine import _executors
from jinit.engine._jobs import prepare
from jinit.sweep._plan import plan
from jinit.sweep._run import _jobs

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 8, 8, 1)).astype(np.float32), RNG.integers(0, 3, 40)


class Convolved(nn.Module):
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2, dtype=self.dtype)(x))
        return nn.Dense(3, dtype=self.dtype)(x.reshape(len(x), -1))


class Dense(nn.Module):
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        return nn.Dense(3, dtype=self.dtype)(nn.relu(nn.Dense(4, dtype=self.dtype)(x)))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("module", [Dense, Convolved])
@pytest.mark.slow
def test_drawing_and_training_lower_for_tpus(monkeypatch, module, dtype):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    machine = _executors.Workers("tpu", (None,) * 8, True, 2**34)
    monkeypatch.setattr(_executors, "local", lambda workers: machine)
    grid = jinit.Grid(initializer=("he_normal", "orthogonal"), steps=3, evaluations=1, seeds=4,
                      batch_size=4)  # fmt: skip
    planned = plan(grid, model=module(dtype), data=(X, Y, X[:4], Y[:4]))
    assert planned.programs[0].tile == 128
    (job,) = _jobs(grid, planned, None)
    task = prepare(job, machine)
    training, *drawing = [
        export.export(program._jitted(), platforms=("tpu",))(*program._arguments(None))
        for program in task.programs
    ]
    assert len(drawing) >= 3  # keys, a law for each kernel, biases
    assert all(one.platforms == ("tpu",) for one in (training, *drawing))
    code = training.mlir_module()
    # Convolutions are rewritten for CPUs alone; products are as precise as TPUs can.
    assert ("stablehlo.convolution" in code) == (module is Convolved)
    assert re.search(r"precision = \[HIGHEST, HIGHEST\]", code)
    assert ("bf16" in code) == (dtype == jnp.bfloat16)
    assert "tensor<128x" in code
    # Orthogonal kernels are drawn lane by lane, he_normal in 16 pieces of entries per lane.
    drawn = [re.findall(r"tensor<(128|2048)x", one.mlir_module()) for one in drawing]
    assert {width for widths in drawn for width in widths} == {"128", "2048"}
    assert all(drawn)
