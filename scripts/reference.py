"""Writes the API reference and the pages of the repository as HTML: `scripts/docs`.

The names come from each room's `__all__` and the text from docstrings; a room's page starts with
the README.md beside its code. Links between pages lead to HTML; pictures are copied.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pdoc.doc
import pdoc.render

import jinit

ROOT = Path(__file__).parent.parent
# Pages that belong to no room: name in the site → file.
PAGES = {
    "package": ROOT / "jinit" / "README.md",
    "experiments": ROOT / "experiments" / "README.md",
    "contributing": ROOT / ".github" / "CONTRIBUTING.md",
    "changes": ROOT / "CHANGELOG.md",
}
# Public modules inside a room.
INSIDE = (
    "jinit.train.losses",
    "jinit.train.optimizers",
    "jinit.train.schedules",
    "jinit.report.plots",
)


def rooms() -> list[str]:
    """Dotted names of all public modules."""
    inside = [name for name in jinit.__all__ if isinstance(getattr(jinit, name), types.ModuleType)]
    return ["jinit", *(f"jinit.{name}" for name in inside), *INSIDE]


def page_of(name: str) -> Path | None:
    """The README.md of a room, or None; for jinit itself the README.md of the repository."""
    file = ROOT.joinpath(*name.split(".")) / "README.md"
    file = ROOT / "README.md" if name == "jinit" else file
    return file if file.exists() else None


def address(file: Path) -> str | None:
    """The address of a repository file in the site; None if the file is not in the site."""
    for name, page in PAGES.items():
        if file == page:
            return f"{name}.html"
    if file.suffix == ".png":
        return f"pictures/{file.name}"
    if file.name == "README.md" and file.parent == ROOT:
        return "jinit.html"
    if file.name == "README.md" and file.is_relative_to(ROOT / "jinit"):
        room = file.parent.relative_to(ROOT)
        return None if room.name.startswith("_") else f"{room.as_posix()}.html"
    return None


def text_of(page: Path, name: str, site: Path) -> str:
    """The Markdown of a page without its title, with links rewritten for the site."""
    up = "../" * name.count(".")

    def link(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        if target.startswith(("http", "#")):
            return match[0]
        file = (page.parent / target.partition("#")[0]).resolve()
        where = address(file)
        if where is None:
            return text
        if file.suffix == ".png":
            (site / "pictures").mkdir(exist_ok=True)
            shutil.copy(file, site / where)
        return f"{mark}[{text}]({up}{where})"

    body = page.read_text().partition("\n")[2].strip()
    # Code blocks are left alone.
    parts = re.split(r"(```.*?```)", body, flags=re.DOTALL)
    parts[::2] = [re.sub(r"(!?)\[([^\]]*)\]\(([^)]+)\)", link, part) for part in parts[::2]]
    return "".join(parts).replace("script · ", "")  # scripts are not part of the site


def returned(name: str) -> list[type]:
    """The classes of a room that functions return or callbacks get, and that it does not export.

    A room exports functions, and the classes that users make or catch. The reference shows these
    classes, too, and those that their attributes have.
    """
    module = importlib.import_module(name)
    exported = [getattr(module, each) for each in getattr(module, "__all__", ())]
    first = _new(name, exported, exported)
    found = first + _new(name, first, exported + first)
    return sorted(found, key=lambda item: item.__name__)


def _new(name: str, items: list[object], known: list[object]) -> list[type]:
    """The private classes of a room that items return or have, without those that are known."""
    classes = dict.fromkeys(each for item in items for each in _classes(item))
    return [one for one in classes if one.__module__.startswith(f"{name}._") and one not in known]


def _classes(item: object) -> Iterator[type]:
    """The public classes that a function returns or passes on, or that attributes have."""
    functions = [item]
    if isinstance(item, type):
        functions += [
            each.fget if isinstance(each, property) else each
            for name, each in vars(item).items()
            if not name.startswith("_")
        ]
    for function in filter(callable, functions):
        function = inspect.unwrap(function)
        names = vars(sys.modules.get(function.__module__, object))
        for argument, annotation in getattr(function, "__annotations__", {}).items():
            is_input = not isinstance(function, type) and argument != "return"
            if is_input and "Callable[[" not in str(annotation):
                continue
            for word in re.findall(r"\w+", str(annotation)):
                if isinstance(names.get(word), type) and not word.startswith("_"):
                    yield names[word]


def documented(name: str, site: Path) -> pdoc.doc.Module:
    """A room as pdoc reads it, with its README.md in place of the module's docstring."""
    module = importlib.import_module(name)
    for export in getattr(module, "__all__", ()):
        getattr(module, export)  # imports lazy names now, so that pdoc sees them
    shown = {item.__name__: item for item in returned(name)}
    if shown:
        vars(module).update(shown)
        module.__all__ = [*module.__all__, *shown]
    if page := page_of(name):
        module.__doc__ = text_of(page, name, site)
    for item in vars(module).values():
        if isinstance(item, type) and dataclasses.is_dataclass(item):
            describe_fields(item)
    return pdoc.doc.Module(module)


def describe_fields(item: type) -> None:
    """Adds an Attributes section for fields that have a help text, as those of Grid do."""
    fields = [field for field in dataclasses.fields(item) if "help" in field.metadata]
    if fields and "Attributes:" not in (item.__doc__ or ""):
        lines = [f"  {field.name}: {field.metadata['help']}" for field in fields]
        item.__doc__ = "\n".join([inspect.cleandoc(item.__doc__ or ""), "", "Attributes:", *lines])


def write(site: Path) -> None:
    """Writes the site into a folder after removing the folder's old content."""
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    templates = Path(__file__).parent / "templates"
    pdoc.render.configure(
        docformat="google",
        include_undocumented=False,
        show_source=False,
        template_directory=templates,
        footer_text=f"jinit {jinit.__version__}",
    )
    modules = {name: documented(name, site) for name in rooms()}
    for name, page in PAGES.items():
        plain = types.ModuleType(name, text_of(page, name, site))
        modules[name] = pdoc.doc.Module(plain)
    for name, module in modules.items():
        file = site.joinpath(*name.split(".")).with_suffix(".html")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(pdoc.render.html_module(module, modules))
    (site / "search.js").write_text(pdoc.render.search_index(modules))
    move = '<meta http-equiv="refresh" content="0; url=jinit.html">'
    (site / "index.html").write_text(f"<!doctype html>{move}<title>jinit</title>\n")


def main() -> None:
    """Parses the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="folder (default site/)")
    out = parser.parse_args().out
    write(out)
    print(f"{out}/index.html written")


if __name__ == "__main__":
    main()
