"""Programs kept on disk compute the bits of compiled ones, and no bad folder changes a result."""

import os
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jinit import engine
from jinit.engine import _kept_programs, _program, _stderr

X = np.linspace(-2, 2, 6, dtype=np.float32)


def wave(x, shift):
    return jnp.tanh(jnp.sin(17.0 * x) @ jnp.ones((1,)) + shift) / 3


def lanes():
    return X[:, None]


@pytest.fixture
def compiles(monkeypatch):
    """A list that grows by one for each program that XLA compiles for the engine."""
    made = []
    compile = jax.stages.Lowered.compile
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda *args: made.append(1) or compile(*args)
    )
    return made


def fresh(function=wave):
    """Runs the function as a process would that has just started."""
    _program.forget()
    return engine.run(function, lanes(), np.float32(0.5), workers=1)


def files(folder):
    return sorted(file for file in folder.glob("programs/*/*") if file.is_file())


@pytest.mark.slow
def test_the_next_process_loads_the_program_and_computes_the_same_bits(folder, compiles, capfd):
    first = fresh()
    assert len(files(folder)) == len(compiles) == 1
    second = fresh()
    assert len(compiles) == 1
    np.testing.assert_array_equal(first, second)
    assert capfd.readouterr().err == ""
    fresh(lambda x, shift: wave(x, 2 * shift))
    assert len(compiles) == 2
    os.environ["JINIT_NO_CACHE"] = "1"
    np.testing.assert_array_equal(first, fresh())
    assert len(compiles) == 3
    assert len(files(folder)) == 2


def test_a_loaded_program_is_no_compilation(folder):
    kinds = []
    for _ in range(2):
        _program.forget()
        engine.run(wave, lanes(), np.float32(0.5), progress=lambda event: kinds.append(event.kind))
    assert kinds.count("compiled") == 1


def test_programs_with_other_constants_are_other_programs(folder):
    found = []
    for factor in (2.0, 3.0):
        array = jnp.arange(4096.0) * factor
        found.append(fresh(lambda x, shift, array=array: x * array.sum() + shift))
    expected = [X[:, None] * factor * 4096 * 4095 / 2 + 0.5 for factor in (2.0, 3.0)]
    for ours, exact in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-4)


def test_a_damaged_file_is_compiled_again_with_one_warning(folder, compiles):
    expected = fresh()
    (file,) = files(folder)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in (b"", whole[:100], whole[:-1], bytes(flipped)):
        file.write_bytes(content)
        _kept_programs._WARNED.clear()
        with pytest.warns(RuntimeWarning, match="compiled again: results do not change") as caught:
            np.testing.assert_array_equal(fresh(), expected)
        assert len(caught) == 1
        assert file.read_bytes()[: _kept_programs._DIGEST] == _kept_programs._checksum(
            file.read_bytes()[_kept_programs._DIGEST :]
        )
    assert len(compiles) == 5


def test_a_folder_that_cannot_be_used_is_one_warning(folder, compiles):
    folder.write_text("a file stands here")
    with pytest.warns(RuntimeWarning, match="JINIT_NO_CACHE=1 turns"):
        first = fresh()
    second = fresh()
    np.testing.assert_array_equal(first, second)
    assert len(compiles) == 2


def test_the_folder_is_private(folder):
    (folder / "programs").mkdir(parents=True, mode=0o755)
    fresh()
    for part in (folder / "programs", files(folder)[0].parent):
        assert part.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no numbers here")
def test_programs_of_another_user_are_not_loaded(folder, compiles, monkeypatch):
    fresh()
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        fresh()
    assert len(compiles) == 2


def test_a_program_of_another_machine_is_not_found(folder, compiles, monkeypatch):
    fresh()
    monkeypatch.setattr(_kept_programs, "_machine", lambda: "another")
    fresh()
    assert len(compiles) == 2
    assert {file.parent.name for file in files(folder)} == {"another", files(folder)[1].parent.name}


def test_the_name_of_a_machine_has_its_features_cores_and_versions(monkeypatch):
    ours = _kept_programs._machine.__wrapped__()
    assert ours == _kept_programs._machine()
    assert jax.__version__ in ours
    changes = [
        ("processor", lambda: "another model"),
        ("versions", lambda: {"jax": "1", "jaxlib": "2"}),
        ("variables", lambda: {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}),
    ]
    for name, value in changes:
        with monkeypatch.context() as patched:
            patched.setattr(_kept_programs, name, value)
            assert _kept_programs._machine.__wrapped__() != ours
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(1000)))
        assert _kept_programs._machine.__wrapped__() != ours


def test_where_jax_keeps_programs_nothing_is_kept_beside(folder, tmp_path):
    assert _kept_programs.root() == folder
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    assert _kept_programs.root() is None
    jax.config.update("jax_compilation_cache_dir", None)
    assert _kept_programs.root() == folder


