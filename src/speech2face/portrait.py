"""A recording in, a portrait out: the whole path."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

import numpy as np

from speech2face.audio.recording import Recording, Source, checked_recording, read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import DEFAULT_ACTIVITY, Activity, open_voice_activity, require_speech
from speech2face.errors import FaceNotFitted, FaceNotFound, InvalidGiven, InvalidOption, SeveralFaces
from speech2face.face.appearance import HairStyle, chosen_hair, most_frequent_hair, sample_place
from speech2face.face.detect import PhotographSource, read_photograph
from speech2face.inputs import (
    PathLike,
    brief,
    described,
    plain_path,
    read_content,
    real_number,
    seed_number,
    whole_number,
)
from speech2face.limits import MAX_RECORDING_SECONDS, MAX_SAMPLES, Style
from speech2face.models.contract import (
    OTHER_TRACKS,
    Caution,
    FaceBelief,
    Given,
    Model,
    SpeechEncoding,
    find_cautions,
    fitted_model,
)
from speech2face.outputs import write_together
from speech2face.provenance import (
    DECODED_NOTICE,
    Kind,
    PictureEncoding,
    Signer,
    encoding_of,
    picture_bytes,
    portrait_svg,
    provenance_of,
)
from speech2face.voice.belief import AttributeBelief

if TYPE_CHECKING:
    from speech2face.drawn.avatar import Artist
    from speech2face.face.fit import FaceFit

MAX_EXAGGERATION = 2.0  # beyond it landmarks cross and colours clip
COLOUR_FROM: Final = HairStyle.short
"""It covers the crown: a drawing takes the colour of hair from the picture, above the forehead."""
GivenLike = Given | Mapping[str, Any]
"""Stated attributes: a `Given`, or a mapping with some of its names, such as {"age": 40}."""


class LabelledPicture:
    """A picture with its facts, which becomes bytes only with the label that says it is synthetic."""

    image: np.ndarray
    kind: ClassVar[Kind]

    def facts(self) -> dict[str, Any]:
        """Return everything but the picture, JSON-ready."""
        raise NotImplementedError

    def labelled_bytes(
        self,
        encoding: PictureEncoding = "png",
        *,
        image: np.ndarray | None = None,
        kind: Kind | None = None,
        signer: Signer | None = None,
    ) -> bytes:
        """Return the labelled picture as the bytes of a file, signed by `signer`.

        `image`, (height, width, 3) uint8, takes the picture's place: the same at another size, a sample, a sheet; then
        `kind` says which.
        """
        facts = self.facts()
        shown = self.image if image is None else image
        return picture_bytes(shown, provenance_of(facts, kind or self.kind), facts, encoding=encoding, signer=signer)

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write the labelled picture whole or not at all: PNG, JPEG, WebP, or the drawing as SVG, by the name's ending.

        Raises:
            InvalidOption: another ending, or an SVG of what is not drawn.
            OutputExists: something is at the path and `force` is not set.
            CannotWrite: the file cannot be written.
        """
        place = plain_path(path, "the picture's path")
        drawn = place.suffix.lower() == ".svg"
        write_together({place: self.svg() if drawn else self.labelled_bytes(encoding_of(place))}, force=force)

    def svg(self) -> bytes:
        """Return the drawing as the bytes of a labelled SVG.

        Raises:
            InvalidOption: the picture is not drawn.
        """
        raise InvalidOption('only a portrait in the style "drawn" or "line" can be had as SVG')

    def _repr_png_(self) -> bytes:
        """Return the labelled PNG that a notebook shows."""
        return self.labelled_bytes()


