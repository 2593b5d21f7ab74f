"""Runs the command line ``jinit``: parses arguments, calls the library, prints.

``jinit --help`` does not load JAX.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from jinit import errors
from jinit.cli._networks import phase, predict, probe, recommend
from jinit.cli._output import interrupts_kept
from jinit.cli._sweeps import plan, sweep
from jinit.cli._weights import audit, describe, list_initializers

try:
    import tyro
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None


@interrupts_kept()
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      argv: arguments; default ``sys.argv[1:]``.

    Returns:
      The exit code: 0 for success, 1 for a failure or for weights or networks that are not healthy,
      2 for bad input, 130 after Ctrl-C.

    >>> main(["describe", "he_normal", "--shape", "10", "-3"])
    2
    """
    if list(sys.argv[1:] if argv is None else argv) == ["--version"]:
        from jinit import __version__

        print(f"jinit {__version__}")
        return 0
    commands: dict[str, Any] = {
        "sweep": sweep,
        "plan": plan,
        "initializers": list_initializers,
        "describe": describe,
        "audit": audit,
        "probe": probe,
        "predict": predict,
        "phase": phase,
        "recommend": recommend,
    }
    try:
        return int(
            tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="jinit",
                description=(
                    "Weight initialization for JAX: which initializer, why, and is the difference "
                    "real or luck? Example: jinit sweep --initializer glorot_uniform he_normal "
                    "--depth 8 --seeds 64"
                ),
                args=argv,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
        )
    except (ValueError, TypeError, errors.MissingExtraError) as error:
        # One line without a traceback: what is wrong, the value, what is allowed, the fix.
        print(f"jinit: {error}", file=sys.stderr)
        return 2
    except errors.HangError as error:
        print(f"jinit: {error}", file=sys.stderr, flush=True)
        # The hung thread is inside the compiler or a program and cannot be stopped; an ordinary
        # exit would crash in JAX's runtime.
        os._exit(1)
    except BrokenPipeError:
        # The reader closed the pipe; flushing to it at exit would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"jinit: cannot write: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jinit: interrupted", file=sys.stderr)
        return 130
