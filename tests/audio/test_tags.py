"""Title and artist in whatever encoding never keep a recording from being read, in any version of PyAV."""

from pathlib import Path

import numpy as np
import pytest

from speech2face.audio.recording import joined, read_recording
from speech2face.audio.stream import Media, MediaStream
from speech2face.data.media import open_media
from tests.recordings import encode
from tests.voices import made_voice

WRITTEN_BY = b"Lavf"  # every muxer of FFmpeg names itself in a tag
NOT_UTF_8 = b"L\xff\xfef"

FILES = {
    "wav": ("wav", "pcm_s16le", 16_000),
    "flac": ("flac", "flac", 16_000),
    "mp4": ("mp4", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
}


def with_tags_of_rubbish(name: str) -> tuple[bytes, bytes]:
    """The same second of sound with FFmpeg's own tag, and with bytes in it that are no text."""
    container, codec, rate = FILES[name]
    plain = encode(made_voice(1.0)[None], 16_000, container=container, codec=codec, codec_rate=rate)
    assert WRITTEN_BY in plain
    return plain, plain.replace(WRITTEN_BY, NOT_UTF_8)


@pytest.mark.parametrize("name", FILES)
def test_tags_that_are_not_utf_8_change_nothing_in_the_sound(name: str, tmp_path: Path) -> None:
    plain, rubbish = with_tags_of_rubbish(name)
    np.testing.assert_array_equal(read_recording(rubbish).waveform, read_recording(plain).waveform)
    path = tmp_path / f"rubbish.{name}"
    path.write_bytes(rubbish)
    with open_media(str(path)) as media:
        assert len(media.container.streams.audio) == 1


def test_a_stream_with_tags_that_are_not_utf_8_is_decoded() -> None:
    plain, rubbish = with_tags_of_rubbish("webm")
    heard = []
    for content in (plain, rubbish):
        stream = MediaStream(Media("webm"))
        heard.append(joined([stream.push(content), stream.finish()]))
    np.testing.assert_array_equal(heard[0], heard[1])
