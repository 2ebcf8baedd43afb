"""The model whose voices and faces belong to different people: what joins them are apparent age and gender."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from speech2face.audio.spectrogram import (
    LEAST_VARIANCE,
    SAMPLE_RATE,
    SEGMENT_SAMPLES,
    WINDOW,
    FloatArray,
    log_mel,
    merge_oldest,
    segment_spans,
)
from speech2face.audio.speech import Spans
from speech2face.errors import InvalidGiven, InvalidOption, NoSpeech
from speech2face.face.appearance import AttributeBasis, HairStyle, most_frequent_hair
from speech2face.face.embed import FaceEmbedder
from speech2face.inputs import brief, described, real_number
from speech2face.limits import Style
from speech2face.models.contract import CHILD, UNFAMILIAR, UNSURE, Caution, Given
from speech2face.models.release import FACE_DECODER, Release, Runtime, common_parts, open_release, parsing, read_stored
from speech2face.provenance import NOTICE
from speech2face.voice.belief import (
    ADULT_AGE,
    BIN_CENTRES,
    OLDEST_FACE,
    AttributeBelief,
    Belief,
    Calibration,
    FacePopulation,
    cosine,
    sigmoid,
)
from speech2face.voice.diarization import SpeakerSpace

if TYPE_CHECKING:
    from speech2face.face.fit import FaceFitter, FacePrior, LandmarkFinder


# --------------------------------------------------------------------------------------------------
# The record of a release that states attributes: calibration, face population, thresholds. The starter is one.
# --------------------------------------------------------------------------------------------------

KIND = "attributes"
FACE_WEIGHTS = "face.safetensors"


@dataclass(frozen=True)
class AttributeRelease(Release):
    """A release whose voices and faces are joined by attributes."""

    calibration: Calibration
    population: FacePopulation
    mean_embedding: np.ndarray  # (K,) what exaggeration moves away from
    groups: tuple[str, ...]
    hair_styles: tuple[HairStyle, ...]
    """In the face decoder's order; empty where hair is part of the faces, as before there was a choice."""


def read_hair_styles(names: list[str]) -> tuple[HairStyle, ...]:
    """All styles that there are, in a release's order, or none.

    Raises:
        ValueError: some of them.
    """
    styles = tuple(HairStyle(name) for name in names)
    if styles and sorted(styles) != sorted(HairStyle):
        raise ValueError(f"the styles of hair are {', '.join(styles)}, not all of {', '.join(HairStyle)}")
    return styles


def read_attribute_release(folder: Path, values: dict[str, Any]) -> AttributeRelease:
    """The record in a checked manifest.

    Raises:
        WeightsError: a part is missing or of the wrong kind.
    """
    with parsing(folder):
        face = values["face"]
        population = FacePopulation(
            AttributeBasis.from_dict(face["basis"]),
            np.array(face["residual_sd"], np.float32),
            np.array(face["group_weights"], np.float32),
            float(face["group_concentration"]),
        )
        return AttributeRelease(
            **common_parts(folder, values),
            calibration=Calibration.from_dict(values["calibration"]),
            population=population,
            mean_embedding=np.array(face["mean_embedding"], np.float32),
            groups=population.basis.groups,
            hair_styles=read_hair_styles(face.get("hair_styles", [])),
        )


def load_attribute_release(folder: Path | str | None = None) -> AttributeRelease:
    """Read and check a release of this kind; None is the one inside the package.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version; names the file.
    """
    place, values = open_release(folder, KIND)
    return read_attribute_release(place, values)


# --------------------------------------------------------------------------------------------------
# The networks of a release that states attributes: log-mel energies in, readings out. No torch.
# --------------------------------------------------------------------------------------------------

VOICE_FRAMES = "voice_frames.onnx"
VOICE_HEAD = "voice_head.onnx"
SPEAKER_SPACE = "speakers.safetensors"  # of the shipped starter alone


