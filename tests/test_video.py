"""A recording becomes a video in which the portrait of its voice speaks: in time, labelled, the same in every run."""

import io
import json
import os
import threading
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.cli import app
from speech2face.errors import InvalidOption
from speech2face.limits import Style
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.motion import POSE_NAMES, Pose, find_poses
from speech2face.portrait import Portrait, Reconstruction, reconstruct
from speech2face.provenance import read_provenance
from speech2face.video import LABEL, SpeakingFace, Turn, VideoEncoding, label, original_sound, video_bytes
from tests.recordings import encode

EXAMPLES = Path(__file__).parents[1] / "examples"
PIXELS = 256
Picture = np.ndarray


@cache
def model() -> AttributeModel:
    return load_attribute_model()


@cache
def portrait(name: str = "female.mp3", style: Style = Style.drawn) -> Portrait:
    return reconstruct(model(), EXAMPLES / name, style=style)


def voice(seconds: float = 1.0) -> FloatArray:
    """A second of speech, from its first loud sample on."""
    waveform = read_recording(EXAMPLES / "female.mp3").waveform
    start = int(np.argmax(np.abs(waveform) > 0.1))
    return waveform[start : start + round(seconds * SAMPLE_RATE)]


def burst() -> FloatArray:
    """A second of silence, a second of speech, half a second of silence."""
    return np.concatenate([np.zeros(SAMPLE_RATE, np.float32), voice(), np.zeros(SAMPLE_RATE // 2, np.float32)])


@cache
def film(encoding: VideoEncoding = "mp4", style: Style = Style.drawn) -> bytes:
    turns = [Turn(0.0, 2.5, portrait(style=style))]
    return video_bytes(model(), burst(), turns, encoding=encoding, pixels=PIXELS)


def frames(content: bytes) -> list[Picture]:
    with av.open(io.BytesIO(content), "r") as opened:
        return [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]


def sound(content: bytes) -> tuple[np.ndarray, float]:
    """Samples at 48 kHz, and the time of the first."""
    with av.open(io.BytesIO(content), "r") as opened:
        decoded = list(opened.decode(audio=0))
        start = decoded[0].time or 0.0
        return np.concatenate([frame.to_ndarray().mean(axis=0) for frame in decoded]), start


@pytest.mark.slow
@pytest.mark.parametrize("style", [Style.drawn, Style.photographic])
@pytest.mark.parametrize("encoding", ["mp4", "webm"])
def test_picture_and_sound_are_as_long_as_the_recording_and_begin_together(
    encoding: VideoEncoding, style: Style
) -> None:
    content = film(encoding, style)
    shown, (heard, start) = frames(content), sound(content)
    assert len(shown) == 63  # 2.5 s, the last one begun
    assert shown[0].shape == (PIXELS, PIXELS, 3)
    assert start + len(heard) / 48_000 == pytest.approx(2.5, abs=0.04)
    loud = np.flatnonzero(np.abs(heard) > 0.05)
    assert start + loud[0] / 48_000 == pytest.approx(1.0, abs=0.04)
    rest = shown[2].astype(int)
    mouth = slice(round(0.62 * PIXELS), round(0.8 * PIXELS)), slice(round(0.4 * PIXELS), round(0.6 * PIXELS))
    moved = [np.abs(frame[mouth].astype(int) - rest[mouth]).mean() for frame in shown]
    opens = next(number for number, by in enumerate(moved) if by > 4)
    assert abs(opens / 25 - (start + loud[0] / 48_000)) <= 0.04 + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("style", [Style.drawn, Style.photographic])
def test_every_frame_says_what_it_is_above_where_subtitles_are(style: Style) -> None:
    patch = label(PIXELS, LABEL).astype(int)
    left = PIXELS // 20
    for frame in frames(film(style=style)):
        there = frame[left : left + len(patch), left : left + patch.shape[1]].astype(int)
        assert np.abs(there - patch).mean() < 12  # grey levels, which the codec changes
    assert left + len(patch) < 0.2 * PIXELS


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["mp4", "webm"])
def test_the_file_says_what_it_is_and_what_was_heard(encoding: VideoEncoding, tmp_path: Path) -> None:
    path = tmp_path / f"said.{encoding}"
    path.write_bytes(film(encoding))
    said, facts = read_provenance(path)
    assert said.kind == "video" and "Nobody's likeness" in said.notice
    assert said.digital_source_type.endswith("trainedAlgorithmicMedia")
    assert facts["video"] == {"frames_per_second": 25, "frames": 63, "width": PIXELS, "height": PIXELS}
    assert facts["age"] == portrait().facts()["age"]
    printed = CliRunner().invoke(app, ["inspect", str(path)])
    assert printed.exit_code == 0 and "synthetic video" in printed.output
    with av.open(str(path), "r") as opened:
        assert "likeness" in {key.lower(): value for key, value in opened.metadata.items()}["comment"]


def test_the_same_recording_gives_the_same_bytes() -> None:
    turns = [Turn(0.0, 0.4, portrait())]
    one, other = (video_bytes(model(), voice(0.4), turns, pixels=128) for _ in range(2))
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp4", "webm"])
def test_the_file_holds_the_recording_s_own_sound(kind: str, tmp_path: Path) -> None:
    speech = voice(2.0)
    time = np.arange(2 * 44_100) / 44_100
    there = np.interp(time, np.arange(speech.size) / SAMPLE_RATE, speech)
    both = np.stack([there + 0.05 * np.sin(2 * np.pi * 12_000 * time), there]).astype(np.float32)
    (tmp_path / "own.flac").write_bytes(encode(both, 44_100, container="flac", codec="flac"))
    ran = CliRunner().invoke(app, ["video", str(tmp_path / "own.flac"), "-o", str(tmp_path / f"own.{kind}"), "-q"])
    assert ran.exit_code == 0, ran.output
    with av.open(str(tmp_path / f"own.{kind}"), "r") as opened:
        heard = np.concatenate([frame.to_ndarray() for frame in opened.decode(audio=0)], axis=1)
    assert len(heard) == 2
    assert heard.shape[1] / 48_000 == pytest.approx(2.0, abs=0.04)
    loudest = np.abs(np.fft.rfft(heard[0][:48_000]))
    assert 8_000 + loudest[8_000:].argmax() == pytest.approx(12_000, abs=2)


def test_sound_of_another_length_than_was_decoded_is_not_taken(tmp_path: Path) -> None:
    content = encode(voice(1.2)[None], SAMPLE_RATE, container="wav", codec="pcm_s16le")
    (tmp_path / "one.wav").write_bytes(content)
    heard = read_recording(tmp_path / "one.wav")
    assert original_sound(tmp_path / "one.wav", heard) is not None
    longer = replace(heard, waveform=np.concatenate([heard.waveform, heard.waveform]))
    assert original_sound(tmp_path / "one.wav", longer) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
def test_the_sound_of_a_pipe_is_not_waited_for_once_more(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = encode(voice(1.2)[None], SAMPLE_RATE, container="wav", codec="pcm_s16le")
    threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,), daemon=True).start()
    heard = read_recording(tmp_path / "pipe")
    found: list[object] = ["waiting"]
    asked = threading.Thread(target=lambda: found.append(original_sound(tmp_path / "pipe", heard)), daemon=True)
    asked.start()
    asked.join(10)
    assert found == ["waiting", None]


@pytest.mark.slow
def test_two_portraits_take_turns_in_one_picture() -> None:
    speech = voice(1.6)
    turns = [Turn(0.0, 0.8, portrait()), Turn(0.8, 1.6, portrait("male.flac"))]
    content = video_bytes(model(), speech, turns, pixels=128)
    shown = np.stack(frames(content)).astype(int)
    assert shown.shape == (40, 128, 256, 3)
    mouth = slice(79, 105)

    def moves(first: int, last: int, left: int) -> float:
        mouths = shown[first:last, mouth, left + 50 : left + 78]
        return float(np.abs(mouths - mouths.mean(axis=0)).mean())

    # Who listens may sway a little; the mouth stays shut.
    assert moves(2, 18, 0) > 2 * moves(24, 39, 0)
    assert moves(22, 38, 128) > 2 * moves(2, 18, 128)
    with av.open(io.BytesIO(content), "r") as opened:
        facts = json.loads(opened.metadata["speech2face_facts"])
    assert [turn["portrait"] for turn in facts["video"]["turns"]] == [0, 1]
    assert len(facts["portraits"]) == 2


def test_nothing_but_the_portrait_of_a_voice_is_moved() -> None:
    photograph = Reconstruction(portrait().image, np.zeros(4, np.float32), "dlib", 0.0, "starter", "1")
    for outside in (photograph, portrait().image, EXAMPLES / "me.jpg"):
        with pytest.raises(InvalidOption, match="never a picture from outside"):
            SpeakingFace(model(), outside)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turns": []}, "no turns"),
        ({"turns": [(0.5, 0.2)]}, "does not lie within"),
        ({"turns": [(0.0, 9.0)]}, "does not lie within"),
        ({"pixels": 127}, "an even number from 128"),
        ({"pixels": 4096}, "to 1024"),
        ({"encoding": "webm", "signer": object()}, "in .mp4"),
    ],
)
def test_what_cannot_be_shown_is_refused(change: dict[str, Any], said: str) -> None:
    options: dict[str, Any] = {"turns": [(0.0, 0.4)]} | change
    turns = [Turn(start, end, portrait()) for start, end in options.pop("turns")]
    with pytest.raises(InvalidOption, match=said):
        video_bytes(model(), voice(0.4), turns, **options)


