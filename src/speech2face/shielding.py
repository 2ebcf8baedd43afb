"""What a voice gives away, and a voice that gives it away no more: measured, changed, and measured again.

The voice is taken apart and put together anew (`audio/vocoder.py`), step by step stronger, until the model reads
nothing in it: neither gender nor age nor that it is the same speaker. The steps are the same for every voice; the
resonances are moved as far as this voice's gender reading needs, and where no step is enough the nearest is walked on
from. Whoever knows the steps can learn to listen through them: `LIMITS` says so, and `benchmarks/shield.csv` how well
one such listener does.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from speech2face.audio.recording import Recording, Source, can_encode
from speech2face.audio.spectrogram import SAMPLE_RATE, SAMPLE_SCALE, FloatArray
from speech2face.audio.speech import Activity, require_speech
from speech2face.audio.vocoder import (
    FFT_SIZE,
    HOP,
    Voice,
    VoiceChange,
    median_pitch,
    moved_envelope,
    put_together,
    take_apart,
    track_pitch,
)
from speech2face.console import Tell, unheard
from speech2face.errors import InvalidOption, NoSpeech
from speech2face.inputs import PathLike, brief, plain_path
from speech2face.models.contract import Given, Model, SpeakerEncoding, SpeakerModel, speaker_model
from speech2face.outputs import write_together
from speech2face.portrait import as_recording, check_model, draw_picture, gender_facts
from speech2face.voice.belief import cosine

# --- What is wanted, and what cannot be promised.

GENDER_LOW, GENDER_HIGH = 0.4, 0.6  # of the probability that the voice is read as a woman's
WIDEST_SHARE: Final = 0.95  # of the widest interval of age that the model states of anybody heard for so long
# Cosines of the starter's speaker embeddings over calibration speakers, whom it did not learn from: of two speakers one
# pair in ten is more alike than this, half are over 0; of two halves of one recording 99 in 100 are over 0.34.
IMPOSTOR_COSINE: Final = 0.21
# Of `understandable`; see `benchmarks/shield.csv` for what harmless changes and destroyed speech get.
UNDERSTANDABLE: Final = 0.25  # what white noise as loud as the speech leaves
LIMITS: Final = (
    "This says what one model no longer reads. It is no proof against a stronger one, and whoever knows the shield"
    " still links two shielded recordings of one speaker nearly as well as plain ones. Words, accent, pace and manner"
    " of speaking stay, as do background sounds and what is said."
)
COMMENT: Final = "Synthetic voice: changed by speech2face shield so that it gives less away about the speaker"

# --- The steps, tried in this order until the goals are reached.

STEPS: Final = (
    VoiceChange(pitch_hz=160.0, mcadams=0.8, breath=0.2),
    VoiceChange(pitch_hz=160.0, mcadams=0.75, breath=0.5),
    VoiceChange(pitch_hz=160.0, mcadams=0.68, breath=0.7),
    VoiceChange(pitch_hz=240.0, mcadams=0.7, breath=0.4),  # for voices that as a whisper are read as a man's
)
# Where no step is enough, the nearest is walked on from: by so much in octaves of the resonances, exponent and breath.
STRIDES: Final = ({"formants": 0.07}, {"mcadams": -0.04}, {"breath": 0.2}, {"pitch_hz": 0.25})
REFINEMENTS: Final = 14  # tries
MCADAMS_LEAST: Final = 0.6
FORMANTS_LEAST, FORMANTS_MOST = 0.7, 1.5  # beyond, voices are nobody's, and their reading turns round
LEAST_OCTAVES, MOST_OCTAVES = 0.02, 0.3  # of one try's move
FORMANT_TRIES: Final = 3  # a step
MOST_TRIES: Final = len(STEPS) * FORMANT_TRIES + REFINEMENTS
LOGITS_AN_OCTAVE: Final = 14.0  # about what the gender reading moves as resonances go up by an octave
NEUTRAL_LOGIT: Final = 0.2  # nearer to even than this needs no further try
EXCERPT_SEGMENTS, SEGMENT_SAMPLES = 3, 3 * SAMPLE_RATE  # of the speech, on which the steps are tried
MARGIN: Final = 0.01  # by which a goal is to be reached on the excerpt, for the whole is a little different
STRETCH_SAMPLES = SAMPLE_RATE * 300 // 1000  # about a syllable and a half
# Mean spectral envelope of voiced speech over 120 speakers that the starter learned from, men and women alike, as the
# first coefficients of a cepstrum (of the natural logarithm of power): what every voice's colour is brought to.
MEAN_CEPSTRUM: Final = (
    *(-1.558, 2.247, 0.299, 0.668, 0.139, 0.528, 0.024, 0.248, -0.018, 0.087, -0.059, 0.011),
    *(-0.053, -0.021, -0.075, -0.068, -0.084, -0.067, -0.063, -0.051, -0.061, -0.060, -0.064, -0.055),
)
COLOUR_LEAST, COLOUR_MOST = -5.0, 2.0  # -22 and 9 dB: what a telephone cut off is not brought back as noise
COLOUR_BINS = slice(6, 350)  # 100 Hz to 5.5 kHz, whose mean is the level
BENT_FROM: Final = 0.7  # louder peaks are bent, not cut off


@dataclass(frozen=True)
class Exposure:
    """What the model reads in a voice.

    `age_interval` holds 80 % of the belief, in years; `widest_years` is how wide it would be if the recording were
    wholly unfamiliar. `beyond` is how far pairs of voices and faces move the face beyond age and gender, in face
    embedding, None where the model knows only these.
    """

    femininity: float
    age: float
    age_interval: tuple[float, float]
    widest_years: float
    child_probability: float
    is_child: bool
    beyond: float | None

    @property
    def interval_share(self) -> float:
        """The interval's width over the widest that there is, 1 at its widest."""
        return (self.age_interval[1] - self.age_interval[0]) / max(self.widest_years, 1e-9)