@dataclass(frozen=True)
class VoiceReading:
    """Raw outputs of the voice encoder for one stretch of speech."""

    speaker_embedding: FloatArray  # (embedding,)
    gender_logit: float
    age_logits: FloatArray  # (bins,)
    voice_logit: float
    child_logit: float
    distance: float
    """How unlike the recordings of training it is, 1 being theirs in the mean."""
    seconds: float


@dataclass(frozen=True)
class Moments:
    """Additive statistics of one segment of speech, (1, 3, channels), and how long it is."""

    sums: FloatArray
    seconds: float


class AttributeRuntime(Runtime):
    """The three networks: one run a segment, one run a recording, one run a picture."""

    graphs: ClassVar[tuple[str, ...]] = (VOICE_FRAMES, VOICE_HEAD, FACE_DECODER)
    as_stored: ClassVar[tuple[str, ...]] = (VOICE_HEAD, FACE_DECODER)

    release: AttributeRelease

    def __init__(self, release: AttributeRelease, threads: int | None = None) -> None:
        super().__init__(release, threads)

    def segment_moments(self, segment: FloatArray) -> Moments:
        """Encode one segment of speech, (samples,)."""
        sums = self.run(VOICE_FRAMES, log_mel=log_mel(segment)[None])[0]
        return Moments(sums, segment.size / SAMPLE_RATE)

    def moments(self, speech: FloatArray) -> list[Moments]:
        """Encode speech segment by segment, (samples,); at least one window long."""
        assert speech.size >= WINDOW
        return [self.segment_moments(speech[start:stop]) for start, stop in segment_spans(speech.size)]

    def voices_at_cuts(self, moments: Sequence[Moments]) -> tuple[FloatArray, FloatArray]:
        """The voices before and after each cut between segments, (cuts, embedding) twice; one run for all."""
        sums = np.concatenate([part.sums for part in moments])  # (segments, 3, channels)
        before = np.cumsum(sums, axis=0)[:-1]
        after = np.cumsum(sums[::-1], axis=0)[::-1][1:]
        voices = self.run(VOICE_HEAD, moments=np.concatenate([before, after]))[0]
        return voices[: len(before)], voices[len(before) :]

    def speaker_embeddings(self, sums: FloatArray) -> FloatArray:
        """The speaker embedding of each pooled stretch, (stretches, 3, channels) -> (stretches, embedding)."""
        return np.asarray(self.run(VOICE_HEAD, moments=sums)[0], np.float32)

    @cached_property
    def speaker_space(self) -> SpeakerSpace:
        """Where the embeddings of short stretches lie; of the shipped starter alone."""
        names = [field.name for field in fields(SpeakerSpace)]
        return SpeakerSpace(**read_stored(self.release.file(SPEAKER_SPACE), names))

    def read(self, moments: Iterable[Moments]) -> VoiceReading:
        """Pool segments and read the voice they share."""
        parts = list(moments)
        pooled = np.sum([part.sums for part in parts], axis=0)
        embedding, *lines, age = (output[0] for output in self.run(VOICE_HEAD, moments=pooled))
        gender, voice, child, distance = map(float, lines)
        return VoiceReading(embedding, gender, age, voice, child, distance, sum(part.seconds for part in parts))


FITTED_TENSORS = (
    *("mean_landmarks", "landmark_basis", "flow_basis", "matte_depth"),
    *("mean_luma", "attribute_luma", "residual_luma", "mean_chroma", "chroma_basis"),
)
HAIR_TENSOR = "hair_colour"


PRIOR_AGE_STEP_YEARS = 2
PRIOR_GROUP_CONCENTRATION = 0.25
PRIOR_FEMININITY = {0.0: 0.4, 0.25: 0.07, 0.5: 0.06, 0.75: 0.07, 1.0: 0.4}
"""Femininity of a face and its probability: the mean man's and the mean woman's faces, and some between."""
UNSURE_GENDER = 0.85
UNSURE_AGE_YEARS = 45.0


