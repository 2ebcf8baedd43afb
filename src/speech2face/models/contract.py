"""What every kind of model can do: the whole of what a portrait needs to know about it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, runtime_checkable

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.audio.speech import Activity, Spans, high_band_db, snr_db
from speech2face.errors import InvalidGiven, InvalidOption
from speech2face.face.embed import FaceEmbedder
from speech2face.inputs import described, real_number
from speech2face.limits import Style
from speech2face.models.release import Release
from speech2face.voice.belief import ADULT_AGE, OLDEST_FACE, AttributeBelief

if TYPE_CHECKING:
    from speech2face.face.fit import FaceFitter, LandmarkFinder

# --------------------------------------------------------------------------------------------------
# Attributes that a user states instead of leaving them to the voice.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """Attributes that the user states instead of leaving them to the voice; None leaves them."""

    age: float | None = None
    gender: Literal["female", "male"] | None = None
    group: str | None = None
    hair: str | None = None

    def check(self, groups: tuple[str, ...], hair_styles: tuple[str, ...] = ()) -> None:
        """Check that a face can show the stated values: a group of `groups`, hair of `hair_styles`.

        Raises:
            InvalidGiven: an age outside the adults the model draws, an unknown gender, group or style of hair, or any
                style where there are none to choose from.
        """
        self.plain()
        if self.age is not None and not ADULT_AGE <= self.age <= OLDEST_FACE:
            raise InvalidGiven(
                f"given age {self.age:g} is outside {ADULT_AGE} to {OLDEST_FACE}, the ages that can be drawn"
            )
        if self.gender not in (None, "female", "male"):
            raise InvalidGiven(f'given gender "{self.gender}" is unknown; give female or male')
        if self.group is not None and self.group not in groups:
            raise InvalidGiven(f'given group "{self.group}" is unknown; give one of {", ".join(groups)}')
        if self.hair is None:
            return
        if not hair_styles:
            raise InvalidGiven("hair is part of this model's faces and cannot be given; leave it out")
        if self.hair not in hair_styles:
            raise InvalidGiven(f'given hair "{self.hair}" is unknown; give one of {", ".join(hair_styles)}')

    def plain(self) -> "Given":
        """The same, its age a number of Python's own.

        Raises:
            InvalidGiven: values of another type.
        """
        for name in ("gender", "group", "hair"):
            if not isinstance(value := getattr(self, name), str | None):
                raise InvalidGiven(f"given {name} is {described(value)}; give its name")
        return self if self.age is None else replace(self, age=real_number("given age", self.age, InvalidGiven))

    def to_dict(self) -> dict[str, Any]:
        """Return the stated attributes alone, by name."""
        return {key: value for key, value in vars(self).items() if value is not None}


# --------------------------------------------------------------------------------------------------
# What the user must know about one portrait, found out from the recording and the belief.
# --------------------------------------------------------------------------------------------------

SHORT_SECONDS = 3.0  # under this the release's accuracy falls off; see the model card's table by duration


@dataclass(frozen=True)
class Caution:
    """What the user must know about a portrait: a stable code for programs, and a sentence for people."""

    code: str
    text: str


SHORT = Caution("short_recording", "Little speech was heard; a few seconds more would make the portrait surer.")
TELEPHONE = Caution("telephone_band", "The sound has nothing above 4 kHz, like a telephone; readings are less sure.")
NOISY = Caution("noise", "There is loud noise behind the voice; readings are less sure.")
CHILD = Caution(
    "likely_child",
    "The voice is most likely a child's. Only adults are drawn: the picture is the youngest adult face.",
)
SEVERAL = Caution("several_speakers", "More than one voice seems to speak; the portrait mixes them.")
UNSURE = Caution("unsure", "The voice leaves age or gender open; the portrait lies between quite different faces.")
UNFAMILIAR = Caution(
    "unfamiliar_recording", "The sound is unlike the recordings that the model learned from; readings are less sure."
)
OTHER_TRACKS = Caution(
    "other_tracks", "The file has further sound tracks, which were not heard; the track option chooses another one."
)
ALL = (SHORT, TELEPHONE, NOISY, UNFAMILIAR, CHILD, SEVERAL, UNSURE, OTHER_TRACKS)  # the order in which they are said


def find_cautions(
    activity: Activity,
    thresholds: Mapping[str, float],
    *,
    speaker_change: float | None,
    of_the_voice: Collection[Caution] = (),
) -> tuple[Caution, ...]:
    """All cautions that hold, in a fixed order; `of_the_voice` are those the model's own reading gave reason for.

    What has no threshold, or no measurement, is not judged: it gives no caution.
    """
    return judge_cautions(
        thresholds,
        seconds=activity.seconds,
        high_band=high_band_db(activity.speech()),
        snr=snr_db(activity),
        speaker_change=speaker_change,
        of_the_voice=of_the_voice,
    )


def judge_cautions(
    thresholds: Mapping[str, float],
    *,
    seconds: float,
    high_band: float | None,
    snr: float | None,
    speaker_change: float | None,
    of_the_voice: Collection[Caution] = (),
) -> tuple[Caution, ...]:
    """The same from what was measured: seconds of speech, `high_band_db` and `snr_db` in decibels."""
    measured = {
        TELEPHONE: ("telephone_high_band_db", high_band),
        NOISY: ("noise_snr_db", snr),
        SEVERAL: ("same_speaker_cosine", speaker_change),
    }
    found = set(of_the_voice) | ({SHORT} if seconds < SHORT_SECONDS else set())
    for caution, (name, value) in measured.items():
        if value is not None and name in thresholds and value < thresholds[name]:
            found.add(caution)
    return tuple(caution for caution in ALL if caution in found)


class FaceBelief(Protocol):
    """What a voice tells about the face embedding: a distribution over it."""

    @property
    def mean(self) -> FloatArray:
        """The expected face embedding, (K,)."""
        ...

    @property
    def covariance(self) -> FloatArray:
        """(K, K)."""
        ...


class SpeechEncoding(Protocol):
    """What a model made of one recording's speech."""

    @property
    def attributes(self) -> AttributeBelief | None:
        """What the voice tells about age and gender; None where the model does not state it."""
        ...

    def belief(self, given: Given) -> FaceBelief:
        """The belief about the face, what was given taking the place of what the voice says."""
        ...

    def draw(self, given: Given, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,), drawn from that belief."""
        ...

    def spoken_at(self, spans: Spans) -> Self:
        """The same, told in which ranges of samples somebody speaks, for a model that encodes pauses too."""
        ...

    def speaker_change(self) -> float | None:
        """Least cosine between what is before and after some cut of the speech; None where it is not judged."""
        ...

    def cautions(self) -> tuple[Caution, ...]:
        """What the voice itself gives reason to say, beside what `find_cautions` finds in the recording."""
        ...


class EncoderState(Protocol):
    """Speech as it comes: every stretch is encoded once, and what is kept does not grow with a call."""

    def push(self, waveform: FloatArray, spoken_seconds: float | None = None) -> None:
        """Encode the next stretch, (samples,).

        `spoken_seconds` is how much speech was found meanwhile, for a model that encodes pauses too; None: all of it.
        """
        ...

    def encoding(self) -> SpeechEncoding:
        """What the model makes of all it has encoded so far; at least one window.

        Raises:
            NoSpeech: the encoder itself recognises no voice in it, where it can tell.
        """
        ...


@runtime_checkable
class FittedModel(Protocol):
    """A model whose face embeddings are coordinates of shape and texture, to which photographs are fitted."""

    def face_fitter(self, landmark_finder: "LandmarkFinder | None" = None) -> "FaceFitter":
        """What brings photographs to its face embeddings; None: every photograph must bring its own landmarks."""
        ...


class SpeakerEncoding(Protocol):
    """What a `SpeakerModel` made of a recording: all that says what the voice gives away."""

    @property
    def attributes(self) -> AttributeBelief:
        """What the voice tells about age and gender."""
        ...

    @property
    def is_child(self) -> bool:
        """Whether the voice is most likely a child's."""
        ...

    @property
    def speaker_embedding(self) -> FloatArray:
        """What tells speakers apart, (embedding,), of unit length."""
        ...

    @property
    def widest_interval_years(self) -> float:
        """Width of the age interval that would be stated of the same voice, were the recording wholly unfamiliar."""
        ...

    @property
    def beyond_attributes(self) -> FloatArray | None:
        """What this voice moves the face beyond age and gender, (K,); None where the model knows only these."""
        ...

    def belief(self, given: Given) -> FaceBelief:
        """The belief about the face."""
        ...


