"""What may go wrong from outside: interrupts, kills, full disks, broken pipes. For the full tier.

python -m pytest tests/faults.py
"""

import contextlib
import errno
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pandas
import pytest

import jinit
from jinit import _database as database
from jinit import errors

sys.path.insert(0, str(Path(__file__).parent / "database"))
import _faulted
import test_store_files
from test_store_files import losses

# A shell starts what it runs in the background deaf to Ctrl-C, nohup deaf to SIGHUP, and children
# inherit that.
JINIT = [sys.executable, "-c", "import runpy, signal\n"
         "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
         "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
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


# Stores on disk.


@pytest.fixture(scope="session")
def forks(tmp_path_factory):
    """Makes processes out of functions of `tests/_faulted.py`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["_faulted", "jax", "optax", "flax.linen", "tyro"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")  # what is forked must have one thread
        patch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}")
        if shutil.which("cc"):
            patch.setenv("LD_PRELOAD", str(shim(tmp_path_factory.mktemp("shim"))))
        forkserver.ensure_running()

    def start(name, *arguments):
        process = context.Process(target=getattr(_faulted, name), args=arguments)
        process.start()
        return process

    return start


def check_store(path, least):
    """The file is sound and holds the runs 0 to ``least`` at least, with their numbers.

    Returns:
      How many it holds; 0 also where the end came before the file was a store, which the next
      writer must make one.
    """
    if not least:
        try:
            jinit.read(path)
        except (errors.Refusal, OSError):
            return 0
    assert database.verify(path) == []
    found = losses(jinit.read(path))
    assert set(range(least)) <= set(found)
    assert all(loss == np.float32(seed / 7) for seed, loss in found.items())
    return len(found)


@pytest.mark.timeout(1200)
def test_200_kills_lose_nothing_that_was_committed(forks, tmp_path):
    rng, said, written = random.Random(0), tmp_path / "said", 0
    for store in range(10):
        path, committed = tmp_path / f"{store}.db", 0
        for number in range(20):
            said.unlink(missing_ok=True)
            process = forks("fill", path, committed, said)
            # Every second one is killed after its first commit, the others at any moment.
            while not said.exists() or (number % 2 and not said.read_text()):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.25))
            process.kill()
            process.join()
            committed = max([committed, *map(int, said.read_text().split())])
            committed = check_store(path, committed)
        written += committed
    assert written >= 400


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int fails(int fd) {  /* the n-th call on a file of the store fails, and all later ones */
  static int calls = 0;
  char link[64], name[4096];
  if (!getenv("FAIL_AT") || !atoi(getenv("FAIL_AT"))) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, name, sizeof name - 1);
  if (size <= 0) return 0;
  name[size] = 0;
  if (!strstr(name, "runs.db")) return 0;
  if (++calls < atoi(getenv("FAIL_AT"))) return 0;
  errno = atoi(getenv("FAIL_WITH"));
  return 1;
}
#define REAL(name) static ssize_t (*real)() = 0; if (!real) real = dlsym(RTLD_NEXT, name)
ssize_t pwrite64(int fd, const void *b, size_t n, off_t o) {
  REAL("pwrite64"); return fails(fd) ? -1 : real(fd, b, n, o); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
  REAL("pwrite"); return fails(fd) ? -1 : real(fd, b, n, o); }
ssize_t write(int fd, const void *b, size_t n) {
  REAL("write"); return fails(fd) ? -1 : real(fd, b, n); }
int fsync(int fd) { REAL("fsync"); return fails(fd) ? -1 : (int)real(fd); }
int fdatasync(int fd) { REAL("fdatasync"); return fails(fd) ? -1 : (int)real(fd); }
int ftruncate64(int fd, off_t o) { REAL("ftruncate64"); return fails(fd) ? -1 : (int)real(fd, o); }
int ftruncate(int fd, off_t o) { REAL("ftruncate"); return fails(fd) ? -1 : (int)real(fd, o); }
"""


def shim(folder):
    """A library below Python that makes calls of the operating system fail."""
    (folder / "shim.c").write_text(SHIM)
    library = folder / "shim.so"
    subprocess.run(["cc", "-w", "-shared", "-fPIC", "-o", library, folder / "shim.c", "-ldl"],
                   check=True)  # fmt: skip
    return library


@pytest.mark.timeout(1200)
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("runs", [0, 4])
def test_an_error_at_any_call_of_the_operating_system_is_clean(forks, tmp_path, code, runs):
    said = tmp_path / "said"
    for number in itertools.count(1):
        path = tmp_path / f"{number}" / "runs.db"
        path.parent.mkdir()
        if runs:
            test_store_files.fill(path, range(runs))
        process = forks("fill", path, runs, said, 2, number, code)
        process.join()
        assert process.exitcode == 0
        lines = said.read_text().splitlines()
        numbers = [int(line) for line in lines if line.isdigit()]
        errors_said = [line for line in lines if line.startswith("error: store")]
        assert len(numbers) + len(errors_said) == len(lines)
        if not errors_said:
            break
        assert len(errors_said) == 1
        kept = check_store(path, max([runs, *numbers]))
        test_store_files.fill(path, range(kept, kept + 4))  # what is left can be gone on with
        assert check_store(path, kept + 4) == kept + 4
    assert numbers == [runs + 4, runs + 8]
    assert number > 50


@pytest.mark.timeout(1200)
def test_2000_damaged_files_are_found_or_harmless(tmp_path):
    test_store_files.test_any_damaged_byte_is_found_or_harmless(
        tmp_path / "runs.db", tmp_path, 2000
    )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("processes", [2, 4, 8])
def test_50_races_have_one_winner_each(forks, tmp_path, processes):
    for number in range(17):
        path, begin = tmp_path / f"{number}.db", time.time() + 0.1
        files = [tmp_path / f"{number}-{place}" for place in range(processes)]
        racing = [forks("hold", path, file, begin) for file in files]
        while not all(file.exists() and file.read_text() for file in files):
            time.sleep(0.01)
        said = [file.read_text() for file in files]
        winners = [race for race, line in zip(racing, said, strict=True) if line == "mine\n"]
        assert len(winners) == 1
        for line in said:
            assert line == "mine\n" or f"process {winners[0].pid} on" in line
        winners[0].kill()
        for race in racing:
            race.join()
        test_store_files.fill(path)  # a writer that was killed owns nothing
        assert test_store_files.runs(path) == 4


def stored(path, *more):
    return [*SWEEP, "--seeds", "64", "--store", str(path), *more]


@pytest.mark.timeout(1200)
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_table_of_one(forks, tmp_path):
    path, whole, rng = tmp_path / "runs.db", tmp_path / "whole.csv", random.Random(0)
    subprocess.run([*SWEEP, "--seeds", "64", "--out", str(whole)], check=True, timeout=300,
                   capture_output=True)  # fmt: skip
    kept = 0
    for _ in range(20):
        process = forks("command", *stored(path)[len(JINIT) :])
        time.sleep(rng.uniform(0.2, 4))
        process.kill()
        process.join()
        if path.exists() and path.stat().st_size:
            with contextlib.closing(sqlite3.connect(path)) as connection:
                tables = connection.execute("select count(*) from sqlite_master where name='runs'")
                if tables.fetchone()[0]:
                    count = connection.execute("select count(*) from runs").fetchone()[0]
                    assert count >= kept
                    kept = count
    out = tmp_path / "runs.csv"
    subprocess.run(stored(path, "--out", str(out)), check=True, timeout=300, capture_output=True)
    assert out.read_text() == whole.read_text()
    assert database.verify(path) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_store_the_running_tiles_and_say_how_to_go_on(name, tmp_path):
    path = tmp_path / "runs.db"
    process = subprocess.Popen(stored(path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)  # fmt: skip
    count, deadline = 0, time.monotonic() + 100
    while count < 16 and time.monotonic() < deadline:
        time.sleep(0.2)
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
        ):
            count = connection.execute("select count(*) from runs").fetchone()[0]
    process.send_signal(getattr(signal, name))
    since = time.monotonic()
    err = process.communicate(timeout=60)[1]
    assert time.monotonic() - since < 20
    finished = re.findall(r"interrupted after (\d+) of 256 runs", err)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*) from runs").fetchone()[0] == int(finished[0])
    assert err.splitlines()[-1].startswith("to go on: jinit sweep --dataset xor")