@dataclass(frozen=True, repr=False)
class AttributeModel:
    """Belief about the face by way of attributes; see `voice/belief.py`."""

    release: AttributeRelease
    runtime: AttributeRuntime

    def __repr__(self) -> str:
        """Return one line: name, version, licence."""
        return brief(self, self.release.name, self.release.version, self.release.licence)

    @property
    def notice(self) -> str:
        """What is said of every portrait."""
        return NOTICE

    @property
    def population(self) -> dict[str, float]:
        """Share of each group in the reference population, summing to one."""
        shares = self.release.population.group_weights
        return {name: round(float(share), 4) for name, share in zip(self.release.groups, shares, strict=True)}

    @property
    def styles(self) -> tuple[Style, ...]:
        """All there are."""
        return tuple(Style)

    @property
    def hair_styles(self) -> tuple[str, ...]:
        """What hair can be given; empty where hair is part of the faces."""
        return self.release.hair_styles

    @property
    def encodes_pauses(self) -> bool:
        """No: its network and its calibration know speech alone."""
        return False

    def check(self, given: Given) -> None:
        """Refuse attributes that no face can show.

        Raises:
            InvalidGiven: with what is possible.
        """
        given.check(self.release.groups, self.hair_styles)

    def with_population(self, weights: Mapping[str, float]) -> Self:
        """The same model over another reference population: a weight for each group, those left out having none.

        Raises:
            InvalidGiven: an unknown group, a negative weight, or nothing but zeros.
        """
        groups = self.release.groups
        if not isinstance(weights, Mapping):
            raise InvalidGiven(f"the population is {described(weights)}; give a weight for each of {', '.join(groups)}")
        unknown = [name for name in weights if name not in groups]
        if unknown:
            raise InvalidGiven(f'population group "{unknown[0]}" is unknown; give weights for {", ".join(groups)}')
        stated = {name: real_number(f"the weight of {name}", weight, InvalidGiven) for name, weight in weights.items()}
        values = np.array([stated.get(name, 0.0) for name in groups], np.float64)
        if not np.isfinite(values).all() or values.min() < 0 or values.sum() <= 0:
            raise InvalidGiven("population weights must not be negative, and one of them must be above zero")
        population = replace(self.release.population, group_weights=(values / values.sum()).astype(np.float32))
        return replace(self, release=replace(self.release, population=population))

    def prefetch(self) -> None:
        """Begin to load the networks."""
        self.runtime.prefetch()

    def warm(self) -> None:
        """Load the networks now."""
        self.runtime.warm()

    def face_embedder(self, file: str | Path | None = None) -> tuple[str, FaceEmbedder]:
        """Refused: the face embedding holds attributes and residuals of a linear model, which no network reads.

        Raises:
            InvalidOption: always.
        """
        raise InvalidOption(
            f"the model {self.release.name} draws faces from age and gender; no face embedder reads such an embedding"
            " from a photograph: use a model learned from pairs of voices and faces (--model)"
        )

    def face_fitter(self, landmark_finder: LandmarkFinder | None = None) -> FaceFitter:
        """What brings photographs to this model's face embeddings, all ages and both genders being equally likely.

        `landmark_finder` finds landmarks where a photograph comes without; None: each must bring its own.

        Raises:
            WeightsError: the face model's weights cannot be read.
        """
        from speech2face.face.fit import FaceFitter

        hair = (HAIR_TENSOR,) if self.release.hair_styles else ()  # says that the texture is a bald head's
        weights = read_stored(self.release.file(FACE_WEIGHTS), (*FITTED_TENSORS, *hair))
        return FaceFitter(weights, self.face_prior(), landmark_finder=landmark_finder)

    def face_prior(self) -> FacePrior:
        """What is known of people before a photograph is seen: of any age, mostly men's and women's faces."""
        from speech2face.face.fit import FacePrior

        # Draws keep near the average face for nobody's sake; people are of one group mostly, and their own residuals
        # have the deviation of one that the components were scaled to.
        population = replace(
            self.release.population,
            group_concentration=PRIOR_GROUP_CONCENTRATION,
            residual_sd=np.ones_like(self.release.population.residual_sd),
        )
        basis = population.basis.photographed
        count = len(basis.groups)
        ages = np.arange(ADULT_AGE, OLDEST_FACE + 1, PRIOR_AGE_STEP_YEARS)
        femininity = np.array(list(PRIOR_FEMININITY))
        designs = basis.design(ages[:, None], femininity, basis.even_groups)[..., :-count]
        shares = np.broadcast_to(np.array(list(PRIOR_FEMININITY.values())) / ages.size, designs.shape[:2])
        around = population.belief(AttributeBelief(np.ones(BIN_CENTRES.size) / BIN_CENTRES.size, femininity=0.5))
        plain = basis.size - count
        low, high = population.limits()
        return FacePrior(
            designs.reshape(-1, plain).astype(np.float64),
            shares.reshape(-1).astype(np.float64),
            around.mean[plain:].astype(np.float64),
            around.covariance[plain:, plain:].astype(np.float64),
            (low[plain:].astype(np.float64), high[plain:].astype(np.float64)),
        )

    def prefetch_face(self) -> None:
        """Begin to load the face decoder alone."""
        self.runtime.prefetch((FACE_DECODER,))

    def encode(self, waveform: FloatArray) -> AttributeEncoding:
        """Encode all the speech, (samples,), segment by segment.

        Raises:
            NoSpeech: the encoder finds no voice in it: noise, tones and music that the detector let pass.
        """
        return self.encoded(self.runtime.moments(waveform))

    def encode_stretches(self, waveform: FloatArray, samples: int) -> FloatArray:
        """What the upper half of the layers makes of each stretch alone, (samples,) -> (stretches, channels)."""
        starts = range(0, waveform.size - samples + 1, samples)
        sums = np.concatenate([self.runtime.segment_moments(waveform[at : at + samples]).sums for at in starts])
        means = sums[:, 1] / sums[:, 0]
        return np.asarray(means[:, means.shape[1] // 2 :], np.float32)

    def start_encoding(self) -> AttributeEncoderState:
        """Begin to encode the speech of one speaker while it is spoken."""
        return AttributeEncoderState(self)

    def encoded(self, moments: Sequence[Moments]) -> AttributeEncoding:
        """What is read from the moments of all segments.

        Raises:
            NoSpeech: the encoder finds no voice in them.
        """
        reading = self.runtime.read(moments)
        if reading.voice_logit < self.release.thresholds["voice_logit"]:
            raise NoSpeech(
                "the recording has sound, but no voice was recognised in it (noise, tones, music);"
                " record somebody talking"
            )
        return AttributeEncoding(self, tuple(moments), reading)

    def speaker_change(self, moments: Sequence[Moments]) -> float:
        """Least cosine between the voices of two neighbouring halves of the recording, over all cuts; one segment: 1.

        A lone odd segment is no second speaker: both sides of a cut hold all the segments before and after it.
        """
        if len(moments) < 2:
            return 1.0
        before, after = self.runtime.voices_at_cuts(moments)
        return min(cosine(one, other) for one, other in zip(before, after, strict=True))

    def exaggerated(self, face_embedding: FloatArray, amount: float) -> FloatArray:
        """Move an embedding away from the mean face: v + e (v - mean), (K,) -> (K,).

        The paper's published pictures use such a step without giving a formula; this is the natural reading. Age and
        group stop at the end of what the model has learned: nobody is drawn older than 80.
        """
        if not amount:
            return face_embedding
        moved = face_embedding + amount * (face_embedding - self.release.mean_embedding)
        return np.asarray(np.clip(moved, *self.release.population.limits()), np.float32)

    @cached_property
    def _landmarks(self) -> Mapping[str, FloatArray]:
        return read_stored(self.release.file(FACE_WEIGHTS), ("mean_landmarks", "landmark_basis"))

    def landmarks(self, face_embedding: FloatArray) -> FloatArray:
        """Control points of the canonical face, (K,) -> (landmarks, 2), in pixels of the portrait."""
        stored = self._landmarks
        moved = np.tensordot(face_embedding, stored["landmark_basis"], axes=1)
        return np.asarray(stored["mean_landmarks"] + moved, np.float32)

    def apparent(self, face_embedding: FloatArray) -> tuple[float, float]:
        """Age in years, the nearest in the coordinates that only age moves, and femininity, 0 to 1, of (K,)."""
        return _apparent(face_embedding, self.release.population.basis)

    def as_drawn(self, face_embedding: FloatArray) -> FloatArray:
        """A photograph's face embedding (K,), moved to the age at which an average face looks as old.

        An average lacks the texture that shows age, so the model draws one of 50 years as a photograph of somebody a
        little older would be described; what is learned from photographs for drawing averages has to follow.
        """
        basis = self.release.population.basis
        if not basis.drawn_years:
            return face_embedding
        looks = (*_apparent(face_embedding, basis.photographed), basis.even_groups)
        moved = basis.design(*looks) - basis.photographed.design(*looks)
        return np.asarray(face_embedding + np.pad(moved, (0, face_embedding.size - moved.size)), np.float32)

    def decode(self, face_embedding: FloatArray, hair: str | None = None) -> np.ndarray:
        """Draw the canonical face of an embedding, (K,) -> (height, width, 3) uint8.

        `hair` is the most frequent style of its age and gender where None, and without effect where hair is part of
        the faces.
        """
        if not self.hair_styles:
            return self.runtime.decode(face_embedding)
        worn = hair or most_frequent_hair(*self.apparent(face_embedding))
        return self.runtime.decode(face_embedding, self.hair_styles.index(HairStyle(worn)))


def _apparent(face_embedding: FloatArray, basis: AttributeBasis) -> tuple[float, float]:
    """Age and femininity whose coordinates in a basis lie nearest to those of an embedding (K,)."""
    ages = np.arange(basis.age_range_years[0], basis.age_range_years[1] + 1)
    where = [basis.names.index(name) for name in ("young", "older", "old")]
    femininity = min(max((float(face_embedding[basis.names.index("femininity")]) + 1) / 2, 0.0), 1.0)
    designs = basis.design(ages, femininity, basis.even_groups)[:, where]
    nearest = np.square(designs - face_embedding[where]).sum(1).argmin()
    return float(ages[nearest]), femininity


@dataclass(frozen=True)
class AttributeEncoding:
    """One recording as encoded: its moments, segment by segment, and what is read from all of them."""

    model: AttributeModel
    moments: tuple[Moments, ...]
    reading: VoiceReading

    @cached_property
    def attributes(self) -> AttributeBelief:
        """Calibrated belief about age and gender."""
        calibration = self.model.release.calibration
        return AttributeBelief(
            calibration.age_probabilities(self.reading.age_logits, self.reading.seconds, self.reading.distance),
            calibration.femininity(self.reading.gender_logit),
            child_probability=sigmoid(self.reading.child_logit),
        )

    @property
    def widest_interval_years(self) -> float:
        """Width of the age interval that would be stated of the same voice, were the recording wholly unfamiliar."""
        calibration, reading = self.model.release.calibration, self.reading
        probabilities = calibration.age_probabilities(reading.age_logits, reading.seconds, math.inf)
        low, high = replace(self.attributes, age_probabilities=probabilities).age_interval()
        return high - low

    @property
    def speaker_embedding(self) -> FloatArray:
        """What tells speakers apart, (embedding,), of unit length."""
        return self.reading.speaker_embedding

    @property
    def beyond_attributes(self) -> FloatArray | None:
        """What this voice moves the face beyond age and gender, (K,); None where the model knows only these."""
        return None

    @property
    def is_child(self) -> bool:
        """Whether the voice is most likely a young child's, by the release's calibrated threshold."""
        return self.attributes.child_probability > self.model.release.calibration.child_threshold

    def _shown(self, given: Given) -> AttributeBelief:
        """The attributes of the face that is drawn."""
        femininity = {None: self.attributes.femininity, "female": 1.0, "male": 0.0}[given.gender]
        age = ADULT_AGE if self.is_child and given.age is None else given.age  # no child is drawn
        return replace(self.attributes, femininity=femininity, given_age=age)

    def _group(self, given: Given) -> int | None:
        return None if given.group is None else self.model.release.groups.index(given.group)

    def belief(self, given: Given) -> Belief:
        """The attributes integrated out, given ones taking the place of those of the voice."""
        return self.model.release.population.belief(self._shown(given), self._group(given))

    def draw(self, given: Given, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,): attributes, groups and everything a voice does not tell."""
        return self.model.release.population.draw(self._shown(given), rng, self._group(given))

    def spoken_at(self, spans: Spans) -> AttributeEncoding:
        """The same: what was encoded is speech alone."""
        return self

    def speaker_change(self) -> float:
        """Least cosine between the voices before and after some cut of the speech."""
        return self.model.speaker_change(self.moments)

    def cautions(self) -> tuple[Caution, ...]:
        """A child's voice, one unlike those of training, or one that leaves age or gender open."""
        low, high = self.attributes.age_interval()
        sure = max(self.attributes.femininity, 1 - self.attributes.femininity)
        unfamiliar = self.reading.distance > self.model.release.thresholds.get("unfamiliar_distance", math.inf)
        unsure = sure < UNSURE_GENDER or high - low > UNSURE_AGE_YEARS
        found = [(UNFAMILIAR, unfamiliar), (CHILD, self.is_child), (UNSURE, unsure)]
        return tuple(caution for caution, holds in found if holds)


def load_attribute_model(folder: str | Path | None = None) -> AttributeModel:
    """Open a release of this kind; None is the starter inside the package.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version.
    """
    release = load_attribute_release(folder)
    return AttributeModel(release, AttributeRuntime(release))


# --------------------------------------------------------------------------------------------------
# The attribute model's encoder on speech as it comes: whole segments once, and the moments of all of them added up.
# --------------------------------------------------------------------------------------------------

LEAST_SAMPLES = SAMPLE_RATE // 2  # a remainder under half a second is poorly levelled alone: it waits
NEWS_SAMPLES = SAMPLE_RATE  # once a segment is whole, an open one is encoded again after so much more speech


class AttributeEncoderState:
    """One speaker's speech so far: the moments of its whole segments, and what is not yet a segment.

    Where a recording's last segment takes the remainder, here the remainder is one of its own: every look would have
    to encode up to six seconds again. After the first segment up to a second of the newest speech may be missing,
    which saves most of a call's arithmetic.
    """

    def __init__(self, model: AttributeModel) -> None:
        self._model = model
        self._moments: list[Moments] = []
        self._tail = np.zeros(0, np.float32)
        self._open: tuple[int, Moments] | None = None  # samples of the tail that were encoded, and what came of it

    def push(self, waveform: FloatArray, spoken_seconds: float | None = None) -> None:
        """Encode the next stretch of speech, (samples,); all of it is spoken."""
        self._tail = np.concatenate([self._tail, waveform])
        while self._tail.size >= SEGMENT_SAMPLES:
            self._moments.append(self._model.runtime.segment_moments(self._tail[:SEGMENT_SAMPLES]))
            self._tail, self._open = self._tail[SEGMENT_SAMPLES:].copy(), None
        self._moments = merge_oldest(self._moments, join, lambda moments: moments.seconds)

    def encoding(self) -> AttributeEncoding:
        """What is read from all speech so far.

        Raises:
            NoSpeech: the encoder finds no voice in it.
        """
        moments = list(self._moments)
        if self._tail.size >= LEAST_SAMPLES or not moments:
            remainder = self._remainder()
            # Too short to be compared with other voices: as in a recording it goes with the segment before.
            moments[-1:] = [join(moments[-1], remainder)] if moments else [remainder]
        return self._model.encoded(moments)

    def _remainder(self) -> Moments:
        """The open segment's moments, those of a moment ago where hardly more was said."""
        news = NEWS_SAMPLES if self._moments else 1
        if self._open is None or self._tail.size - self._open[0] >= news:
            self._open = (self._tail.size, self._model.runtime.segment_moments(self._tail))
        return self._open[1]


def join(first: Moments, second: Moments) -> Moments:
    """Two stretches as one."""
    return Moments(first.sums + second.sums, first.seconds + second.seconds)


# --- The model learned from a few hundred pairs: the starter's belief by attributes, and what the pairs teach beyond
# it.
#
# The belief stays that of `voice/belief.py`, corrected by one linear map: with x the voice's statistics, m and S mean
# and covariance of the belief by attributes,
#
#     mean = m + shift + x W + m V      covariance = T S T'      draw = mean + T (draw by attributes - m)
#
# so that draws have the stated mean and covariance whatever attributes a user states. `learning/` fits W, V, shift
# and T; where the pairs taught nothing, W, V and shift are zero and T is the identity: the starter's belief itself.

LEARNED_KIND = "learned"
CORRECTION = "correction.safetensors"
TENSORS = ("centre", "weights", "by_attributes", "shift", "spread")


def pooled_statistics(moments: Sequence[Moments]) -> FloatArray:
    """Mean and standard deviation over time of every output of the frozen layers, (2 * channels,).

    The same numbers that the starter's voice head pools: all means first, then all deviations.
    """
    count, value, square = np.stack([part.sums[0] for part in moments]).sum(0, dtype=np.float64)
    mean = value / count
    spread = np.sqrt(np.maximum(square / count - np.square(mean), LEAST_VARIANCE))
    return np.concatenate([mean, spread]).astype(np.float32)


def any_attributes() -> AttributeBelief:
    """What is believed of somebody who is not known: all adult ages and both genders alike."""
    adult = (BIN_CENTRES > ADULT_AGE) & (BIN_CENTRES < OLDEST_FACE)
    return AttributeBelief(adult / adult.sum(), femininity=0.5)


@dataclass(frozen=True, eq=False)
class Correction:
    """What pairs teach beyond attributes: one linear map of a voice's pooled statistics."""

    centre: FloatArray
    """(2 * channels,): what is taken from the statistics first."""
    weights: FloatArray
    """(2 * channels, K): from there to the face embedding; W with the standardisation folded in."""
    by_attributes: FloatArray
    """(K, K): V, from the belief by attributes: how what age and gender say of a face was refitted."""
    shift: FloatArray
    """(K,): how the faces of the pairs differ in the mean from what attributes say of them."""
    spread: FloatArray
    """(K, K): T, symmetric; the identity leaves the spread of the belief by attributes as it is."""

    def __post_init__(self) -> None:
        size = self.shift.size
        shapes = (self.centre.shape, self.weights.shape, self.by_attributes.shape, self.spread.shape)
        if shapes != ((len(self.weights),), (self.centre.size, size), (size, size), (size, size)):
            raise ValueError(f"a correction of {size} numbers from arrays of {shapes}")

    def of(self, moments: Sequence[Moments]) -> FloatArray:
        """What a voice moves by itself, (K,)."""
        return np.asarray(self.shift + (pooled_statistics(moments) - self.centre) @ self.weights, np.float32)

    def mean(self, moved: FloatArray, by_attributes: FloatArray) -> FloatArray:
        """The corrected mean (K,), of what a voice moves and of the mean by attributes, (K,) each."""
        return np.asarray(by_attributes + moved + by_attributes @ self.by_attributes, np.float32)

    def to_arrays(self) -> dict[str, FloatArray]:
        """For a file of arrays, under the names of `TENSORS`."""
        return {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in TENSORS}


@dataclass(frozen=True)
class LearnedRelease(AttributeRelease):
    """A release by attributes with a correction that pairs of voices and faces taught."""

    training: dict[str, Any]
    """What it learned from and how well it does, as in its card; nothing of a single person."""
    kind: ClassVar[str] = LEARNED_KIND

    @property
    def learned_from(self) -> str:
        """SHA-256 of the manifest of the pairs, "" where they were sums or a table."""
        return str(self.training.get("manifest_sha256", ""))

    @property
    def by_attributes(self) -> bool:
        """Whether the belief begins with the attributes that are read from the voice."""
        return bool(self.training.get("by_attributes", True))

    @cached_property
    def correction(self) -> Correction:
        """The linear map, read when it is first needed.

        Raises:
            WeightsError: the file is damaged or lacks a part.
        """
        stored = read_stored(self.file(CORRECTION), TENSORS)
        with parsing(self.folder):
            return Correction(**stored)


def read_learned_release(folder: Path, values: dict[str, Any]) -> LearnedRelease:
    """The record in a checked manifest.

    Raises:
        WeightsError: a part is missing or of the wrong kind.
    """
    plain = read_attribute_release(folder, values)
    with parsing(folder):
        return LearnedRelease(**vars(plain), training=dict(values["training"]))


@dataclass(frozen=True, repr=False)
class LearnedModel(AttributeModel):
    """Belief about the face by way of attributes, and of what pairs taught beyond them."""

    release: LearnedRelease

    def encoded(self, moments: Sequence[Moments]) -> LearnedEncoding:
        """What is read from the moments of all segments.

        Raises:
            NoSpeech: the encoder recognises no voice in them.
        """
        plain = super().encoded(moments)
        return LearnedEncoding(self, plain.moments, plain.reading)


@dataclass(frozen=True)
class LearnedEncoding(AttributeEncoding):
    """One encoded recording: what is read of its attributes, and how far its belief moves beyond them."""

    model: LearnedModel

    @cached_property
    def _moved(self) -> FloatArray:
        return self.model.release.correction.of(self.moments)

    @property
    def beyond_attributes(self) -> FloatArray:
        """What this voice moves the face beyond age and gender, (K,); what the pairs move all faces is left out."""
        return self._moved - self.model.release.correction.shift

    def _shown(self, given: Given) -> AttributeBelief:
        """The attributes of the face that is drawn; where none were learned with, those that are stated alone."""
        shown = super()._shown(given)
        if self.model.release.by_attributes or self.is_child:
            return shown
        anybody = any_attributes()
        femininity = anybody.femininity if given.gender is None else shown.femininity
        return replace(shown, age_probabilities=anybody.age_probabilities, femininity=femininity)

    def belief(self, given: Given) -> Belief:
        """The belief by attributes, corrected; a child's is left as it is, since pairs are of adults."""
        plain, correction = super().belief(given), self.model.release.correction
        if self.is_child:
            return plain
        mean = np.clip(correction.mean(self._moved, plain.mean), *self.model.release.population.limits())
        covariance = correction.spread @ plain.covariance @ correction.spread.T
        return Belief(np.asarray(mean, np.float32), np.asarray(covariance, np.float32))

    def draw(self, given: Given, rng: np.random.Generator) -> FloatArray:
        """One face embedding, (K,), from the corrected belief."""
        drawn = super().draw(given, rng)
        if self.is_child:
            return drawn
        plain, correction = super().belief(given), self.model.release.correction
        moved = correction.mean(self._moved, plain.mean) + correction.spread @ (drawn - plain.mean)
        return np.asarray(np.clip(moved, *self.model.release.population.limits()), np.float32)


def load_learned_model(folder: str | Path, threads: int | None = None) -> LearnedModel:
    """Open a release of this kind.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version.
    """
    place, values = open_release(folder, LEARNED_KIND)
    release = read_learned_release(place, values)
    return LearnedModel(release, AttributeRuntime(release, threads))
