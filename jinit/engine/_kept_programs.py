"""Keeps compiled programs in a private folder, so that the next process loads them.

Only XLA's CPU programs are kept. A program is found again by its code, on the same kind of machine
and with the same versions, so that a loaded program computes the same bits as a compiled one. JAX's
own cache is left alone: where the user has set ``jax_compilation_cache_dir``, nothing is kept here.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from jinit._warn import warn
from jinit.engine import _kept_notes
from jinit.engine._environment import variables, versions
from jinit.engine._processor import extensions, processor
from jinit.engine._stderr import filtered
from jinit.typing import PyTree

# The folder of all machines and versions together; the least recently used programs go first.
MOST_BYTES = 256 * 2**20
_DIGEST = 32
_LOCK = threading.Lock()
_WARNED: set[str] = set()


def root() -> Path | None:
    """The folder that keeps compiled programs; None if none are kept.

    ``$JINIT_CACHE_DIR``, else ``$XDG_CACHE_HOME/jinit``, else ``~/.cache/jinit``. None where
    ``JINIT_NO_CACHE`` is set, or where JAX keeps compiled programs itself.
    """
    if os.environ.get("JINIT_NO_CACHE", "0") not in ("", "0"):
        return None
    if _setting("jax_compilation_cache_dir") and _setting("jax_enable_compilation_cache"):
        return None
    chosen = os.environ.get("JINIT_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG specification has relative paths ignored.
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "jinit"
    except RuntimeError:  # no home folder
        return None


def compiled(
    lowered: jax.stages.Lowered,
    code: bytes,
    options: dict[str, Any] | None,
    device: jax.Device | None,
    note: Path | None = None,
) -> tuple[Callable[..., PyTree], bool]:
    """The executable of a lowered program, from the folder if possible.

    Args:
      lowered: the program.
      code: a digest of everything that decides the program's code.
      options: of the compiler.
      device: None is the default device.
      note: from :func:`noted`: where to keep which file has the program; None for nowhere.

    Returns:
      The executable, and whether it was compiled now.
    """
    used, kept = _where(device)
    if kept is None:
        return lowered.compile(options), True
    what = f"{sorted((options or {}).items())}{used.id}{lowered.in_tree}{lowered.out_tree}"
    file = kept / hashlib.blake2b(code + what.encode(), digest_size=20).hexdigest()
    found = _loaded(file, jax.tree.structure(lowered.args_info), lowered.out_tree, used)
    if found is not None:
        _note(note, file, lowered.out_tree)
        return found, False
    _listen()
    _FOUND.by_jax = False
    made = lowered.compile(options)
    # A program that JAX's cache has loaded is serialized without its functions, in jaxlib 0.9.2.
    if not _FOUND.by_jax and _store(file, made):
        _note(note, file, lowered.out_tree)
    return made, True


def noted(
    function: Callable[..., PyTree],
    arguments: tuple[PyTree, ...],
    options: dict[str, Any] | None,
    device: jax.Device | None,
) -> tuple[Path | None, Callable[..., PyTree] | None]:
    """Looks for a program by the description of its function, without a trace.

    Args:
      function: that is compiled, and reads nothing but its arguments.
      arguments: the ``jax.ShapeDtypeStruct`` trees of the compiled program.
      options, device: as in :func:`compiled`.

    Returns:
      The note to give to :func:`compiled`, None if there can be none; and the executable, None if
      the program has to be traced.
    """
    used, kept = _where(device)
    leaves, tree = jax.tree.flatten((arguments, {}))
    shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
    what = (str(tree), shapes, sorted((options or {}).items()), used.id)
    note = _kept_notes.place(kept, "program", function, what)
    fact = _kept_notes.read(note)
    if kept is None or fact is None:
        return note, None
    try:
        results = _tree(bytes.fromhex(fact["results"]))
        return note, _loaded(kept / Path(fact["file"]).name, tree, results, used)
    except (KeyError, TypeError, ValueError, RuntimeError):  # a note of another form
        return note, None


def _where(device: jax.Device | None) -> tuple[jax.Device, Path | None]:
    """The device that runs a program, and the folder that keeps the program, if any does."""
    used = jax.local_devices()[0] if device is None else device
    return used, folder() if used.platform == "cpu" else None


def _note(note: Path | None, file: Path, results: jax.tree_util.PyTreeDef) -> None:
    """Keeps which file has a program, and the tree of its results."""
    if note is None:
        return
    try:
        tree = results.serialize_using_proto()
    except ValueError:  # a tree with nodes of the user or of a package
        return
    _kept_notes.write(note, {"file": file.name, "results": tree.hex()})


def _tree(text: bytes) -> jax.tree_util.PyTreeDef:
    registry = jax.tree_util.default_registry
    return jax.tree_util.PyTreeDef.deserialize_using_proto(registry, text)


class _Found(threading.local):
    """Whether JAX's own cache, which stays open once used, had what this thread compiled last."""

    by_jax = False


