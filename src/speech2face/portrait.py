"""A recording in, a portrait out: the whole path."""

import os
import sys
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from speech2face.audio.recording import Recording, Source, checked_recording, read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import DEFAULT_ACTIVITY, Activity, open_voice_activity, require_speech
from speech2face.errors import FaceNotFound, InvalidGiven, InvalidOption, SeveralFaces
from speech2face.face.photograph import PhotographSource, read_photograph
from speech2face.inputs import PathLike, described, plain_path, read_content, real_number, seed_number, whole_number
from speech2face.limits import MAX_SAMPLES, Style
from speech2face.models.contract import OTHER_TRACKS, Caution, FaceBelief, Given, Hearing, Model, find_cautions
from speech2face.provenance import DECODED_NOTICE
from speech2face.voice.belief import AttributeBelief

MAX_EXAGGERATION = 2.0  # beyond it landmarks cross and colours clip


@dataclass(frozen=True)
class Portrait:
    """What the user receives: a picture, what was believed and heard, and what to be careful about.

    `image` is (height, width, 3) uint8; `samples` are further faces drawn from the belief;
    `attributes` is None and `population` empty where the model states none. `drawing` is the SVG of `image` where the
    style is drawn. `track` is the sound track that was heard, from 1, of the recording's `tracks`.
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

    def facts(self) -> dict[str, Any]:
        """Everything but the pictures, JSON-ready; what the model does not state is left out."""
        return heard_facts(self) | {
            "track": self.track,
            "tracks": self.tracks,
            "seed": self.seed,
            "model": {"name": self.model_name, "version": self.model_version},
            **({"reference_population": self.population} if self.population else {}),
            "notice": self.notice,
        }


class Heard(Protocol):
    """What a portrait and a look at live speech have in common."""

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


def heard_facts(heard: Heard) -> dict[str, Any]:
    """What was heard, believed and asked for, JSON-ready; what the model does not state is left out."""
    attributes = {} if heard.attributes is None else attribute_facts(heard.attributes)
    return attributes | {
        "seconds_heard": round(heard.seconds_heard, 2),
        "seconds_recorded": round(heard.seconds_recorded, 2),
        "cautions": [{"code": caution.code, "text": caution.text} for caution in heard.cautions],
        "given": heard.given.to_dict(),
        "exaggerate": heard.exaggerate,
        "style": heard.style.value,
    }


def attribute_facts(attributes: AttributeBelief) -> dict[str, Any]:
    """Age and gender as they are stated, JSON-ready."""
    low, high = attributes.age_interval()
    femininity = attributes.femininity
    return {
        "age": round(attributes.age_mean, 1),
        "age_interval_80": [round(low, 1), round(high, 1)],
        "gender": {
            "reading": "feminine" if femininity >= 0.5 else "masculine",
            "probability": round(max(femininity, 1 - femininity), 4),
        },
    }


def hear(model: Model, waveform: FloatArray, *, voice_activity: str = DEFAULT_ACTIVITY) -> tuple[Activity, Hearing]:
    """The speech of a waveform, (samples,), and what the model makes of it.

    The one place where it is decided what a model's network hears, for a recording, an evaluation and the end of a
    call: the waveform as it is where the model `hears_pauses`, and then the speech found in it decides nothing but
    whether there is a voice; else that speech alone, joined and without direct current.

    Raises:
        SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
    """
    activity = require_speech(waveform, voice_activity=voice_activity)
    if not model.hears_pauses:
        return activity, model.hear(activity.speech())
    return activity, model.hear(waveform).spoken_at(activity.spans)


def check_model(model: object) -> None:
    """Refuse what is no model.

    Raises:
        InvalidOption: it is not.
    """
    if not all(hasattr(model, name) for name in ("release", "hear", "decode")):
        raise InvalidOption(f"the model is {described(model)}; give what load_model() returns")


def check_given(model: Model, given: Given | None) -> Given:
    """What was given, numbers in Python's own types; None is nothing.

    Raises:
        InvalidGiven: no `Given`, or what no face of the model can show.
    """
    if given is not None and not isinstance(given, Given):
        raise InvalidGiven(f"given is {described(given)}; give Given(age=..., gender=..., group=...)")
    plain = (given or Given()).plain()
    model.check(plain)
    return plain


def check_samples(samples: int) -> int:
    """How many further faces are drawn.

    Raises:
        InvalidOption: no whole number, or out of range.
    """
    number = whole_number("samples", samples, -sys.maxsize, sys.maxsize)
    if not 0 <= number <= MAX_SAMPLES:
        raise InvalidOption(f"{number} samples were asked for; 0 to {MAX_SAMPLES} can be drawn")
    return number


def _read(recording: Source | Recording, sample_rate: float | None, track: int | None) -> Recording:
    if not isinstance(recording, Recording):
        return read_recording(recording, sample_rate=sample_rate, track=track)
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
    given: Given | None = None,
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
        given: attributes that override what the voice suggests; recorded in the facts.
        samples: further faces, drawn from the belief: equally consistent with the voice.
        exaggerate: how far to move the embedding from the mean face; 0 does not.
        seed: makes the samples repeatable; None draws a new seed, recorded in the facts.
        style: "photographic", or "drawn" for a vector drawing of the same face.
        track: which of several sound tracks is heard, from 1; None takes the one that a player would, or the next
            where nobody speaks in that one. A `Recording` is one track already.
        voice_activity: name of the detector that finds the speech: "webrtc", or one that a package adds.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with the recording or the options.
    """
    check_model(model)
    given, style = check_given(model, given), check_style(model, style)
    samples, exaggerate, seed = check_samples(samples), check_exaggeration(exaggerate), seed_number(seed)
    open_voice_activity(voice_activity)  # a name that is unknown is refused before anything is decoded
    model.prefetch()
    heard = _read(recording, sample_rate, track)
    activity, hearing = hear(model, heard.waveform, voice_activity=voice_activity)
    belief = hearing.belief(given)
    if samples and seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    rng = np.random.default_rng(seed)
    draws = [hearing.draw(given, rng) for _ in range(samples)]

    def picture(face_embedding: FloatArray) -> Picture:
        return draw_picture(model, model.exaggerated(face_embedding, exaggerate), style)

    shown = picture(belief.mean)
    return Portrait(
        image=shown.image,
        samples=tuple(picture(draw).image for draw in draws),
        attributes=hearing.attributes,
        belief=belief,
        seconds_heard=activity.seconds,
        seconds_recorded=heard.waveform.size / SAMPLE_RATE,
        cautions=find_cautions(
            activity,
            model.release.thresholds,
            speaker_change=hearing.speaker_change(),
            of_the_voice=[*hearing.cautions(), *([OTHER_TRACKS] if heard.tracks > 1 else [])],
        ),
        given=given,
        exaggerate=exaggerate,
        seed=seed,
        model_name=model.release.name,
        model_version=model.release.version,
        population=model.population,
        notice=model.notice,
        style=style,
        drawing=shown.drawing,
        track=heard.track,
        tracks=heard.tracks,
    )


