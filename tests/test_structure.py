"""The house: rooms import downwards only, import costs little, nothing grows too large."""

import ast
import importlib
import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jinit"
# From the bottom: a room imports only from rooms before it.
ROOMS = (
    "_lazy", "_warn", "errors", "typing", "findings", "_registry", "_specs", "_switches",
    "_float64", "_quadrature", "_prng", "_anew", "_examples", "_database", "activations",
    "stats", "data", "clipping", "engine",
    "theory", "initializers", "train", "models", "frameworks", "parameters", "auditing", "probes",
    "calibrate", "results", "sweep", "advise", "report", "cli", "__main__",
)  # fmt: skip
# These compute with Python and NumPy alone.
WITHOUT_JAX = (
    "_warn",
    "errors",
    "findings",
    "_registry",
    "_specs",
    "_database",
    "stats",
    "results",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports_of(path):
    """Dotted names of everything in jinit that a module imports, whether at the top or later."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("jinit."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jinit":
            below = PACKAGE.parent.joinpath(*node.module.split("."))
            for alias in node.names:
                inside = (below / alias.name).is_dir() or (below / f"{alias.name}.py").is_file()
                found.add(f"{node.module}.{alias.name}" if inside else node.module)
    return found - {"jinit"}


def test_every_room_has_its_place():
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms == set(ROOMS)


def test_warnings_are_issued_at_the_line_of_the_user():
    others = [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        # A retired name is looked up by the interpreter, with the user's line right above.
        if path.name not in ("_warn.py", "_lazy.py") and "warnings.warn" in path.read_text()
    ]
    assert not others, "use jinit._warn.warn"


@pytest.mark.slow
def test_rooms_import_only_from_rooms_before_them():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in MODULES
        if path != PACKAGE / "__init__.py"
        for name in imports_of(path)
        if (other := name.split(".")[1]) in ROOMS
        and ROOMS.index(other) > ROOMS.index(room_of(path))
    ]
    assert not wrong


TRACERS = ("jax.eval_shape", "jax.make_jaxpr")


def kept_traces(tree):
    """Lines that give JAX a function that may be known already: its trace would be found again."""
    wrong = []

    def is_new(function, made):
        text = ast.unparse(function)
        return (
            isinstance(function, ast.Lambda) or text.startswith(("anew(", "jax.")) or text in made
        )

    def visit(node, made):
        if isinstance(node, ast.FunctionDef):
            inner = (each.name for each in ast.walk(node) if isinstance(each, ast.FunctionDef))
            made = made | set(inner)
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else None
        if called in TRACERS and not is_new(node.args[0], made):
            wrong.append(f"{node.lineno}: {ast.unparse(node)}")
        for child in ast.iter_child_nodes(node):
            visit(child, made)

    visit(tree, frozenset())
    return wrong


def test_a_trace_of_a_function_that_jax_may_know_is_seen():
    assert len(kept_traces(ast.parse("def f(g, x):\n  jax.eval_shape(g, x)"))) == 1
    assert not kept_traces(ast.parse("def f(x):\n  def g(): ...\n  jax.eval_shape(g, x)"))


@pytest.mark.slow
def test_functions_are_traced_anew():
    found = {path.name: kept_traces(ast.parse(path.read_text())) for path in MODULES}
    assert not {name: lines for name, lines in found.items() if lines}, "use jinit._anew.anew"


# An interpreter that has loaded no module of jinit is forked for each room: a fresh one each time
# would import JAX thirty times. Rooms that need no JAX are forked before JAX is imported.
LOADS = f"""
import importlib, json, os, pkgutil, sys

def loads(name):
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        os.wait()
        return os.read(read, 1 << 20).decode().split()
    room = importlib.import_module("jinit." + name)
    for each in pkgutil.walk_packages(getattr(room, "__path__", []), room.__name__ + "."):
        importlib.import_module(each.name)
    mine = [each for each in sys.modules if each.startswith("jinit.")]
    os.write(write, " ".join([*mine, *(["jax"] if "jax" in sys.modules else [])]).encode())
    os._exit(0)

found = {{name: loads(name) for name in {WITHOUT_JAX!r}}}
import flax.linen, jax, optax
found |= {{name: loads(name) for name in {ROOMS[:-1]!r} if name not in found}}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded():
    """Room → the modules of jinit (and "jax") that importing the whole room loads."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADS],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS[:-1])  # the last runs the command line
def test_importing_a_room_loads_no_later_room(room, loaded):
    """A new interpreter sees what reading the source cannot: imports by string."""
    later = ROOMS[ROOMS.index(room) + 1 :]
    assert f"jinit.{room}" in loaded[room]
    assert not [name for name in loaded[room] if name.partition("jinit.")[2].split(".")[0] in later]


@pytest.mark.parametrize("room", WITHOUT_JAX)
def test_rooms_without_arrays_load_no_jax(room, loaded):
    assert "jax" not in loaded[room]


def test_no_module_is_imported_by_string():
    for path in MODULES:
        if path.name != "_lazy.py":  # reads its names from a stub, which mypy checks
            assert "import_module" not in path.read_text(), path


def test_modules_of_a_room_are_private():
    """Outside sees a room's ``__init__``; the modules behind it begin with ``_``."""
    public = {
        str(path.relative_to(PACKAGE).with_suffix(""))
        for path in MODULES
        if len(path.relative_to(PACKAGE).parts) > 1 and not path.name.startswith("_")
    }
    assert public == {"train/losses", "train/optimizers", "train/schedules"}


def test_scripts_and_experiments_use_exported_names_only():
    wrong = []
    root = PACKAGE.parent
    for path in [*root.glob("scripts/**/*.py"), *root.glob("experiments/*.py")]:
        tree = ast.parse(path.read_text())
        names = {alias.asname or alias.name.split(".")[0] for node in ast.walk(tree)
                 if isinstance(node, ast.Import) for alias in node.names
                 if alias.name.split(".")[0] == "jinit"}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                used = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                used = [f"{node.module}.{alias.name}" for alias in node.names]
                names |= {alias.asname or alias.name for alias in node.names
                          if node.module == "jinit"}  # fmt: skip
                if node.module.split(".")[0] == "jinit":
                    module = importlib.import_module(node.module)
                    exported = getattr(module, "__all__", dir(module))
                    assert {alias.name for alias in node.names} <= set(exported), path
            elif isinstance(node, ast.Attribute):
                dotted = ast.unparse(node)
                used = [f"jinit.{dotted}"] if dotted.split(".")[0] in names else []
            else:
                continue
            wrong += [
                f"{path.name}:{node.lineno}: {name}" for name in used
                if name.split(".")[0] == "jinit"
                and any(part.startswith("_") and not part.endswith("__")
                        for part in name.split("."))
            ]  # fmt: skip
    assert not wrong


@pytest.mark.slow
def test_modules_have_no_cycle():
    names = {"jinit." + ".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {name: {n for n in imports_of(path) if n in names} for name, path in names.items()}
    graph.pop("jinit", None)
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" -> ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for other in graph.get(name, ()):
            # A package imports its own modules; that is not a cycle through the package.
            if not name.startswith(other + "."):
                visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_module_sizes():
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.get)
    assert statistics.median(lengths.values()) <= 200


@pytest.mark.slow
def test_few_arguments_say_nothing_of_their_type():
    loose, total = [], 0
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arg) and node.annotation is not None:
                total += 1
                kind = ast.unparse(node.annotation).removesuffix(" | None")
                if kind in ("Any", "object", "Callable") or kind.startswith("Callable[..., Any"):
                    loose.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {node.arg}")
    assert total > 2_000
    assert len(loose) < 0.08 * total, loose


