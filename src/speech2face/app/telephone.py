"""A telephone call as platforms stream it: `WS /v1/media-stream`, JSON with 20 ms or more of sound in each message."""

import asyncio
import base64
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, SkipValidation, TypeAdapter
from pydantic_core import from_json
from starlette.websockets import WebSocket

from speech2face.app import calls
from speech2face.app.http import CloseCode
from speech2face.app.schemas import Exaggeration, Identifier, ModelName, Pixels
from speech2face.app.service import (
    MEDIA_TYPES,
    BadMessage,
    Ended,
    SocketConnection,
    checked,
    in_base64,
    refusals_end,
    stop,
)
from speech2face.audio.stream import Encoding, PcmFormat
from speech2face.errors import Speech2FaceError

if TYPE_CHECKING:
    from speech2face.app.service import Service
    from speech2face.models.contract import Model

# --- How telephone platforms write the start of a call's stream: one table, from which one form is made.
# All of them send JSON with an `event` and base64 in `media.payload`; names, encodings and the byte order of L16
# differ. Sources are the platforms' own pages: Twilio "Media Streams - WebSocket Messages"; SignalWire "cXML Stream"
# (attribute `codec`); Telnyx "Stream call media over WebSocket"; Plivo "Audio stream"; Exotel "Stream and Voicebot
# applet" and "WebSocket protocol". Plivo's page leaves the byte order of L16 open; programs that use it read little-
# endian.

Sound = Literal["audio/x-mulaw", "audio/x-alaw", "audio/x-l16"]
TELEPHONE_RATE: Final = 8000
NAMES: Final[dict[str, Sound]] = {
    "mulaw": "audio/x-mulaw", "ulaw": "audio/x-mulaw", "pcmu": "audio/x-mulaw",
    "alaw": "audio/x-alaw", "pcma": "audio/x-alaw",
    "l16": "audio/x-l16", "linear16": "audio/x-l16", "slin": "audio/x-l16",
}  # fmt: skip
EXOTEL_RAW: Final = ("raw", "raw/slin", "base64")  # its names for 16-bit samples, by the age of its documentation
PARAMETERS_TEXT: Final = re.compile(r"([^\s,;:={}]+)\s*[:=]\s*([^,;{}]*)")  # {X-PH-one: 1, X-PH-two: 2} or one=1,two=2


class UnsupportedPlatform(BadMessage):
    """A platform's form that is known by name and not understood."""

    code = "unsupported_platform"


@dataclass(frozen=True)
class Platform:
    """One platform's names and sounds."""

    name: str
    stream: str  # the stream's identifier, in the message or its "start"
    call: str  # the call's, in "start"
    form: str  # the sound's form, in "start"
    rate: str  # its sample rate, in the form
    parameters: str  # what the caller of the platform's API passed on, in "start" or the message
    sounds: Mapping[Sound, tuple[int, ...]]  # with their rates
    default: Sound = "audio/x-mulaw"
    names: Mapping[str, Sound] = field(default_factory=dict)  # of sounds, beside the usual ones
    big_endian: bool = False  # of L16
    states_tracks: bool = True  # where it does not, each track begins with its first frame
    advice: str = ""

    def heard(self) -> str:
        """Which of its sounds are heard, in words."""
        return ", ".join(f"{sound} at {' or '.join(map(str, rates))} Hz" for sound, rates in self.sounds.items())


