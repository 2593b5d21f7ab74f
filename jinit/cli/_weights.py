"""Defines ``jinit initializers``, ``jinit describe`` and ``jinit audit``: weights alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Annotated

from jinit import _specs, errors
from jinit.cli._options import left_out
from jinit.cli._output import dump, write_picture
from jinit.findings import all_ok
from jinit.sweep._names import listed

try:
    import tyro
    from tyro.conf import arg
except ImportError:
    raise errors.missing_extra("tyro", "lab", "the command line") from None


def list_initializers(
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False,
    markdown: Annotated[bool, arg(help="print the README's table")] = False,
) -> int:
    """Lists every initializer: its law, its source, and its names in other libraries.

    Example: jinit initializers
    """
    from jinit.initializers import _registry

    rows = [_registry.row(name) for name in _registry.names()]
    if json:
        fields = ("name", "formula", "reference", "aliases")
        dump([{name: getattr(row, name) for name in fields} for row in rows])
        return 0
    from jinit.report import _weights

    if markdown:
        print(_weights.markdown_table(rows))
        return 0
    from jinit import calibrate

    _weights.print_initializers(rows, calibrate.names())
    return 0


def describe(
    name: Annotated[tyro.conf.Positional[str], arg(help="a name or a spec string", metavar="SPEC")],
    shape: Annotated[
        tuple[int, ...] | None,
        left_out(
            "sizes of the receptive field, then inputs and outputs; dense layers: in out",
            "N [N ...]",
        ),
    ] = None,
    seed: Annotated[int, arg(help="seed of the draw, 0 <= seed < 2**32")] = 0,
    plot: Annotated[
        str | None,
        left_out(
            "plot the histogram and the law's density: FILE.png, or FILE for PNG and SVG", "FILE"
        ),
    ] = None,
    json: Annotated[bool, arg(help="print JSON instead of the table")] = False,
) -> int:
    """Explains an initializer for one shape: law, source, expected numbers and those of a draw.

    Example: jinit describe fan_in_uniform --shape 10 1000
    """
    from jinit.initializers import _registry
    from jinit.initializers import describe as describe_initializer

    usual = _registry.row(_specs.parse(name, "initializer", nested=True).name).shape
    description = describe_initializer(name, usual if shape is None else shape, seed=seed)
    if plot is not None:
        from jinit.report import plots
        from jinit.report.plots._figure import check_picture

        check_picture(plot)
    if json:
        dump(dataclasses.asdict(description))
    else:
        from jinit import report

        report.show(description)
    if plot is not None:
        write_picture(plots.weight_histogram(description), plot)
    return 0


def audit(
    checkpoint: Annotated[
        tyro.conf.Positional[str],
        arg(help="a .safetensors or .npz file of initial weights", metavar="FILE"),
    ],
    host: Annotated[
        str | None,
        left_out(f"axis order, one of {listed('host')}; default: kernels are (in, out)", "HOST"),
    ] = None,
    layer: Annotated[
        tuple[str, ...],
        left_out(
            "what layers are, e.g. '*fc*.weight=dense' 'emb.weight=embedding'; kinds: "
            + listed("layer kind"),
            "PATTERN=LAYER [PATTERN=LAYER ...]",
        ),
    ] = (),
    rule: Annotated[
        tuple[str, ...],
        left_out(
            "what the weights should follow, in order; or one preset's name: " + listed("preset"),
            "PATTERN=SPEC [PATTERN=SPEC ...]",
        ),
    ] = (),
    json: Annotated[bool, arg(help="print JSON instead of text")] = False,
) -> int:
    """Checks initial weights: wrong fans, identical units, duplicated leaves, NaN.

    Exit code 0 if nothing is wrong, 1 if something is.

    Example: jinit audit model.safetensors --host torch --layer '*.weight=dense'
    """
    from jinit import frameworks
    from jinit.auditing import audit as find
    from jinit.auditing import read_readable

    one_preset = len(rule) == 1 and rule[0] in frameworks.presets()
    rules = rule[0] if one_preset else _pairs("rule", rule) or None
    layers = _pairs("layer", layer) or None
    arrays, unreadable = read_readable(checkpoint)
    if host is None:
        host = _usual_host(arrays)
    findings = unreadable + find(arrays, host=host, layers=layers, rules=rules)
    if json:
        dump([dataclasses.asdict(finding) for finding in findings])
    else:
        from jinit.report._weights import print_audit

        print_audit(findings, arrays, host=host, layers=layers, file=checkpoint)
    return 0 if all_ok(findings) else 1


def _usual_host(paths: Iterable[str]) -> str:
    """The default host; refuses leaf names that belong to kernels of another axis order."""
    from jinit.frameworks._paths import leaf_name
    from jinit.frameworks._table import hosts, hosts_with_kernel

    usual = hosts()[0]
    for path in paths:
        if others := hosts_with_kernel(leaf_name(path)):
            raise errors.refusal(
                "--host",
                f"no host, but a leaf {path!r}",
                "the host whose axis order the leaves follow",
                f"{' or '.join(f'--host {host}' for host in others)}; "
                f"--host {usual} if kernels are (in, out) nonetheless",
            )
    return usual


def _pairs(what: str, given: tuple[str, ...]) -> dict[str, str]:
    """``PATTERN=VALUE`` options as a mapping; an ``=`` inside a spec string is kept."""
    for text in given:
        if "=" not in text.partition("(")[0]:
            raise errors.refusal(f"--{what}", text, "PATTERN=NAME", f"--{what} '*kernel=dense'")
    return dict(text.split("=", 1) for text in given)
