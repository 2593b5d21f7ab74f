"""The command line as a user meets it."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pandas
import pytest
from tiers import sample

import jinit
from jinit.auditing import read_checkpoint
from jinit.cli import _commands, _devices, _last, _signals, _sweeps, main
from jinit.cli._output import dump
from jinit.cli._signals import Interrupted, interrupts_kept, signals_raised, time_limit
from jinit.engine._group import StoppedError
from jinit.engine._interrupts import held
from jinit.sweep._tiles import InMemory

TINY = ["--dataset", "xor", "--depth", "1", "--width", "4", "--steps", "5", "--seeds", "2"]


def run(*arguments, **options):
    command = [sys.executable, "-m", "jinit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, **options)


SWEEP = ["sweep", "--dataset", "xor", "--steps", "20", "--seeds", "3", "--width", "8",
         "--initializer", "zeros", "he_normal"]  # fmt: skip


def test_an_interrupt_that_python_would_forget_comes_again(capfd):
    class Callback:
        def __del__(self):
            raise KeyboardInterrupt

    @interrupts_kept()
    def command():
        Callback()
        for _ in range(1000):
            time.sleep(0.01)

    # What runs in the background has no handler.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            command()
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Traceback" not in capfd.readouterr().err


def test_an_interrupt_between_batches_writes_the_runs(monkeypatch, tmp_path, capsys):
    def interrupted(settle, table):
        raise KeyboardInterrupt

    monkeypatch.setattr(jinit.sweep.Settle, "settled", interrupted)
    out = tmp_path / "runs.csv"
    words = ["sweep", *TINY, "--initializer", "zeros", "he_normal", "--until-settled"]
    assert main([*words, "--most-seeds", "8", "--out", str(out)]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert len(pandas.read_csv(out)) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--seeds 6", "6 seeds cannot settle 4 comparisons, however clear: at least 8 seeds can"),
        ("--seeds 6 --tune learning_rate", ""),
        ("--seeds 5 --tune learning_rate", "5 seeds cannot settle 1 comparison"),
        ("--seeds 2 --until-settled --most-seeds 64", ""),
        ("--seeds 2 --until-settled --most-seeds 4", "4 seeds cannot settle 4 comparisons"),
        ("--seeds 4 --halving 2", ""),
    ],
)
def test_a_plan_counts_what_the_command_compares(words, said, capsys):
    rates = ["--learning-rate", "0.1", "0.2", "0.3", "0.4"]
    grid = ["--dataset", "xor", "--depth", "1", "--width", "4", "--steps", "5", *rates]
    assert main(["plan", *grid, "--initializer", "zeros", "he_normal", *words.split()]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert said in shown if said else "cannot settle" not in shown


def test_what_ended_a_sweep_is_said_where_its_runs_cannot_be_tuned(monkeypatch, capsys):
    whole = jinit.run

    def hangs(grid, **options):
        table = whole(grid)
        left = ~((table["learning_rate"] == 0.5) & (table["seed"] > 0))
        error = jinit.errors.HangError("tile 7 hangs")
        error.table = table.take(np.flatnonzero(left))
        raise error

    monkeypatch.setattr(jinit.sweep, "run", hangs)
    words = ["sweep", *TINY, "--seeds", "4", "--initializer", "zeros", "he_normal"]
    code = main([*words, "--learning-rate", "0.1", "0.5", "--tune", "learning_rate"])
    said = capsys.readouterr().err
    assert code == 1
    assert "tile 7 hangs" in said
    assert "runs to tune" in said


@pytest.mark.slow
def test_help_is_quick_and_has_defaults_and_an_example():
    code = (
        "import sys\nfrom jinit.cli import main\n"
        "try: main(['sweep', '--help'])\nexcept SystemExit: pass\n"
        "assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for text in ("default: 0.1", "Example: jinit sweep", "--batch-size", "per step"):
        assert text in done.stdout


COMMANDS = ("sweep", "plan", "compare", "initializers", "describe", "audit", "probe", "predict",
            "phase", "recommend", "doctor",
            "show", "ls", "verify", "merge", "rm", "export")  # fmt: skip


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "xample: jinit" in shown
    # An option without a default shows the kind of its value instead.
    assert "default: None" not in shown
    assert "default: )" not in shown
    assert "options options" not in shown


@pytest.mark.parametrize("command", ["sweep", "probe", "predict", "recommend", "phase"])
def test_help_lists_what_is_registered(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    # tyro breaks lines inside a box.
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name in jinit.activations.names():
        assert f"{name}," in text or f"{name};" in text
    if command in ("sweep", "probe"):
        assert all(name in text for name in jinit.data.names())


def test_help_of_audit_names_hosts_presets_and_kinds(capsys):
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert ", ".join(jinit.frameworks.hosts()) in text
    assert ", ".join(jinit.frameworks.layer_kinds()) in text


@pytest.mark.slow
def test_sweep_prints_a_table_and_writes_files(capsys, tmp_path):
    path = tmp_path / "runs.csv"
    assert main([*SWEEP, "--out", str(path), "--plots", str(tmp_path / "pictures")]) == 0
    printed = capsys.readouterr()
    assert f"files written to {tmp_path / 'pictures'}/" in printed.err
    assert len(list((tmp_path / "pictures").glob("*.png"))) >= 5
    assert "he_normal" in printed.out
    assert "− zeros" in printed.out
    assert "6/6 runs" in printed.err
    assert len(pandas.read_csv(path)) == 6


def test_json_goes_to_stdout_alone(capsys):
    assert main([*SWEEP, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) >= {"summary", "comparisons", "columns", "settings", "curves"}
    assert found["settings"]["seconds"] > 0


def table_of(arms, **columns):
    """Accuracies .5 + noise at learning rate .1; an arm's own number is its gain at rate 1."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 12)
    own = {
        "initializer": np.repeat(np.array(list(arms), object), 24),
        "learning_rate": np.tile(np.repeat([0.1, 1.0], 12), len(arms)),
        "seed": np.tile(np.arange(12), 2 * len(arms)),
        "test_accuracy": np.concatenate(
            [each for gain in arms.values() for each in (noise + 0.5, noise + 0.5 + gain)]
        ),
    }
    own["regret"] = 1 - own["test_accuracy"]
    axes = ("initializer", "learning_rate", "seed")
    return jinit.results.Table(own | columns, axes, {}, np.array([]), {"grid": {}})


