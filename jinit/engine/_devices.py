"""Checks and names the devices that a user chooses."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from jinit import errors


def check_devices(devices: Sequence[jax.Device]) -> tuple[jax.Device, ...]:
    """The devices, if tiles can run on them.

    Raises:
      TypeError: something else than JAX devices.
      ValueError: no device, one device twice, devices of several platforms or of another process.

    >>> check_devices(jax.local_devices()[:1])[0].id
    0
    """
    fix = "workers=jax.local_devices()"
    if isinstance(devices, str) or not isinstance(devices, Sequence):
        raise errors.wrong_type("workers", devices, "a number, or devices of JAX", fix)
    for device in devices:
        if not isinstance(device, jax.Device):
            raise errors.wrong_type("workers", device, "a number, or devices of JAX", fix)
    allowed = "devices of this process and of one platform, each once"
    mine = [device for device in devices if device.process_index == jax.process_index()]
    platforms = {device.platform for device in devices}
    if len(set(mine)) != len(devices) or len(platforms) != 1:
        got = ", ".join(map(shown, devices)) or "no device"
        raise errors.refusal("workers", got, allowed, fix)
    return tuple(devices)


def shown(device: jax.Device) -> str:
    """Platform and number of a device, and its kind if that says more: ``"gpu:0 NVIDIA H200"``.

    >>> shown(jax.devices("cpu")[0])
    'cpu:0'
    """
    kind = "" if device.device_kind == device.platform else f" {device.device_kind}"
    return f"{device.platform}:{device.id}{kind}"
