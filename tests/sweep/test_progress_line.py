"""A sweep shows one line by itself where somebody sees it."""

import io

import pytest

import jinit

GRID = {"dataset": "xor", "depth": 1, "width": 4, "steps": 2, "evaluations": 2, "seeds": 3}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Notebook(io.StringIO):
    """Stands in for the stream of a kernel, which is no terminal."""


Notebook.__module__ = "ipykernel.iostream"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Terminal, Notebook])
def test_terminals_and_notebooks_show_the_last_run(kind, monkeypatch):
    stream = kind()
    monkeypatch.setattr("sys.stderr", stream)
    jinit.run(jinit.Grid(**GRID))
    lines = stream.getvalue().split("\r")
    assert lines[0].startswith("0/3 runs")
    assert lines[-2].startswith("3/3 runs")
    assert lines[-1] == ""  # whatever is printed next begins at the margin


def test_files_show_nothing_and_false_turns_the_line_off(monkeypatch):
    for stream, progress in ((io.StringIO(), None), (Terminal(), False)):
        monkeypatch.setattr("sys.stderr", stream)
        jinit.run(jinit.Grid(**GRID), progress=progress)
        assert stream.getvalue() == ""


def test_a_closed_terminal_does_not_end_a_sweep(monkeypatch):
    class Closed(Terminal):
        def write(self, text):
            raise OSError("the terminal is gone")

    monkeypatch.setattr("sys.stderr", Closed())
    assert len(jinit.run(jinit.Grid(**GRID))) == 3
