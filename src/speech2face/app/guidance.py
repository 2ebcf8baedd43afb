"""How good a recording or photograph is that somebody makes just now: measured, as codes for which the page has words.

What stands in the way of learning refuses a photograph; what only makes it worse is advice, and is written into the
record. The limits are those of `data prepare`, or stricter: the person is still there and can do it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import SILENCE_RMS, Activity, find_speech, snr_db
from speech2face.data.faces import FaceCandidate, FaceLimits, FaceSearch, SeenFace, aligned_face, face_alignment
from speech2face.data.media import Rejected
from speech2face.errors import NoSpeech, SilentRecording, TooLittleSpeech
from speech2face.face.align import Points
from speech2face.face.detect import Picture

# --------------------------------------------------------------------------------------------------
# The voice.
# --------------------------------------------------------------------------------------------------

RECENT_SECONDS: Final = 4.0  # that advice is about: what somebody can still change
QUIET_DB: Final = -42.0  # of the speech, full scale being 0: a voice at an arm's length is at -30 to -20
CLIPPED: Final = 0.985  # of full scale
CLIPPED_SHARE: Final = 5e-4  # of the samples; a plosive may reach full scale once
NOISE_SNR_DB: Final = 16.0  # as in the shipped release, whose caution `noise` it is
NOT_A_VOICE: Final = "not_a_voice"  # refuses the recording; the others are advice
VOICE_CODES: Final = (NOT_A_VOICE, "child_voice", "no_sound", "no_speech", "too_quiet", "clipping", "noisy")
VoiceCheck = Callable[[FloatArray], tuple[str, ...]]
"""What a model says of a whole recording, (samples,) at 16 kHz: codes of `VOICE_CODES`."""


@dataclass(frozen=True)
class VoiceReport:
    """A recording so far."""

    speech_seconds: float
    seconds: float
    level_db: float | None
    """Of the speech in the last seconds, full scale being 0; None where there was none."""
    snr_db: float | None
    """Of the whole recording; None without speech."""
    advice: tuple[str, ...]
    """Of `VOICE_CODES`, about the last seconds."""
    findings: tuple[str, ...]
    """Of `VOICE_CODES`, about the whole recording: for its record."""

    def enough(self, wanted_seconds: float) -> bool:
        """Whether it holds so much speech, of a voice."""
        return self.speech_seconds >= wanted_seconds and NOT_A_VOICE not in self.findings


def judge_voice(
    samples: NDArray[np.int16], sample_rate: int, *, wanted_seconds: float = math.inf, check: VoiceCheck | None = None
) -> VoiceReport:
    """Judge a recording, (samples,) mono; the speech is what the project's own finder finds.

    That finder takes a steady tone or noise for speech too. `check` is asked once there are `wanted_seconds`.

    Raises:
        Speech2FaceError: a sample rate that cannot be read.
    """
    if not samples.size:
        return VoiceReport(0.0, 0.0, None, None, (), ())
    waveform = read_recording((samples, sample_rate)).waveform
    activity = find_speech(waveform)
    recent_start = max(0, waveform.size - round(RECENT_SECONDS * SAMPLE_RATE))
    recent = _since(activity, recent_start)
    tail = samples[-round(RECENT_SECONDS * sample_rate) :]
    noise = snr_db(activity) if activity.spans else None
    return VoiceReport(
        speech_seconds=activity.seconds,
        seconds=samples.size / sample_rate,
        level_db=_level_db(recent.speech()),
        snr_db=noise,
        advice=_advice(recent, tail, noise) if waveform.size >= SAMPLE_RATE else (),
        findings=(
            *(check(waveform) if check is not None and activity.seconds >= wanted_seconds else ()),
            *_advice(activity, samples, noise),
        ),
    )


def open_voice_check() -> VoiceCheck:
    """The shipped model, which tells voices from other sounds, and children's from adults'.

    Raises:
        WeightsError: its weights are missing or damaged.
    """
    from speech2face.models.contract import CHILD
    from speech2face.models.open import load_model
    from speech2face.portrait import encode_speech

    model = load_model(threads=1)

    def check(waveform: FloatArray) -> tuple[str, ...]:
        try:
            _, encoding = encode_speech(model, waveform)
        except (SilentRecording, NoSpeech, TooLittleSpeech):
            return (NOT_A_VOICE,)
        return ("child_voice",) if CHILD in encoding.cautions() else ()

    return check


def _since(activity: Activity, start: int) -> Activity:
    spans = ((max(first, start) - start, last - start) for first, last in activity.spans if last > start)
    return Activity(activity.waveform[start:], tuple(spans))


def _advice(activity: Activity, samples: NDArray[np.int16], noise: float | None) -> tuple[str, ...]:
    centred = activity.waveform - activity.waveform.mean(dtype=np.float64)
    if math.sqrt(float(np.mean(np.square(centred, dtype=np.float64)))) < SILENCE_RMS:
        return ("no_sound",)
    clipped = np.mean(np.abs(samples.astype(np.int32)) >= CLIPPED * 32768) > CLIPPED_SHARE
    level = _level_db(activity.speech())
    if level is None:
        return ("no_speech", "clipping") if clipped else ("no_speech",)
    return tuple(
        code
        for code, found in (
            ("too_quiet", level < QUIET_DB),
            ("clipping", clipped),
            ("noisy", noise is not None and noise < NOISE_SNR_DB),
        )
        if found
    )


def _level_db(speech: NDArray[np.float32]) -> float | None:
    if not speech.size:
        return None
    return 10 * math.log10(float(np.mean(np.square(speech, dtype=np.float64))) + 1e-12)


# --------------------------------------------------------------------------------------------------
# The photographs.
# --------------------------------------------------------------------------------------------------

UNCHECKED: Final = "unchecked"
REFUSED_CODES: Final = ("no_face", "several_faces", "too_small", "too_near", "cut_off", "not_frontal", "blurred")
ADVICE_CODES: Final = ("too_dark", "too_bright", "uneven_light", "eyes_shut", "mouth_open")
LEAST_PIXELS: Final = 100  # of a face in a photograph that is kept: learning works with 224 across the whole head
LEAST_SHARE: Final = 0.22  # of the picture's shorter side, that the face's square takes
MOST_SHARE: Final = 0.75
TURN_DEGREES: Final = 20.0  # data prepare lets 25 pass; who is asked to look straight can do better
EYES_OPEN: Final = 0.17  # under 0.2 eyes are shut or narrow; many people's open eyes have 0.2
MOUTH_OPEN: Final = 0.2
DARK, BRIGHT = 40.0, 225.0  # mean brightness in the middle of the face, 0 to 255: dark skin in good light is over 50
BURNT: Final = 250
BURNT_SHARE: Final = 0.08
UNEVEN_STOPS: Final = 0.8  # one half of the face gets 1.7 times the light of the other
LIGHT_PIXELS: Final = 112  # of the aligned face on which light is measured
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class PhotographReport:
    """A picture of a person, as a learner would see it."""

    refused: tuple[str, ...]
    """Of `REFUSED_CODES`: it is not taken."""
    advice: tuple[str, ...]
    """Of `ADVICE_CODES`, or `UNCHECKED`."""
    box: tuple[float, float, float, float] | None = None
    """Left, top, right and bottom of the face, 0 to 1 of width and height."""

    @property
    def findings(self) -> tuple[str, ...]:
        """All of it, for the record."""
        return (*self.refused, *self.advice)


class PhotographJudge(Protocol):
    """Anything that judges a picture."""

    def judge(self, picture: Picture, *, kept: bool) -> PhotographReport:
        """Judge a picture (height, width, 3); one that is to be kept also needs enough pixels."""
        ...


class NoJudge:
    """Where no finder of faces is installed: every photograph is taken, and marked as unchecked."""

    def judge(self, picture: Picture, *, kept: bool) -> PhotographReport:
        """Take it."""
        return PhotographReport((), (UNCHECKED,))


class FaceJudge:
    """By the finder of faces that `data prepare` uses, dlib's (extra `faces`); not for several threads at once."""

    def __init__(self) -> None:
        """Raises:
        MissingExtra: dlib is not installed.
        """
        from speech2face.face.detect import DlibDetector
        from speech2face.face.landmarks import DlibLandmarker

        self._search = FaceSearch(DlibDetector(enlargements=0), DlibLandmarker(), FaceLimits())

    def judge(self, picture: Picture, *, kept: bool) -> PhotographReport:
        """Judge a picture by its one face."""
        candidate = FaceCandidate(picture)
        try:
            (_, box) = self._search.find([candidate])[0]
            self._search.check_alone(candidate, box)
        except Rejected as rejected:
            return PhotographReport((rejected.reason,), ())
        face = self._search.measure(candidate, box)
        height, width = picture.shape[:2]
        place = (box.left / width, box.top / height, box.right / width, box.bottom / height)
        return PhotographReport(refusals(face, kept=kept), advice_on(face), place)


