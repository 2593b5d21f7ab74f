"""Checkpoint files: every dtype is read, every broken file is refused, and no array is lost.

The files are written here, byte by byte, from the two formats' descriptions.
"""

import io
import json
import lzma
import zipfile

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jinit.auditing import read_checkpoint, read_readable

NUMBERS = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -0.125]])
FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
          "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}  # fmt: skip


def safetensors(path, header, body):
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + body)
    return path


def entry(start, end, shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in members:
            archive.writestr(name, raw)
    return path


@pytest.mark.parametrize("name", [*FLOATS, "C64"])
def test_safetensors_of_every_dtype(name, tmp_path):
    values = (NUMBERS * (1 + 1j)).astype("c8") if name == "C64" else NUMBERS.astype(FLOATS[name])
    raw = values.tobytes()
    path = safetensors(tmp_path / "w.safetensors", {"w": entry(0, len(raw), [2, 3], name)}, raw)
    found = read_checkpoint(path)["w"]
    assert found.dtype == values.dtype
    # Every number above is a sum of few powers of 2, so that no dtype rounds it.
    np.testing.assert_array_equal(found.astype("c8"), values.astype("c8"))
    np.testing.assert_array_equal(found.astype("c8").real, NUMBERS)


@pytest.mark.parametrize("dtype", [*FLOATS.values(), np.complex64, np.complex128, np.int8, bool])
def test_npz_of_every_dtype_that_numpy_names(dtype, tmp_path):
    values = NUMBERS.astype(dtype)
    jnp.savez(tmp_path / "w.npz", w=values, f=np.asfortranarray(values))
    if dtype is ml_dtypes.float8_e4m3fn:
        with pytest.raises(ValueError, match="V1 does not say which 8-bit dtype"):
            read_checkpoint(tmp_path / "w.npz")
        return
    for found in read_checkpoint(tmp_path / "w.npz").values():
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values)


ONE, TWO = np.ones((2, 2), "f4").tobytes(), np.full((2, 2), 7, "f4").tobytes()


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("{}", "without an array"),
        (f'{{"w": {json.dumps(entry(0, 16, [2, 2]))}, "w": {json.dumps(entry(16, 32, [2, 2]))}}}',
         "'w' stands for two arrays"),
        ({"v": entry(8, 24, [2, 2]), "w": entry(0, 16, [2, 2])}, "overlaps"),
        ({"w": entry(0, 16, [2, 2])}, "16 bytes after 'w' belong to no array"),
        ({"w": entry(16, 32, [2, 2])}, "16 bytes before array 'w' belong to no array"),
        ({"w": entry(0, 48, [3, 4])}, "the file has 32"),
        ({"w": entry(0, 32, [-2, -4])}, "is not a shape"),
        ({"w": entry(0, 32, [2, 2.0])}, "is not a shape"),
        ({"w": entry(32, 0, [2, 4])}, "offsets 32 to 0"),
        ({"w": {"dtype": "F32"}}, "does not describe an array"),
    ],
)  # fmt: skip
def test_broken_safetensors_are_refused(header, said, tmp_path):
    path = safetensors(tmp_path / "w.safetensors", header, ONE + TWO)
    for read in (read_checkpoint, read_readable):
        with pytest.raises(ValueError, match=said):
            read(path)


def test_npz_without_arrays_and_with_a_name_twice_are_refused(tmp_path):
    with pytest.raises(ValueError, match="without an array"):
        read_readable(npz(tmp_path / "a.npz", []))
    twice = [("w.npy", npy(np.ones(2))), ("w", npy(np.zeros(2)))]
    with pytest.raises(ValueError, match="'w' stands for two arrays"):
        read_readable(npz(tmp_path / "b.npz", twice))


