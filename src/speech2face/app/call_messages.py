"""What a telephone platform says on `/v1/media-stream`: the JSON form that Twilio Media Streams made common.

Other platforms' names are turned into Twilio's first (`call_platforms`). Platforms add fields and events of their own,
so what is not known here is passed over; what is used is checked.
"""

import base64
import binascii
import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, StringConstraints, TypeAdapter, ValidationError

from speech2face.app.call_platforms import PLATFORMS, Platform, SoundForm, check_form, plain_start, sound_form
from speech2face.app.live_messages import Exaggeration, Pixels, one_line

CALL_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
TRACK_NAMES: Final = ("inbound", "outbound")
MAX_CHUNK: Final = 2**53
Identifier = Annotated[str, StringConstraints(pattern=rf"^{CALL_ID.pattern}$")]
Track = Literal["inbound", "outbound"]


class Part(BaseModel):
    """Numbers may come as strings, as the platforms send them."""

    model_config = ConfigDict(extra="ignore")


class MediaFormat(Part):
    """How the sound comes."""

    encoding: str = "audio/x-mulaw"
    sampleRate: int = 8000
    channels: int = 1


class Wishes(Part):
    """What may be asked, in the platform's custom parameters or in the address's query."""

    token: Annotated[str, Field(max_length=1000)] | None = None
    callback: Annotated[str, Field(max_length=2000)] | None = None
    model: Annotated[str, Field(max_length=200)] | None = None
    pixels: Pixels = 512
    exaggerate: Exaggeration = 0.0
    updates_per_second: float = Field(1.0, gt=0, le=10, allow_inf_nan=False)


class StreamStart(Part):
    """Which call it is."""

    callSid: Identifier | None = None
    tracks: list[Track] = Field(["inbound"], min_length=1, max_length=2)
    mediaFormat: MediaFormat = MediaFormat()
    customParameters: dict[str, Any] = {}


class Media(Part):
    """20 ms of one track."""

    track: Track = "inbound"
    chunk: int | None = Field(None, ge=0, le=MAX_CHUNK)  # None: frames come in order
    timestamp: int | None = Field(None, ge=0, le=MAX_CHUNK)  # milliseconds, since the stream began or since 1970
    payload: str

    def sound(self) -> bytes:
        """The samples.

        Raises:
            binascii.Error, ValueError: no base64.
        """
        return base64.b64decode(self.payload, validate=True)


class Started(Part):
    """`start`"""

    event: Literal["start"]
    streamSid: Identifier
    start: StreamStart
    platform: SkipValidation[Platform] = PLATFORMS[0]

    @property
    def form(self) -> SoundForm:
        """What the payloads hold."""
        form = self.start.mediaFormat
        return sound_form(self.platform, form.encoding, form.sampleRate, form.channels)

    @property
    def call(self) -> str:
        """The call's name; a stream without one is a call of its own."""
        return self.start.callSid or self.streamSid


class Frame(Part):
    """`media`"""

    event: Literal["media"]
    media: Media


class Stopped(Part):
    """`stop`"""

    event: Literal["stop"]


Event = Annotated[Started | Frame | Stopped, Field(discriminator="event")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_KNOWN: Final = ("start", "media", "stop")


def read_event(text: str) -> Event | None:
    """One message; None for an event that changes nothing here: connected, mark, dtmf, and whatever a platform adds.

    Raises:
        UnsupportedPlatform: a platform's form that is not understood.
        ValueError: with one line that says what is wrong.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # brackets nested deeper than the parser goes
        raise ValueError("the message is not JSON") from None
    if isinstance(values, dict):
        check_form(values)
    if not isinstance(values, dict) or not isinstance(values.get("event"), str):
        raise ValueError('the message must be a JSON object with an "event"')
    if values["event"] not in _KNOWN:
        return None
    platform = PLATFORMS[0]
    if values["event"] == "start":
        platform, values = plain_start(values)
    try:
        return _EVENT.validate_python(values | {"platform": platform})
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def read_wishes(query: dict[str, Any], parameters: dict[str, Any]) -> Wishes:
    """What is asked for; a custom parameter counts more than the query, where no token belongs.

    Raises:
        ValueError: with one line that says what is wrong.
    """
    try:
        return Wishes.model_validate({name: query[name] for name in query if name != "token"} | parameters)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None


def sound_of(frame: Frame) -> bytes | None:
    """A frame's samples; None where they are not base64."""
    try:
        return frame.media.sound()
    except (binascii.Error, ValueError):
        return None