def test_what_jax_has_loaded_is_not_kept_again(folder, tmp_path):
    settings = {
        "jax_compilation_cache_dir": str(tmp_path / "own"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        first = fresh()
        assert any((tmp_path / "own").iterdir())
        jax.config.update("jax_compilation_cache_dir", None)  # JAX's cache stays open
        np.testing.assert_array_equal(fresh(), first)
        for file in files(folder):
            file.unlink()
        for _ in range(2):  # now JAX's cache has the program
            np.testing.assert_array_equal(fresh(), first)
        assert files(folder) == []
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_the_folder_follows_the_environment(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("JINIT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _kept_programs.root() == tmp_path / "jinit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert _kept_programs.root() == tmp_path / "home" / ".cache" / "jinit"
    for value, off in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("JINIT_NO_CACHE", value)
        assert (_kept_programs.root() is None) == off


def test_the_least_recently_used_programs_go_first(folder, monkeypatch):
    monkeypatch.setattr(_kept_programs, "MOST_BYTES", 250)
    programs = folder / "programs"
    (programs / "old").mkdir(parents=True)
    (programs / "new").mkdir()
    for age, name in enumerate(("new/c", "new/b", "old/a")):
        (programs / name).write_bytes(bytes(100))
        os.utime(programs / name, times=(time.time() - age, time.time() - age))
    _kept_programs._prune(programs)
    assert [file.name for file in files(folder)] == ["b", "c"]


def test_a_loaded_program_counts_as_used(folder):
    fresh()
    (file,) = files(folder)
    os.utime(file, times=(1.0, 1.0))
    fresh()
    assert file.stat().st_mtime > 1.0


def test_no_setting_of_jax_changes(folder):
    before = dict(jax.config.values)
    fresh()
    fresh()
    assert dict(jax.config.values) == before


LINE = b"E1 cpu_aot_loader.cc:220] Target machine feature %s is not  supported on the host\n"


def test_what_others_write_while_a_program_loads_is_not_lost(capfd):
    with _stderr.filtered():
        os.write(2, b"one\n" + LINE % b"+prefer-no-gather" + b"two\n")
    assert capfd.readouterr().err == "one\ntwo\n"


def test_a_feature_that_the_processor_lacks_is_an_error(capfd):
    with pytest.raises(_stderr.LoaderError, match="no \\+avx512f"), _stderr.filtered():
        os.write(2, LINE % b"+avx512f" + b"two\n")
    assert capfd.readouterr().err == "two\n"


def test_the_program_is_compiled_again_if_the_loader_misses_a_feature(
    folder, compiles, monkeypatch
):
    fresh()
    load = _kept_programs.serialize_executable.deserialize_and_load

    def loud(*args):
        os.write(2, LINE % b"+avx512f")
        return load(*args)

    monkeypatch.setattr(_kept_programs.serialize_executable, "deserialize_and_load", loud)
    with pytest.warns(RuntimeWarning, match="no \\+avx512f"):
        fresh()
    assert len(compiles) == 2


def test_an_exception_while_stderr_is_held_back_gives_stderr_back(capfd):
    def fails():
        os.write(2, b"one\n")
        raise KeyError

    with pytest.raises(KeyError), _stderr.filtered():
        fails()
    os.write(2, b"two\n")
    assert capfd.readouterr().err == "one\ntwo\n"


@pytest.mark.full
def test_a_second_sweep_says_the_same_and_compiles_nothing(tmp_path):
    words = "sweep --dataset xor --initializer he_normal orthogonal --depth 2 --width 8"
    command = [sys.executable, "-m", "jinit", *words.split(), "--steps", "5", "--seeds", "4"]
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAX_", "JINIT_", "TF_CPP"))
    } | {"JINIT_CACHE_DIR": str(tmp_path)}
    cold, warm, without = (
        subprocess.run([*command, *more], env=variables, capture_output=True, check=True, text=True)
        for more in ((), (), ("--no-cache",))
    )
    assert cold.stdout == warm.stdout == without.stdout
    assert " 0 compilations" in warm.stderr
    assert " 0 compilations" not in without.stderr.splitlines()[-1]
    assert "cpu_aot_loader" not in warm.stderr
    assert "PjRt" not in warm.stderr
    assert files(tmp_path)


def test_programs_that_jax_cannot_serialize_are_compiled_each_time(folder, compiles, monkeypatch):
    def refuses(_):
        raise NotImplementedError

    monkeypatch.setattr(_kept_programs.serialize_executable, "serialize", refuses)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(fresh(), fresh())
    assert files(folder) == []
    assert len(compiles) == 2
