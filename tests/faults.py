"""What may go wrong from outside: interrupts, kills, full disks, broken pipes. For the full tier.

python -m pytest tests/faults.py
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pandas
import pytest

# A shell starts what it runs in the background deaf to Ctrl-C, and children inherit that.
JINIT = [sys.executable, "-c", "import runpy, signal\n"
         "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "runpy.run_module('jinit', run_name='__main__', alter_sys=True)"]  # fmt: skip
SWEEP = [*JINIT, "sweep", "--dataset", "xor", "--depth", "1", "3", "--width", "8",
         "--steps", "3000", "--seeds", "200", "--initializer", "he_normal", "zeros"]  # fmt: skip
# Earlier, Python itself is starting; the first of these fall into the imports of JAX and tyro.
DELAYS = (1, 2, 3, 4, 6, 8, 12)


def start(*more, **options):
    return subprocess.Popen(
        [*SWEEP, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("delay", DELAYS)
def test_an_interrupt_at_any_moment_is_quiet_and_keeps_what_is_finished(delay):
    process = start("--json")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, 130)
    assert "Traceback" not in err
    assert process.returncode == 0 or "jinit: stopping" in err
    if out.strip():
        found = json.loads(out)
        runs = found["columns"]["test_accuracy"]
        assert 0 < len(runs) <= 800
        assert all(0 <= accuracy <= 1 for accuracy in runs)


LONG = [*JINIT, "sweep", "--dataset", "digits", "--depth", "2", "--width", "64", "--seeds", "256",
        "--steps", "4000", "--initializer", "he_normal", "orthogonal", "--out"]  # fmt: skip


@pytest.mark.parametrize(
    ("signals", "code"),
    [(("SIGTERM",), 143), (("SIGHUP",), 129), (("SIGINT",), 130), (("SIGINT",) * 2, 130),
     (("SIGINT",) * 3, 130), (("SIGINT", "SIGTERM"), 130)],
)  # fmt: skip
def test_signals_in_mid_sweep_keep_the_finished_runs(signals, code, tmp_path):
    path, log = tmp_path / "runs.csv", tmp_path / "log"
    with log.open("w") as err:
        process = subprocess.Popen([*LONG, str(path)], stdout=subprocess.DEVNULL, stderr=err)
    done, deadline = [0], time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        done = [int(n) for n in re.findall(r"(\d+)/512 runs", log.read_text())]
        if done and max(done) >= 16:
            break
        time.sleep(0.2)
    for name in signals:
        process.send_signal(getattr(signal, name))
        time.sleep(0.3)
    process.wait(60)
    assert process.returncode == code
    assert len(pandas.read_csv(path)) >= max(done, default=16)
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("delay", DELAYS)
def test_a_kill_leaves_no_half_written_file(delay, tmp_path):
    path = tmp_path / "runs.parquet"
    process = start("--out", str(path))
    time.sleep(delay)
    process.kill()
    process.communicate(timeout=60)
    if path.exists():
        assert len(pandas.read_parquet(path)) == 800


@pytest.mark.parametrize("name", ["runs.parquet", "runs.csv"])
def test_a_disk_without_room_costs_the_file_but_not_the_table(name, tmp_path):
    path = tmp_path / name
    # At most 4 KiB per file; the signal is ignored, so writing fails with an error instead.
    limited = [
        "bash",
        "-c",
        'trap "" XFSZ; ulimit -f 4; exec "$@"',
        "-",
        *SWEEP,
        "--out",
        str(path),
    ]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(limited, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 1
    assert "he_normal" in done.stdout
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_cannot_be_written_cost_no_table(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "learning_curves.png").mkdir()
    done = subprocess.run(
        [*SWEEP, "--plots", str(folder)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "he_normal" in done.stdout
    assert "cannot write" in done.stderr


def test_a_reader_that_leaves_is_no_error():
    with start() as process:
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode in (0, 1)
    assert "Traceback" not in err


def test_an_experiment_that_is_killed_leaves_no_half_result(tmp_path):
    command = [sys.executable, "-m", "experiments", "run", "kotlindl", "--scale", "small", "--out"]
    for delay in (1, 3, 5, 7):
        process = subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.kill()
        process.wait()
        if (tmp_path / "kotlindl.json").exists():
            json.loads((tmp_path / "kotlindl.json").read_text())
