"""The house: rooms import downwards only, import costs little, nothing grows too large."""

import ast
import importlib
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jinit"
FLOORS = {
    "typing": 0, "errors": 0, "specs": 0, "activations": 0, "quadrature": 0, "prng": 0,
    "_lazy": 0,
    "initializers": 1, "theory": 1, "clipping": 1, "data": 1, "stats": 1, "engine": 1,
    "parameters": 2, "models": 2,
    "train": 3, "probes": 3, "calibrate": 3,
    "sweep": 4,
    "report": 5, "options": 5,
    "cli": 6, "__main__": 6,
}  # fmt: skip
# Rooms of one floor do not know each other, but for these.
ALLOWED_SIDEWAYS = {
    ("activations", "specs"), ("activations", "errors"), ("activations", "typing"),
    ("activations", "quadrature"),
    ("specs", "errors"), ("quadrature", "typing"), ("prng", "typing"),
    ("__main__", "cli"), ("initializers", "theory"), ("calibrate", "probes"),
}  # fmt: skip
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


def edges():
    for path in MODULES:
        if path == PACKAGE / "__init__.py":
            continue
        for name in imports_of(path):
            room = name.split(".")[1]
            if room in FLOORS and room != room_of(path):
                yield path, room_of(path), room


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms == set(FLOORS)


def test_rooms_import_only_from_lower_floors():
    # Grid checks names in a function, so that the command line can be built without JAX.
    wrong = [
        f"{path.relative_to(PACKAGE)}: {room} imports {other}"
        for path, room, other in edges()
        if FLOORS[other] >= FLOORS[room] and (room, other) not in ALLOWED_SIDEWAYS
    ]
    assert not wrong


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
            if lines > 60 or count > 8:
                wrong.append(f"{path.name}:{node.name}: {lines} lines, {count} parameters")
    assert not wrong


def test_public_functions_are_documented_with_an_example():
    missing = []
    for path in MODULES:
        if room_of(path) in ("cli", "__main__", "report"):
            continue
        for node in ast.parse(path.read_text()).body:
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if public and ">>>" not in (ast.get_docstring(node) or ""):
                missing.append(f"{path.relative_to(PACKAGE)}:{node.name}")
    assert set(missing) <= UNEXAMPLED, sorted(set(missing) - UNEXAMPLED)


# Data sets are shown by `data.get`, the scheduler by `engine.run`.
UNEXAMPLED = {
    *(f"data/synthetic.py:{name}" for name in (
        "two_moons", "spirals", "parity", "xor", "linear_teacher", "mnist1d")),
    "engine/schedule.py:run_tasks",
}  # fmt: skip


def fresh(code):
    """What a new interpreter prints."""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return result.stdout.split()


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
    for mutant in mutants[1:]:
        assert (PACKAGE / mutant.file).read_text().count(mutant.old) == 1, mutant.what
        assert mutant.old != mutant.new
        file, _, test = mutant.killer.partition("::")
        assert f"def {test or 'test'}" in (PACKAGE.parent / file).read_text(), mutant.what
