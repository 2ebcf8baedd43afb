import io
import tarfile
import wave

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from speech2face.data.members import (
    Malformed,
    decode_npy,
    decode_png,
    decode_wav,
    encode_npy,
    encode_png,
    encode_wav,
    framed,
    members,
)

SAMPLES = np.array([1, -2, 32767, -32768], np.int16)


def wav(*, rate: int = 16_000, channels: int = 1, width: int = 2) -> memoryview:
    sink = io.BytesIO()
    with wave.open(sink, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(bytes(96))
    return memoryview(sink.getvalue())


def test_members_are_what_tarfile_wrote() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as shard:
        for name, content in (("a.json", b"{}"), ("a.wav", bytes(1000)), ("a.empty", b"")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    span = sink.getvalue()[: 512 * 6]  # three headers, one block of {}, two of zeros
    assert {name: bytes(c) for name, c in members(span)} == {"a.json": b"{}", "a.wav": bytes(1000), "a.empty": b""}


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (framed("a.wav", bytes(600))[:-512], "should have 600 bytes, 512 are left"),
        (framed("a.wav", b"x")[:100], "no tar header"),
        (framed("a.wav", b"x") + bytes(512), "no tar header"),
        (framed("a.wav", b"x").replace(b"a.wav", b"b.wav"), "contradicts its checksum"),
        (framed("a.wav", b"x")[:124] + b"z" * 11 + framed("a.wav", b"x")[135:], "no tar header"),
    ],
)
def test_a_garbled_tar_is_malformed(span: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        list(members(span))


def test_a_wav_comes_back_whoever_wrote_it() -> None:
    assert_array_equal(decode_wav(memoryview(encode_wav(SAMPLES))), SAMPLES)
    assert_array_equal(decode_wav(wav()), np.zeros(48, np.int16))
    with_remark = encode_wav(SAMPLES).replace(b"data", b"LIST\x03\x00\x00\x00abc\x00data")
    assert_array_equal(decode_wav(memoryview(with_remark)), SAMPLES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (wav(rate=44_100), "44100 Hz; 16000 Hz is needed"),
        (wav(channels=2), "2 channels"),
        (wav(width=1), "8 bits"),
        (memoryview(encode_wav(SAMPLES)[:-2]), "cut short"),
        (memoryview(encode_wav(SAMPLES)[:36]), "without samples"),
        (memoryview(encode_wav(SAMPLES[:0])), "without samples"),
        (memoryview(b"fLaC" + bytes(40)), "no WAV"),
        (memoryview(b""), "no WAV"),
    ],
)
def test_another_wav_is_malformed(content: memoryview, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        decode_wav(content)


def npy(array: np.ndarray) -> memoryview:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=True)
    return memoryview(sink.getvalue())


def test_an_array_comes_back_in_any_version_of_the_format() -> None:
    array = np.array([[1.5, -2.0], [0.0, 3.25]], np.float32)
    assert_array_equal(decode_npy(memoryview(encode_npy(array)), (2, 2)), array)
    sink = io.BytesIO()
    np.lib.format.write_array(sink, array, version=(2, 0))
    assert_array_equal(decode_npy(memoryview(sink.getvalue()), (2, 2)), array)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (npy(np.array([{"a": 1}, None])), "no NumPy array of numbers .*plain numbers are needed"),
        (npy(np.zeros(3, np.float32)), r"an array \(3,\) of float32; \(2,\)"),
        (npy(np.zeros(2, np.float64)), "of float64"),
        (npy(np.array([1, np.nan], np.float32)), "not finite"),
        (npy(np.zeros(2, np.float32))[:-1], "no NumPy array"),
        (memoryview(b"nonsense"), "no NumPy array"),
        (memoryview(b""), "no NumPy array"),
    ],
)
def test_another_array_is_malformed_and_a_pickle_never_loaded(content: memoryview, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        decode_npy(content, (2,))


def test_a_picture_of_another_size_or_kind_is_malformed() -> None:
    picture = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    content = memoryview(encode_png(picture))
    assert_array_equal(decode_png(content, (3, 4)), picture)
    with pytest.raises(Malformed, match="3 x 4 in RGB; 4 x 3 in RGB is needed"):
        decode_png(content, (4, 3))
    with pytest.raises(Malformed, match="no PNG"):
        decode_png(content[:50], (3, 4))
    for mode, kind, said in (("L", "PNG", "3 x 4 in L"), ("RGB", "JPEG", "no PNG")):
        sink = io.BytesIO()
        Image.new(mode, (4, 3)).save(sink, kind)
        with pytest.raises(Malformed, match=said):
            decode_png(memoryview(sink.getvalue()), (3, 4))
