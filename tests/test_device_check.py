"""The device check runs at its tiny size, on CPU, and says what it did not measure."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.full
def test_the_device_check_runs_on_cpu(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    check = importlib.import_module("device_check")
    file = tmp_path / "found.json"
    monkeypatch.setattr(sys, "argv", ["device_check.py", "--small", "--out", str(file)])
    check.main()
    found = json.loads(file.read_text())
    assert found["platform"] == "cpu"
    assert found["accelerator"].startswith("none")
    assert found["independence"] == dict.fromkeys(found["independence"], True)
    assert len(found["independence"]) == 4
    # Weights and biases of 64 → 64 → 64 → 64 → 10, in float32.
    assert found["computed_bytes_per_run"]["in"] == 4 * (3 * (64 * 64 + 64) + 64 * 10 + 10)
    assert {"jinit", "jit(vmap)"} <= set(found["speeds"][0])
    assert "computed" in found["model"]["how"]


def test_the_model_bounds_the_target(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    check = importlib.import_module("device_check")
    h100 = check.model()["devices"]["H100 SXM"]
    # By hand: 64·64 + 64·64·2 + 64·10 weights, 6 FLOP each per example less the inputs' gradient.
    weights = 64 * 64 * 3 + 64 * 10
    flop = 10_000 * (1_000 * 32 * (6 * weights - 2 * 64 * 64) + 2 * 640 * weights)
    assert h100["seconds_by_flops"] == pytest.approx(flop / 67e12)
    assert h100["fits"]
