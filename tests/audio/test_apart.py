"""Strangers' recordings decoded in processes of their own: what claims too much dies alone, and the next is read."""

import contextlib
import io
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest

from speech2face.audio import completeness
from speech2face.audio.apart import ENDED, MIB, DecoderLimits, DecoderPool
from speech2face.audio.recording import read_recording
from speech2face.audio.stream import MOST_MUTE_BYTES, Media, MediaStream
from speech2face.errors import CorruptRecording, RecordingTooLong, Speech2FaceError
from tests.recordings import encode

VOICE = (np.sin(np.arange(16_000) * 0.05) * 0.3).astype(np.float32)[None]


def wav() -> bytes:
    return encode(VOICE, 16_000, container="wav", codec="pcm_s16le")


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def film(samples: int, *, fragment: int = 0) -> bytes:
    """An MP4 of 32 kB that states so many samples of AAC, or so many more in a fragment."""
    unity = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    entry = struct.pack(">I4s6xHQHHHHI", 36, b"mp4a", 1, 0, 1, 16, 0, 0, 8000 << 16)
    tables = (
        box(b"stsd", struct.pack(">II", 0, 1), entry),
        box(b"stts", struct.pack(">IIII", 0, 1, samples, 1024)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, samples, 1)),
        box(b"stsz", struct.pack(">III", 0, 2, samples)),
        box(b"stco", struct.pack(">III", 0, 1, 1000)),
    )
    heads = (
        box(b"smhd", bytes(8)),
        box(b"dinf", box(b"dref", struct.pack(">II", 0, 1), box(b"url ", struct.pack(">I", 1)))),
        box(b"stbl", *tables),
    )
    media = (
        box(b"mdhd", struct.pack(">12xIIHH", 8000, 8000, 0x55C4, 0)),
        box(b"hdlr", bytes(8), b"soun", bytes(12), b"x\0"),
        box(b"minf", *heads),
    )
    track = box(b"tkhd", struct.pack(">IQIIIQIHH", 7, 0, 1, 0, 1000, 0, 0, 0x100, 0), unity, bytes(8))
    movie = box(b"mvhd", struct.pack(">12xIIIH10x", 1000, 1000, 0x10000, 0x100), unity, bytes(24), struct.pack(">I", 2))
    moof = box(b"moof", box(b"traf", box(b"trun", struct.pack(">II", 0, fragment)))) if fragment else b""
    moov = box(b"moov", movie, box(b"trak", track, box(b"mdia", *media)))
    return box(b"ftyp", b"isom\0\0\2\0isom") + moov + moof + box(b"mdat", bytes(32_000))


@pytest.fixture
def pool() -> Iterator[Callable[..., DecoderPool]]:
    opened: list[DecoderPool] = []

    def make(**limits: float) -> DecoderPool:
        opened.append(DecoderPool(1, DecoderLimits(**limits)))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def test_what_comes_back_is_what_the_library_reads(pool: Callable[..., DecoderPool]) -> None:
    made = pool()
    stereo = encode(np.concatenate([VOICE, VOICE * 0.5]), 48_000, container="ogg", codec="libopus")
    for content in (wav(), stereo):
        here, there = read_recording(content), made.read(content, max_seconds=1800)
        np.testing.assert_array_equal(here.waveform, there.waveform)
        assert repr(here) == repr(there)
    for content in (b"", b"no sound", wav()[:1000], film(50_000_000)):
        with pytest.raises(Speech2FaceError) as here_refused:
            read_recording(content)
        with pytest.raises(type(here_refused.value)) as there_refused:
            made.read(content, max_seconds=1800)
        assert str(there_refused.value) == str(here_refused.value)
    with pytest.raises(RecordingTooLong):
        made.read(wav(), max_seconds=0.5)
    assert made.deaths == 0