@dataclass(frozen=True, repr=False)
class Portrait(LabelledPicture):
    """What the user receives: a picture, what was believed and heard, and what to be careful about.

    `image` is (height, width, 3) uint8; `samples` are further faces drawn from the belief;
    `attributes` is None and `population` empty where the model states none. `drawing` is the SVG of `image` where the
    style is drawn. `hair` and `sample_hair` name the styles of hair that `image` and `samples` show; None and empty
    where hair is part of the model's faces. `track` is the sound track that was heard, from 1, of the
    recording's `tracks`.
    """

    image: np.ndarray
    samples: tuple[np.ndarray, ...]
    attributes: AttributeBelief | None
    belief: FaceBelief
    seconds_heard: float
    seconds_recorded: float
    cautions: tuple[Caution, ...]
    given: Given
    exaggerate: float
    seed: int | None
    model_name: str
    model_version: str
    population: dict[str, float]
    notice: str
    style: Style = Style.photographic
    drawing: str | None = None
    track: int = 1
    tracks: int = 1
    hair: HairStyle | None = None
    sample_hair: tuple[HairStyle, ...] = ()
    kind: ClassVar[Kind] = "portrait"

    def __repr__(self) -> str:
        """Return one line: size, model, what the voice tells, how much was heard."""
        read = "" if self.attributes is None else f"age {self.attributes.age_mean:.0f}"
        more = f"{len(self.samples)} sample{'s' * (len(self.samples) > 1)}" if self.samples else ""
        model, speech = f"{self.model_name} {self.model_version}", f"{self.seconds_heard:.1f} s heard"
        return brief(self, _size(self.image), self.style.value, read, speech, more, model)

    def facts(self) -> dict[str, Any]:
        """Return everything but the pictures, JSON-ready; what the model does not state is left out."""
        return encoded_facts(self) | {
            "track": self.track,
            "tracks": self.tracks,
            "seed": self.seed,
            **({} if self.hair is None else {"hair": str(self.hair)}),
            **({"sample_hair": [str(style) for style in self.sample_hair]} if self.sample_hair else {}),
            "model": {"name": self.model_name, "version": self.model_version},
            **({"reference_population": self.population} if self.population else {}),
            "notice": self.notice,
        }

    def svg(self) -> bytes:
        """Return the drawing as the bytes of a labelled SVG.

        Raises:
            InvalidOption: the portrait is not drawn.
        """
        if self.drawing is None:
            return super().svg()
        facts = self.facts()
        return portrait_svg(self.drawing, provenance_of(facts, "portrait"), facts)


def _size(image: np.ndarray) -> str:
    return " x ".join(str(side) for side in image.shape[1::-1])


class EncodedVoice(Protocol):
    """What a portrait and a snapshot of live speech have in common."""

    @property
    def attributes(self) -> AttributeBelief | None: ...
    @property
    def seconds_heard(self) -> float: ...
    @property
    def seconds_recorded(self) -> float: ...
    @property
    def cautions(self) -> tuple[Caution, ...]: ...
    @property
    def given(self) -> Given: ...
    @property
    def exaggerate(self) -> float: ...
    @property
    def style(self) -> Style: ...


def encoded_facts(encoded: EncodedVoice) -> dict[str, Any]:
    """What was heard, believed and asked for, JSON-ready; what the model does not state is left out."""
    attributes = {} if encoded.attributes is None else attribute_facts(encoded.attributes)
    return attributes | {
        "seconds_heard": round(encoded.seconds_heard, 2),
        "seconds_recorded": round(encoded.seconds_recorded, 2),
        "cautions": [{"code": caution.code, "text": caution.text} for caution in encoded.cautions],
        "given": encoded.given.to_dict(),
        "exaggerate": encoded.exaggerate,
        "style": encoded.style.value,
    }


def attribute_facts(attributes: AttributeBelief) -> dict[str, Any]:
    """Age and gender as they are stated, JSON-ready."""
    low, high = attributes.age_interval()
    return {
        "age": round(attributes.age_mean, 1),
        "age_interval_80": [round(low, 1), round(high, 1)],
        "gender": gender_facts(attributes.femininity),
    }


def gender_facts(femininity: float) -> dict[str, Any]:
    """The gender reading of a femininity, 0 to 1, JSON-ready: the reading, its probability, and both in words."""
    reading, probability = "feminine" if femininity >= 0.5 else "masculine", round(max(femininity, 1 - femininity), 4)
    return {"reading": reading, "probability": probability, "text": gender_text(reading, probability)}


def gender_text(reading: str, probability: float) -> str:
    """The gender reading in words, the same for terminal, page and JSON: nothing is ever certain, so not 100 %."""
    return f"{reading} ({'over 99' if probability > 0.99 else f'{100 * probability:.0f}'} %)"