_FOUND = _Found()


@functools.cache
def _listen() -> None:
    """Asks JAX to tell when its own cache finds a program; called once per process."""

    def noted(event: str, **_: str | int) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            _FOUND.by_jax = True

    jax.monitoring.register_event_listener(noted)


@functools.cache
def _machine() -> str:
    """A name for the kind of this machine and the versions that compile here."""
    # The number of cores decides how XLA splits loops.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = (
        platform.platform(),
        processor(),
        sorted(extensions().split()),
        cores,
        versions(),
        variables(),
    )
    digest = hashlib.blake2b(repr(kind).encode(), digest_size=10).hexdigest()
    return f"jax-{versions()['jax']}-jaxlib-{versions()['jaxlib']}-{digest}"


def folder() -> Path | None:
    """The folder for this machine, made if needed; None, with a warning, if it cannot be used."""
    base = root()
    if base is None:
        return None
    mine = base / "programs" / _machine()
    try:
        mine.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid"):
            # Loading a program runs what the file says.
            for part in (base / "programs", mine):
                found = part.stat()
                if found.st_uid != os.getuid():
                    raise PermissionError(f"{part} belongs to another user")
                if found.st_mode & 0o077:
                    part.chmod(0o700)
    except OSError as error:
        _without(base, error)
        return None
    return mine


def _loaded(
    file: Path,
    arguments: jax.tree_util.PyTreeDef,
    results: jax.tree_util.PyTreeDef,
    device: jax.Device,
) -> Callable[..., PyTree] | None:
    """The program in a file; None if there is none, or none that can be used."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _without(file, error)
        return None
    digest, program = content[:_DIGEST], content[_DIGEST:]
    try:
        if _checksum(program) != digest:
            raise ValueError("the file is damaged")
        with _LOCK, filtered():
            found: Callable[..., PyTree] = serialize_executable.deserialize_and_load(
                program, arguments, results, device.client, [device]
            )
        os.utime(file)
    except Exception as error:  # JAX raises many kinds for a program that does not fit
        _without(file, error)
        return None
    return found


def _store(file: Path, made: jax.stages.Compiled) -> bool:
    """Writes a program, if possible; a reader sees the whole file or none."""
    try:
        program, _, _ = serialize_executable.serialize(made)
    except Exception:
        # Such as a program with constants as arguments, which JAX does not serialize yet.
        return False
    try:
        _kept_notes.write_whole(file, _checksum(program) + program)
        with _LOCK:
            _prune(file.parent.parent)
    except OSError as error:
        _without(file, error)
        return False
    return True


def _prune(programs: Path) -> None:
    """Removes the least recently used programs of all machines until the rest fits."""
    files = []
    for file in programs.glob("*/*"):
        try:
            found = file.stat()
        except FileNotFoundError:  # another process removed the file
            continue
        files.append((found.st_mtime, found.st_size, file))
    total = sum(size for _, size, _ in files)
    most = _setting("jax_compilation_cache_max_size")
    limit = most if most >= 0 else MOST_BYTES
    for _, size, file in sorted(files):
        if total <= limit:
            return
        file.unlink(missing_ok=True)
        total -= size


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def _checksum(program: bytes) -> bytes:
    return hashlib.blake2b(program, digest_size=_DIGEST).digest()


def _without(place: Path, error: Exception) -> None:
    """Says once per process that programs are compiled again, and why."""
    with _LOCK:
        if _WARNED:
            return
        _WARNED.add(str(place))
    reason = str(error).partition("\n")[0][:200] or type(error).__name__
    warn(
        f"compiled programs in {place} cannot be used ({reason}); they are compiled again:"
        " results do not change. JINIT_NO_CACHE=1 turns the folder off, JINIT_CACHE_DIR moves it",
        RuntimeWarning,
    )
