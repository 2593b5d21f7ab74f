"""What tests of the engine share."""

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from jinit.engine import _kept_programs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of kept programs, used whatever the session that runs the tests has set."""
    monkeypatch.setenv("JINIT_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.delenv("JINIT_NO_CACHE", raising=False)
    monkeypatch.setattr(_kept_programs, "_WARNED", set())
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()  # stays open otherwise
    yield tmp_path / "kept"
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()