def encode_speech(
    model: Model, waveform: FloatArray, *, voice_activity: str = DEFAULT_ACTIVITY
) -> tuple[Activity, SpeechEncoding]:
    """The speech of a waveform, (samples,), and what the model makes of it.

    The one place where it is decided what a model's network is given, for a recording, an evaluation and the end of a
    call: the waveform as it is where the model `encodes_pauses`, and then the speech found in it decides nothing but
    whether there is a voice; else that speech alone, joined and without direct current.

    Raises:
        SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
    """
    activity = require_speech(waveform, voice_activity=voice_activity)
    if not model.encodes_pauses:
        return activity, model.encode(activity.speech())
    return activity, model.encode(waveform).spoken_at(activity.spans)


def check_model(model: object) -> None:
    """Refuse what is no model.

    Raises:
        InvalidOption: it is not.
    """
    if not all(hasattr(model, name) for name in ("release", "encode", "decode")):
        raise InvalidOption(f"the model is {described(model)}; give what load_model() returns")


def stated_attributes(given: GivenLike | None) -> Given:
    """What was given, as a `Given` with numbers in Python's own types; None is nothing.

    Raises:
        InvalidGiven: neither a `Given` nor a mapping, or a name that is none of its attributes.
    """
    if isinstance(given, Mapping):
        names = [each.name for each in fields(Given)]
        unknown = next((name for name in given if name not in names), None)
        if unknown is not None:
            raise InvalidGiven(f"given {described(unknown)} is unknown; there are {', '.join(names)}")
        given = Given(**given)
    if given is not None and not isinstance(given, Given):
        raise InvalidGiven(f"given is {described(given)}; give Given(age=..., gender=..., group=..., hair=...)")
    return (given or Given()).plain()


def check_given(model: Model, given: GivenLike | None) -> Given:
    """What was given, as `stated_attributes` reads it, and possible for this model.

    Raises:
        InvalidGiven: no stated attributes, or what no face of the model can show.
    """
    stated = stated_attributes(given)
    model.check(stated)
    return stated


def check_samples(samples: int) -> int:
    """How many further faces are drawn.

    Raises:
        InvalidOption: no whole number, or out of range.
    """
    number = whole_number("samples", samples, -sys.maxsize, sys.maxsize)
    if not 0 <= number <= MAX_SAMPLES:
        raise InvalidOption(f"{number} samples were asked for; 0 to {MAX_SAMPLES} can be drawn")
    return number


def as_recording(
    recording: Source | Recording,
    sample_rate: float | None = None,
    track: int | None = None,
    *,
    max_seconds: float = MAX_RECORDING_SECONDS,
    voice_activity: str = DEFAULT_ACTIVITY,
) -> Recording:
    """A recording in any of the forms that `reconstruct` takes, read and checked.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with the recording.
    """
    if not isinstance(recording, Recording):
        return read_recording(
            recording, sample_rate=sample_rate, max_seconds=max_seconds, track=track, voice_activity=voice_activity
        )
    if sample_rate is not None:
        raise InvalidOption("a Recording is at 16 kHz; sample_rate belongs to an array")
    if track not in (None, recording.track):
        raise InvalidOption(f"the recording is track {recording.track} already; read track {track} of the file instead")
    return checked_recording(recording)


def check_style(model: Model, style: Style | str) -> Style:
    """The style of that name.

    Raises:
        InvalidOption: there is none, with what there is; or the model cannot be shown so.
    """
    try:
        found = Style(style)
    except ValueError:
        name = style if isinstance(style, str) else described(style)
        raise InvalidOption(f'style "{name}" is unknown; there are {", ".join(Style)}') from None
    if found is not Style.photographic and found not in model.styles:
        text = "gives no landmarks that a drawing can be made of; models of the paper's 68 can, written with"
        raise InvalidOption(f"the release {model.release.name} {text} speech2face export")
    return found


def check_exaggeration(exaggerate: float) -> float:
    """How far to exaggerate, refused where no decoder can draw it.

    Raises:
        InvalidOption: with the range.
    """
    amount = real_number("exaggerate", exaggerate)
    if not 0 <= amount <= MAX_EXAGGERATION:
        raise InvalidOption(f"exaggeration {amount:g} is outside 0 to {MAX_EXAGGERATION:g}")
    return amount


