import threading

import av
import numpy as np
import pytest

from speech2face.audio.recording import joined, read_recording
from speech2face.audio.spectrogram import FloatArray
from speech2face.audio.stream import Media, MediaStream
from speech2face.errors import CorruptRecording, InvalidOption, NoAudioStream, RecordingTooLong, Speech2FaceError
from tests.recordings import encode
from tests.voices import made_voice

CODECS = {"webm": "libopus", "ogg": "libopus"}


def encoded(container: str, seconds: float = 2.0) -> bytes:
    return encode(made_voice(seconds)[None], 16_000, container=container, codec=CODECS[container], codec_rate=48_000)


def streamed(container: str, content: bytes, size: int) -> FloatArray:
    stream = MediaStream(Media(container))  # type: ignore[arg-type]
    return joined([*(stream.push(content[at : at + size]) for at in range(0, len(content), size)), stream.finish()])


def media_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "media-stream"]


@pytest.mark.parametrize("container", CODECS)
@pytest.mark.parametrize("size", [11, 1000, 10**7])
def test_an_encoded_stream_gives_the_samples_of_the_same_file_wherever_it_is_cut(container: str, size: int) -> None:
    content = encoded(container, 1.0)
    whole = read_recording(content).waveform
    got = streamed(container, content, size)[0]
    assert got.shape == whole.shape
    np.testing.assert_allclose(got, whole, atol=1e-6)
    assert media_threads() == []


def test_sound_comes_while_bytes_come() -> None:
    content = encoded("webm", 4.0)
    stream = MediaStream(Media("webm"))
    half = stream.push(content[: len(content) // 2])
    assert 1.0 < half.shape[1] / 16_000 < 2.5
    stream.close()


@pytest.mark.parametrize("container", ["webm", "ogg", "mp4"])
@pytest.mark.parametrize("content", [b"no media at all " * 5000, b"\0" * 100_000, encoded("webm")[:40]])
def test_what_cannot_be_decoded_is_refused_and_leaves_no_thread(container: str, content: bytes) -> None:
    stream = MediaStream(Media(container))  # type: ignore[arg-type]
    with pytest.raises(Speech2FaceError, match="send"):
        joined([stream.push(content), stream.finish()])
    assert media_threads() == []
    assert stream.push(b"more").size == 0, "the stream has ended"


def test_damage_in_the_middle_is_refused() -> None:
    content = bytearray(encoded("ogg", 6.0))
    rng = np.random.default_rng(0)
    content[4000:] = rng.integers(0, 256, len(content) - 4000, np.uint8).tobytes()
    try:
        got = streamed("ogg", bytes(content), 500)
    except CorruptRecording:
        return
    assert got.shape[1] < 6 * 16_000, "what was lost is not made up"


def test_a_stream_that_stops_in_the_middle_gives_what_came() -> None:
    content = encoded("webm", 3.0)
    assert streamed("webm", content[: len(content) * 2 // 3], 700).shape[1] > 16_000


def test_a_film_without_sound_is_refused() -> None:
    import io

    file = io.BytesIO()
    with av.open(file, "w", format="webm") as sink:
        stream = sink.add_stream("libvpx", rate=10)
        stream.width = stream.height = 64
        for _ in range(20):
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        sink.mux(stream.encode(None))
    with pytest.raises((NoAudioStream, CorruptRecording)):
        streamed("webm", file.getvalue(), 10**6)
    assert media_threads() == []


def test_a_piece_that_swells_into_hours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech2face.audio.stream.MAX_CHUNK_SECONDS", 1.0)
    with pytest.raises(RecordingTooLong):
        streamed("webm", encoded("webm", 3.0), 10**7)
    assert media_threads() == []


def test_closing_stops_the_thread_whether_it_began_or_not() -> None:
    for begun in (False, True):
        stream = MediaStream(Media("webm"))
        if begun:
            stream.push(encoded("webm")[:2000])
        stream.close()
        stream.close()
        assert media_threads() == []


def test_a_container_that_cannot_be_streamed_is_refused() -> None:
    with pytest.raises(InvalidOption, match="webm, ogg, mp4"):
        Media("avi")  # type: ignore[arg-type]
