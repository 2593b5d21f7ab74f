"""What all tests share."""

import os

# Two host devices: a result that leaks to the wrong device shows. Before JAX starts.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "jinit", deadline=None, derandomize=True, max_examples=40, print_blob=True
)
hypothesis.settings.load_profile("jinit")


@pytest.fixture(scope="session")
def digits():
    from jinit import data

    return data.get("digits")