def test_a_photographic_face_is_no_svg() -> None:
    face = SpeakingFace(model(), portrait(style=Style.photographic))
    for ask in (face.puppet, lambda: face.animated(find_poses(voice(0.4)))):
        with pytest.raises(InvalidOption, match="as SVG"):
            ask()


@pytest.mark.slow
def test_the_command_writes_video_drawing_and_poses(tmp_path: Path) -> None:
    recording, runner = str(EXAMPLES / "male.flac"), CliRunner()
    names = {"drawing": tmp_path / "a.svg", "motion": tmp_path / "a.json"}
    ran = runner.invoke(app, ["video", recording, "-o", str(names["drawing"]), "--motion", str(names["motion"])])
    assert ran.exit_code == 0, ran.output
    said = json.loads(names["motion"].read_text())
    assert said["names"] == list(POSE_NAMES)
    assert len(said["poses"]) == -(-read_recording(recording).waveform.size // 640)
    assert ElementTree.fromstring(names["drawing"].read_text()).tag.endswith("svg")
    assert read_provenance(names["drawing"])[0].kind == "video"
    again = runner.invoke(app, ["video", recording, "-o", str(names["drawing"])])
    assert again.exit_code == 20 or "--force" in str(again.exception)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "a.avi"], "no kind of video"),
        (["-o", "a.mp4", "--pixels", "99"], "an even number"),
        (["-o", "a.svg", "--style", "photographic"], "an SVG is drawn"),
        (["-o", "a.webm", "--sign-key", "key.pem"], "C2PA signs no"),
        (["-o", "a.mp4", "--motion", "a.mp4"], "the same file"),
        (["-o", "a.svg", "--speakers", "auto"], "an SVG holds one face"),
        (["-o", "a.mp4", "--speakers", "0"], "1 to"),
    ],
)
def test_a_command_that_cannot_be_is_refused_before_anything_is_heard(options: list[str], said: str) -> None:
    ran = CliRunner().invoke(app, ["video", "nothing.wav", *options])
    assert isinstance(ran.exception, InvalidOption) and said in str(ran.exception)


