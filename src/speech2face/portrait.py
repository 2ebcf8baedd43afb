"""A recording in, a portrait out: the whole path."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from speech2face.audio.activity import Activity, require_speech
from speech2face.audio.recording import Recording, read_recording
from speech2face.audio.spectrogram import FloatArray
from speech2face.cautions import Caution, find_cautions, is_child
from speech2face.config import MAX_SAMPLES
from speech2face.errors import InvalidGiven, InvalidOption, NoSpeech
from speech2face.model import Model
from speech2face.runtime import Moments, VoiceReading
from speech2face.voice.belief import ADULT_AGE, OLDEST_FACE, AttributeBelief, Belief

NOTICE = (
    "Synthetic average face: what a voice like this most often goes with in the data the model learned from."
    " Nobody's likeness."
)
MAX_EXAGGERATION = 2.0  # beyond it landmarks cross and colours clip


@dataclass(frozen=True)
class Given:
    """Attributes that the user states instead of leaving them to the voice; None leaves them."""

    age: float | None = None
    gender: Literal["female", "male"] | None = None
    group: str | None = None

    def check(self, groups: tuple[str, ...]) -> None:
        """Refuse what no face can show.

        Raises:
            InvalidGiven: an age outside the adults the model draws, an unknown gender or group.
        """
        if self.age is not None and not ADULT_AGE <= self.age <= OLDEST_FACE:
            raise InvalidGiven(
                f"given age {self.age:g} is outside {ADULT_AGE} to {OLDEST_FACE}, the ages that can be drawn"
            )
        if self.gender not in (None, "female", "male"):
            raise InvalidGiven(f'given gender "{self.gender}" is unknown; give female or male')
        if self.group is not None and self.group not in groups:
            raise InvalidGiven(f'given group "{self.group}" is unknown; give one of {", ".join(groups)}')

    def to_dict(self) -> dict[str, Any]:
        """Only what was given."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Portrait:
    """What the user receives: a picture, what was believed and heard, and what to be careful about.

    `image` is (height, width, 3) uint8; `samples` are further faces drawn from the belief.
    """

    image: np.ndarray
    samples: tuple[np.ndarray, ...]
    attributes: AttributeBelief
    belief: Belief
    seconds_heard: float
    seconds_recorded: float
    cautions: tuple[Caution, ...]
    given: Given
    exaggerate: float
    seed: int | None
    model_name: str
    model_version: str
    population: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """Everything but the pictures, JSON-ready."""
        low, high = self.attributes.age_interval()
        femininity = self.attributes.femininity
        return {
            "age": round(self.attributes.age_mean, 1),
            "age_interval_80": [round(low, 1), round(high, 1)],
            "gender": {
                "reading": "feminine" if femininity >= 0.5 else "masculine",
                "probability": round(max(femininity, 1 - femininity), 4),
            },
            "seconds_heard": round(self.seconds_heard, 2),
            "seconds_recorded": round(self.seconds_recorded, 2),
            "cautions": [{"code": caution.code, "text": caution.text} for caution in self.cautions],
            "given": self.given.to_dict(),
            "exaggerate": self.exaggerate,
            "seed": self.seed,
            "model": {"name": self.model_name, "version": self.model_version},
            "reference_population": self.population,
            "notice": NOTICE,
        }


def hear(model: Model, waveform: FloatArray) -> tuple[Activity, list[Moments], VoiceReading]:
    """The speech of a waveform, (samples,), its moments and what is read from them.

    Raises:
        SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
    """
    activity = require_speech(waveform)
    moments = model.runtime.moments(activity.speech())
    reading = model.runtime.read(moments)
    if reading.voice_logit < model.release.thresholds["voice_logit"]:
        raise NoSpeech(
            "the recording has sound, but no voice was recognised in it (noise, tones, music); record somebody talking"
        )
    return activity, moments, reading


def _override(attributes: AttributeBelief, given: Given, *, child: bool) -> AttributeBelief:
    femininity = {None: attributes.femininity, "female": 1.0, "male": 0.0}[given.gender]
    age = ADULT_AGE if child and given.age is None else given.age  # no child is drawn
    return replace(attributes, femininity=femininity, given_age=age)


def _check_options(model: Model, given: Given, samples: int, exaggerate: float) -> None:
    given.check(model.release.groups)
    if not 0 <= samples <= MAX_SAMPLES:
        raise InvalidOption(f"{samples} samples were asked for; 0 to {MAX_SAMPLES} can be drawn")
    if not 0 <= exaggerate <= MAX_EXAGGERATION:
        raise InvalidOption(f"exaggeration {exaggerate:g} is outside 0 to {MAX_EXAGGERATION:g}")


def reconstruct(
    model: Model,
    recording: str | Path | bytes | BinaryIO | Recording,
    *,
    given: Given | None = None,
    samples: int = 0,
    exaggerate: float = 0.0,
    seed: int | None = None,
) -> Portrait:
    """Draw the face that a voice like the one in `recording` most often goes with.

    Args:
        model: from `load_model`.
        recording: a path, the bytes of a file, a binary file, or a `Recording` already read.
        given: attributes that override what the voice suggests; recorded in the facts.
        samples: further faces, drawn from the belief: equally consistent with the voice.
        exaggerate: how far to move the embedding from the mean face; 0 does not.
        seed: makes the samples repeatable; None draws a new seed, recorded in the facts.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with the recording or the options.
    """
    given = given or Given()
    _check_options(model, given, samples, exaggerate)
    model.runtime.prefetch()
    heard = recording if isinstance(recording, Recording) else read_recording(recording)
    activity, moments, reading = hear(model, heard.waveform)
    attributes = model.attributes(reading)
    shown = _override(attributes, given, child=is_child(model, attributes))
    group = None if given.group is None else model.release.groups.index(given.group)
    belief = model.release.population.belief(shown, group)
    if samples and seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    rng = np.random.default_rng(seed)
    draws = [model.release.population.draw(shown, rng, group) for _ in range(samples)]

    def picture(face_embedding: FloatArray) -> np.ndarray:
        return model.runtime.decode(model.exaggerated(face_embedding, exaggerate))

    return Portrait(
        image=picture(belief.mean),
        samples=tuple(picture(draw) for draw in draws),
        attributes=attributes,
        belief=belief,
        seconds_heard=activity.seconds,
        seconds_recorded=heard.waveform.size / 16_000,
        cautions=find_cautions(model, activity, moments, attributes),
        given=given,
        exaggerate=exaggerate,
        seed=seed,
        model_name=model.release.name,
        model_version=model.release.version,
        population=model.population,
    )
