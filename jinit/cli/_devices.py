"""Chooses the devices of ``--devices``; on a CPU makes as many host devices."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from jinit import errors

if TYPE_CHECKING:
    from jinit.cli._options import RunOptions
    from jinit.engine._executors import WorkersLike

_MOST = 1024


def workers_of(options: RunOptions) -> WorkersLike | None:
    """The argument ``workers`` of :func:`jinit.run` for ``--workers`` and ``--devices``.

    Raises:
      ValueError: both options, a number below 1, more devices than there are.
    """
    number = options.devices
    if number is None:
        return options.workers
    errors.check_integer("--devices", number, low=1, high=_MOST, fix="--devices 8")
    if options.workers is not None:
        raise errors.refusal(
            "--devices", f"{number} with --workers", "one of the two", "leave --workers out"
        )
    import jax

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # Has no effect on accelerators, and is refused once JAX has started.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", number)
    devices = jax.local_devices()
    if number > len(devices):
        raise errors.refusal(
            "--devices",
            number,
            f"at most the {len(devices)} {devices[0].platform} devices of this process",
            f"--devices {len(devices)}",
        )
    return devices[:number]