G711: Final[dict[Sound, tuple[int, ...]]] = {"audio/x-mulaw": (TELEPHONE_RATE,), "audio/x-alaw": (TELEPHONE_RATE,)}
PLATFORMS: Final = (
    Platform(
        name="Twilio or SignalWire",
        stream="streamSid",
        call="callSid",
        form="mediaFormat",
        rate="sampleRate",
        parameters="customParameters",
        sounds=G711 | {"audio/x-l16": (16_000, 24_000)},  # SignalWire's L16@16000h and L16@24000h, little-endian
        advice="leave out SignalWire's `codec`, or set it to L16@16000h or L16@24000h",
    ),
    Platform(
        name="Telnyx",
        stream="stream_id",
        call="call_control_id",
        form="media_format",
        rate="sample_rate",
        parameters="custom_parameters",
        sounds=G711 | {"audio/x-l16": (8_000, 16_000, 24_000)},
        big_endian=True,  # payloads are those of RTP, whose L16 is in network order (RFC 3551, section 4.5.11)
        states_tracks=False,
        advice="set stream_codec to PCMU, PCMA or L16",
    ),
    Platform(
        name="Plivo",
        stream="streamId",
        call="callId",
        form="mediaFormat",
        rate="sampleRate",
        parameters="extra_headers",
        sounds=G711 | {"audio/x-l16": (8_000, 16_000, 24_000)},
        default="audio/x-l16",
        advice="set contentType to audio/x-l16;rate=8000, audio/x-l16;rate=16000 or audio/x-mulaw;rate=8000",
    ),
    Platform(
        name="Exotel",
        stream="stream_sid",
        call="call_sid",
        form="media_format",
        rate="sample_rate",
        parameters="custom_parameters",
        sounds=G711 | {"audio/x-l16": (8_000, 16_000, 24_000)},
        default="audio/x-l16",
        names=dict.fromkeys(EXOTEL_RAW, "audio/x-l16"),
        states_tracks=False,
        advice="set sample-rate to 8000, 16000 or 24000",
    ),
)


@dataclass(frozen=True)
class SoundForm:
    """What a platform's payloads hold; `sound` is None where that is nothing that is heard."""

    platform: Platform
    stated: str  # as the platform wrote it
    sound: Sound | None
    sample_rate: int
    channels: int

    @property
    def big_endian(self) -> bool:
        """Whether the bytes of a sample come in network order."""
        return self.sound == "audio/x-l16" and self.platform.big_endian

    def refusal(self) -> str | None:
        """Why it is not heard; None where it is."""
        rates = self.platform.sounds.get(self.sound, ()) if self.sound is not None else ()
        if self.sample_rate in rates and self.channels == 1:
            return None
        found = f"{self.stated} at {self.sample_rate} Hz in {self.channels} channel{'s' * (self.channels != 1)}"
        heard = f"{self.platform.heard()} in one channel are heard from {self.platform.name}"
        return f"{found} is not heard: {heard}; {self.platform.advice}"


def plain_start(values: dict[str, Any]) -> tuple[Platform, dict[str, Any]]:
    """A `start` of any platform: whose it is, and Twilio's names for what it says.

    Raises:
        UnsupportedPlatform: a form that is known by name alone.
        BadMessage: no platform's.
    """
    start = values.get("start")
    inner: dict[str, Any] = start if isinstance(start, dict) else {}
    for platform in PLATFORMS:
        stream = values.get(platform.stream) or inner.get(platform.stream)
        if stream is not None:
            break
    else:
        if isinstance(inner.get("mediaFormat"), dict):
            raise UnsupportedPlatform(_unsupported("Voximplant"))
        names = ", ".join(f"{platform.stream} ({platform.name})" for platform in PLATFORMS)
        raise BadMessage(f'"start" names no stream: it has none of {names}')
    form = inner.get(platform.form)
    if form is not None and not isinstance(form, dict):
        raise BadMessage(f"start.{platform.form}: must be an object")
    named: dict[str, Any] = {"mediaFormat": _plain_form(platform, form or {})}
    if inner.get(platform.call) is not None:
        named["callSid"] = inner[platform.call]
    if platform.states_tracks and "tracks" in inner:
        named["tracks"] = inner["tracks"]
    parameters = inner.get(platform.parameters, values.get(platform.parameters))
    if parameters is not None:
        named["customParameters"] = _parameters(parameters)
    return platform, {"event": "start", "streamSid": stream, "start": named}


def _plain_form(platform: Platform, form: dict[str, Any]) -> dict[str, Any]:
    """Its encoding, sample rate and channels; a rate may stand in the encoding's name."""
    stated = str(form.get("encoding") or "")
    named = re.search(r"(?:;\s*rate=|@)(\d+)", stated)
    plain: dict[str, Any] = {"encoding": stated or platform.default}
    rate = form.get(platform.rate) or (named and named.group(1))
    if rate:
        plain["sampleRate"] = rate
    if form.get("channels") is not None:
        plain["channels"] = form["channels"]
    return plain


