"""Makes a user's own names known to the command line: ``--import`` and entry points."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from jinit import _registry, errors

OPTION = "--import"
GROUP = "jinit"
HELP = (
    "Your own names: --import MODULE (or FILE.py) before or after the other options imports a"
    " module that registers them, e.g. with jinit.initializers.register; so do installed packages"
    " with an entry point in the group 'jinit'."
)


def taken(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments without ``--import``, and the modules that it names, in order.

    Raises:
      ValueError: ``--import`` without a module.

    >>> taken(["sweep", "--import", "mine", "--depth", "2", "--import=more"])
    (['sweep', '--depth', '2'], ['mine', 'more'])
    """
    rest: list[str] = []
    modules: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name != OPTION:
            rest.append(argument)
            continue
        module = value if equals else next(waiting, "")
        if not module or module.startswith("-"):
            raise errors.refusal(OPTION, module, "a module or a file", f"{OPTION} my_initializers")
        modules.append(module)
    return rest, modules


def load(modules: Sequence[str]) -> None:
    """Imports installed packages of the group, then these modules.

    A package that fails is named on stderr, because the command may not need its names.

    Raises:
      ValueError: a module of ``modules`` that does not exist. Other exceptions of a module pass.
    """
    for point in metadata.entry_points(group=GROUP):
        try:
            registers = point.load()
            if callable(registers):
                registers()
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            print(f"jinit: entry point {point.name!r} ({point.value}): {said}", file=sys.stderr)
    for module in modules:
        _run(module)


def registered() -> str:
    """What imported modules have registered, for help; "" if nothing.

    >>> registered()[:13] in ("", " Registered: ")
    True
    """
    added = [f"{kind} {', '.join(items)}" for kind, items in _registry.additions().items()]
    return f" Registered: {'; '.join(added)}." if added else ""


def _run(module: str) -> None:
    """Imports a module by name, from the working folder too, or runs a file."""
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise errors.refusal(OPTION, module, "an existing file", "check the path")
        runpy.run_path(module, run_name=Path(module).stem)
        return
    try:
        __import__(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # of a package that the module needs
        fix = "install it, or run jinit in its folder"
        raise errors.refusal(OPTION, module, "a module that Python finds", fix) from None
