"""What a model encodes of one clip is the same thing wherever it is asked: in `evaluate`, for a portrait, and live."""

from pathlib import Path

import numpy as np
import pytest

from speech2face import Recording, load_model, reconstruct
from speech2face.audio.spectrogram import SAMPLE_RATE, SAMPLE_SCALE, FloatArray, spectrogram, tile
from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.errors import SilentRecording
from speech2face.evaluation.clips import open_clips
from speech2face.evaluation.predictions import ReleasePredictor, predict
from speech2face.live import LiveSession, PcmFormat
from speech2face.models.contract import Model
from speech2face.models.paired import PairedEncoding, PairedModel, load_paired_model
from tests.paired import tiny_encoder, torch
from tests.recordings import encode
from tests.voices import made_voice

ONE = 1e-5  # of an embedding's length: float rounding


def pause(seconds: float) -> FloatArray:
    return np.asarray(1e-3 * np.random.default_rng(1).standard_normal(int(seconds * SAMPLE_RATE)), np.float32)


CLIPS = {
    "a clip of stored length": np.concatenate([made_voice(2.0), pause(1.7), made_voice(2.3, 180)]),
    "with direct current": np.concatenate([pause(1.0), made_voice(2.5) * 0.5, pause(2.5)]) + np.float32(0.05),
    "shorter than a training clip": np.concatenate([pause(0.4), made_voice(1.4), pause(0.5)]),
    "longer than a training clip": np.concatenate([made_voice(4.0), pause(5.0), made_voice(3.5, 90), pause(1.1)]),
}


@pytest.fixture(params=["paired", "starter"])
def model(request: pytest.FixtureRequest, paired_folder: Path) -> Model:
    return load_model(paired_folder if request.param == "paired" else None)


@pytest.fixture
def paired(paired_folder: Path) -> PairedModel:
    return load_paired_model(paired_folder)


def stored(waveform: FloatArray) -> np.ndarray:
    return np.rint(waveform * SAMPLE_SCALE).astype(np.int16)


def wav(samples: np.ndarray) -> bytes:
    return encode(samples[None] / SAMPLE_SCALE, SAMPLE_RATE, container="wav", codec="pcm_s16le")


def assert_one(said: FloatArray | None, expected: FloatArray) -> None:
    assert said is not None
    np.testing.assert_allclose(said, expected, atol=ONE * float(np.linalg.norm(expected)), rtol=0)


@pytest.mark.parametrize("clip", CLIPS)
def test_evaluation_portrait_and_live_give_one_embedding_for_one_clip(clip: str, model: Model, tmp_path: Path) -> None:
    samples = stored(CLIPS[clip])
    write_shards(tmp_path, [Clip("c0", "s0", "test", samples)])
    seconds = samples.size / SAMPLE_RATE
    evaluated = predict(ReleasePredictor(model), open_clips(tmp_path), [seconds]).predicted[seconds][0]
    assert_one(reconstruct(model, wav(samples)).belief.mean, evaluated)
    session = LiveSession(model, PcmFormat("s16le", SAMPLE_RATE))
    for at in range(0, samples.size, 4000):
        session.push(samples[at : at + 4000].tobytes())
        session.snapshot()
    if model.encodes_pauses:  # the other encodes speech, which a look knows by the level so far; see docs/live.md
        assert_one(session.snapshot().embedding, evaluated)
    assert_one(session.finish().embedding, evaluated)


@pytest.mark.parametrize("clip", CLIPS)
def test_the_papers_network_hears_the_waveform_itself(clip: str, paired: PairedModel, tmp_path: Path) -> None:
    from speech2face.training.export import load_half

    encoder = tiny_encoder()
    load_half(encoder, paired.release.file("voice.safetensors"))
    samples = stored(CLIPS[clip])
    waveform = np.asarray(samples / np.float32(SAMPLE_SCALE), np.float32)
    clip_samples = round(paired.release.geometry.clip_seconds * SAMPLE_RATE)
    whole = tile(waveform, max(clip_samples, waveform.size))
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(spectrogram(whole))[None])[0].numpy()
    assert_one(np.asarray(reconstruct(paired, wav(samples)).belief.mean), expected)


def test_a_stored_clip_is_what_training_hears_of_it(paired: PairedModel, tmp_path: Path) -> None:
    for name in ("a clip of stored length", "with direct current", "shorter than a training clip"):
        folder, samples = tmp_path / name.replace(" ", "_"), stored(CLIPS[name])
        write_shards(folder, [Clip("c0", "s0", "train", samples)])
        trained = ClipDataset(Manifest.open(folder), "train", parts=("waveform",), seconds=6.0)[0]["waveform"].numpy()
        learned = paired.encode(np.asarray(trained / np.float32(SAMPLE_SCALE), np.float32)).face_embedding
        assert_one(np.asarray(reconstruct(paired, wav(samples)).belief.mean), learned)


def test_a_call_beyond_a_minute_still_says_what_its_recording_does(paired: PairedModel) -> None:
    waveform = np.tile(CLIPS["longer than a training clip"], 6)
    session = LiveSession(paired, PcmFormat("f32le"))
    for at in range(0, waveform.size, SAMPLE_RATE):
        session.push(waveform[at : at + SAMPLE_RATE].astype("<f4").tobytes())
    recording = Recording(waveform, SAMPLE_RATE, 1, "", "", "", waveform.size / SAMPLE_RATE)
    assert_one(session.finish().embedding, np.asarray(reconstruct(paired, recording).belief.mean))


def test_channels_are_heard_live_as_in_their_recording(paired: PairedModel) -> None:
    voice = CLIPS["a clip of stored length"]
    channels = np.stack([voice, -voice]).astype(np.float32)
    session = LiveSession(paired, PcmFormat("f32le", SAMPLE_RATE, 2))
    content = channels.T.astype("<f4").tobytes()
    for at in range(0, len(content), 32_000):
        session.push(content[at : at + 32_000])
        session.snapshot()
    assert_one(session.finish().embedding, np.asarray(reconstruct(paired, (channels, SAMPLE_RATE)).belief.mean))


def test_a_recording_of_pauses_alone_is_still_refused(paired: PairedModel) -> None:
    with pytest.raises(SilentRecording):
        reconstruct(paired, (pause(6.0) * np.float32(0.1) + np.float32(0.3), SAMPLE_RATE))


def test_a_silence_is_no_other_voice(paired_folder: Path) -> None:
    model = load_paired_model(paired_folder)
    model.release.thresholds["same_speaker_cosine"] = 0.5
    voice, silence = made_voice(12.0), np.zeros(12 * SAMPLE_RATE, np.float32)
    spoken = [(silence.size, silence.size + voice.size)]
    encoding = model.encode(np.concatenate([silence, voice]))
    knowing = encoding.spoken_at(tuple(spoken))
    assert isinstance(knowing, PairedEncoding)
    assert [part.spoken > part.count / 2 for part in knowing.segments] == [False] * 3 + [True] * 2
    alone, with_silence = knowing.speaker_change(), encoding.speaker_change()
    assert alone is not None and with_silence is not None and alone > with_silence
    state = model.start_encoding()
    for at in range(0, silence.size, 8000):
        state.push(silence[at : at + 8000], 0.0)
    for at in range(0, voice.size, 8000):
        state.push(voice[at : at + 8000], 0.5)
    live = state.encoding()
    assert [part.spoken > part.count / 2 for part in live.segments] == [False] * 3 + [True] * 2
