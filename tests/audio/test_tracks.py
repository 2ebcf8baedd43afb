"""Of several sound tracks the one that a player would play is heard, or the next in which somebody speaks."""

import io
import re
from pathlib import Path

import av
import numpy as np
import pytest

import speech2face
from speech2face import errors
from speech2face.audio.recording import choose_track, read_recording
from speech2face.audio.spectrogram import FloatArray
from tests.voices import made_voice

CASES = Path(__file__).parents[2] / ".." / "shared" / "cases"
DEFAULT, COMMENT = 0x0001, 0x0008  # AV_DISPOSITION_*
HIGH, LOW = made_voice(3.0, 220.0), made_voice(3.0, 110.0)
SILENCE = np.zeros_like(HIGH)


needs_flags = pytest.mark.skipif(not hasattr(av.stream, "Disposition"), reason="this PyAV cannot see a track's flags")


def film(*tracks: FloatArray, flags: tuple[int, ...] | None = None, hidden: int | None = None) -> bytes:
    """A Matroska file of these sound tracks; the codec of the one at `hidden` becomes one that nobody knows."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in tracks]
        for stream, flag in zip(streams, flags or (), strict=bool(flags)):
            stream.disposition = flag  # type: ignore[assignment]
        for stream, track in zip(streams, tracks, strict=True):
            frame = av.AudioFrame.from_ndarray((track[None] * 32767).astype(np.int16), format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
    content = file.getvalue()
    if hidden is None:
        return content
    at = [match.start() for match in re.finditer(b"A_PCM/INT/LIT", content)][hidden]
    return content[:at] + b"A_QQQ" + content[at + 5 :]


@needs_flags
@pytest.mark.parametrize(
    ("tracks", "flags", "chosen"),
    [
        ((HIGH, LOW), (0, 0), 1),
        ((HIGH, LOW), (0, DEFAULT), 2),
        ((HIGH, LOW), (DEFAULT, DEFAULT), 1),
        ((HIGH, LOW), (COMMENT, 0), 2),
        ((HIGH, LOW), (DEFAULT | COMMENT, 0), 2),
        ((SILENCE, LOW), (DEFAULT, 0), 2),
        ((SILENCE, SILENCE, LOW), (DEFAULT, 0, 0), 3),
        ((SILENCE, SILENCE), (0, DEFAULT), 2),
    ],
)
def test_the_track_of_a_player_is_heard_or_the_next_with_a_voice(
    tracks: tuple[FloatArray, ...], flags: tuple[int, ...], chosen: int
) -> None:
    recording = read_recording(film(*tracks, flags=flags))
    assert (recording.track, recording.tracks) == (chosen, len(tracks))
    expected = tracks[chosen - 1]
    assert not expected.any() or np.corrcoef(recording.waveform, expected)[0, 1] > 0.99


@needs_flags
def test_a_track_that_cannot_be_decoded_is_passed_over_and_refused_where_it_is_asked_for() -> None:
    content = film(HIGH, LOW, flags=(DEFAULT, 0), hidden=0)
    assert read_recording(content).track == 2
    with pytest.raises(errors.NotMedia, match="track 1"):
        read_recording(content, track=1)


def test_a_track_can_be_asked_for_by_its_number() -> None:
    content = film(HIGH, LOW, SILENCE)
    for number, track in enumerate((HIGH, LOW), start=1):
        assert np.corrcoef(read_recording(content, track=number).waveform, track)[0, 1] > 0.99
    assert not read_recording(content, track=3).waveform.any()  # it was asked for
    for number in (0, 4, -1):
        with pytest.raises(errors.InvalidOption, match="3 sound tracks"):
            read_recording(content, track=number)


@needs_flags
def test_an_open_container_gives_its_track_to_whoever_decodes_by_himself() -> None:
    with av.open(io.BytesIO(film(HIGH, LOW, flags=(0, DEFAULT))), "r") as container:
        assert choose_track(container, "film").index == 1
        assert choose_track(container, "film", 1).index == 0


@needs_flags
def test_a_portrait_says_which_track_was_heard_and_that_there_are_others() -> None:
    model = speech2face.load_model()
    portrait = speech2face.reconstruct(model, film(SILENCE, LOW, flags=(DEFAULT, 0)))
    facts = portrait.facts()
    assert (facts["track"], facts["tracks"]) == (2, 2)
    assert "other_tracks" in [caution["code"] for caution in facts["cautions"]]
    alone = speech2face.reconstruct(model, film(LOW))
    assert (alone.track, alone.tracks) == (1, 1)
    assert "other_tracks" not in [caution.code for caution in alone.cautions]
    np.testing.assert_array_equal(portrait.image, alone.image)


def test_a_recording_that_was_read_is_not_read_again_as_another_track() -> None:
    model = speech2face.load_model()
    recording = read_recording(film(HIGH, LOW), track=2)
    assert speech2face.reconstruct(model, recording, track=2).track == 2
    with pytest.raises(errors.InvalidOption, match="track 2 already"):
        speech2face.reconstruct(model, recording, track=1)


def test_the_shared_case_of_a_silent_desktop_track_gives_the_voice() -> None:
    path = CASES / "obs_desktop_track_silent.mkv"
    if not path.is_file():
        pytest.skip("obs_desktop_track_silent.mkv is not among the shared cases here")
    recording = read_recording(path)
    assert (recording.track, recording.tracks) == (2, 2)
    assert np.abs(recording.waveform).max() > 0.1