def refusals(face: SeenFace, *, kept: bool) -> tuple[str, ...]:
    """What keeps a face from being learned from: the first of distance, edge, turn and sharpness."""
    height, width = face.picture.shape[:2]
    share = face.pixels / min(height, width)
    low, high = face.points.min(0), face.points.max(0)
    if share < LEAST_SHARE or (kept and face.pixels < LEAST_PIXELS):
        return ("too_small",)
    if bool(np.any(low < 0) or np.any(high > np.array([width, height]) - 1)):
        return ("cut_off",)
    if share > MOST_SHARE:
        return ("too_near",)
    if face.pose.turn_degrees > TURN_DEGREES:
        return ("not_frontal",)
    least = FaceLimits().min_sharpness
    return ("blurred",) if kept and least is not None and face.sharpness < least else ()


def advice_on(face: SeenFace) -> tuple[str, ...]:
    """What could be better about a face: its light, eyes and mouth."""
    lit = light_of(face.picture, face.points)
    found = (
        ("too_dark", lit.mean < DARK),
        ("too_bright", lit.mean > BRIGHT or lit.burnt > BURNT_SHARE),
        ("uneven_light", lit.uneven_stops > UNEVEN_STOPS),
        ("eyes_shut", face.eye_opening < EYES_OPEN),
        ("mouth_open", face.mouth_opening > MOUTH_OPEN),
    )
    return tuple(code for code, is_so in found if is_so)