@pytest.mark.slow
def test_functions_are_short_and_take_few_parameters():
    wrong = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef):
                continue
            body = node.body
            if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                body = body[1:]
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            arguments = node.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
            count -= bool(arguments.args) and arguments.args[0].arg in ("self", "cls")
            # jinit.run and jinit.plan take a keyword for each thing that a user may bring.
            doors = {("_run.py", "run"): 18, ("_plan.py", "plan"): 16}
            doors |= {("_from_arrays.py", "from_arrays"): 10}
            most = doors.get((path.name, node.name), 8)
            if lines > 60 or count > most:
                wrong.append(f"{path.name}:{node.name}: {lines} lines, {count} parameters")
    assert not wrong


def fresh(code):
    """What a new interpreter prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return result.stdout.split()


@pytest.mark.slow
def test_importing_everything_needed_loads_nothing_heavy_and_touches_no_device():
    code = """
import sys
import jinit
jinit.Grid, jinit.run, jinit.compare, jinit.initialize, jinit.models.MLP, jinit.data
jinit.Grid(initializer="he_normal", activation="gelu")
heavy = "matplotlib sklearn pandas xarray tyro pyarrow ray".split()  # flax.linen loads rich
print(*[name for name in heavy if name in sys.modules])
from jax._src import xla_bridge
print("devices", len(xla_bridge._backends))
"""
    assert fresh(code) == ["devices", "0"]


def test_import_jinit_alone_does_not_load_jax():
    assert fresh("import sys, jinit; print('jax' in sys.modules)") == ["False"]


def test_every_mutant_has_its_line(monkeypatch):
    """A mutant whose line is gone is found here, not by the full tier's end."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    mutants = importlib.import_module("mutants").MUTANTS
    assert len(mutants) >= 100
    assert len({m.what for m in mutants}) == len({(m.file, m.old, m.new) for m in mutants})
    assert len({m.what for m in mutants}) == len(mutants)
    for mutant in mutants[1:]:
        assert (PACKAGE / mutant.file).read_text().count(mutant.old) == 1, mutant.what
        assert mutant.old != mutant.new
        file, _, test = mutant.killer.partition("::")
        function = test.partition("[")[0] or "test"
        assert f"def {function}" in (PACKAGE.parent / file).read_text(), mutant.what
