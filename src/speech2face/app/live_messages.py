"""What a client of `/v1/live` may say in text; sound comes in binary messages."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from speech2face.config import PORTRAIT_PIXELS
from speech2face.given import Given
from speech2face.portrait import MAX_EXAGGERATION

if TYPE_CHECKING:
    from speech2face.audio.stream import PcmFormat
    from speech2face.audio.stream_media import Media

PROTOCOL = 1
Exaggeration = Annotated[float, Field(ge=0, le=MAX_EXAGGERATION, allow_inf_nan=False)]
Shown = Literal["photographic", "drawn"]
Pixels = Annotated[int, Field(ge=64, le=2 * PORTRAIT_PIXELS)]


class Message(BaseModel):
    """Unknown names are mistakes, and said to be."""

    model_config = ConfigDict(extra="forbid", strict=True)


class GivenAttributes(Message):
    """Attributes stated instead of heard; which values are possible is the model's to say."""

    age: float | None = Field(default=None, ge=0, le=150, allow_inf_nan=False)
    gender: Literal["female", "male"] | None = None
    group: Annotated[str, Field(max_length=80)] | None = None

    def given(self) -> Given:
        """For the model."""
        return Given(age=self.age, gender=self.gender, group=self.group)


class Start(Message):
    """The first message: how the sound comes and what is wanted back."""

    type: Literal["start"]
    format: Literal["s16le", "f32le", "mulaw", "alaw", "webm", "ogg"]
    sample_rate: int = Field(48_000, ge=8_000, le=192_000)
    channels: int = Field(1, ge=1, le=8)
    updates_per_second: float = Field(4, gt=0, le=1000, allow_inf_nan=False)
    picture: Literal["webp", "png", "none"] = "webp"
    pixels: Pixels = 256
    given: GivenAttributes = GivenAttributes()
    exaggerate: Exaggeration = 0.0
    style: Shown = "photographic"
    model: Annotated[str, Field(max_length=200)] | None = None
    token: Annotated[str, Field(max_length=1000)] | None = None

    def source(self) -> "PcmFormat | Media":
        """How the engine is to read the sound."""
        from speech2face.audio.stream import PcmFormat
        from speech2face.audio.stream_media import Media

        if self.format == "webm" or self.format == "ogg":
            return Media(self.format)
        return PcmFormat(self.format, self.sample_rate, self.channels)

    def bytes_in(self, seconds: float) -> int:
        """Bytes of so much sound; 1 in a container, whose bytes say nothing of time."""
        from speech2face.audio.stream import PcmFormat

        source = self.source()
        return int(seconds * source.sample_rate) * source.frame_bytes if isinstance(source, PcmFormat) else 1


class Set(Message):
    """Change what is given, exaggerated or the style; what is not named stays."""

    type: Literal["set"]
    given: GivenAttributes | None = None
    exaggerate: Exaggeration | None = None
    style: Shown | None = None


class Hold(Message):
    """Keep the picture as it is; facts go on."""

    type: Literal["hold"]
    on: bool


class Samples(Message):
    """Faces equally consistent with the voice: a sheet to look at, or a bare row of them for a page to arrange."""

    type: Literal["samples"]
    count: int = Field(6, ge=1, le=1000)
    layout: Literal["sheet", "strip"] = "sheet"
    pixels: Pixels = 160  # of one face in a strip
    seed: int | None = Field(None, ge=0, lt=2**31)  # other faces; None keeps the session's


class Download(Message):
    """The portrait as a labelled PNG with all its facts, or the drawing as SVG."""

    type: Literal["portrait"]
    picture: Literal["png", "svg"] = "png"
    pixels: Pixels | None = None


class Reset(Message):
    """Forget the voice so far."""

    type: Literal["reset"]


class Finish(Message):
    """The sound has ended."""

    type: Literal["finish"]


Control = Annotated[Set | Hold | Samples | Download | Reset | Finish, Field(discriminator="type")]
_CONTROL: TypeAdapter[Control] = TypeAdapter(Control)


def read_start(text: str) -> Start:
    """The first message.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    try:
        return Start.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def read_control(text: str) -> Control:
    """Any later message.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    try:
        return _CONTROL.validate_json(text)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def one_line(error: ValidationError) -> str:
    """The first mistake, by its place, without repeating what was sent."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