@runtime_checkable
class SpeakerModel(Protocol):
    """A model that states age and gender and tells speakers apart."""

    def encode(self, waveform: FloatArray) -> SpeakerEncoding:
        """Encode all the speech, (samples,).

        Raises:
            NoSpeech: the encoder finds no voice in it.
        """
        ...

    def encode_stretches(self, waveform: FloatArray, samples: int) -> FloatArray:
        """What the upper layers make of each stretch of so many samples alone, (samples,) -> (stretches, channels)."""
        ...


class Model(Protocol):
    """Protocol of a model: a release of weights, ready for use."""

    @property
    def release(self) -> Release:
        """The weights' record."""
        ...

    @property
    def notice(self) -> str:
        """What is said of every portrait it draws."""
        ...

    @property
    def population(self) -> dict[str, float]:
        """Share of each group in the reference population, summing to one; empty where the model has none."""
        ...

    @property
    def styles(self) -> tuple[Style, ...]:
        """How its faces can be shown; what is not among them `landmarks` says why."""
        ...

    @property
    def hair_styles(self) -> tuple[str, ...]:
        """What hair can be given; empty where hair is part of its faces."""
        ...

    @property
    def encodes_pauses(self) -> bool:
        """Whether its network is given recordings whole, as they are; else the speech in them alone."""
        ...

    def check(self, given: Given) -> None:
        """Refuse attributes that no face of this model can show.

        Raises:
            InvalidGiven: with what is possible.
        """
        ...

    def with_population(self, weights: Mapping[str, float]) -> Self:
        """The same model over another reference population.

        Raises:
            InvalidGiven: an unknown group, a negative weight, nothing but zeros, or a model that has no population.
        """
        ...

    def prefetch(self) -> None:
        """Begin to load the networks, so that they are there when the recording has been read."""
        ...

    def warm(self) -> None:
        """Load the networks now, for whoever cannot wait at the first portrait."""
        ...

    def face_embedder(self, file: str | Path | None = None) -> tuple[str, FaceEmbedder]:
        """The kind and the network of what makes this model's face embeddings from photographs.

        `file` holds its weights, where they are the user's own.

        Raises:
            InvalidOption: the model's face embeddings come from no photograph.
            WeightsError, MissingExtra: the embedder is not at hand, or another than the model was made with.
        """
        ...

    def prefetch_face(self) -> None:
        """Begin to load the face decoder alone."""
        ...

    def encode(self, waveform: FloatArray) -> SpeechEncoding:
        """Encode a recording, (samples,): the speech in it, or all of it where it `encodes_pauses`.

        Raises:
            NoSpeech: the encoder itself recognises no voice in it, where it can tell.
        """
        ...

    def start_encoding(self) -> EncoderState:
        """Begin to encode one speaker's voice while it is spoken: what `encode` would be given, in pieces."""
        ...

    def exaggerated(self, face_embedding: FloatArray, amount: float) -> FloatArray:
        """Move an embedding away from the mean face: v + e (v - mean), (K,) -> (K,)."""
        ...

    def landmarks(self, face_embedding: FloatArray) -> FloatArray:
        """Where the parts of the canonical face lie, (K,) -> (landmarks, 2), in pixels of the portrait.

        Raises:
            InvalidOption: the model does not tell.
        """
        ...

    def apparent(self, face_embedding: FloatArray) -> tuple[float | None, float | None]:
        """Age in years and femininity, 0 to 1, that an embedding (K,) itself shows; None where it does not say."""
        ...

    def decode(self, face_embedding: FloatArray, hair: str | None = None) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8.

        `hair` is one of `hair_styles`, without effect where there are none; None is the most frequent one.
        """
        ...


def fitted_model(model: Model) -> FittedModel | None:
    """Return the model where photographs are fitted to its face embeddings; None where a network reads them."""
    return model if isinstance(model, FittedModel) else None


def speaker_model(model: Model) -> SpeakerModel:
    """Return the model where it states age and gender and tells speakers apart.

    Raises:
        InvalidOption: it does not.
    """
    found: object = model  # the two protocols say other things of `encode`
    if isinstance(found, SpeakerModel):
        return found
    raise InvalidOption(
        f"the model {model.release.name} states neither age nor gender; use the starter, or one that learn wrote"
    )