@pytest.mark.slow
def test_the_speakers_of_a_conversation_take_turns(tmp_path: Path) -> None:
    out = tmp_path / "talk.mp4"
    options = ["--speakers", "auto", "--pixels", "128", "-o", str(out), "--json"]
    ran = CliRunner().invoke(app, ["video", str(EXAMPLES / "conversation.opus"), *options])
    assert ran.exit_code == 0, ran.output
    inspected = CliRunner().invoke(app, ["inspect", str(out)]).stdout
    assert "not readable" not in inspected
    assert [line.split()[:2] for line in inspected.splitlines() if line.startswith("face ")] == [
        ["face", "1"],
        ["face", "2"],
        ["face", "3"],
    ]
    said, facts = read_provenance(out)
    drawn = [each for each in json.loads(ran.stdout)["speakers"] if each["portrait"] is not None]
    assert len(facts["portraits"]) == len(drawn) == 3
    assert said.notice
    shown = frames(out.read_bytes())
    assert shown[0].shape == (128, 3 * 128, 3)
    turns = facts["video"]["turns"]
    assert [turn["start"] for turn in turns] == sorted(turn["start"] for turn in turns)
    still = [
        np.abs(np.diff(np.stack(shown[275:345])[:, 60:, k * 128 : (k + 1) * 128].astype(int), axis=0)).mean()
        for k in range(3)
    ]
    (speaking,) = (turn["portrait"] for turn in turns if turn["start"] < 11 and turn["end"] > 13.8)
    assert int(np.argmax(still)) == speaking  # the others only breathe and blink


def test_a_picture_is_no_recording(tmp_path: Path) -> None:
    portrait().save(tmp_path / "face.png")
    ran = CliRunner().invoke(app, ["video", str(tmp_path / "face.png"), "-o", str(tmp_path / "a.mp4")])
    assert "no sound" in str(ran.exception)
    assert not (tmp_path / "a.mp4").exists()


def test_a_frame_is_labelled_in_either_corner() -> None:
    face = SpeakingFace(model(), portrait())
    top, bottom = face.frame(Pose(), 256), face.frame(Pose(), 256, place="bottom")
    rows = np.flatnonzero((top != bottom).any(axis=(1, 2)))
    assert rows.min() < 20 and rows.max() > 236