def reconstruct(
    model: Model,
    recording: Source | Recording,
    *,
    sample_rate: float | None = None,
    given: GivenLike | None = None,
    samples: int = 0,
    exaggerate: float = 0.0,
    seed: int | None = None,
    style: Style | str = Style.photographic,
    track: int | None = None,
    voice_activity: str = DEFAULT_ACTIVITY,
) -> Portrait:
    """Draw the face that a voice like the one in `recording` most often goes with.

    Args:
        model: from `load_model`.
        recording: a path, the bytes of a file, a binary file, `(array, sample_rate)`, or a `Recording` already read.
        sample_rate: of an array given alone.
        given: attributes that override what the voice suggests, a `Given` or a mapping such as {"age": 40}; recorded
            in the facts.
        samples: further faces, drawn from the belief: equally consistent with the voice.
        exaggerate: how far to move the embedding from the mean face; 0 does not.
        seed: makes the samples repeatable; None draws a new seed, recorded in the facts.
        style: "photographic"; "drawn" or "line" for a vector drawing of the same face, flat or in lines.
        track: which of several sound tracks is heard, from 1; None takes the one that a player would, or the next
            where nobody speaks in that one. A `Recording` is one track already.
        voice_activity: name of the detector that finds the speech: "webrtc", or one that a package adds.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with the recording or the options.
    """
    options = check_options(model, given=given, samples=samples, exaggerate=exaggerate, seed=seed, style=style)
    open_voice_activity(voice_activity)  # a name that is unknown is refused before anything is decoded
    model.prefetch()
    read = as_recording(recording, sample_rate, track, voice_activity=voice_activity)
    return portrait_of(model, read, *encode_speech(model, read.waveform, voice_activity=voice_activity), options)


@dataclass(frozen=True)
class PortraitOptions:
    """What was asked of a portrait, checked for one model; the arguments of `reconstruct` of the same names."""

    given: Given
    samples: int
    exaggerate: float
    seed: int | None
    style: Style


def check_options(
    model: Model,
    *,
    given: GivenLike | None = None,
    samples: int = 0,
    exaggerate: float = 0.0,
    seed: int | None = None,
    style: Style | str = Style.photographic,
) -> PortraitOptions:
    """What was asked of a portrait, as the model can draw it.

    Raises:
        InvalidGiven, InvalidOption: no model, or what it cannot draw.
    """
    check_model(model)
    stated, shown = check_given(model, given), check_style(model, style)
    return PortraitOptions(stated, check_samples(samples), check_exaggeration(exaggerate), seed_number(seed), shown)


def portrait_of(
    model: Model, read: Recording, activity: Activity, encoding: SpeechEncoding, options: PortraitOptions
) -> Portrait:
    """Draw the portrait of speech that was found in a recording and encoded."""
    given, style, seed = options.given, options.style, options.seed
    belief = encoding.belief(given)
    if options.samples and seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    rng = np.random.default_rng(seed)
    draws = [encoding.draw(given, rng) for _ in range(options.samples)]

    def picture(face_embedding: FloatArray, place: float | None = None) -> DrawnFace:
        hair = worn_hair(model, face_embedding, given, place)
        return draw_picture(model, model.exaggerated(face_embedding, options.exaggerate), style, hair=hair)

    shown = picture(belief.mean)
    others = [picture(draw, sample_place(seed, number)) for number, draw in enumerate(draws)]
    return Portrait(
        image=shown.image,
        samples=tuple(other.image for other in others),
        attributes=encoding.attributes,
        belief=belief,
        seconds_heard=activity.seconds,
        seconds_recorded=read.waveform.size / SAMPLE_RATE,
        cautions=find_cautions(
            activity,
            model.release.thresholds,
            speaker_change=encoding.speaker_change(),
            of_the_voice=[*encoding.cautions(), *([OTHER_TRACKS] if read.tracks > 1 else [])],
        ),
        given=given,
        exaggerate=options.exaggerate,
        seed=seed,
        model_name=model.release.name,
        model_version=model.release.version,
        population=model.population,
        notice=model.notice,
        style=style,
        drawing=shown.drawing,
        track=read.track,
        tracks=read.tracks,
        hair=shown.hair,
        sample_hair=hair_of(others),
    )


