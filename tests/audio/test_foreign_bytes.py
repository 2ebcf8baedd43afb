"""Whatever the bytes of a recording are, reading them gives sound or a typed error, in memory that they are worth."""

import contextlib
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speech2face.audio.recording import read_recording
from speech2face.errors import CorruptRecording, RecordingTooLong, Speech2FaceError
from tests.audio.foreign import noise, packed

MOST_MEBIBYTES = 300
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2_000_000_000)
SEEDS = range(8)
MUTATIONS = 12  # of each format under each seed
FORMATS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wav": ("wav", "pcm_s16le", {}),
    "w64": ("w64", "pcm_s16le", {}),
    "aiff": ("aiff", "pcm_s16be", {}),
    "caf": ("caf", "alac", {}),
    "flac": ("flac", "flac", {"codec_format": "s16"}),
    "mp3": ("mp3", "libmp3lame", {}),
    "adts": ("adts", "aac", {}),
    "ogg": ("ogg", "libopus", {}),
    "mp4": ("mp4", "aac", {"video_codec": "mpeg4"}),
    "fragments": ("mp4", "aac", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
    "webm": ("webm", "libopus", {}),
    "avi": ("avi", "libmp3lame", {"video_codec": "mpeg4"}),
    "ts": ("mpegts", "aac", {}),
    "amr": ("amr", "libopencore_amrnb", {}),
}
MEASURED = """
import resource, sys
import av, numpy, webrtcvad
from speech2face.audio.recording import read_recording
from speech2face.errors import Speech2FaceError
content = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(read_recording(content).seconds)
except Speech2FaceError as error:
    print(type(error).__name__)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with fields set to extremes, bytes changed, left out or put in."""
    changed = bytearray(content)
    reach = rng.choice([64, 256, 1024, len(content)])
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(min(reach, len(changed)))
        kind = rng.randrange(5)
        if kind == 0:
            changed[at] = rng.randrange(256)
        elif kind == 1:
            changed[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(EXTREMES))
        elif kind == 2:
            changed[at : at + 8] = struct.pack(rng.choice("<>") + "Q", rng.choice((*EXTREMES, 2**63, 2**64 - 1)))
        elif kind == 3:
            del changed[at : at + rng.randrange(1, 300)]
        else:
            changed[at:at] = noise(rng.randrange(1, 300), rng.randrange(2**31))
        changed = changed or bytearray(b"\0")
    return bytes(changed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_bytes_give_sound_or_a_typed_error(name: str, seed: int) -> None:
    container, codec, more = FORMATS[name]
    content = packed(container, codec, 8_000 if name == "amr" else 48_000, 0.6, **more)
    rng = random.Random(f"{name} {seed}")
    for _ in range(MUTATIONS):
        with contextlib.suppress(Speech2FaceError):
            assert read_recording(mutated(content, rng)).seconds > 0


def wav_header(*, channels: int, rate: int, align: int, bits: int, tag: int = 1) -> bytes:
    """32 kB of noise behind a header that says what it is."""
    sound = noise(32_000)
    fmt = struct.pack("<HHIIHH", tag, channels, rate, min(rate * align, 2**32 - 1), align, bits)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(sound))
        + b"WAVEfmt \x10\0\0\0"
        + fmt
        + b"data"
        + struct.pack("<I", len(sound))
        + sound
    )


def crc(content: bytes, polynomial: int, width: int) -> bytes:
    """FLAC's checksums, RFC 9639, section 9.1.8 and 9.3."""
    value = 0
    for byte in content:
        value ^= byte << (width - 8)
        for _ in range(8):
            value = (value << 1 ^ polynomial if value >> (width - 1) & 1 else value << 1) & ((1 << width) - 1)
    return value.to_bytes(width // 8, "big")


def constant_flac(frames: int, channels: int, rate: int, value: int = 77) -> bytes:
    """Some 30 bytes a frame that claim 65,535 samples of every channel, all of one value."""
    total = frames * 65_535
    info = struct.pack(">HH", 65_535, 65_535) + bytes(6)
    info += (rate << 44 | (channels - 1) << 41 | 15 << 36 | total).to_bytes(8, "big") + bytes(16)
    pieces = [b"fLaC\x80\0\0\x22", info]
    for number in range(frames):
        coded = bytes([number]) if number < 128 else bytes([0xC0 | number >> 6, 0x80 | number & 63])
        head = b"\xff\xf8" + bytes([0x70, (channels - 1) << 4]) + coded + struct.pack(">H", 65_534)
        head += crc(head, 0x07, 8) + (b"\0" + struct.pack(">h", value)) * channels
        pieces.append(head + crc(head, 0x8005, 16))
    return b"".join(pieces)


GREEDY = {
    "65,535 channels": lambda: wav_header(channels=65_535, rate=16_000, align=65_535, bits=8),
    "64 channels of 1 kHz": lambda: wav_header(channels=64, rate=1_000, align=64, bits=8),
    "one block of 65,535 bytes": lambda: wav_header(channels=1, rate=1_000, align=65_535, bits=4, tag=0x20),
    "a prime rate": lambda: wav_header(channels=1, rate=1_535_999, align=1, bits=8),
    "half an hour of eight channels": lambda: constant_flac(900, 8, 48_000),
    "half an hour of one channel": lambda: constant_flac(27, 1, 1_000),
}


@pytest.mark.parametrize("write", GREEDY.values(), ids=GREEDY)
def test_a_few_kilobytes_take_no_hundreds_of_mebibytes(write: Callable[[], bytes], tmp_path: Path) -> None:
    content = write()
    assert len(content) < 33_000
    path = tmp_path / "greedy"
    path.write_bytes(content)
    ran = subprocess.run([sys.executable, "-c", MEASURED, path], capture_output=True, text=True, check=True)
    assert int(ran.stdout.split()[-1]) < MOST_MEBIBYTES, ran.stdout


def test_more_channels_than_can_be_heard_are_refused_by_number() -> None:
    with pytest.raises(CorruptRecording, match="255 channels, at most 64"):
        read_recording(wav_header(channels=255, rate=16_000, align=255, bits=8))


def test_so_few_bytes_hold_no_voice_for_so_long() -> None:
    with pytest.raises(RecordingTooLong, match="8 channels"):
        read_recording(constant_flac(437, 8, 16_000))
