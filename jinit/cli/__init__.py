"""Runs the command line ``jinit``: parses arguments, calls the library, prints.

``jinit --help`` does not load JAX. Importing this module loads nothing large, so that Ctrl-C is
understood from the beginning.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Sequence
from importlib import metadata

from jinit import errors
from jinit.cli import _last
from jinit.cli._signals import Received, interrupts_kept, signals_raised
from jinit.cli._streams import abandoned, flushed, usable_streams


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: arguments; default ``sys.argv[1:]``.

    Returns:
      The exit code: 0 for success, 1 for a failure, for output that could not be written, or for
      weights or networks that are not healthy, 2 for bad input or a missing package, 130 after
      Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, 124 after ``--time-limit``.

    >>> main(["describe", "he_normal", "--shape", "10", "-3"])
    2
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with usable_streams() as closed, signals_raised() as received, interrupts_kept():
        try:
            code = flushed(_code(arguments, received), closed)
        except SystemExit as left:  # tyro's help and its complaints
            if flushed(0, closed):
                return 1
            raise left from None
        except Exception:
            if argv is not None:
                raise
            sys.excepthook(*sys.exc_info())
            code = 1
        if received.numbers:
            code = received.code
        _last.print_after(code)
        if argv is None and (received.numbers or received.elsewhere or _working()):
            # A thread inside the compiler or a program cannot be stopped; an ordinary exit would
            # wait for it, or for a process that has left, or crash in JAX's runtime.
            sys.stderr.flush()
            os._exit(code)
    return code


def _code(arguments: Sequence[str], received: Received) -> int:
    """Runs a command and turns what it raises into a message and an exit code."""
    try:
        if arguments == ["--version"]:
            from jinit import __version__

            print(f"jinit {__version__}")
            return 0
        from jinit.cli._commands import answer

        return answer(arguments)
    except (errors.Refusal, errors.MissingExtraError) as error:
        # One line without a traceback: what is wrong, the value, what is allowed, the fix.
        return _failed(str(error), 2)
    except ModuleNotFoundError as error:
        package = (error.name or str(error)).partition(".")[0]
        return _failed(str(errors.missing_extra(package, _extra_of(package), "this command")), 2)
    except errors.HangError as error:
        return _failed(str(error), 1)
    except BrokenPipeError:
        return abandoned(1)
    except OSError as error:
        return _failed(f"cannot write: {error}", 1)
    except KeyboardInterrupt as interrupt:
        return _failed(str(interrupt) or "interrupted", 130)
    except Exception as error:
        if received.numbers and not hasattr(error, "table"):
            # A library that was interrupted while it was imported raises an error of its own.
            return _failed("interrupted", 130)
        if _stopped_elsewhere(error):
            received.elsewhere = True
            return _failed(str(error), 1)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            where = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
            return _failed(f"out of memory: {str(error).partition(chr(10))[0]}{where}", 1)
        raise


def _extra_of(package: str) -> str | None:
    """The extra ``lab`` if it has this package; a user's own module may need any other."""
    name = {"sklearn": "scikit-learn"}.get(package, package)
    try:
        needed = metadata.requires("jinit") or []
    except metadata.PackageNotFoundError:
        return "lab"
    found = any(re.match(rf"{re.escape(name)}\b.*extra == .lab", line) for line in needed)
    return "lab" if found else None


def _stopped_elsewhere(error: Exception) -> bool:
    """Whether another process of ``--distributed`` has stopped and told this one."""
    group = sys.modules.get("jinit.engine._group")
    return group is not None and isinstance(error, group.StoppedError)


def _failed(message: str, code: int) -> int:
    print(f"jinit: {message}", file=sys.stderr)
    return code


def _working() -> bool:
    """Whether a thread of the engine still compiles or runs something."""
    return any(thread.name.startswith("jinit-") for thread in threading.enumerate())
