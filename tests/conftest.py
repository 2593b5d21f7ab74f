"""What all tests share."""

import collections
import gc
import os
import time
from pathlib import Path

from tiers import compiled_programs

# Before JAX starts. Two host devices: a result that leaks to the wrong device shows. LLVM level 1,
# as the engine uses it: the same bits, and tests that mostly compile take a third of the time.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=1",
)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled_programs()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Operations of a trace need not know the user's line: tracing and lowering take a tenth less time.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
# XLA reports every program that it loads from the folder as an error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Tests count compilations, and leave no files in the home folder.
os.environ.setdefault("JINIT_NO_CACHE", "1")

# Without TensorFlow, Keras is not imported otherwise, and its tests would be skipped.
os.environ.setdefault("KERAS_BACKEND", "jax")

# Processes of pytest-xdist set the width of a terminal; tables in tests have the width of a file.
os.environ.pop("COLUMNS", None)

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "jinit", deadline=None, derandomize=True, max_examples=40, print_blob=True
)
hypothesis.settings.load_profile("jinit")


# Examples of these rooms compile for seconds each, those of the second list for longer.
SLOW_EXAMPLES = ("sweep", "train", "models", "clipping")
FULL_EXAMPLES = ("calibrate", "advise", "report", "theory", "probes")
# A quick battery of more rows than this is thinned out for `fast`.
MANY_ROWS = 6
# These rooms build on models of frameworks, on optax and on compiled programs.
BY_VERSION = ("frameworks", "engine", "train", "sweep")


def pytest_collection_modifyitems(items):
    """Marks examples that compile as slow, and tests that versions of other packages may break."""
    for item in items:
        path = item.path.relative_to(item.config.rootpath).as_posix()
        if isinstance(item, pytest.DoctestItem):
            if path.startswith(tuple(f"jinit/{room}/" for room in SLOW_EXAMPLES)):
                item.add_marker("slow")
            if path.startswith(tuple(f"jinit/{room}/" for room in FULL_EXAMPLES)):
                item.add_marker("full")
        elif path.startswith(tuple(f"tests/{room}/" for room in BY_VERSION)):
            item.add_marker("versions")
    _sample(items)
    _thin(items)


def _sample(items):
    """Leaves every n-th row of a battery marked ``sampled(n)``; the others run in ``full`` alone.

    The first row always stays, and so do the rows of other marks.
    """
    rows = collections.Counter()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled is None or item.get_closest_marker("full"):
            continue
        battery = item.nodeid.partition("[")[0]
        if rows[battery] % sampled.args[0]:
            item.add_marker("full")
        rows[battery] += 1


def _thin(items):
    """Marks two of three rows of a long quick battery as slow."""
    batteries = collections.defaultdict(list)
    for item in items:
        if not (item.get_closest_marker("slow") or item.get_closest_marker("full")):
            batteries[item.nodeid.partition("[")[0]].append(item)
    for rows in batteries.values():
        if len(rows) > MANY_ROWS:
            for place, item in enumerate(rows):
                if place % 3:
                    item.add_marker("slow")


def pytest_collection_finish():
    """Collects garbage less often: tracing makes many objects, of which few are in cycles.

    With Python's own thresholds, collections take a seventh of the time of tests that trace.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


@pytest.fixture(scope="session")
def assert_same_bits():
    """Equality to the last bit, or to rounding on JAX before 0.9.

    There XLA's tanh differs in the last bit between full vectors and what is left over, so that a
    lane's place in its tile shows.
    """
    import jax
    import numpy as np

    if jax.__version_info__ >= (0, 9):
        return np.testing.assert_array_equal
    return lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


_COUNTED = 0.0  # the processor time of this process when its memory maps were last counted
_ENOUGH = 3 * 2**30  # bytes of memory at which programs are forgotten


def resident():
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def few_memory_maps():
    """Forgets compiled programs before a long session runs into the kernel's limit.

    Linux allows a process 65,530 memory maps; every compiled program takes several, and past the
    limit LLVM ends the process with a segmentation fault. The programs of all tests together also
    take more memory than a small machine has. Counting takes longer than many a test, so the maps
    are counted every two seconds.
    """
    global _COUNTED, _ENOUGH
    yield
    maps = Path("/proc/self/maps")
    if time.process_time() - _COUNTED < 2.0 or not maps.exists():
        return
    _COUNTED = time.process_time()
    if resident() > _ENOUGH or maps.read_bytes().count(b"\n") > 20_000:
        import jax

        from jinit.engine import _program

        _program.forget()
        jax.clear_caches()
        gc.collect()
        # What stays cannot be forgotten; forgetting programs again and again would be slow.
        _ENOUGH = max(_ENOUGH, resident() + 2**30)


@pytest.fixture(scope="session")
def digits():
    from jinit import data

    return data.get("digits")