def sound_form(platform: Platform, encoding: str, sample_rate: int, channels: int) -> SoundForm:
    """What an encoding's name means on a platform: `PCMU`, `audio/x-mulaw`, `audio/L16;rate=16000`, `L16@24000h`."""
    word = re.split(r"[;@]", encoding.strip().lower())[0].removeprefix("audio/").removeprefix("x-")
    sound = platform.names.get(word) or NAMES.get(word)
    return SoundForm(platform, encoding, sound, sample_rate, channels)


def _parameters(stated: object) -> dict[str, Any]:
    """Custom parameters, from an object or from the text that Plivo makes of its extra headers."""
    if isinstance(stated, dict):
        found = {str(name): value for name, value in stated.items()}
    else:
        text = str(stated)
        try:
            read = json.loads(text)
        except (ValueError, RecursionError):
            read = None
        pairs = ((name.strip("\"' "), value.strip("\"' ")) for name, value in PARAMETERS_TEXT.findall(text))
        found = read if isinstance(read, dict) else dict(pairs)
    return {re.sub(r"^X-PH-", "", name, flags=re.IGNORECASE): value for name, value in found.items()}


def check_form(values: dict[str, Any]) -> None:
    """Refuse a first message whose platform is known and not understood.

    Raises:
        UnsupportedPlatform: naming it.
    """
    for name, is_it in (
        ("Vonage", values.get("event") == "websocket:connected" or "content-type" in values),
        ("Bandwidth", isinstance(values.get("eventType"), str)),
        ("Azure Communication Services", isinstance(values.get("kind"), str)),
        ("Genesys AudioHook", values.get("type") == "open" and "version" in values),
    ):
        if is_it:
            raise UnsupportedPlatform(_unsupported(name))


def _unsupported(name: str) -> str:
    understood = ", ".join(platform.name for platform in PLATFORMS)
    return f"a stream as {name} writes it is not understood; {understood} are, and WS /v1/live takes any sound"


# --- What a telephone platform says on `/v1/media-stream`: the JSON form that Twilio Media Streams made common.
# Other platforms' names are turned into Twilio's first (`call_platforms`). Platforms add fields and events of their
# own, so what is not known here is passed over; what is used is checked.

MAX_CHUNK: Final = 2**53
TrackName = Literal["inbound", "outbound"]


class PlatformPart(BaseModel):
    """Numbers may come as strings, as the platforms send them."""

    model_config = ConfigDict(extra="ignore")


class MediaFormat(PlatformPart):
    """How the sound comes."""

    encoding: str = "audio/x-mulaw"
    sampleRate: int = 8000
    channels: int = 1


class Wishes(PlatformPart):
    """What may be asked, in the platform's custom parameters or in the address's query."""

    token: Annotated[str, Field(max_length=1000)] | None = None
    callback: Annotated[str, Field(max_length=2000)] | None = None
    model: ModelName | None = None
    pixels: Pixels = 512
    exaggerate: Exaggeration = 0.0
    updates_per_second: float = Field(1.0, gt=0, le=10, allow_inf_nan=False)


class StreamStart(PlatformPart):
    """Which call it is."""

    callSid: Identifier | None = None
    tracks: list[TrackName] = Field(["inbound"], min_length=1, max_length=2)
    mediaFormat: MediaFormat = MediaFormat()
    customParameters: dict[str, Any] = {}


class MediaFrame(PlatformPart):
    """20 ms of one track."""

    track: TrackName = "inbound"
    chunk: int | None = Field(None, ge=0, le=MAX_CHUNK)  # None: frames come in order
    timestamp: int | None = Field(None, ge=0, le=MAX_CHUNK)  # milliseconds, since the stream began or since 1970
    payload: str

    def sound(self) -> bytes:
        """The samples.

        Raises:
            Ended: no base64.
        """
        try:
            return base64.b64decode(self.payload, validate=True)
        except ValueError:
            raise Ended(CloseCode.BAD_MESSAGE, "a payload is not base64", "bad_base64") from None


class Started(PlatformPart):
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


class MediaEvent(PlatformPart):
    """`media`"""

    event: Literal["media"]
    media: MediaFrame


class Stopped(PlatformPart):
    """`stop`"""

    event: Literal["stop"]


Event = Annotated[Started | MediaEvent | Stopped, Field(discriminator="event")]
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
_KNOWN: Final = ("start", "media", "stop")