def test_one_unreadable_array_does_not_hide_the_others(tmp_path):
    good = np.arange(4.0)
    broken = {
        "cut off": npy(good)[:-8],
        "bytes of no array": npy(good) + b"more",
        "not numbers": npy(np.array(["text"])),
        "records": npy(np.zeros(2, [("x", "f4")])),
        "8-bit dtype": npy(good.astype(ml_dtypes.float8_e4m3fn)),
        "header": npy(good)[:10] + b"[" * (len(npy(good)) - 10),
    }
    path = npz(tmp_path / "w.npz", [("good.npy", npy(good)), *broken.items()])
    arrays, findings = read_readable(path)
    assert list(arrays) == ["good"]
    np.testing.assert_array_equal(arrays["good"], good)
    assert {finding.where for finding in findings} == set(broken)
    assert all(finding.kind == "unreadable" and not finding.ok for finding in findings)
    assert all(finding.where in finding.evidence for finding in findings)
    with pytest.raises(ValueError, match=r"and 5 more.*reads the other 1"):
        read_checkpoint(path)
    header = {"a": entry(0, 16, [2, 2]), "b": entry(16, 32, [4, 4], "F4"), "c": entry(32, 48, [9])}
    arrays, findings = read_readable(
        safetensors(tmp_path / "w.safetensors", header, ONE + TWO + TWO)
    )
    assert (list(arrays), [f.where for f in findings]) == (["a"], ["b", "c"])


def test_no_kind_of_damage_to_one_array_hides_the_others(tmp_path, monkeypatch):
    """A dtype and a compression that nobody knows, and every error of zipfile's readers."""
    good = npy(np.arange(4.0))
    names = ("good", "dtype", "compression", "encrypted", "lzma", "bz2")
    path = tmp_path / "w.npz"
    npz(path, [(name, good.replace(b"'<f8'", b"'<zz'") if name == "dtype" else good)
               for name in names])  # fmt: skip
    raw = bytearray(path.read_bytes())
    for signature, place, size in ((b"PK\3\4", 8, 30), (b"PK\1\2", 10, 46)):
        entry = raw.find(b"compression")
        while raw[entry - size : entry - size + 4] != signature:
            entry = raw.find(b"compression", entry + 1)
        raw[entry - size + place : entry - size + place + 2] = (77).to_bytes(2, "little")
    path.write_bytes(raw)
    errors = {"encrypted": RuntimeError("password required"), "lzma": lzma.LZMAError("corrupt"),
              "bz2": OSError("Invalid data stream")}  # fmt: skip
    opened = zipfile.ZipFile.open

    def open_member(archive, member, *arguments):
        if member.filename in errors:
            raise errors[member.filename]
        return opened(archive, member, *arguments)

    monkeypatch.setattr(zipfile.ZipFile, "open", open_member)
    arrays, findings = read_readable(path)
    assert list(arrays) == ["good"]
    np.testing.assert_array_equal(arrays["good"], np.arange(4.0))
    evidence = {finding.where: finding.evidence for finding in findings}
    assert tuple(evidence) == names[1:]
    assert evidence["dtype"] == "NumPy has no dtype '<zz'"
    assert evidence["compression"].startswith("NotImplementedError: ")
    assert evidence["encrypted"] == "RuntimeError: password required"


def test_no_more_is_read_than_an_array_may_have(tmp_path, monkeypatch):
    """A header that asks for 2⁶² bytes, and a member with 8 MiB after its array."""
    header = npy(np.ones((2, 2)))[:-32].replace(b"(2, 2), }", b"(2**61,), }")
    huge = npy(np.ones((2, 2)))[:-32].replace(b"'shape': (2, 2), }         ",
                                              b"'shape': (2305843009213693952,), }")  # fmt: skip
    asked = []
    read = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile, "read", lambda self, n=-1: asked.append(n) or read(self, n)
    )
    long = npy(np.ones((2, 2))) + b"\0" * 2**23
    members = [("ok", npy(np.ones(2))), ("huge", huge), ("long", long), ("code", header)]
    _, findings = read_readable(npz(tmp_path / "w.npz", members))
    assert [finding.where for finding in findings] == ["huge", "long", "code"]
    assert min(asked) >= 0
    assert max(asked) < 1000
