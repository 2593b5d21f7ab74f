"""Parses arguments with tyro and calls the command that they name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from jinit import errors
from jinit.cli._compare import compare
from jinit.cli._doctor import doctor
from jinit.cli._grid_file import expanded
from jinit.cli._networks import phase, predict, probe, recommend
from jinit.cli._plugins import HELP, load, registered, taken
from jinit.cli._stores import export, list_sweeps, merge, remove, show, verify
from jinit.cli._sweeps import plan, sweep
from jinit.cli._weights import audit, describe, list_initializers

try:
    import tyro
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None

_COMMANDS: dict[str, Any] = {
    "sweep": sweep,
    "plan": plan,
    "compare": compare,
    "initializers": list_initializers,
    "describe": describe,
    "audit": audit,
    "probe": probe,
    "predict": predict,
    "phase": phase,
    "recommend": recommend,
    "doctor": doctor,
    "show": show,
    "ls": list_sweeps,
    "verify": verify,
    "merge": merge,
    "rm": remove,
    "export": export,
}
_DESCRIPTION = (
    "Weight initialization for JAX: which initializer, why, and is the difference "
    "real or luck? Example: jinit sweep --initializer glorot_uniform he_normal "
    "--depth 8 --seeds 64"
)


def answer(arguments: Sequence[str]) -> int:
    """Runs the command that the arguments name and returns its exit code."""
    arguments, modules = taken(arguments)
    if modules or not {"-h", "--help"} & set(arguments):  # help alone loads nothing
        load(modules)
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    if arguments and arguments[0] in _COMMANDS:
        # Parsed alone, so that a mistyped option is compared with the options of this command.
        name, *rest = arguments
        if name in ("sweep", "plan"):
            rest = expanded(rest)
        command = _COMMANDS[name]
        described = f"{inspect.getdoc(command)}\n\n{HELP}{registered()}"
        prog = f"jinit {name}"
        return int(tyro.cli(command, prog=prog, description=described, args=rest, config=config))
    found = tyro.extras.subcommand_cli_from_dict(
        _COMMANDS, prog="jinit", description=_DESCRIPTION, args=arguments, config=config
    )
    return int(found)