def embed(
    model: Model,
    recording: Source | Recording,
    *,
    sample_rate: float | None = None,
    given: GivenLike | None = None,
    track: int | None = None,
) -> FloatArray:
    """Return the expected face embedding, (K,), of the voice in `recording`: what `reconstruct` draws.

    The arguments are those of `reconstruct`. Embeddings of one model can be compared with each other alone.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with the recording or the options.
    """
    check_model(model)
    stated = check_given(model, given)
    _, encoding = encode_speech(model, as_recording(recording, sample_rate, track).waveform)
    return encoding.belief(stated).mean


# --- A face embedding becomes a picture: the canonical face itself, or a drawing of it.


@dataclass(frozen=True)
class DrawnFace:
    """A drawn face embedding: `image` is (height, width, 3) uint8; `drawing` is its SVG where it is drawn."""

    image: np.ndarray
    drawing: str | None = None
    hair: HairStyle | None = None
    """How hair is worn; None where it is part of the model's faces."""


def worn_hair(model: Model, face_embedding: FloatArray, given: Given, place: float | None = None) -> HairStyle:
    """The hair of a face embedding, (K,): what was given, else that of the age and gender which it shows.

    It is the most frequent style, or the one at `place`, 0 to 1, among all (`face.hair.chosen_hair`).
    """
    if given.hair is not None:
        return HairStyle(given.hair)
    looks = model.apparent(face_embedding)
    return most_frequent_hair(*looks) if place is None else chosen_hair(*looks, place)


def hair_of(faces: Sequence[DrawnFace]) -> tuple[HairStyle, ...]:
    """The styles of hair that faces show; empty where they have none to choose."""
    return tuple(face.hair for face in faces if face.hair is not None)


def draw_picture(
    model: Model,
    face_embedding: FloatArray,
    style: Style = Style.photographic,
    *,
    pixels: int | None = None,
    hair: HairStyle | None = None,
) -> DrawnFace:
    """Show a face embedding, (K,), at the model's own size or `pixels` wide and high.

    `hair` is how its hair is worn; None is the most frequent style of its age and gender.

    Raises:
        InvalidOption: the model cannot be drawn in this style.
    """
    hair = hair or worn_hair(model, face_embedding, Given())
    image = model.decode(face_embedding, COLOUR_FROM if style.is_vector else hair)
    size = pixels or len(image)
    if style.is_vector:
        from speech2face.drawn.contours import rasterise

        drawing = face_artist(model, face_embedding, style, image=image, hair=hair).drawing()
        return DrawnFace(rasterise(drawing, size), drawing, hair)
    shown = hair if model.hair_styles else None
    if size == len(image):
        return DrawnFace(image, hair=shown)
    from PIL import Image

    smooth = Image.Resampling.BOX if size < len(image) else Image.Resampling.BICUBIC
    return DrawnFace(np.asarray(Image.fromarray(image).resize((size, size), smooth)), hair=shown)


def face_artist(
    model: Model,
    face_embedding: FloatArray,
    style: Style,
    *,
    image: np.ndarray | None = None,
    hair: HairStyle | None = None,
) -> Artist:
    """Return the artist who draws a face embedding, (K,), in a vector style.

    `image` is its canonical face with hair that covers the crown, if known; `hair` is how hair is worn, None the most
    frequent style of its age and gender.

    Raises:
        InvalidOption: the model cannot be drawn in this style.
    """
    from speech2face.drawn.avatar import artist_for

    age, femininity = model.apparent(face_embedding)
    return artist_for(
        model.decode(face_embedding, COLOUR_FROM) if image is None else image,
        model.landmarks(face_embedding),
        age=age,
        femininity=0.5 if femininity is None else femininity,
        description=model.notice,
        hair=hair or worn_hair(model, face_embedding, Given()),
        style=style,
    )


# --- A photograph in, the canonical face of its embedding out: the face side of a model alone.