def read_event(text: str) -> Event | None:
    """One message; None for an event that changes nothing here: connected, mark, dtmf, and whatever a platform adds.

    Raises:
        UnsupportedPlatform: a platform's form that is not understood.
        BadMessage: with one line that says what is wrong.
    """
    try:
        values = from_json(text)
    except ValueError:  # also brackets nested without end, and halves of letters, which nobody could be answered with
        raise BadMessage("the message is not JSON") from None
    if isinstance(values, dict):
        check_form(values)
    if not isinstance(values, dict) or not isinstance(values.get("event"), str):
        raise BadMessage('the message must be a JSON object with an "event"')
    if values["event"] not in _KNOWN:
        return None
    platform = PLATFORMS[0]
    if values["event"] == "start":
        platform, values = plain_start(values)
    return checked(_EVENT.validate_python, values | {"platform": platform})


def read_wishes(query: Mapping[str, Any], parameters: Mapping[str, Any]) -> Wishes:
    """What is asked for; a custom parameter counts more than the query, where no token belongs.

    Raises:
        BadMessage: with one line that says what is wrong.
    """
    return checked(Wishes.model_validate, {name: query[name] for name in query if name != "token"} | {**parameters})


# --- One track's frames of sound in order: those out of order sorted, those twice dropped, those lost made good.

WINDOW_CHUNKS: Final = 10  # frames that wait for an earlier one: 200 ms, beyond which it is given up
FOLLOWS_MS: Final = 10  # a frame whose time is this near the last one's end follows it, whatever its number
JITTER_MS: Final = 40  # time stamps of two frames may be this far off before time is missing
MAX_FILL_MS: Final = 1000  # a longer pause tells no more
SILENCE: Final = {"audio/x-mulaw": b"\xff", "audio/x-alaw": b"\xd5", "audio/x-l16": b"\0\0"}  # one sample
REMEMBERED_LOST: Final = 256


class TrackOrder:
    """Frames in as they come, bytes out in the order they were spoken.

    A frame is the next one by its number, or by its time: where a platform counts over both tracks, or leaves numbers
    out, nothing is missing. What is lost becomes as much silence as the time stamps say, so that a pause stays a pause.
    """

    def __init__(self, encoding: Sound = "audio/x-mulaw", sample_rate: int = TELEPHONE_RATE) -> None:
        self._silence = SILENCE[encoding]
        self._samples_per_ms = sample_rate / 1000
        self.bytes_per_second = sample_rate * len(self._silence)
        self._next: int | None = None
        self._clock_ms: float = 0.0  # where the next sample is, by the time stamps
        self._waiting: dict[int, tuple[int, bytes]] = {}  # time stamp in ms and sound, by number
        self._given_up: OrderedDict[int, None] = OrderedDict()
        self.received = self.lost = self.late = self.repeated = 0
        self.filled_ms = 0.0

    def push(self, chunk: int | None, timestamp_ms: int | None, sound: bytes) -> bytes:
        """One frame; all sound that is in order now, often none or one frame, silence included.

        A frame without number or time is as it came.
        """
        self.received += 1
        if chunk is None or timestamp_ms is None:
            return self.flush() + sound
        if self._next is None:
            self._next = 1 if chunk in range(1, WINDOW_CHUNKS) else chunk
            self._clock_ms = max(0, timestamp_ms - 20 * (chunk - self._next))
        if chunk < self._next:
            if chunk in self._given_up:
                del self._given_up[chunk]
                self.late += 1
            else:
                self.repeated += 1
            return b""
        if chunk in self._waiting:
            self.repeated += 1
            return b""
        self._waiting[chunk] = (timestamp_ms, sound)
        return self._ready()

    def flush(self) -> bytes:
        """The end: all that still waits, in order."""
        ready = b""
        while self._waiting:
            ready += self._take(min(self._waiting))
        return ready

    def counts(self) -> dict[str, float]:
        """How the frames came, JSON-ready."""
        return {
            "frames": self.received,
            "lost": self.lost,
            "late": self.late,
            "repeated": self.repeated,
            "silence_seconds": round(self.filled_ms / 1000, 2),
        }

    def _ready(self) -> bytes:
        ready = b""
        while self._waiting:
            first = min(self._waiting)
            follows = abs(self._waiting[first][0] - self._clock_ms) <= FOLLOWS_MS
            if first != self._next and not follows and len(self._waiting) <= WINDOW_CHUNKS:
                break
            ready += self._take(first)
        return ready

    def _take(self, chunk: int) -> bytes:
        timestamp_ms, sound = self._waiting.pop(chunk)
        assert self._next is not None
        missing_ms = timestamp_ms - self._clock_ms
        if chunk > self._next and missing_ms > FOLLOWS_MS:
            self._give_up(self._next, chunk)
        self._next = chunk + 1
        fill_ms = 0.0
        if missing_ms > JITTER_MS or (missing_ms > FOLLOWS_MS and chunk - 1 in self._given_up):
            fill_ms = min(missing_ms, MAX_FILL_MS)
            self._clock_ms += missing_ms
        elif missing_ms < -MAX_FILL_MS:  # the sender's clock was set back
            self._clock_ms = timestamp_ms
        self.filled_ms += fill_ms
        self._clock_ms += 1000 * len(sound) / self.bytes_per_second
        return self._silence * round(fill_ms * self._samples_per_ms) + sound

    def _give_up(self, first: int, end: int) -> None:
        self.lost += end - first
        for chunk in range(max(first, end - REMEMBERED_LOST), end):
            self._given_up[chunk] = None
        while len(self._given_up) > REMEMBERED_LOST:
            self._given_up.popitem(last=False)


