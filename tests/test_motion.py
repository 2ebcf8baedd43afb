"""Poses from sound: sounds made of known formants, and syllables of a synthesiser, move the mouth as they should."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.errors import InvalidOption
from speech2face.live import LiveMotion, Media, PcmFormat
from speech2face.motion import FRAME, LOOKAHEAD_SECONDS, POSE_NAMES, Pose, PoseStream, find_poses, poses_json

JAW, SPREAD, ROUNDING, BLINK = (POSE_NAMES.index(name) for name in ("jaw", "spread", "rounding", "blink_left"))
# F1, F2 and F3 of American men's vowels in Hz (Peterson and Barney 1952, Table II); women's lie about a sixth higher.
VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "o": (500, 860, 2410), "u": (300, 870, 2240)}
VOICES = [(115.0, 1.0), (215.0, 1.17)]  # pitch in Hz, and how much higher than men's the formants lie


def resonance(frequencies: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Gain of one formant, 1 at 0 Hz (Fant 1960)."""
    return np.asarray(centre**2 / np.hypot(centre**2 - frequencies**2, width * frequencies))


def voiced(formants: tuple[float, ...], seconds: float, *, pitch: float = 115.0, taller: float = 1.0) -> FloatArray:
    """A voice with these formants, (samples,), its vowel of a to be 0.2 in amplitude or so."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(time)
    for number in range(1, int(7500 / pitch)):
        harmonic = number * pitch
        gain = np.prod([resonance(np.array(harmonic), taller * f, 60 + 0.04 * f) for f in (*formants, 3500.0, 4500.0)])
        sound += gain * np.sin(2 * np.pi * harmonic * time + number**2) / number**2 * number**0.8
    return faded(sound * 0.05)


def murmur(seconds: float, *, pitch: float = 115.0, taller: float = 1.0) -> FloatArray:
    """The sound of closed lips and an open nose: a low resonance alone, the rest 20 dB weaker."""
    return 0.5 * voiced((260, 1100, 2300), seconds, pitch=pitch, taller=taller) * np.float32(0.35)


def hiss(seconds: float) -> FloatArray:
    """A sound like s: noise above 4 kHz."""
    noise = np.random.default_rng(3).normal(size=round(seconds * SAMPLE_RATE))
    spectrum = np.fft.rfft(noise)
    spectrum[: int(4200 * seconds)] = 0
    return faded(0.05 * np.fft.irfft(spectrum, len(noise)))


def faded(sound: np.ndarray) -> FloatArray:
    """With 8 ms to come and to go."""
    ramp = np.minimum(np.arange(sound.size), np.arange(sound.size)[::-1]) / (0.008 * SAMPLE_RATE)
    return np.asarray(sound * np.clip(ramp, 0, 1), np.float32)


def pause(seconds: float) -> FloatArray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def speech() -> FloatArray:
    """Three seconds of vowels, murmurs, hisses and pauses."""
    parts = [pause(0.2), *(voiced(VOWELS[name], 0.25) for name in "aiou"), murmur(0.1), voiced(VOWELS["a"], 0.3)]
    return np.concatenate([*parts, pause(0.1), hiss(0.2), voiced(VOWELS["i"], 0.3), pause(0.5)])


def middle(formants: tuple[float, ...], voice: tuple[float, float]) -> Pose:
    """The pose in the middle of a vowel that follows another one."""
    pitch, taller = voice
    first = voiced(VOWELS["a"], 0.4, pitch=pitch, taller=taller)
    poses = find_poses(np.concatenate([first, pause(0.2), voiced(formants, 0.4, pitch=pitch, taller=taller)]))
    return Pose.of(poses[20])


def test_silence_is_a_closed_mouth() -> None:
    for sound in (pause(2.0), 0.0005 * np.random.default_rng(0).normal(size=32_000).astype(np.float32)):
        poses = find_poses(sound)
        assert poses.shape == (50, len(POSE_NAMES))
        assert not poses[:, [JAW, SPREAD, ROUNDING]].any()


@pytest.mark.parametrize("voice", VOICES)
def test_a_is_open_i_is_spread_and_o_and_u_are_round(voice: tuple[float, float]) -> None:
    a, i, o, u = (middle(VOWELS[name], voice) for name in "aiou")
    assert a.jaw > 0.75 and a.rounding < 0.5
    assert 0.05 < i.jaw < 0.4 and i.spread > 0.6 and i.rounding < 0.1
    assert o.rounding > 0.7 and o.spread == 0 and u.jaw < o.jaw < a.jaw
    assert u.rounding > 0.7 and u.jaw > 0.03


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("closure", [0.06, 0.08, 0.1])
@pytest.mark.parametrize("kind", ["m", "b", "p"])
def test_lips_close_for_m_b_and_p_and_open_again(kind: str, closure: float, voice: tuple[float, float]) -> None:
    pitch, taller = voice
    between = {
        "m": murmur(closure, pitch=pitch, taller=taller),
        "b": 0.15 * murmur(closure, pitch=pitch, taller=taller),
        "p": pause(closure),
    }[kind]
    for offset in (0.0, 0.01, 0.02, 0.03):  # wherever the closure lies among the frames
        vowel = voiced(VOWELS["a"], 0.4 + offset, pitch=pitch, taller=taller)
        jaw = find_poses(np.concatenate([vowel, between, voiced(VOWELS["a"], 0.4, pitch=pitch, taller=taller)]))[:, JAW]
        start = round((0.4 + offset) * 25)
        assert jaw[start - 1 : start + 4].min() < 0.06, jaw
        assert jaw[3 : start - 2].min() > 0.6 and jaw[start + 5 : start + 9].min() > 0.6, jaw


def test_lips_stay_apart_for_s() -> None:
    vowel = voiced(VOWELS["a"], 0.4)
    poses = find_poses(np.concatenate([vowel, hiss(0.2), vowel]))
    assert poses[11:14, JAW].min() > 0.08
    assert poses[11:14, JAW].max() < 0.3


def test_a_quieter_recording_moves_the_same() -> None:
    vowels = np.concatenate([pause(0.2), *(voiced(VOWELS[name], 0.35) for name in "aioaioa")])
    loud, quiet = find_poses(vowels), find_poses(vowels * np.float32(0.1))
    assert np.abs(loud[40:, JAW] - quiet[40:, JAW]).max() < 0.2


@pytest.mark.parametrize("db", [20, 10])
def test_noise_of_a_room_moves_no_mouth_in_pauses_and_keeps_none_from_speaking(db: int) -> None:
    spoken = np.concatenate([pause(2.0), speech()[:22_400], pause(1.6)])
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=spoken.size))
    noise = np.fft.irfft(
        spectrum / np.sqrt(np.arange(len(spectrum)) + 100), spoken.size
    )  # pink: falls by 3 dB an octave
    noise *= 10 ** (-db / 20) * np.sqrt((spoken**2).mean() / (noise**2).mean())
    clean, heard = find_poses(spoken)[:, JAW], find_poses((spoken + noise).astype(np.float32))[:, JAW]
    assert heard[5:48].max() < 0.15 and heard[-30:].max() < 0.15
    assert np.corrcoef(clean[50:90], heard[50:90])[0, 1] > 0.8


def test_a_stream_cut_anywhere_gives_the_poses_of_the_whole_to_the_last_bit() -> None:
    sound = speech()
    whole, chance = find_poses(sound), np.random.default_rng(1)
    for most in (7, 400, 5000):
        stream, found, place = PoseStream(), [], 0
        while place < sound.size:
            step = int(chance.integers(0, most))
            found.append(stream.push(sound[place : place + step]))
            place += step
        found.append(stream.finish())
        np.testing.assert_array_equal(np.concatenate(found), whole)


@pytest.mark.parametrize("samples", [0, 1, FRAME - 1, FRAME, FRAME + 1, 10 * FRAME])
def test_there_is_a_pose_for_each_40_ms_begun(samples: int) -> None:
    assert len(find_poses(np.zeros(samples, np.float32))) == -(-samples // FRAME)


def test_a_pose_waits_for_31_ms_after_its_own_sound() -> None:
    stream = PoseStream()
    needed = FRAME + round(LOOKAHEAD_SECONDS * SAMPLE_RATE)
    assert len(stream.push(np.zeros(needed - 1, np.float32))) == 0
    assert len(stream.push(np.zeros(1, np.float32))) == 1
    assert LOOKAHEAD_SECONDS < 0.04


@pytest.mark.parametrize("start", [1.0, 1.01, 1.02, 1.03])
def test_mouth_and_sound_begin_and_end_within_40_ms(start: float) -> None:
    burst = voiced(VOWELS["a"], 0.4)
    jaw = find_poses(np.concatenate([pause(start), burst, pause(1.0)]))[:, JAW]
    opened = np.flatnonzero(jaw > 0.1)
    assert abs(1000 * start - 40 * opened[0]) <= 40
    assert abs(1000 * (start + 0.4) - 40 * (opened[-1] + 1)) <= 40
    assert (np.diff(opened) == 1).all()


def test_lids_and_head_are_the_same_in_every_run_and_other_for_another_face() -> None:
    sound = np.tile(speech(), 5)
    poses = find_poses(sound)
    np.testing.assert_array_equal(poses, find_poses(sound))
    shut = poses[:, BLINK] == 1
    assert 2 <= np.count_nonzero(shut[1:] & ~shut[:-1]) <= len(poses) / 25 / 2
    assert np.abs(poses[:, 6:8]).max() < 0.03 and np.abs(poses[:, 8]).max() < 3
    assert np.abs(np.diff(poses[:, 6:8], axis=0)).max() < 0.006  # of the width in a frame: calm
    other = PoseStream(seed=1)
    others = np.concatenate([other.push(sound), other.finish()])
    np.testing.assert_array_equal(others[:, JAW], poses[:, JAW])
    assert (others[:, BLINK] != poses[:, BLINK]).any()


def test_live_sound_moves_like_the_recording() -> None:
    sound = (speech() * 32767).astype("<i2")
    motion = LiveMotion(PcmFormat("s16le", SAMPLE_RATE))
    found = [motion.push(sound[place : place + 320].tobytes()) for place in range(0, sound.size, 320)]
    found.append(motion.finish())
    whole = find_poses((sound / 32768).astype(np.float32))
    assert np.abs(np.concatenate(found) - whole).max() < 1e-3


def test_a_recorder_s_container_comes_too_late_to_move_with() -> None:
    with pytest.raises(InvalidOption, match="raw samples"):
        LiveMotion(Media("webm"))


def test_poses_as_json_name_their_columns() -> None:
    said = json.loads(poses_json(find_poses(speech())))
    assert tuple(said["names"]) == POSE_NAMES
    assert said["frames_per_second"] == 25
    assert {len(row) for row in said["poses"]} == {9}


@pytest.mark.slow
@pytest.mark.parametrize("voice", ["en-us", "en-us+f2", "de"])
def test_a_synthesiser_s_syllables_close_open_and_round_the_lips(voice: str, tmp_path: Path) -> None:
    program = shutil.which("espeak-ng")
    if program is None:
        pytest.skip("no espeak-ng on this machine; Debian's package is espeak-ng")

    def said(phonemes: str) -> FloatArray:
        subprocess.run([program, "-v", voice, "-w", str(tmp_path / "said.wav"), f"[[{phonemes}]]"], check=True)
        return find_poses(read_recording(tmp_path / "said.wav").waveform)

    for consonant in "mbp":
        jaw = said(f"'a:{consonant}'a:")[:, JAW]
        opened = np.flatnonzero(jaw > 0.5)
        inside = jaw[opened[0] : opened[-1] + 1]
        assert inside.min() < 0.12, (consonant, jaw.round(2))
    assert said("'a:")[1:4, JAW].max() > 0.6
    for vowel in ("o:", "u:"):
        poses = said(f"'{vowel}")
        spoken = poses[poses[:, JAW] > 0.05]
        assert spoken[:, ROUNDING].max() > 0.5, (vowel, poses[:, :3].round(2))