@dataclass(frozen=True, repr=False)
class Reconstruction(LabelledPicture):
    """A face drawn from a photograph's face embedding: the best that the decoder could do for a perfect voice encoder.

    `image` is (height, width, 3) uint8, `face_embedding` (K,); `embedder` is the kind of network that made it.
    """

    image: np.ndarray
    face_embedding: FloatArray
    embedder: str
    exaggerate: float
    model_name: str
    model_version: str
    fit: FaceFit | None = None
    """How the face model was fitted to the photograph; None where a network embedded it."""
    kind: ClassVar[Kind] = "reconstruction"

    def __repr__(self) -> str:
        """Return one line: size, embedder, model."""
        return brief(self, _size(self.image), f"by {self.embedder}", f"{self.model_name} {self.model_version}")

    def facts(self) -> dict[str, Any]:
        """Return everything but picture and embedding, JSON-ready; an embedding would identify a person."""
        return {
            "photograph": {"embedder": self.embedder} | ({} if self.fit is None else {"fit": self.fit.measures()}),
            "exaggerate": self.exaggerate,
            "model": {"name": self.model_name, "version": self.model_version},
            "notice": DECODED_NOTICE,
        }


def decode_photograph(
    model: Model,
    photograph: PhotographSource,
    *,
    embedder_file: PathLike | None = None,
    landmarks: PathLike | None = None,
    exaggerate: float = 0.0,
) -> Reconstruction:
    """Draw the canonical face of the person in a photograph.

    Args:
        model: from `load_model`; the starter is fitted to the photograph, a model of pairs has its face embedder.
        photograph: a path, the bytes of a picture, or a binary file.
        embedder_file: the face embedder's weights, where they are the user's own file.
        landmarks: a JSON file with the face's landmarks, for the starter and its like; None finds them (extra `faces`).
        exaggerate: how far to move the embedding from the mean face; 0 does not.

    Raises:
        FaceNotFound: no picture, or none with a face in it.
        FaceNotFitted: the starter's face model does not fit the face; its `reason` says why.
        SeveralFaces: more than one person could be meant.
        InvalidOption, WeightsError, MissingExtra: the model's face embedder is not at hand, with what to do.
    """
    check_model(model)
    exaggerate = check_exaggeration(exaggerate)
    weights = None if embedder_file is None else plain_path(embedder_file, "embedder_file")
    points = None if landmarks is None else plain_path(landmarks, "landmarks")
    photograph = read_content(photograph, "the photograph")
    picture = read_photograph(photograph)
    name = str(photograph) if isinstance(photograph, str | os.PathLike) else "the photograph"
    model.prefetch_face()
    try:
        kind, face_embedding, fit = _embedded(model, picture, Path(name).stem, weights, points)
    except SeveralFaces as error:
        raise SeveralFaces(f"{name}: {error}") from error
    except FaceNotFitted as error:
        raise FaceNotFitted(f"{name}: {error}", error.reason) from error
    if face_embedding is None:
        raise FaceNotFound(f"no face was found in {name}; give a photograph of a face from the front, well lit")
    hair = worn_hair(model, face_embedding, Given())
    return Reconstruction(
        image=draw_picture(model, model.exaggerated(face_embedding, exaggerate), hair=hair).image,
        face_embedding=face_embedding,
        embedder=kind,
        exaggerate=exaggerate,
        model_name=model.release.name,
        model_version=model.release.version,
        fit=fit,
    )


FITTED: Final = "shape-and-texture model"


def _embedded(
    model: Model, picture: np.ndarray, name: str, weights: Path | None, landmarks: Path | None
) -> tuple[str, FloatArray | None, FaceFit | None]:
    """The kind of the face embedder, the embedding (K,), None without a face, and the fit, where the model is fitted.

    Raises:
        InvalidOption: a file that this kind of model has no use for, or a wrong one.
    """
    fitted = fitted_model(model)
    if fitted is None:
        if landmarks is not None:
            raise InvalidOption(f"the model {model.release.name} reads faces by a network; leave --landmarks out")
        kind, embedder = model.face_embedder(weights)
        return kind, embedder.embed(picture), None
    if weights is not None:
        raise InvalidOption(f"the model {model.release.name} reads faces by its own face model; leave --embedder out")
    if landmarks is None:
        from speech2face.face.landmarks import FacePointFinder

        fitter, points = fitted.face_fitter(FacePointFinder()), None
    else:
        from speech2face.face.landmarks import read_landmarks

        fitter, points = fitted.face_fitter(), read_landmarks(landmarks, name, (picture.shape[1], picture.shape[0]))
    try:
        fit = fitter.fit([picture], [points])
    except FaceNotFound as error:
        if isinstance(error, FaceNotFitted | SeveralFaces):
            raise
        return FITTED, None, None
    return FITTED, fit.embedding, fit