@pytest.mark.parametrize("content", [film(50_000_000), film(100, fragment=50_000_000)], ids=["table", "fragment"])
def test_a_small_film_that_states_millions_of_samples_is_refused_before_they_are_listed(content: bytes) -> None:
    assert len(content) < 33_000
    with pytest.raises(CorruptRecording, match=r"states 50000\d\d\d samples in 32\d\d\d bytes"):
        read_recording(content)


def test_a_film_as_people_have_it_keeps_its_samples() -> None:
    content = encode(VOICE, 48_000, container="mp4", codec="aac")
    completeness._check_samples(completeness.ByteSource(io.BytesIO(content), "film"))


@cache
def silence(seconds: int) -> bytes:
    """FLAC of some hundred bytes a second that becomes 64,000."""
    return encode(np.zeros((1, 16_000 * seconds), np.float32), 16_000, container="flac", codec="flac")


def test_a_recording_that_takes_too_much_memory_is_refused_and_the_next_is_read(
    pool: Callable[..., DecoderPool],
) -> None:
    made = pool(memory_bytes=32 * MIB)
    content = silence(600)
    assert len(content) < 200_000
    with pytest.raises(RecordingTooLong, match="takes over 32 MiB"):
        made.read(content, max_seconds=1800)
    assert made.read(wav(), max_seconds=1800).seconds == 1.0


def test_a_recording_that_takes_too_long_is_ended_and_the_next_is_read(pool: Callable[..., DecoderPool]) -> None:
    made = pool(seconds=0.05)
    with pytest.raises(RecordingTooLong, match=r"over 0\.05 s"):
        made.read(silence(600), max_seconds=1800)
    assert made.deaths == 1
    made._limits = DecoderLimits()  # a laden machine may take a while over the next
    assert made.read(wav(), max_seconds=1800).seconds == 1.0


def test_a_process_that_dies_costs_the_one_recording_it_had(pool: Callable[..., DecoderPool]) -> None:
    made = pool()
    made.read(wav(), max_seconds=1800)
    (worker,) = made._workers
    killer = threading.Timer(0.05, worker.process.kill)
    killer.start()
    with pytest.raises(CorruptRecording, match="ended the process"):
        made.read(silence(600), max_seconds=1800)
    assert made.read(wav(), max_seconds=1800).seconds == 1.0
    assert worker.process.poll() is not None


USES_TOO_MUCH = """
import time
from speech2face.audio import apart
apart.watch(32 * 2**20)
used = bytes(range(256)) * 400_000
time.sleep(20)
"""


def test_where_the_system_sets_no_bound_a_process_that_uses_too_much_ends_itself() -> None:
    pytest.importorskip("resource")
    # By a shell: Linux counts the memory of who starts a program among what the program has used at most.
    command = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, USES_TOO_MUCH]
    assert subprocess.run(command, check=False).returncode == ENDED


def test_a_closed_pool_leaves_no_process(pool: Callable[..., DecoderPool]) -> None:
    made = pool()
    made.start()
    (worker,) = made._workers
    made.close()
    made.close()
    assert worker.process.poll() is not None


# --- Live sound is decoded beside that of others: what it may hold is stated instead.


def test_a_live_stream_without_a_sound_in_it_is_ended_before_it_fills_the_memory() -> None:
    head = b"\x1aE\xdf\xa3" + bytes([0x80 | 4]) + b"\x42\x82\x81w"
    segment = b"\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff" + b"\xec\x10\xff\xff\xff"  # a void of 268 MB
    with pytest.raises(CorruptRecording, match="held no sound"):
        streamed(head + segment, *[bytes(2**18)] * (MOST_MUTE_BYTES // 2**18 + 2))


def test_a_codec_that_nobody_streams_is_not_decoded_beside_others() -> None:
    content = encode(VOICE, 16_000, container="matroska", codec="wavpack")
    with pytest.raises(CorruptRecording, match="wavpack is not streamed"):
        streamed(content)


def streamed(*pieces: bytes) -> None:
    with contextlib.closing(MediaStream(Media("webm"))) as stream:
        for piece in pieces:
            stream.push(piece)
        stream.finish()