# --------------------------------------------------------------------------------------------------
# A face embedding becomes a picture: the canonical face itself, or a drawing of it.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """`image` is (height, width, 3) uint8; `drawing` is its SVG where it is drawn."""

    image: np.ndarray
    drawing: str | None = None


def draw_picture(
    model: Model, face_embedding: FloatArray, style: Style = Style.photographic, *, pixels: int | None = None
) -> Picture:
    """Show a face embedding, (K,), at the model's own size or `pixels` wide and high.

    Raises:
        InvalidOption: the model cannot be drawn in this style.
    """
    image = model.decode(face_embedding)
    size = pixels or len(image)
    if style is Style.drawn:
        from speech2face.drawn.avatar import draw_avatar, rasterise

        age, femininity = model.apparent(face_embedding)
        drawing = draw_avatar(
            image,
            model.landmarks(face_embedding),
            age=age,
            femininity=0.5 if femininity is None else femininity,
            description=model.notice,
        )
        return Picture(rasterise(drawing, size), drawing)
    if size == len(image):
        return Picture(image)
    from PIL import Image

    smooth = Image.Resampling.BOX if size < len(image) else Image.Resampling.BICUBIC
    return Picture(np.asarray(Image.fromarray(image).resize((size, size), smooth)))


# --------------------------------------------------------------------------------------------------
# A photograph in, the canonical face of its embedding out: the face side of a model alone.
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reconstruction:
    """A face drawn from a photograph's face embedding: the best that the decoder could do for a perfect voice encoder.

    `image` is (height, width, 3) uint8, `face_embedding` (K,); `embedder` is the kind of network that made it.
    """

    image: np.ndarray
    face_embedding: FloatArray
    embedder: str
    exaggerate: float
    model_name: str
    model_version: str

    def facts(self) -> dict[str, Any]:
        """Everything but picture and embedding, JSON-ready. The embedding would identify a person: it is not in it."""
        return {
            "photograph": {"embedder": self.embedder},
            "exaggerate": self.exaggerate,
            "model": {"name": self.model_name, "version": self.model_version},
            "notice": DECODED_NOTICE,
        }


def decode_photograph(
    model: Model,
    photograph: PhotographSource,
    *,
    embedder_file: PathLike | None = None,
    exaggerate: float = 0.0,
) -> Reconstruction:
    """Draw the canonical face of the person in a photograph.

    Args:
        model: from `load_model`; one whose face embeddings come from photographs.
        photograph: a path, the bytes of a picture, or a binary file.
        embedder_file: the face embedder's weights, where they are the user's own file.
        exaggerate: how far to move the embedding from the mean face; 0 does not.

    Raises:
        FaceNotFound: no picture, or none with a face in it.
        SeveralFaces: more than one person could be meant.
        InvalidOption, WeightsError, MissingExtra: the model's face embedder is not at hand, with what to do.
    """
    check_model(model)
    exaggerate = check_exaggeration(exaggerate)
    weights = None if embedder_file is None else plain_path(embedder_file, "embedder_file")
    photograph = read_content(photograph, "the photograph")
    picture = read_photograph(photograph)
    kind, embedder = model.face_embedder(weights)
    model.prefetch_face()
    name = str(photograph) if isinstance(photograph, str | os.PathLike) else "the photograph"
    try:
        face_embedding = embedder.embed(picture)
    except SeveralFaces as error:
        raise SeveralFaces(f"{name}: {error}") from error
    if face_embedding is None:
        raise FaceNotFound(f"no face was found in {name}; give a photograph of a face from the front, well lit")
    return Reconstruction(
        image=model.decode(model.exaggerated(face_embedding, exaggerate)),
        face_embedding=face_embedding,
        embedder=kind,
        exaggerate=exaggerate,
        model_name=model.release.name,
        model_version=model.release.version,
    )
