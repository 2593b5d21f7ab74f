"""What the processes of `tests/faults.py` do until somebody kills them.

They are forked from one process that has imported everything, so that hundreds take a minute.
"""

import os
import runpy
import signal
import sys
import time
from pathlib import Path

import jinit.cli  # noqa: F401
from jinit import _database as database

sys.path.insert(0, str(Path(__file__).parent / "database"))
import test_store_files as files


def fill(path, first, said, rounds=100, fails_at=0, fails_with=0):
    """Writes four runs after the other and says how many are committed.

    Args:
      path: the store.
      first: the first seed.
      said: a file for the numbers, or for the error that ended the writing.
      rounds: how often four runs are written.
      fails_at: the n-th call of the operating system on the store fails, and all later ones.
      fails_with: with this error number.
    """
    os.environ.update(FAIL_AT=str(fails_at), FAIL_WITH=str(fails_with))
    with open(said, "w", buffering=1) as file:
        try:
            for seed in range(first, first + 4 * rounds, 4):
                files.fill(path, range(seed, seed + 4))
                print(seed + 4, file=file)
        except OSError as error:
            print("error:", error, file=file)


def hold(path, said, begin):
    """Opens a store for writing at a moment, says who has it, and keeps it."""
    time.sleep(max(0.0, begin - time.time()))
    try:
        database.Writer(path)
    except ValueError as error:
        Path(said).write_text(f"{error}\n")
    else:
        Path(said).write_text("mine\n")
        signal.pause()


def command(*arguments):
    """The command line of jinit."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    sys.argv = ["jinit", *arguments]
    runpy.run_module("jinit", run_name="__main__", alter_sys=True)
