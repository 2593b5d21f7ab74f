"""Spells characters that a stream cannot encode: an ASCII terminal, a Latin-1 or cp1252 pipe.

``"−0.12"`` becomes ``"-0.12"`` there; a question mark in place of the minus sign would change the
number.
"""

from __future__ import annotations

import codecs
import unicodedata
from typing import TextIO

NAME = "jinit.spelled"
"""The error handler, for ``open(…, errors=NAME)``."""

_SPELLED = {"−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "…": "...", "≥": ">=", "≤": "<=",
            "±": "+-", "→": "->", "√": "sqrt ", "′": "'", "σ": "sigma", "χ": "chi", "φ": "phi",
            "μ": "mu", "∞": "inf", "≈": "~", "─": "-", "━": "-", "╸": "-", "╺": "-", "│": "|",
            "²": "^2", "³": "^3", "⁻": "-"}  # fmt: skip


def spelled(text: str, encoding: str) -> str:
    """``text`` with other characters in place of those that ``encoding`` lacks.

    >>> spelled("−0.1 ≥ σ²", "ascii"), spelled("−0.1 × σ", "latin-1")
    ('-0.1 >= sigma^2', '-0.1 × sigma')
    """
    return text.encode(encoding, NAME).decode(encoding)


def is_unicode(stream: TextIO | None) -> bool:
    """Whether a stream can encode every character; streams without an encoding can."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name.startswith("utf")


class Encodable:
    """A stream that spells what it cannot encode.

    Args:
      stream: the stream that receives the text.
      forgiving: whether errors of writing are ignored: a display of progress must not end the work
        that it shows.
    """

    def __init__(self, stream: TextIO, *, forgiving: bool = False) -> None:
        self._stream = stream
        self._forgiven = (OSError, ValueError) if forgiving else ()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text, spelled in the encoding of the stream."""
        if not is_unicode(self._stream):
            text = spelled(text, self._stream.encoding)
        try:
            return self._stream.write(text)
        except self._forgiven:
            return len(text)

    def flush(self) -> None:
        """Flushes the stream."""
        try:
            self._stream.flush()
        except self._forgiven:
            return


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for character in error.object[error.start : error.end]:
        plain = _SPELLED.get(character) or unicodedata.normalize("NFKD", character)
        found.append("".join(_SPELLED.get(each, each) for each in plain))
    return "".join(each if each.isascii() else "?" for each in found), error.end


codecs.register_error(NAME, _spell)