@dataclass(frozen=True)
class Goal:
    """One thing that is wanted of a shielded voice, as a number before and after; `wanted` says what, in words."""

    name: str
    before: float
    after: float
    wanted: str
    reached: bool


@dataclass(frozen=True, repr=False)
class Shielded:
    """A shielded recording: its sound, and what the model read before and after.

    `audio` is mono float32 in [-1, 1], (samples,), at `rate`, as long as the recording. `same_speaker` is the cosine
    of the speaker embeddings before and after, at most 1; `understandable` how alike stretches of a third of a second
    are before and after in what the encoder makes of them, 1 the same, 0 speech destroyed; `kept_beyond` which share of
    the correction beyond age and gender is still there. `faces` are the expected faces, (height, width, 3) uint8 each.
    """

    audio: FloatArray
    rate: int
    before: Exposure
    after: Exposure
    same_speaker: float
    understandable: float
    kept_beyond: float | None
    change: VoiceChange
    loudness_db: float
    seconds_heard: float
    faces: tuple[np.ndarray, np.ndarray]
    model_name: str
    model_version: str
    notice: str
    limits: str = LIMITS

    def __repr__(self) -> str:
        """Return one line: length, what was reached."""
        reached = sum(goal.reached for goal in self.goals)
        return brief(self, f"{self.audio.size / self.rate:.1f} s", f"{reached} of {len(self.goals)} goals reached")

    @property
    def goals(self) -> tuple[Goal, ...]:
        """What was wanted, and whether it was reached."""
        return find_goals(self.before, self.after, self.same_speaker, self.understandable)

    @property
    def reached(self) -> bool:
        """Whether all goals were."""
        return all(goal.reached for goal in self.goals)

    def facts(self) -> dict[str, Any]:
        """Return everything but sound and faces, JSON-ready."""
        return {
            "reached": self.reached,
            "goals": [vars(goal) | _rounded(goal) for goal in self.goals],
            "before": _exposure_facts(self.before),
            "after": _exposure_facts(self.after),
            "kept_beyond_attributes": None if self.kept_beyond is None else round(self.kept_beyond, 3),
            "change": {
                name: round(float(value), 3) for name, value in vars(self.change).items() if isinstance(value, float)
            },
            "loudness_db": round(self.loudness_db, 2),
            "seconds": round(self.audio.size / self.rate, 2),
            "seconds_heard": round(self.seconds_heard, 2),
            "sample_rate": self.rate,
            "model": {"name": self.model_name, "version": self.model_version},
            "limits": self.limits,
        }

    def encoded(self, kind: SoundKind) -> bytes:
        """Return the sound as the bytes of a file of this kind, 16 kHz and mono, whose comment says what it is."""
        return encode_waveform(self.audio, kind, comment=COMMENT)

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write the sound whole or not at all; WAV, FLAC, MP3, Opus or M4A by the name's ending.

        Raises:
            InvalidOption: another ending.
            OutputExists: something is at the path and `force` is not set.
            CannotWrite: the file cannot be written.
        """
        place = plain_path(path, "the path")
        write_together({place: self.encoded(sound_kind(place))}, force=force)

    def sheet(self) -> bytes:
        """Return a labelled PNG with the expected faces before and after, side by side."""
        from speech2face.sheets import draw_before_after

        return draw_before_after(
            self.faces,
            [_caption(each) for each in (self.before, self.after)],
            title="What a voice gives away, before and after the shield",
            footer=(
                f"Same speaker {self.same_speaker:.2f} (strangers: {IMPOSTOR_COSINE:g} or less, itself: 1)."
                f" {'All goals reached.' if self.reached else 'Not all goals reached.'}",
                "Average faces of a model, nobody's likeness. One model reads nothing more; another one may.",
                f"Model {self.model_name} {self.model_version}",
            ),
            model=(self.model_name, self.model_version),
            notice=self.notice,
        )


def find_goals(before: Exposure, after: Exposure, same_speaker: float, understandable: float) -> tuple[Goal, ...]:
    """What is wanted of a shielded voice, and whether it was reached."""
    return (
        Goal(
            "gender_probability", before.femininity, after.femininity, f"{GENDER_LOW:g} to {GENDER_HIGH:g}",
            GENDER_LOW <= after.femininity <= GENDER_HIGH,
        ),
        Goal(
            "age_interval_share", before.interval_share, after.interval_share,
            f"{WIDEST_SHARE:g} of the widest, or more", after.interval_share >= WIDEST_SHARE,
        ),
        Goal("same_speaker", 1.0, same_speaker, f"{IMPOSTOR_COSINE:g} or less", same_speaker <= IMPOSTOR_COSINE),
        Goal(
            "understandable", 1.0, understandable, f"{UNDERSTANDABLE:g} or more", understandable >= UNDERSTANDABLE
        ),
    )  # fmt: skip


def _rounded(goal: Goal) -> dict[str, Any]:
    return {"before": round(goal.before, 4), "after": round(goal.after, 4), "reached": bool(goal.reached)}


def _exposure_facts(exposure: Exposure) -> dict[str, Any]:
    low, high = exposure.age_interval
    return {
        "femininity": round(exposure.femininity, 4),
        "age": round(exposure.age, 1),
        "age_interval_80": [round(low, 1), round(high, 1)],
        "age_interval_widest_years": round(exposure.widest_years, 1),
        "child_probability": round(exposure.child_probability, 4),
        "beyond_attributes": None if exposure.beyond is None else round(exposure.beyond, 4),
    }


def _caption(exposure: Exposure) -> tuple[str, str]:
    low, high = exposure.age_interval
    return (
        f"voice read as {gender_facts(exposure.femininity)['text']}",
        f"age {low:.0f} to {high:.0f} (80 %)",
    )


# --- Measuring.


def expose(encoding: SpeakerEncoding) -> Exposure:
    """What a model reads in one recording."""
    attributes, beyond = encoding.attributes, encoding.beyond_attributes
    return Exposure(
        femininity=attributes.femininity,
        age=attributes.age_mean,
        age_interval=attributes.age_interval(),
        widest_years=encoding.widest_interval_years,
        child_probability=attributes.child_probability,
        is_child=encoding.is_child,
        beyond=None if beyond is None else float(np.linalg.norm(beyond)),
    )


def syllables(model: SpeakerModel, speech: FloatArray) -> FloatArray:
    """Stretches of speech as encoded, less what all have in common, which is the speaker; (stretches, channels)."""
    rows = model.encode_stretches(speech, STRETCH_SAMPLES)
    rows = rows - rows.mean(0)
    rows = rows / (rows.std(0) + 1e-6)
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9), np.float32)


# --- Changing.


@dataclass(frozen=True)
class _Excerpt:
    """The part of the speech on which steps are tried, taken apart once."""

    speech: FloatArray
    voices: tuple[Voice, ...]
    median_hz: float | None
    encoding: SpeakerEncoding
    syllables: FloatArray


@dataclass(frozen=True)
class _Tried:
    change: VoiceChange
    exposure: Exposure
    same_speaker: float
    understandable: float

    def shortfall(self) -> float:
        """How far it is from the goals, 0 if all are reached; each counts by its own scale."""
        return (
            max(0.0, abs(self.exposure.femininity - 0.5) - (GENDER_HIGH - 0.5) + MARGIN)
            + max(0.0, WIDEST_SHARE - self.exposure.interval_share + MARGIN)
            + max(0.0, self.same_speaker - IMPOSTOR_COSINE + MARGIN)
            + max(0.0, UNDERSTANDABLE - self.understandable + MARGIN)
        )


def _excerpt(model: SpeakerModel, speech: FloatArray) -> _Excerpt:
    """Up to three pieces of three seconds, spread over the speech."""
    most = EXCERPT_SEGMENTS * SEGMENT_SAMPLES
    if speech.size > most:
        starts = np.linspace(0, speech.size - SEGMENT_SAMPLES, EXCERPT_SEGMENTS).astype(int)
        speech = np.concatenate([speech[at : at + SEGMENT_SAMPLES] for at in starts])
    pitch = track_pitch(speech)
    return _Excerpt(
        speech,
        tuple(take_apart(speech, pitch)),
        median_pitch(pitch),
        model.encode(speech),
        syllables(model, speech),
    )


def _coloured(excerpt: _Excerpt, change: VoiceChange) -> VoiceChange:
    """The change with the colour that brings this voice's mean envelope, once moved, to everybody's."""
    total, count = np.zeros(FFT_SIZE // 2 + 1), 0
    for voice in excerpt.voices:
        chosen = voice.pitch_hz > 0
        if chosen.any():
            total += moved_envelope(voice.envelope[chosen], change).sum(0)
            count += int(chosen.sum())
    if not count:
        return change
    mean = total / count
    keep = len(MEAN_CEPSTRUM)
    everybody = np.zeros(FFT_SIZE)
    everybody[:keep] = MEAN_CEPSTRUM
    everybody[-keep + 1 :] = MEAN_CEPSTRUM[:0:-1]
    wanted = np.fft.rfft(everybody).real - (mean - mean[COLOUR_BINS].mean())
    cepstrum = np.fft.irfft(np.clip(wanted, COLOUR_LEAST, COLOUR_MOST))
    cepstrum[keep : -keep + 1] = 0  # the colour, not the harmonics
    return replace(change, colour=np.fft.rfft(cepstrum).real.astype(np.float32))


def _try(model: SpeakerModel, excerpt: _Excerpt, step: VoiceChange) -> _Tried | None:
    """One change on the excerpt and what is read in it then; None: no voice is recognised any more."""
    change = _coloured(excerpt, step)
    made = put_together(iter(excerpt.voices), excerpt.speech.size, excerpt.median_hz, change)
    made = _levelled(made, ((0, made.size),), _level(excerpt.speech))
    try:
        encoding = model.encode(made)
    except NoSpeech:
        return None
    alike = float(np.einsum("ij,ij->i", excerpt.syllables, syllables(model, made)).mean())
    return _Tried(step, expose(encoding), cosine(excerpt.encoding.speaker_embedding, encoding.speaker_embedding), alike)


_Attempt = Callable[[VoiceChange], _Tried | None]


def _neutral(attempt: _Attempt, step: VoiceChange, formants: float) -> Iterator[_Tried]:
    """One step with the resonances moved until gender is open: every try, by secants within what is known."""
    low, high = np.log2(FORMANTS_LEAST), np.log2(FORMANTS_MOST)
    at, slope = float(np.log2(formants)), LOGITS_AN_OCTAVE
    last: tuple[float, float] | None = None
    for _ in range(FORMANT_TRIES):
        tried = attempt(replace(step, formants=float(2**at)))
        if tried is None:
            return
        yield tried
        femininity = min(max(tried.exposure.femininity, 1e-6), 1 - 1e-6)
        logit = float(np.log(femininity / (1 - femininity)))
        if abs(logit) < NEUTRAL_LOGIT or high - low < LEAST_OCTAVES:
            return
        low, high = (at, high) if logit < 0 else (low, at)
        if last is not None and (logit - last[1]) * (at - last[0]) > 0:
            slope = (logit - last[1]) / (at - last[0])
        last = at, logit
        at -= min(max(logit / slope, -MOST_OCTAVES), MOST_OCTAVES)
        if not low < at < high:
            at = (low + high) / 2


def _walked(change: VoiceChange, stride: dict[str, float], sign: int) -> VoiceChange:
    """The change, one stride further or back, within what there is."""
    ((name, size),) = stride.items()
    if name == "formants":
        return replace(change, formants=min(max(change.formants * 2 ** (sign * size), FORMANTS_LEAST), FORMANTS_MOST))
    if name == "mcadams":
        return replace(change, mcadams=min(max(change.mcadams + sign * size, MCADAMS_LEAST), 1.0))
    if name == "breath":
        return replace(change, breath=min(max(change.breath + sign * size, 0.0), 1.0))
    return replace(change, pitch_hz=min(max((change.pitch_hz or 160.0) * 2 ** (sign * size), 110.0), 280.0))


def _refined(attempt: _Attempt, best: _Tried) -> _Tried:
    """The nearest that is found by walking on from `best`, a stride at a time, while goals are missed."""
    tries = 0
    while tries < REFINEMENTS:
        found = best
        for stride in STRIDES:
            for sign in (1, -1):
                change = _walked(best.change, stride, sign)
                if change == best.change or tries >= REFINEMENTS or not best.shortfall():
                    continue
                tries += 1
                tried = attempt(change)
                if tried is not None and tried.shortfall() < best.shortfall():
                    best = tried
                    break
        if found is best:
            break
    return best


def find_change(model: SpeakerModel, speech: FloatArray, progress: Tell = unheard) -> tuple[VoiceChange, _Excerpt]:
    """The first change that reaches all goals on an excerpt of the speech, (samples,), or the one nearest to them."""
    excerpt, numbers = _excerpt(model, speech), itertools.count(1)

    def attempt(step: VoiceChange) -> _Tried | None:
        tried = _try(model, excerpt, step)
        progress("changes tried", next(numbers), MOST_TRIES)
        return tried

    formants = 1.0
    best: _Tried | None = None
    for step in STEPS:
        for tried in _neutral(attempt, step, formants):
            formants = tried.change.formants
            if best is None or tried.shortfall() < best.shortfall():
                best = tried
        if best is not None and not best.shortfall():
            break
    if best is None:
        raise NoSpeech("the model recognises no voice in it once it is changed; record somebody talking closer by")
    best = _refined(attempt, best)
    return _coloured(excerpt, best.change), excerpt


def _level(speech: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(speech, dtype=np.float64))))


def _levelled(waveform: FloatArray, spans: Any, level: float) -> FloatArray:
    """As loud as before where somebody speaks, peaks over `BENT_FROM` bent so that none is over 1, (samples,)."""
    for _ in range(2):  # bending takes a little, which the second round gives back
        now = _level(np.concatenate([waveform[start:stop] for start, stop in spans]))
        waveform = waveform * np.float32(level / max(now, 1e-9))
        size = np.abs(waveform)
        bent = BENT_FROM + (1 - BENT_FROM) * np.tanh((size - BENT_FROM) / (1 - BENT_FROM))
        waveform = np.where(size > BENT_FROM, np.sign(waveform) * bent, waveform)
    return np.asarray(waveform, np.float32)


def shield(
    recording: Source | Recording,
    model: Model | None = None,
    *,
    sample_rate: float | None = None,
    track: int | None = None,
    progress: Tell = unheard,
) -> Shielded:
    """Change a voice until the model reads nothing in it, and say what it read before and after.

    What is reached is in `Shielded.goals`; where it is not everything, the nearest is returned. `Shielded.limits` says
    what is not promised.

    Args:
        recording: a path, the bytes of a file, a binary file, `(array, sample_rate)`, or a `Recording` already read.
        model: from `load_model`, one that states age and gender; None is the starter.
        sample_rate: of an array given alone.
        track: which of several sound tracks is heard, from 1; None takes the one that a player would.
        progress: called with what is counted, how many are done and of how many, None where nobody knows.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with the recording.
        InvalidOption: a model that states neither age nor gender.
    """
    if model is None:
        from speech2face.models import load_model

        model = load_model()
    check_model(model)
    telling = speaker_model(model)
    model.prefetch()
    waveform = as_recording(recording, sample_rate, track).waveform
    activity = require_speech(waveform)
    speech = activity.speech()
    encoding = telling.encode(speech)
    change, excerpt = find_change(telling, speech, progress)
    progress("finding the pitch", 0, None)
    pitch = track_pitch(waveform)
    voices = _told(take_apart(waveform, pitch), waveform.size, progress)
    made = put_together(voices, waveform.size, excerpt.median_hz, change)
    progress("reading the changed voice", 0, None)
    made = _levelled(made, activity.spans, _level(speech))
    changed = Activity(made, activity.spans).speech()
    after = telling.encode(changed)
    most = EXCERPT_SEGMENTS * SEGMENT_SAMPLES
    alike = syllables(telling, speech[:most]) * syllables(telling, changed[:most])
    faces = [draw_picture(model, model.exaggerated(each.belief(Given()).mean, 0.0)).image for each in (encoding, after)]
    return Shielded(
        audio=made,
        rate=SAMPLE_RATE,
        before=expose(encoding),
        after=expose(after),
        same_speaker=cosine(encoding.speaker_embedding, after.speaker_embedding),
        understandable=float(alike.sum(1).mean()),
        kept_beyond=_kept(encoding.beyond_attributes, after.beyond_attributes),
        change=change,
        loudness_db=20 * float(np.log10(_level(changed) / max(_level(speech), 1e-9))),
        seconds_heard=activity.seconds,
        faces=(faces[0], faces[1]),
        model_name=model.release.name,
        model_version=model.release.version,
        notice=model.notice,
    )


def _told(voices: Iterator[Voice], samples: int, progress: Tell) -> Iterator[Voice]:
    """The same blocks; how many seconds of how many they are is told once each is done with."""
    frames = 0
    for voice in voices:
        yield voice
        frames += voice.pitch_hz.size
        progress("seconds changed", min(frames * HOP, samples) // SAMPLE_RATE, samples // SAMPLE_RATE)


def _kept(before: FloatArray | None, after: FloatArray | None) -> float | None:
    """Share of what was before that is still there, along its direction; None where there was nothing."""
    if before is None or after is None or not np.any(before):
        return None
    return float(before @ after / (before @ before))


# --- A waveform as the bytes of a sound file, encoded in memory by FFmpeg.

BIT_RATE: Final = 64_000  # of lossy kinds: a voice at 16 kHz loses nothing that is heard
BLOCK_SAMPLES: Final = 60 * SAMPLE_RATE


class SoundKind(NamedTuple):
    """FFmpeg's names of a container and of the encoder that fills it, and the samples it takes."""

    container: str
    encoder: str
    sample_format: str


