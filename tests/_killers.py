"""Runs the rows of `tests/mutants.py`: for each one, the test that must fail.

A process that has imported JAX, Flax, optax and pytest, but not jinit, is forked for each row: the
imports would cost as much as the test. JAX has started no backend and no thread by then.
"""

from __future__ import annotations

import compileall
import contextlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mutants import Mutant

ROOT = Path(__file__).parent.parent
IMPORTED = ["jax", "optax", "chex", "flax.linen", "flax.nnx", "scipy.stats", "pytest", "hypothesis",
            "hypothesis.strategies"]  # fmt: skip
LIMIT = 300  # seconds of a row; a test that a mutant may hang has a shorter limit of its own
# The process that is forked must have one thread, and mutants share nearly all of their programs.
SETTINGS = {
    "OPENBLAS_NUM_THREADS": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # XLA reports every loaded program as an error
}


class Verdict(NamedTuple):
    """What became of a mutant: whether it died, of what, and the seconds, all and of the CPU."""

    died: bool
    how: str
    seconds: float = 0.0
    cpu: float = 0.0


def test(folder: str, killer: str) -> None:
    """Runs the killer on the jinit of ``folder``; for a process of its own.

    Args:
      folder: holds the changed `jinit`; the output goes to its file `output`.
      killer: a test file, or one of its tests.
    """
    os.setsid()  # what the test starts ends with it
    os.chdir(folder)
    output = os.open("output", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = folder
    import pytest

    # No time limit but the tests' own: a slow machine kills no mutant.
    options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "timeout=0",
               "-W", "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip
    code = pytest.main([*options, str(ROOT / killer)])
    sys.stdout.flush()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    Path("cpu").write_text(str(sum(use.ru_utime + use.ru_stime for use in used)))
    os._exit(code)


def verdict(mutant: Mutant, package: Path) -> Verdict:
    """Copies the package, changes the copy, and runs the killer.

    Args:
      mutant: the mutant.
      package: jinit with its modules compiled, so that no row compiles more than one.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(package, Path(folder) / "jinit")
        file = Path(folder) / "jinit" / mutant.file
        text = file.read_text()
        if text.count(mutant.old) != 1:
            return Verdict(
                False, f"its line occurs {text.count(mutant.old)} times in {mutant.file}"
            )
        file.write_text(text.replace(mutant.old, mutant.new))
        process = multiprocessing.get_context("forkserver").Process(
            target=test, args=(folder, mutant.killer)
        )
        process.start()
        process.join(LIMIT)
        late = process.is_alive()
        with contextlib.suppress(ProcessLookupError):  # the test, or what it has left running
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        output = Path(folder, "output").read_text(errors="replace")
        cpu = 0.0 if late else float(Path(folder, "cpu").read_text())
    died, how = judged(process.exitcode, output, control=mutant.old == mutant.new)
    if late:
        died, how = False, f"no end within {LIMIT} s: give the test a limit"
    return Verdict(died, how, time.monotonic() - start, cpu)


def judged(code: int | None, output: str, *, control: bool) -> tuple[bool, str]:
    """Whether pytest's exit code and output mean that the mutant died, and of what."""
    if control:
        return code == 0, f"pytest exit {code} unchanged"
    # 1 is "some test failed"; anything else means that no test looked.
    by = re.search(r"^(?:FAILED|ERROR) .*?(test_\w+\.py\S*)", output, re.MULTILINE)
    if code != 1 or not by:
        return False, f"pytest exit {code}: it lives"
    timeout = re.search(r"^E +Failed: Timeout", output, re.MULTILINE)
    return True, by[1] + ", by its time limit" * bool(timeout)


def run(mutants: Sequence[Mutant]) -> int:
    """Runs the mutants, two at a time, and prints what killed each.

    Returns:
      0 if all died, otherwise 1.
    """
    start = time.monotonic()
    multiprocessing.set_forkserver_preload(IMPORTED)
    verdicts: dict[str, Verdict] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        package = Path(folder, "jinit")
        shutil.copytree(ROOT / "jinit", package)
        compileall.compile_dir(package, quiet=1)
        os.environ.update(SETTINGS)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(folder, "programs")))
        running = {pool.submit(verdict, mutant, package): mutant.what for mutant in mutants}
        for done in as_completed(running):
            name, now = running[done], done.result()
            verdicts[name] = now
            print(f"{'dead ' if now.died else 'ALIVE'}  {name}: {now.how} "
                  f"({now.seconds:.1f} s, CPU {now.cpu:.1f})", flush=True)  # fmt: skip
    alive = {name: now for name, now in verdicts.items() if not now.died}
    for name, now in alive.items():
        print(f"ALIVE  {name}: {now.how}")
    slowest = sorted(verdicts.items(), key=lambda item: -item[1].seconds)[:10]
    print("slowest:", "; ".join(f"{name} {now.seconds:.0f} s" for name, now in slowest))
    cpu = sum(now.cpu for now in verdicts.values())
    print(f"{len(verdicts) - len(alive)} dead, {len(alive)} alive, "
          f"{time.monotonic() - start:.0f} s, CPU {cpu:.0f} s")  # fmt: skip
    return 1 if alive else 0
