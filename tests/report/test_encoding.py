"""Tables on streams that cannot encode the characters of mathematics."""

import io

import numpy as np
import pytest

from jinit import report
from jinit.report._encoding import Encodable, spelled
from jinit.results import Table


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "shift_jis", "utf-8"])
def test_numbers_keep_their_sign_in_every_encoding(encoding):
    text = spelled("−0.25 ≥ σ² × 3 … e⁻¹", encoding)
    text.encode(encoding)
    assert "?" not in text
    assert text[0] in "-−"


def test_what_a_stream_can_encode_is_unchanged():
    assert spelled("−σ ×·…", "utf-8") == "−σ ×·…"
    assert spelled("a × b · 3 ± 1", "latin-1") == "a × b · 3 ± 1"


def test_a_table_is_shown_on_an_ascii_stream():
    columns = {"initializer": np.repeat(np.array(["a", "b"], object), 3),
               "seed": np.tile([0, 1, 2], 2),
               "test_accuracy": np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1]),
               "test_loss": np.ones(6), "steps_to_target": np.full(6, np.inf),
               "diverged": np.zeros(6, bool)}  # fmt: skip
    bytes_ = io.BytesIO()
    stream = io.TextIOWrapper(bytes_, encoding="ascii")
    report.show(
        Table(columns, ("initializer", "seed"), {}, np.array([])), stream=stream, baseline="a"
    )
    stream.flush()
    assert b"-.600" in bytes_.getvalue()


def test_a_display_may_be_forgiving_and_is_not_by_default():
    class Broken(io.StringIO):
        encoding = "utf-8"

        def write(self, text):
            raise BrokenPipeError

    assert Encodable(Broken(), forgiving=True).write("abc") == 3
    with pytest.raises(BrokenPipeError):
        Encodable(Broken()).write("abc")