# --- From the accepted socket to its close.

router = APIRouter()
ENCODINGS: Final[dict[Sound, Encoding]] = {"audio/x-mulaw": "mulaw", "audio/x-alaw": "alaw", "audio/x-l16": "s16le"}


@dataclass(frozen=True)
class StreamedTrack:
    """One track on its way: frames put in order, and its voice."""

    name: str
    order: TrackOrder
    track: calls.CallTrack


class MediaStreamConnection(SocketConnection):
    """A stream of one call."""

    kind = "call"

    def __init__(self, socket: WebSocket, service: "Service", book: calls.CallBook) -> None:
        super().__init__(socket, service)
        self._book = book
        self._call: calls.Call | None = None
        self._tracks: dict[str, StreamedTrack] = {}
        self._encoding: list[asyncio.Task[None]] = []
        self._updates_per_second = 1.0
        self._model: Model
        self._form: SoundForm
        self._options = calls.TrackOptions()

    def _error(self, ended: Ended) -> dict[str, Any]:
        return {"event": "error", "code": ended.error, "text": ended.reason}

    def _closed(self, code: int, reason: str) -> dict[str, Any]:
        if self._call is not None:
            self._book.close(self._call, reason)
        self._metrics.count("speech2face_calls_closed_total", kind="media-stream", reason=reason)
        return {}

    async def _serve(self) -> NoReturn:
        started = await self._in_time(self._first_event())
        watching: list[asyncio.Task[Any]] = []
        try:
            try:
                await self._begin(started)
                watching += [self._spawn(self._read_all()), self._spawn(self._watch())]
                await self._until_over()
            finally:  # also where a second track finds no place: the first one is on by then
                await stop(*watching)
                for streamed in self._tracks.values():
                    await streamed.track.buffer.end(streamed.order.flush())
                await asyncio.gather(*self._encoding, return_exceptions=True)
        finally:
            await self._finish()

    async def _first_event(self) -> Started:
        while True:
            event = self._event(await self._receive())
            if isinstance(event, Started):
                return event
            if event is not None:
                raise Ended(CloseCode.BAD_MESSAGE, f'"{event.event}" came before "start"', "no_start")

    def _event(self, message: str | bytes) -> Event | None:
        with refusals_end():
            if isinstance(message, bytes):
                raise BadMessage("the messages of a media stream are text")
            return read_event(message)

    async def _begin(self, started: Started) -> None:
        with refusals_end():
            wishes = read_wishes(self._socket.query_params, started.start.customParameters)
        self._let_in(wishes.token)
        self._form = started.form
        if (refusal := self._form.refusal()) is not None:
            raise Ended(CloseCode.BAD_MESSAGE, refusal, "unsupported_format")
        with refusals_end():
            self._model = self._service.registry.model(wishes.model)
            if wishes.callback is not None:
                calls.check_callback(wishes.callback, self._service.settings.callback_hosts)
        self._options = calls.TrackOptions(wishes.pixels, wishes.exaggerate)
        self._updates_per_second = wishes.updates_per_second
        call = calls.Call(started.call, "media-stream", self.hang_up)
        if not self._book.open(call):
            raise Ended(CloseCode.BAD_MESSAGE, "a call of this name is running", "call_exists")
        self._call = call
        for name in dict.fromkeys(started.start.tracks if self._form.platform.states_tracks else ()):
            await self._open_track(name)
        if wishes.callback is not None:
            self._book.post(call, wishes.callback)

    async def _open_track(self, name: str) -> StreamedTrack:
        assert self._call is not None
        assert self._form.sound is not None
        if self._tracks:
            self._take_slot()  # the first has the connection's
        order = TrackOrder(self._form.sound, self._form.sample_rate)
        source = PcmFormat(ENCODINGS[self._form.sound], self._form.sample_rate, 1)
        with refusals_end():
            track = await calls.open_track(self._model, source, self._options, self._service)
        streamed = self._tracks[name] = StreamedTrack(name, order, track)
        self._call.voices[name], self._call.received[name] = track.voice, order.counts
        self._encoding.append(self._spawn(self._encode(streamed)))
        return streamed

    async def _received(self, message: str | bytes) -> None:
        event = self._event(message)
        if isinstance(event, MediaEvent):
            await self._frame(event.media)
        elif isinstance(event, Started):
            raise Ended(CloseCode.BAD_MESSAGE, 'a second "start" came', BadMessage.code)
        elif event is not None:
            raise Ended(CloseCode.FINISHED, "stopped")

    async def _frame(self, media: MediaFrame) -> None:
        streamed = self._tracks.get(media.track)
        if streamed is None:
            if self._form.platform.states_tracks:
                raise Ended(CloseCode.BAD_MESSAGE, f'"start" did not name the track {media.track}', "unknown_track")
            streamed = await self._open_track(media.track)
        sound = media.sound()
        if self._form.sound == "audio/x-l16":
            if len(sound) % 2:
                text = f"a payload of L16 has {len(sound)} bytes; its samples have two each"
                raise Ended(CloseCode.BAD_MESSAGE, text, BadMessage.code)
            if self._form.big_endian:
                sound = np.frombuffer(sound, ">i2").astype("<i2").tobytes()
        if ready := streamed.order.push(media.chunk, media.timestamp, sound):
            await streamed.track.buffer.put(ready)

    async def _encode(self, streamed: StreamedTrack) -> None:
        async def updated() -> None:
            self._post(streamed)

        with refusals_end(CloseCode.UNUSABLE_SOUND):
            await streamed.track.encode(self._updates_per_second, updated)

    def _post(self, streamed: StreamedTrack, *, last: bool = False) -> None:
        call, voice = self._call, streamed.track.voice
        if call is None or call.callback is None or not (last or voice.drawable):
            return

        async def message() -> calls.CallbackMessage | None:
            if call.deleted:
                return None
            try:
                drawn = await self._in_thread(voice.picture)
                problem = voice.problem  # after the picture: why there is none may have been found out meanwhile
            except Speech2FaceError as error:  # a picture that cannot be signed any more: its facts go out
                drawn, problem = None, {"code": error.code, "text": str(error)}
            return {
                "event": "portrait",
                "call": call.name,
                "track": streamed.name,
                "number": voice.number if drawn is None else drawn[0],
                "facts": voice.facts,
                "picture": None if drawn is None else in_base64(drawn[1], MEDIA_TYPES["png"]),
                "problem": problem,
                "last": last,
            }

        call.callback.show(streamed.name, message)

    async def _finish(self) -> None:
        """The last portrait of every track; what was forgotten meanwhile is not drawn any more."""
        kept = self._call is not None and not self._call.deleted
        for streamed in self._tracks.values():
            await streamed.track.finish(kept=kept)
            if kept:
                self._post(streamed, last=True)
        if self._call is not None and self._call.callback is not None:
            if kept:
                self._call.callback.finish()
            else:
                self._call.callback.cancel()


@router.websocket("/v1/media-stream")
async def media_stream(socket: WebSocket) -> None:
    """One stream of one call."""
    await socket.accept()
    await MediaStreamConnection(socket, socket.app.state.service, socket.app.state.calls).run()