@pytest.mark.slow
def test_written_tables_are_joined_and_compared(capsys, tmp_path):
    first, second, joined = (str(tmp_path / f"{name}.parquet") for name in "abc")
    table_of({"a": 0.2, "b": 0.1}).write(first)
    table_of({"c": 0.3}).write(second)
    files = [first, second, "--baseline", "a"]
    assert main(["compare", *files, "--tune", "learning_rate", "--json", "--out", joined]) == 0
    found = json.loads(capsys.readouterr().out)["comparisons"]
    assert [(each["arm"], each["verdict"]) for each in found] == [("b", "loses"), ("c", "wins")]
    assert found[0]["tuned"] == {"learning_rate": 1.0}
    assert len(jinit.read(joined)) == 72
    assert main(["compare", *files, "--by", "learning_rate", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"metric", "summary", "comparisons", "columns", "curves", "settings"} <= set(found)
    assert len(found["comparisons"]) == 4
    assert main(["compare", *files, "--tune", "learning_rate", "--margin", "0.15"]) == 0
    text = capsys.readouterr().out
    assert "equivalent" in text
    assert "baseline tuned" in text
    assert main(["compare", *files, "--by", "learning_rate", "--margin", "0.15"]) == 0
    assert capsys.readouterr().out.count("equivalent") == 4
    assert main(["compare", joined, "--across", "learning_rate", "--baseline", "0.1"]) == 0
    text = capsys.readouterr().out
    assert (text.count("wins"), text.count("initializer b")) == (4, 1)  # three, and the note's
    own = ["--metric", "regret", "--better", "lower"]
    assert main(["compare", joined, *own, "--by", "learning_rate", "--baseline", "a"]) == 0
    assert capsys.readouterr().out.count("wins") == 2
    assert main(["compare", first, "--metric", "regret", "--better", "less"]) == 2


def test_files_whose_seeds_or_settings_do_not_fit_are_refused(capsys, tmp_path):
    first, second = (str(tmp_path / f"{name}.parquet") for name in "ab")
    table_of({"a": 0.2}).write(first)
    table_of({"b": 0.1}, seed=np.tile(np.arange(12) + 100, 2)).write(second)
    assert main(["compare", first, second]) == 2
    assert "seeds of table 0" in capsys.readouterr().err
    assert main(["compare", first, first]) == 2
    assert "each run once" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_tunes_its_arms(capsys):
    options = ["--learning-rate", "0.01", "1", "--tune", "learning_rate", "--margin", "0.01"]
    assert main([*SWEEP, "--seeds", "8", *options]) == 0
    printed = capsys.readouterr().out
    assert "baseline tuned" in printed
    assert "learning_rate 1.0" in printed


OWN = """
import jax
import jinit

def own_draw(scale=0.5):
    return lambda key, shape, dtype=None: scale * jax.random.normal(key, shape, dtype)

def register():
    jinit.initializers.register({name!r}, own_draw)

if __name__ != "with_entry_point":
    register()
"""


@pytest.mark.slow
def test_a_module_makes_its_initializers_known(tmp_path, monkeypatch, capsys):
    registry = jinit.initializers._registry._REGISTRY
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_module.py").write_text(OWN.format(name="from_module"))
    (tmp_path / "own_file.py").write_text(OWN.format(name="from_file"))
    plan = ["plan", *SWEEP[1:5], "--json", "--initializer", "normal"]
    try:
        assert main([*plan, "from_module(0.1)", "--import", "own_module"]) == 0
        assert json.loads(capsys.readouterr().out)["runs"] == 64
        assert main(["--import=own_file.py", *plan, "from_file"]) == 0
        assert {"from_module", "from_file"} <= set(registry.names())
        with pytest.raises(SystemExit):
            main(["sweep", "--import", "own_module", "--help"])
        assert "from_module" in capsys.readouterr().out
    finally:
        for name in ("from_module", "from_file"):
            if name in registry:
                registry.remove(name)
    (tmp_path / "needs_more.py").write_text("import no_such_package.part")
    for arguments, words in (
        (["--import", "needs_more.py"], "'no_such_package'; fix: pip install no_such_package"),
        (["--import", "no_such_module"], "a module that Python finds"),
        (["--import", "no_such.py"], "an existing file"),
        (["--import"], "a module or a file"),
    ):
        assert main([*plan, *arguments]) == 2
        assert words in capsys.readouterr().err


def test_installed_packages_register_by_an_entry_point(tmp_path, monkeypatch, capsys):
    registry = jinit.initializers._registry._REGISTRY
    (tmp_path / "with_entry_point.py").write_text(OWN.format(name="from_package"))
    info = tmp_path / "with_entry_point-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: with-entry-point\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[jinit]\nown = with_entry_point:register\nbroken = with_entry_point:nothing\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        arguments = ["plan", *SWEEP[1:5], "--json", "--initializer", "from_package", "normal"]
        assert main(arguments) == 0
        assert "entry point 'broken'" in capsys.readouterr().err
    finally:
        if "from_package" in registry:
            registry.remove("from_package")


@pytest.mark.slow
def test_plan_runs_nothing(capsys):
    assert main(["plan", *SWEEP[1:], "--depth", "1", "2"]) == 0
    assert "12 runs in 2 training programs" in capsys.readouterr().out
    assert main(["plan", *SWEEP[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 6


@pytest.mark.slow
def test_initializers_and_describe(capsys):
    assert main(["initializers"]) == 0
    printed = capsys.readouterr().out
    assert "kaiming_uniform_" in printed.replace("\n", "")
    assert all(name in printed for name in jinit.calibrate.names())
    assert main(["describe", "fan_in_uniform", "--shape", "10", "1000"]) == 0
    printed = capsys.readouterr().out
    for text in ("0.3162", "0.1826", "Glorot", "standard deviation"):
        assert text in printed
    assert main(["describe", "he_normal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spec"] == "he_normal"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "--plots", "/proc/pictures"], "a writable folder"),
        (["sweep", "--plots", __file__], "a writable folder"),
        (["sweep", "--initializer", "he_norml"], "did you mean 'he_normal'"),
        (["sweep", "--learning-rate", "-1"], "learning_rate: got -1.0"),
        (["sweep", "--learning-rate", "nan"], "learning_rate: got nan"),
        (["sweep", "--depth", "-3"], "depth: got -3"),
        (["sweep", "--initializer"], "at least one value"),
        (["sweep", "--seeds", "4294967296", "1"], "4294967296"),
        (["sweep", "--seeds", "3", "3"], "3 more than once"),
        (["sweep", "--seeds", "100000000"], "100,000,000"),
        (["sweep", "--dataset", "digit"], "did you mean 'digits'"),
        (["sweep", "--out", "/no/such/folder/t.csv"], "output path"),
        (["sweep", "--out", "t.xlsx"], "output path"),
        (["sweep", "--baseline", "zeros"], "baseline"),
        (["sweep", "--metric", "accuracy"], "metric"),
        (["sweep", "--clip", "norm(1)"], "clip"),
        (["sweep", "--tile", "1"], "tile: got 1"),
        (["sweep", "--batch-size", "100000"], "batch_size: got 100000"),
        (["sweep", "--margin", "-1"], "margin: got -1.0"),
        (["sweep", "--tune", "learning_rate"], "tuned axis 'learning_rate'"),
        (
            ["sweep", "--learning-rate", "1", "2", "--tune", "learning_rate", "--seeds", "1"],
            "at least 2 with --tune",
        ),
        (["compare"], "files: got 'none'"),
        (["compare", "no.parquet"], "path: got 'no.parquet'"),
        (["describe", "he_normal", "--shape", "3"], "rank >= 2"),
        (["describe", "he_normal", "--seed", "-1"], "seed: got -1"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("jinit: ")
    assert words in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "arguments", [["swep"], ["sweep", "--depht", "3"], ["sweep", "--depth", "x"]]
)
def test_unknown_flags_exit_with_2(arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


@pytest.mark.full
def test_everything_diverging_still_prints_and_exits_0(capsys):
    assert main([*SWEEP, "--learning-rate", "1e30", "--depth", "20"]) == 0
    assert "he_normal" in capsys.readouterr().out


@pytest.mark.full
def test_ctrl_c_prints_what_is_done():
    # A shell starts what it runs in the background deaf to Ctrl-C, and children inherit that.
    listening = ("import runpy, signal\n"
                 "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
                 "runpy.run_module('jinit', run_name='__main__', alter_sys=True)")  # fmt: skip
    command = [sys.executable, "-c", listening, "sweep", "--seeds", "20000", "--width", "32",
               "--initializer", "zeros", "he_normal", "--steps", "2000"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for line in process.stderr:
        if "runs/s" in line and not line.startswith("0/"):
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted after" in err
    assert "zeros" in out


@pytest.mark.full
def test_x64_sweeps():
    done = run("sweep", *TINY, env=os.environ | {"JAX_ENABLE_X64": "1"})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_hang_exits_with_1():
    done = run("sweep", *TINY, "--hang-after", "0.01")
    assert done.returncode == 1
    assert "no compile or tile finished" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.full
def test_a_closed_pipe_is_quiet():
    command = f"{sys.executable} -m jinit sweep {' '.join(TINY)} --json | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=200)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["sweep", *TINY, "--metric", "first_bad_step"], "first_bad_step"),
        (["sweep", *TINY, "--metric", "clip_fraction"], "add --clip"),
        (["sweep", *TINY, "--metric", "best_test_accuracy"], "add --validation"),
        (["sweep", *TINY, "--metric", "test_r2"], "use test_accuracy"),
        (["sweep", *TINY, "--hang-after", "nan"], "hang_after: got nan"),
        (["sweep", *TINY, "--most-seeds", "256"], "add --until-settled"),
        (["sweep", *TINY, "--out", "/proc/runs.csv"], "output path"),
        (["sweep", *TINY, "--out", f"{'x' * 300}.csv"], "output path"),
        (["describe", "truncated_normal(lower=9,upper=10)"], "within 4 stddev of the mean"),
        (["describe", "normal(dtype=foo)"], "dtype: got 'foo'"),
        (["describe", "normal", "--shape", "60000", "60000"], "at most 100,000,000"),
        (["plan", "--steps", "3000000000"], "steps: got"),
        (["plan", "--tile", "100000000"], "tile: got"),
    ],
)
def test_more_bad_input(arguments, match, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jinit ")


@pytest.mark.slow
def test_describe_draws_a_picture(tmp_path, capsys):
    for name, shape in (("fan_in_uniform", "10 1000"), ("zeros", "4 4"), ("sparse", "90 40")):
        path = tmp_path / f"{name}.png"
        assert main(["describe", name, "--shape", *shape.split(), "--plot", str(path)]) == 0
        assert path.stat().st_size > 5000
    assert main(["describe", "zeros", "--plot", str(tmp_path / "weights.bmp")]) == 2
    assert "ending in .png" in capsys.readouterr().err


def checkpoint(tmp_path, **arrays):
    path = tmp_path / "model.npz"
    np.savez(path, **arrays)
    return str(path)


PROBE = ["probe", "--depth", "3", "--width", "16", "--seeds", "4", "--batch-size", "16"]


@pytest.mark.full
def test_probe_of_a_healthy_and_a_sick_network(tmp_path, capsys):
    picture = tmp_path / "layers.svg"
    assert main([*PROBE, "--plot", str(picture)]) == 0
    text = capsys.readouterr().out
    assert "hidden_2" in text
    assert "healthy" in text
    assert "backward" in picture.read_text()
    assert main([*PROBE, "--initializer", "zeros", "--plot", str(tmp_path / "z.png")]) == 1
    assert "hidden_0  symmetric\n  100%" in capsys.readouterr().out
    main([*PROBE, "--initializer", "zeros", "--seeds", "1"])
    text = capsys.readouterr().out
    assert "one seed" in text
    assert "interval" not in text


@pytest.mark.full
def test_probe_as_json_and_bad_input(capsys):
    assert main([*PROBE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seeds"] == 4
    assert [row["layer"] for row in found["layers"]][-1] == "output"
    middle = found["layers"][0]["gradient_norm"]
    assert middle["low"] <= middle["estimate"] <= middle["high"]
    assert found["layers"][-1]["dead"]["estimate"] is None
    assert found["findings"][0]["kind"] == "healthy"
    for wrong in (["--depth", "-1"], ["--seeds", "0"], ["--batch-size", "1"], ["--width", "0"],
                  ["--activation", "rellu"], ["--initializer", "he_norml"], ["--plot", "a.txt"],
                  ["--dataset", "linear_teacher"]):  # fmt: skip
        assert main([*PROBE, *wrong]) == 2, wrong
        said = capsys.readouterr()
        assert not said.out
        assert len(said.err.strip().splitlines()) == 1


def test_audit_of_a_checkpoint(tmp_path, capsys):
    rng = np.random.default_rng(0)
    path = checkpoint(
        tmp_path,
        **{"fc.weight": rng.normal(size=(30, 400)) / 20, "head.weight": np.full((10, 30), 0.2)},
    )
    options = ["--host", "torch", "--layer", "*.weight=dense"]
    assert main(["audit", path, *options]) == 1
    text = capsys.readouterr().out
    assert "head.weight  symmetric" in text
    assert "1 finding in 2 arrays" in text
    assert main(["audit", path, *options, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["where"] == "head.weight"
    assert main(["audit", path, "--host", "torch"]) == 0
    assert "fans not checked for fc.weight, head.weight" in capsys.readouterr().out
    assert main(["audit", path]) == 2  # (in, out) or (out, in)?
    assert "--host torch" in capsys.readouterr().err
    rules = ["--rule", "fc*=normal(stddev=0.05)", "--rule", "*=he_normal"]
    assert main(["audit", path, *options, *rules]) == 1
    assert "rule not applied" in capsys.readouterr().out


def test_audit_reads_safetensors_and_refuses_everything_else(tmp_path, capsys):
    header = {
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [24, 28]},
        "__metadata__": {"format": "pt"},
    }
    text = json.dumps(header).encode()
    values = np.arange(6, dtype=np.float32).tobytes() + np.array([0x3F80, 0x4000], "<u2").tobytes()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)
    arrays = read_checkpoint(path)
    np.testing.assert_array_equal(arrays["a.weight"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(arrays["b.weight"].astype(np.float32), [1.0, 2.0])
    path.write_bytes(path.read_bytes()[:-3])
    (tmp_path / "code.npz").write_bytes(b"not a zip file")
    np.savez(tmp_path / "pickle.npz", a=np.array([object()]))
    for bad in ("model.safetensors", "code.npz", "pickle.npz", "none.npz", "model.pkl"):
        assert main(["audit", str(tmp_path / bad)]) == 2
        assert capsys.readouterr().err.startswith("jinit: checkpoint: got")
    assert main(["audit", str(path), "--layer", "dense"]) == 2


@pytest.mark.parametrize("text", ["[1, 2]", "3", "null", "[" * 200_000, '{"a": 3}', "{", "\xff"])
def test_safetensors_with_any_other_header_are_refused_in_one_line(text, tmp_path, capsys):
    path, header = tmp_path / "w.safetensors", text.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert main(["audit", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([{}]), np.zeros(2, [("x", "f4")])])
def test_arrays_that_are_no_numbers_are_refused_and_no_pickle_is_advised(array, tmp_path, capsys):
    np.savez(tmp_path / "w.npz", a=array)
    assert main(["audit", str(tmp_path / "w.npz")]) == 2
    error = capsys.readouterr().err
    assert "not numbers" in error
    assert "pickle" not in error


def test_npz_files_of_numpy_are_read_as_numpy_reads_them(tmp_path):
    arrays = {"c": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.arange(6).reshape(3, 2)),
              "scalar": np.array(2.0), "empty": np.zeros((0, 3))}  # fmt: skip
    np.savez_compressed(tmp_path / "W.NPZ", **arrays)
    found = read_checkpoint(next(tmp_path.iterdir()))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_audit_takes_a_preset_as_its_rules(tmp_path, capsys):
    np.savez(tmp_path / "w.npz", **{"d/kernel": np.zeros((20, 30), "f4")})
    assert main(["audit", str(tmp_path / "w.npz"), "--rule", "flax"]) == 1
    assert "lecun_normal" in capsys.readouterr().out


def test_safetensors_library_agrees(tmp_path):
    library = pytest.importorskip("safetensors.numpy", reason="an independent writer")
    arrays = {"w": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)}
    library.save_file(arrays, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "w.safetensors")["w"], arrays["w"])


@pytest.mark.slow
def test_the_file_is_written_before_anything_is_printed(monkeypatch, tmp_path, capsys):
    from jinit import report

    def left(*arguments, **options):
        raise BrokenPipeError

    monkeypatch.setattr(report, "show", left)
    path = tmp_path / "runs.csv"
    assert main([*SWEEP, "--out", str(path)]) == 1
    assert len(pandas.read_csv(path)) == 6


@pytest.mark.parametrize("error", [MemoryError("no memory"), jinit.errors.HangError("stuck")])
def test_an_error_in_the_middle_keeps_the_runs_and_is_one_line(
    error, monkeypatch, tmp_path, capsys
):
    from jinit import report

    original = report.SweepProgress.__call__

    def fails(self, event):
        original(self, event)
        if event.kind == "tile":
            raise error

    monkeypatch.setattr(report.SweepProgress, "__call__", fails)
    path = tmp_path / "runs.csv"
    assert main([*SWEEP, "--out", str(path)]) == 1
    said = capsys.readouterr()
    assert len(pandas.read_csv(path)) == 6  # one tile holds them all
    assert "he_normal" in said.out
    assert str(error) in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_a_command_with_the_code_of_a_shell(name, monkeypatch, capfd):
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip("no such signal on this system")
    monkeypatch.setattr(_commands, "answer", lambda arguments: signal.raise_signal(number))
    before = signal.signal(number, signal.default_int_handler)
    try:
        assert main(["sweep"]) == 128 + number
    finally:
        signal.signal(number, before)
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert ("press Ctrl-C again" in said) == (name == "SIGINT")


@pytest.mark.parametrize(
    ("name", "late", "code"),
    [("SIGTERM", False, 143), ("SIGINT", True, 124), ("SIGINT", False, 130)],
)
def test_a_signal_while_the_store_closes_has_its_own_exit_code(
    name, late, code, monkeypatch, tmp_path, capfd
):
    number = getattr(signal, name)

    def close(tiles, state):
        if late:
            _signals._late.set()
        signal.raise_signal(number)

    monkeypatch.setattr(InMemory, "close", close)
    before = signal.signal(number, signal.default_int_handler)
    out = tmp_path / "runs.csv"
    words = ["sweep", *TINY, "--initializer", "zeros", "--time-limit", "1h", "--out", str(out)]
    try:
        assert main(words) == code
    finally:
        signal.signal(number, before)
    assert len(pandas.read_csv(out)) == 2
    assert "interrupted after 2 of 2 runs" in capfd.readouterr().err


def test_ctrl_c_at_the_end_of_a_sweep_that_failed_does_not_hide_why(monkeypatch, capsys):
    def fails(self, event):
        if event.kind == "tile":
            raise ZeroDivisionError("a fault")

    monkeypatch.setattr(jinit.report.SweepProgress, "__call__", fails)
    monkeypatch.setattr(InMemory, "close", lambda tiles, state: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(ZeroDivisionError):
            main(["sweep", *TINY, "--initializer", "zeros"])
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_held_signal_is_answered_at_once_and_raised_when_it_is_let_go():
    answered = []

    def answer(number, frame):
        answered.append(number)
        raise InterruptedError

    before = signal.signal(signal.SIGTERM, answer)
    try:
        with held() as noted:
            signal.raise_signal(signal.SIGTERM)
            assert answered == noted.signals == [signal.SIGTERM]
        with pytest.raises(InterruptedError):
            noted.let_go()
        assert signal.getsignal(signal.SIGTERM) is answer
    finally:
        signal.signal(signal.SIGTERM, before)


def test_only_the_process_that_writes_has_the_clock(monkeypatch, capsys):
    given = []
    monkeypatch.setattr(_sweeps, "writes", lambda: False)
    monkeypatch.setattr(
        _sweeps, "time_limit", lambda text: given.append(text) or contextlib.nullcontext()
    )
    words = ["sweep", *TINY, "--initializer", "zeros", "--time-limit", "1h"]
    assert main(words) == 0
    monkeypatch.setattr(_sweeps, "writes", lambda: True)
    assert main(words) == 0
    assert given == [None, "1h"]


def test_a_process_that_waits_for_the_others_says_so(monkeypatch, capsys):
    def refuses(*arguments, **options):
        time.sleep(0.2)
        raise RuntimeError("DEADLINE_EXCEEDED: no process 0")

    monkeypatch.setattr(jax.distributed, "initialize", refuses)
    monkeypatch.setattr(_devices, "_wait_for_first", lambda address, fix: None)
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    said = []
    for quiet in (0.01, 10.0):
        monkeypatch.setattr(_devices, "_QUIET", quiet)
        assert main(["sweep", *TINY, "--distributed", "10.255.255.1:8476/2/1"]) == 2
        said.append(capsys.readouterr().err.splitlines())
    assert said[0][0] == ("jinit: waiting up to 120 s for the other processes at 10.255.255.1:8476")
    assert said[0][1:] == said[1]
    assert len(said[1]) == 1
    assert "DEADLINE_EXCEEDED" in said[1][0]


def test_a_first_process_that_never_comes_is_refused_and_one_that_comes_late_is_found(monkeypatch):
    """JAX would abort with a stack trace."""
    monkeypatch.setattr(_devices, "_CONNECT", 0.3)
    monkeypatch.setattr(_devices, "_RETRY", 0.02)
    with socket.socket() as late:
        late.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{late.getsockname()[1]}"
        with pytest.raises(ValueError, match=r"--distributed: got .*allowed: the address of proc"):
            _devices._wait_for_first(address, "start it")
        monkeypatch.setattr(_devices, "_CONNECT", 20)
        threading.Timer(0.1, late.listen).start()
        _devices._wait_for_first(address, "start it")


@pytest.mark.slow
def test_sigterm_is_ours_in_connected_processes():
    """JAX's preemption service would take it, and nothing would be stored."""
    code = """
import signal, socket, sys, time
from jinit.cli import _devices
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
_devices._connect(f"127.0.0.1:{port}/1/0")
time.sleep(1)
signal.raise_signal(signal.SIGTERM)
time.sleep(1)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], timeout=100, env=environment)
    assert done.returncode == 7


def test_another_process_that_stops_is_one_line_and_how_to_go_on(monkeypatch, tmp_path, capsys):
    def stopped(self, event):
        raise StoppedError("process 1 of 2 stopped: Terminated: SIGTERM")

    monkeypatch.setattr(jinit.report.SweepProgress, "__call__", stopped)
    store = str(tmp_path / "runs.db")
    assert main(["sweep", *TINY, "--initializer", "zeros", "--store", store]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "jinit: process 1 of 2 stopped: Terminated: SIGTERM"
    assert len(said) == 2
    assert said[1].startswith("to go on: ")


def test_how_to_go_on_comes_after_the_traceback_of_a_fault(monkeypatch, capsys):
    def fault(arguments):
        _last.say("to go on: the same command")
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(_commands, "answer", fault)
    monkeypatch.setattr(sys, "argv", ["jinit", "sweep"])
    assert main() == 1
    said = capsys.readouterr().err
    assert said.endswith("ZeroDivisionError: a fault\nto go on: the same command\n")


class Short(io.RawIOBase):
    """A stream without a buffer: each write takes ten bytes, as if a signal came."""

    def __init__(self):
        self.taken = b""

    def writable(self):
        return True

    def write(self, data):
        self.taken += bytes(data[:10])
        return min(10, len(data))


def test_json_is_whole_on_a_stream_that_takes_a_part_of_a_write(monkeypatch):
    stream = Short()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, "utf-8", write_through=True))
    dump({"σ": list(range(100))})
    assert json.loads(stream.taken) == {"σ": list(range(100))}
    assert stream.taken.endswith(b"\n")


def work_for_a_second(received):
    with time_limit("1s"):
        signal.raise_signal(signal.SIGINT)
        assert not received.numbers
        for _ in range(1000):
            time.sleep(0.01)


@pytest.mark.slow
def test_a_time_limit_holds_where_ctrl_c_is_ignored(capfd):
    """A shell starts the background jobs of a script like this."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals_raised() as received:
            with pytest.raises(Interrupted):
                work_for_a_second(received)
            assert received.code == 124
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert "the time limit is reached" in capfd.readouterr().err


def test_an_ignored_signal_stays_ignored(monkeypatch):
    def answer(arguments):
        signal.raise_signal(signal.SIGINT)
        return 0

    monkeypatch.setattr(_commands, "answer", answer)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert main(["sweep"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_mistyped_option_names_the_options_of_its_command_alone(capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "--depht", "3"])
    said = capsys.readouterr()
    assert "--depth" in said.out + said.err
    assert "jinit probe" not in said.out + said.err


@pytest.mark.sampled(3)
@pytest.mark.slow
@pytest.mark.parametrize("package", ["tyro", "rich"])
def test_a_missing_package_is_one_line_and_exit_code_2(package):
    code = f"import sys\nsys.modules[{package!r}] = None\nfrom jinit.cli import main\n"
    command = [sys.executable, "-c", f"{code}sys.exit(main({['sweep', *TINY]!r}))"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"needs the package '{package}'" in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("encoding", sample(["ascii", "cp1252"]))
def test_streams_without_the_characters_of_maths(encoding, tmp_path):
    path = tmp_path / "runs.csv"
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "jinit", *SWEEP, "--out", str(path)]
    done = subprocess.run(command, capture_output=True, timeout=200, env=environment)
    assert done.returncode == 0
    assert "- zeros" in done.stdout.decode(encoding)
    assert b"?" not in done.stdout
    assert len(pandas.read_csv(path)) == 6
    done = subprocess.run([*command[:-2], "--json"], capture_output=True, timeout=200,
                          env=environment)  # fmt: skip
    assert json.loads(done.stdout.decode(encoding))["metric"] == "test_accuracy"


@pytest.mark.full
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    ("redirection", "said"),
    sample([("> /dev/full", "No space left"), (">&-", "stdout is closed"), (">&- 2>&-", "")]),
)
def test_output_that_is_lost_costs_no_file_and_is_told(redirection, said, tmp_path):
    path = tmp_path / "runs.csv"
    command = f"{sys.executable} -m jinit {' '.join(SWEEP)} --out {path} {redirection}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(pandas.read_csv(path)) == 6


@pytest.mark.slow
def test_doctor_says_what_a_sweep_would_run_on(capsys, tmp_path, monkeypatch):
    from jinit import _database
    from jinit.engine import _machine

    monkeypatch.setattr(_machine, "accelerators", lambda: [])
    local = _database.FileSystem("ext4", "/", True, False, 2**31)
    monkeypatch.setattr(_database, "file_system", lambda path: local)
    assert main(["doctor", "--json", "--path", str(tmp_path / "runs.db")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["JAX"]["platform"] == jax.default_backend()
    assert found["JAX"]["jax_enable_x64"] is False
    assert found["versions"]["jax"] == jax.__version__
    assert found["file system"]["kind"] == "ext4"
    assert found["problems"] == []


@pytest.mark.slow
def test_doctor_warns_of_a_silent_cpu_a_bad_jax_and_a_remote_file_system(capsys, monkeypatch):
    from jinit import _database
    from jinit.engine import _machine

    monkeypatch.setattr(_machine, "accelerators", lambda: ["an NVIDIA GPU (/dev/nvidia0)"])
    remote = _database.FileSystem("nfs4", "/home", False, False, 2**31)
    monkeypatch.setattr(_database, "file_system", lambda path: remote)
    monkeypatch.setattr(jax, "__version__", "0.10.2")
    assert main(["doctor"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "WARNING JAX RUNS ON THE CPU" in text
    assert "jax 0.10.2 hangs" in text
    assert "nfs4, where locks of databases are not known to work" in text


@pytest.mark.parametrize("share", ["3", "0/2", "3/2", "1/99", "a/b", "-1/2"])
def test_a_share_out_of_range_is_refused(share, capsys):
    assert main([*SWEEP, f"--share={share}"]) == 2
    assert "share" in capsys.readouterr().err
