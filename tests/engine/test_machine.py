"""What is known of the machine: cores and accelerators."""

from jinit.engine import _executors, _machine


def test_the_quota_of_a_control_group_limits_the_cores(tmp_path, monkeypatch):
    groups, root = tmp_path / "cgroup", tmp_path / "root"
    new, old = root / "batch" / "job", root / "cpu" / "job"
    new.mkdir(parents=True)
    old.mkdir(parents=True)
    (new / "cpu.max").write_text("max 100000\n")
    (new.parent / "cpu.max").write_text("150000 100000\n")
    groups.write_text("0::/batch/job\n")
    assert list(_executors._quotas(groups, root)) == [1.5]
    (old / "cpu.cfs_quota_us").write_text("300000\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    (old.parent / "cpu.cfs_quota_us").write_text("-1\n")
    (old.parent / "cpu.cfs_period_us").write_text("100000\n")
    groups.write_text("5:cpu,cpuacct:/job\n4:memory:/job\n")
    assert list(_executors._quotas(groups, root)) == [3.0]
    monkeypatch.setattr(_executors.os, "sched_getaffinity", lambda process: set(range(64)))
    for quota, cores in ((1.5, 2), (0.2, 1), (100.0, 64)):
        monkeypatch.setattr(_executors, "_quotas", lambda quota=quota: iter([quota]))
        assert _executors.usable_cores() == cores


def test_signs_of_accelerators_are_seen_whatever_jax_uses(tmp_path, monkeypatch):
    for name in _machine._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert _machine.accelerators(tmp_path) == []
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    monkeypatch.setenv("TPU_NAME", "local")
    assert _machine.accelerators(tmp_path) == ["an NVIDIA GPU (/dev/nvidia0)",
                                               "a TPU (TPU_NAME is set)"]  # fmt: skip
