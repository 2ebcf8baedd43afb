"""A portrait for each speaker of a recording, from the library to the command line."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import speech2face
from speech2face import Conversation, InvalidOption
from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.cli import app
from speech2face.conversation import LiveConversation, cut_pieces, encode_pieces, tell_apart
from speech2face.live import LiveSession, LiveSnapshot, PcmFormat
from speech2face.models import speaker_reader
from speech2face.models.contract import Model
from speech2face.provenance import read_provenance
from speech2face.voice.diarization import OnlineUnits, SpeakerSpace

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TALK = EXAMPLES / "conversation.opus"
# Who speaks in it, in seconds; examples/make_conversation.py says the same in words.
TRUTH = [
    *((0.3, 5.8, "slt"), (6.2, 10.3, "rms"), (10.6, 14.9, "awb"), (15.4, 20.2, "slt"), (20.6, 25.0, "awb")),
    *((25.0, 30.6, "rms"), (31.0, 36.2, "slt"), (36.8, 42.1, "rms"), (42.4, 47.5, "awb"), (48.0, 52.6, "slt")),
]


@cache
def model() -> Model:
    return speech2face.load_model()


@cache
def conversation() -> Conversation:
    return speech2face.reconstruct_speakers(model(), TALK)


def test_each_of_three_voices_is_heard_where_it_speaks_and_drawn() -> None:
    found = conversation()
    assert [speaker.number for speaker in found.speakers] == [1, 2, 3]
    for speaker, name in zip(found.speakers, ("slt", "rms", "awb"), strict=True):
        own = [(start, stop) for start, stop, who in TRUTH if who == name]
        right = sum(
            max(0.0, min(stop, end) - max(start, begin)) for start, stop in speaker.segments for begin, end in own
        )
        assert right > 0.9 * speaker.seconds
        assert right > 0.8 * sum(end - begin for begin, end in own)
    readings = [portrait.facts()["gender"]["reading"] for portrait in found.portraits]
    assert readings == ["feminine", "masculine", "masculine"]


def test_the_facts_hold_every_time_and_every_portrait_and_are_json() -> None:
    facts = json.loads(json.dumps(conversation().facts(), allow_nan=False))
    assert facts["synthetic_faces"] == 3
    assert facts["seconds_recorded"] == pytest.approx(52.7, abs=0.5)
    for speaker, portrait in zip(facts["speakers"], conversation().portraits, strict=True):
        assert speaker["portrait"] == portrait.facts()
        assert speaker["seconds"] == pytest.approx(sum(stop - start for start, stop in speaker["segments"]), abs=0.2)
        edges = [edge for segment in speaker["segments"] for edge in segment]
        assert edges == sorted(edges)


def test_the_timeline_is_a_labelled_picture(tmp_path: Path) -> None:
    file = tmp_path / "timeline.png"
    conversation().save(file)
    provenance, facts = read_provenance(file)
    assert provenance.kind == "comparison sheet"
    assert facts == json.loads(json.dumps(conversation().facts()))


@pytest.mark.parametrize("speakers", ["auto", 1, "1"])
def test_one_speaker_is_drawn_as_ever_to_the_last_bit(speakers: int | str) -> None:
    file = EXAMPLES / "male.flac"
    expected = speech2face.reconstruct(model(), file, samples=1, seed=3)
    found = speech2face.reconstruct_speakers(model(), file, speakers=speakers, samples=1, seed=3)
    (portrait,) = found.portraits
    assert portrait.facts() == expected.facts()
    assert portrait.labelled_bytes() == expected.labelled_bytes()
    np.testing.assert_array_equal(portrait.samples[0], expected.samples[0])


def test_as_many_speakers_as_are_stated_are_told_apart() -> None:
    told: list[tuple[str, int, int | None]] = []
    found = speech2face.reconstruct_speakers(model(), TALK, speakers=2, progress=lambda *far: told.append(far))
    assert len(found.speakers) == 2
    for what in ("seconds of speech read", "seconds of speech drawn from"):
        counts = [(done, of) for name, done, of in told if name == what]
        assert counts == sorted(counts) and len({of for _, of in counts}) == 1
        assert counts[-1][0] == counts[-1][1] and counts[-1][0] > 30


def test_a_number_of_speakers_that_cannot_be_is_refused_before_anything_is_read() -> None:
    for wrong in (0, 9, "nine", "", 2.5, None):
        with pytest.raises(InvalidOption, match="speakers"):
            speech2face.reconstruct_speakers(model(), "no such file", speakers=wrong)  # type: ignore[arg-type]


def test_pieces_cover_the_speech_and_their_embeddings_do_not_depend_on_how_many_are_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    waveform = rng.normal(0, 0.1, 8 * SAMPLE_RATE).astype(np.float32)
    spans = ((0, 30_000), (32_000, 70_000), (100_000, 101_000))
    pieces = cut_pieces(spans)
    assert sum(stop - start for start, stop in pieces) == sum(stop - start for start, stop in spans)
    reader = speaker_reader(model())
    at_once, overlaps = encode_pieces(reader, waveform, pieces)
    monkeypatch.setattr("speech2face.conversation.AT_ONCE", 2)
    again, overlaps_again = encode_pieces(reader, waveform, pieces)
    np.testing.assert_allclose(again, at_once, atol=2e-4)  # readings are larger than embeddings
    np.testing.assert_allclose(overlaps_again, overlaps, atol=1e-4)
    alone = reader.segment_moments(waveform[100_000:101_000]).sums
    expected = reader.speaker_space.describe(reader.speaker_embeddings(alone), alone)
    np.testing.assert_allclose(at_once[-1:], expected, atol=2e-4)


def space(axes: int = 8) -> SpeakerSpace:
    """A space whose embeddings and readings vary by a tenth of their length within a speaker."""
    round_, ones = np.eye(axes, dtype=np.float32), np.ones(axes, np.float32)
    nothing = np.zeros((axes, 2), np.float32)
    return SpeakerSpace(
        *(0 * ones, 10 * round_, 12 * ones, nothing[0], ones[:1]),
        *(nothing, 0 * ones, 0.5 * round_, 10 * ones, 12 * ones),
    )


def described(people: list[int], wander: float = 0.0) -> np.ndarray:
    """What is known of turns of ten pieces by these people, as `space` has it; from turn to turn a voice wanders."""
    rng = np.random.default_rng(0)
    whose = np.repeat(people, 10)
    means = rng.normal(0, 1, (max(people) + 1, 16))
    means /= np.linalg.norm(means.reshape(-1, 2, 8), axis=2).repeat(8, 1)
    means = means[whose] + np.repeat(rng.normal(0, wander, (len(people), 16)), 10, axis=0)
    return np.asarray(means + rng.normal(0, 0.1, means.shape), np.float32)


def test_what_all_pieces_of_a_recording_share_is_taken_from_their_readings_alone() -> None:
    known = described([0, 1, 0, 1])
    shifted = known + np.repeat([0.0, 2.0], 8).astype(np.float32)
    where = space()
    np.testing.assert_array_equal(where.units(known), where.units(shifted))
    readings = known[:, 8:] - 0.5 * known[:, 8:].mean(0)
    expected = readings / np.linalg.norm(readings, axis=1, keepdims=True)
    np.testing.assert_allclose(where.unit_readings(known), expected, atol=1e-6)
    assert where(known).shape == (40, where.variances.size)
    np.testing.assert_allclose(np.linalg.norm(where.both_units(known), axis=1), 1, atol=1e-6)


def test_as_pieces_come_their_units_near_those_of_the_whole_recording() -> None:
    known, where = described([0, 1] * 20), space()
    online = OnlineUnits(where)
    units = np.stack([online.add(piece[None]) for piece in known])
    whole = where.both_units(known)
    away = np.linalg.norm(units - whole, axis=1)
    assert away[-40:].max() < 0.1 < away[:10].min()


@pytest.mark.parametrize("times", [10, 40])
def test_people_who_go_on_talking_do_not_become_more(times: int) -> None:
    known = described([0, 1, 2, 1, 0, 2] * times, wander=0.2)
    pieces = tuple((at * 8000, (at + 1) * 8000) for at in range(len(known)))
    found = tell_apart(pieces, known, np.full(len(known), -1.0, np.float32), space())
    assert len(found.speakers) == 3
    assert not found.left_out


def test_a_crowd_is_nobody_and_one_voice_in_babble_is_one() -> None:
    known = described([0, 0, 0])
    pieces = tuple((at * 8000, (at + 1) * 8000) for at in range(len(known)))
    for overlap, speakers in ((1.3, 0), (1.0, 1)):
        found = tell_apart(pieces, known, np.full(len(known), overlap, np.float32), space())
        assert len(found.speakers) == speakers
        assert len(found.left_out) == 1 - speakers


def test_the_command_writes_a_portrait_of_each_a_timeline_and_the_times(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["portrait", str(TALK), "--speakers", "auto", "-o", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout)
    numbers = (1, 2, 3)
    expected = {f"conversation-{what}" for what in ("timeline.png", "timeline.json")}
    expected |= {f"conversation-speaker-{number}.{kind}" for number in numbers for kind in ("png", "json")}
    assert {path.name for path in tmp_path.iterdir()} == {Path(name).name for name in line["files"]} == expected
    beside = json.loads((tmp_path / "conversation-timeline.json").read_text())
    assert [speaker["segments"] for speaker in beside["speakers"]] == [each["segments"] for each in line["speakers"]]
    for number in numbers:
        facts = json.loads((tmp_path / f"conversation-speaker-{number}.json").read_text())
        assert facts.items() >= beside["speakers"][number - 1]["portrait"].items()


def test_one_picture_for_several_speakers_and_the_microphone_are_refused(tmp_path: Path) -> None:
    for arguments in ([str(TALK), "-o", str(tmp_path / "face.png")], [str(TALK), "-o", "-"], ["--microphone"]):
        result = CliRunner().invoke(app, ["portrait", *arguments, "--speakers", "auto"])
        assert isinstance(result.exception, InvalidOption), result.output
    assert not list(tmp_path.iterdir())


def hear(session: LiveSession, waveform: np.ndarray) -> LiveSnapshot:
    content = waveform.astype("<f4").tobytes()
    for at in range(0, len(content), 16_000):
        session.push(content[at : at + 16_000])
    return session.snapshot()


def test_live_each_voice_keeps_what_was_heard_of_it_alone() -> None:
    female, male = (speech2face.read_recording(EXAMPLES / name).waveform for name in ("female.mp3", "male.flac"))
    session = LiveConversation(model(), PcmFormat("f32le"))
    first, second, again = (hear(session, waveform) for waveform in (female, male, female))
    assert [look.speaker for look in (first, second, again)] == [1, 2, 1]
    assert [look.speakers for look in (first, second, again)] == [1, 2, 2]
    assert again.seconds_heard == pytest.approx(2 * first.seconds_heard, rel=0.2)
    assert first.attributes is not None and second.attributes is not None and again.attributes is not None
    assert first.attributes.femininity > 0.5 > second.attributes.femininity
    assert again.attributes.femininity > 0.5
    assert session.finish().speaker == 1


def test_live_one_speaker_ends_as_a_session_of_one_does() -> None:
    waveform = speech2face.read_recording(EXAMPLES / "male.flac").waveform
    ends = []
    for kind in (LiveSession, LiveConversation):
        session = kind(model(), PcmFormat("f32le"), seed=1)
        hear(session, waveform)
        ends.append(session.finish())
    alone, one = ends
    assert one.facts() == alone.facts() | {"speaker": 1, "speakers": 1}
    np.testing.assert_array_equal(one.embedding, alone.embedding)
