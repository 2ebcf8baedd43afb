"""How telephone platforms write the start of a call's stream: one table, from which one form is made.

All of them send JSON with an `event` and base64 in `media.payload`; names, encodings and the byte order of L16 differ.
Sources are the platforms' own pages: Twilio "Media Streams - WebSocket Messages"; SignalWire "cXML Stream" (attribute
`codec`); Telnyx "Stream call media over WebSocket"; Plivo "Audio stream"; Exotel "Stream and Voicebot applet" and
"WebSocket protocol". Plivo's page leaves the byte order of L16 open; programs that use it read little-endian.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Sound = Literal["audio/x-mulaw", "audio/x-alaw", "audio/x-l16"]
TELEPHONE_RATE: Final = 8000
NAMES: Final[dict[str, Sound]] = {
    "mulaw": "audio/x-mulaw", "ulaw": "audio/x-mulaw", "pcmu": "audio/x-mulaw",
    "alaw": "audio/x-alaw", "pcma": "audio/x-alaw",
    "l16": "audio/x-l16", "linear16": "audio/x-l16", "slin": "audio/x-l16",
}  # fmt: skip
EXOTEL_RAW: Final = ("raw", "raw/slin", "base64")  # its names for 16-bit samples, by the age of its documentation
PARAMETERS_TEXT: Final = re.compile(r"([^\s,;:={}]+)\s*[:=]\s*([^,;{}]*)")  # {X-PH-one: 1, X-PH-two: 2} or one=1,two=2


class UnsupportedPlatform(ValueError):
    """A platform's form that is known by name and not understood."""


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
        ValueError: no platform's.
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
        raise ValueError(f'"start" names no stream: it has none of {names}')
    form = inner.get(platform.form)
    if form is not None and not isinstance(form, dict):
        raise ValueError(f"start.{platform.form}: must be an object")
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
