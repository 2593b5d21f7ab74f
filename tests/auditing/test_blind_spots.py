"""What σ alone would excuse, and leaves that hold no numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jinit
from jinit.auditing._leaves import Leaf
from jinit.auditing._scales import _may_be_orthogonal
from jinit.frameworks import layout


def kernel(sigma, shape, seed=0):
    return {"a": {"kernel": np.random.default_rng(seed).normal(0, sigma, shape).astype("f")}}


@pytest.mark.parametrize("shape", [(64, 1024), (1024, 64)])
def test_lecun_with_in_and_out_exchanged_is_found_in_both_directions(shape):
    (finding,) = jinit.audit(kernel(shape[1] ** -0.5, shape))
    assert finding.kind == "wrong fan"
    assert "in and out exchanged" in finding.evidence
    assert jinit.audit(kernel((2 / shape[1]) ** 0.5, shape)) == []  # he_normal(mode=fan_out)


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("shape", [(64, 1024), (1024, 64), (3, 3, 4, 64)])
def test_orthogonal_kernels_stay_healthy_in_every_dtype(shape, dtype):
    leaf = {"a": {"kernel": jax.ShapeDtypeStruct(shape, "float32")}}
    layers = {"*": "dense" if len(shape) == 2 else "conv"}
    for rule in ("orthogonal", "orthogonal(scale=1.41421)"):
        drawn = jinit.initialize(jax.random.key(1), leaf, {"*": rule}, layers=layers)
        assert jinit.audit(jax.tree.map(lambda w: w.astype(dtype), drawn), layers=layers) == []


@pytest.mark.slow
def test_random_rows_pass_for_orthogonal_at_the_stated_rate():
    rng = np.random.default_rng(5)
    passed = sum(
        _may_be_orthogonal(Leaf("k", rng.normal(size=(4, 400)), layout("dense")))
        for _ in range(2000)
    )
    assert passed <= 18  # 0.3 % of 2000 is 6


@pytest.mark.parametrize(
    "values",
    [np.array([["x", "y"]]), np.array([["x", 1.0]], object), np.zeros((2, 2), "datetime64[s]")],
)
def test_leaves_without_numbers_are_findings(values):
    tree = {"d": {"kernel": values}, **kernel(0.125, (64, 64))}
    for rules in (None, {"d/kernel": "keep", "*": "normal(0.125)"}):
        (finding,) = jinit.audit(tree, rules=rules)
        assert (finding.kind, finding.where) == ("dtype", "d/kernel")
    assert "dtype" not in {f.kind for f in jinit.audit(kernel(1.0, (64, 64)))}
    assert jinit.audit({"a": {"kernel": jnp.ones((1, 1), jnp.bfloat16)}}) == []
    for dtype in (jnp.bfloat16, jnp.float8_e4m3fn, jnp.complex64):
        (finding,) = jinit.audit({"a": {"kernel": jnp.ones((8, 4), dtype)}})
        assert finding.evidence.startswith("all 4 units are the same (every entry 1")


def test_one_zero_kernel_among_random_ones_is_no_finding_but_a_note(capsys):
    from jinit.report._weights import print_audit

    arrays = {f"{n}/kernel": kernel(0.125, (64, 64), i)["a"]["kernel"] for i, n in enumerate("abc")}
    arrays["b/kernel"] = np.zeros((64, 64), "f")
    findings = jinit.audit(arrays)
    assert findings == []
    print_audit(findings, arrays, host="flax")
    assert "note: b/kernel starts at zero" in " ".join(capsys.readouterr().out.split())
