"""Defines what the command line does with stores."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from jinit import errors
from jinit.cli._options import RunOptions

if TYPE_CHECKING:
    from jinit.engine import FileStore


def store_of(options: RunOptions) -> FileStore | None:
    """The store that ``--store`` names, checked; None without the option."""
    if options.store is None:
        for name in ("accept_environment", "mirror"):
            if getattr(options, name):
                raise errors.refusal(
                    f"--{name.replace('_', '-')}", getattr(options, name), "an option of --store",
                    "add --store runs.db",
                )  # fmt: skip
        return None
    from jinit.engine import FileStore

    return FileStore(options.store, options.accept_environment, options.mirror)


def say_how_to_go_on(store: FileStore | None) -> None:
    """Prints, last of all, the command that computes what is missing."""
    if store is not None:
        from jinit.sweep import _stored

        print(f"to go on: {_stored.command()}", file=sys.stderr)