@dataclass(frozen=True)
class FaceLight:
    """The light on the middle of a face, forehead to chin."""

    mean: float
    """Brightness, 0 to 255."""
    burnt: float
    """Share of pixels at the upper end, where nothing is left to see."""
    uneven_stops: float
    """Between the two halves of the face, in doublings of light."""


def light_of(picture: Picture, points: Points) -> FaceLight:
    """Measure the light on a face with 68 landmarks (68, 2) in a picture (height, width, 3)."""
    aligned = aligned_face(picture, face_alignment(points, LIGHT_PIXELS), LIGHT_PIXELS)
    quarter = LIGHT_PIXELS // 4
    luma = aligned[quarter : -quarter // 2, quarter:-quarter].astype(np.float32) @ _LUMA  # (rows, columns)
    left, right = np.split(luma, [luma.shape[1] // 2], axis=1)
    # Brightness is about the square root of light (gamma 2.2): doubled light is 1.37 times the brightness.
    stops = 2.2 * abs(math.log2((float(left.mean()) + 1) / (float(right.mean()) + 1)))
    return FaceLight(float(luma.mean()), float(np.mean(luma >= BURNT)), stops)


def open_judge() -> tuple[PhotographJudge, str | None]:
    """The finder of faces that is installed, or none and why."""
    from speech2face.errors import MissingExtra

    try:
        return FaceJudge(), None
    except MissingExtra as error:
        return NoJudge(), str(error)
