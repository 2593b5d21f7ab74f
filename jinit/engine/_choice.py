"""Opens the executor that the user names or passes."""

from __future__ import annotations

import contextlib
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeAlias

from jinit import errors
from jinit.engine._ray import ray_executor
from jinit.engine._remote import Executor

ExecutorLike: TypeAlias = Executor | str
"""An executor with ``submit``, ``"ray"``, or ``"ray:host:port"``."""


def check_executor(executor: ExecutorLike | None) -> None:
    """Refuses what is no executor, and pools of forked processes, in which JAX does not work."""
    if executor is None:
        return
    if isinstance(executor, str):
        if executor.partition(":")[0] != "ray":
            raise errors.refusal(
                "executor", executor, "'ray', 'ray:host:port', or an executor object", "'ray'"
            )
    elif not callable(getattr(executor, "submit", None)):
        raise errors.wrong_type(
            "executor",
            executor,
            "an object with submit(fn, *args) -> Future, or 'ray'",
            "concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context('spawn'))",
        )
    elif isinstance(executor, ProcessPoolExecutor):
        context = getattr(executor, "_mp_context", None)
        if context is not None and context.get_start_method() == "fork":
            raise errors.refusal(
                "executor",
                "a pool of forked processes, in which JAX does not work",
                "processes that start by themselves",
                "ProcessPoolExecutor(2, multiprocessing.get_context('spawn'))",
            )


def opened(executor: ExecutorLike, platform: str) -> AbstractContextManager[Executor]:
    """The executor itself, for the time of a run; the user's own executor stays open.

    Args:
      executor: as :func:`check_executor` accepts.
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.
    """
    if isinstance(executor, str):
        return ray_executor(executor.partition(":")[2] or None, platform)
    return contextlib.nullcontext(executor)