KINDS: Final = {
    ".wav": SoundKind("wav", "pcm_s16le", "s16"),
    ".flac": SoundKind("flac", "flac", "s16"),
    ".mp3": SoundKind("mp3", "libmp3lame", "s16p"),
    ".ogg": SoundKind("ogg", "libopus", "s16"),
    ".opus": SoundKind("ogg", "libopus", "s16"),
    ".m4a": SoundKind("ipod", "aac", "fltp"),
}
"""By the ending of a file's name."""


def sound_kind(path: Path) -> SoundKind:
    """Return the kind of file that the ending of a name asks for.

    Raises:
        InvalidOption: another ending than those of `KINDS`, or one whose encoder this PyAV does not have.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise InvalidOption(f"{path} says no kind of sound that can be written; end it in {', '.join(KINDS)}")
    if not can_encode(kind.encoder):
        raise InvalidOption(f"this PyAV has no encoder {kind.encoder}, which {path} needs; end the name in .wav")
    return kind


def encode_waveform(waveform: FloatArray, kind: SoundKind, *, comment: str = "") -> bytes:
    """Return a waveform, (samples,) in [-1, 1] at 16 kHz, as the bytes of a mono file whose comment says `comment`."""
    import av  # 50 ms, and not needed by whoever writes nothing

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind.container) as sink:
        sink.metadata["comment"] = comment
        stream: Any = sink.add_stream(kind.encoder, rate=SAMPLE_RATE, layout="mono", format=kind.sample_format)
        if kind.sample_format != "s16" or "opus" in kind.encoder:
            stream.bit_rate = BIT_RATE
        stream.codec_context.open()
        frame_size = stream.codec_context.frame_size or None
        converter = av.AudioResampler(kind.sample_format, "mono", SAMPLE_RATE, frame_size=frame_size)
        for start in range(0, waveform.size, BLOCK_SAMPLES):
            part = waveform[start : start + BLOCK_SAMPLES]
            whole = np.clip(np.rint(part * SAMPLE_SCALE), -SAMPLE_SCALE, SAMPLE_SCALE - 1).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            for packet in converter.resample(frame):
                sink.mux(stream.encode(packet))
        for packet in converter.resample(None):
            sink.mux(stream.encode(packet))
        sink.mux(stream.encode(None))
    return buffer.getvalue()
