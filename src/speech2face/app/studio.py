"""The consent studio: a page on this machine where a person reads, signs, records and is photographed, and withdraws.

Until the last step everything is in memory alone: whoever leaves, or is gone for a quarter of an hour, leaves nothing
behind, and neither does a machine that is switched off. What is stored then, `speech2face.consent` stores.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import math
import secrets
import time
import wave
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import numpy as np
from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from speech2face import __version__
from speech2face.app.http import (
    HEADERS,
    MIB,
    Authentication,
    Gate,
    Limits,
    Metrics,
    Observer,
    Problem,
    is_loopback,
    too_many,
)
from speech2face.app.server import OrderlyServer, PageFiles, add_handlers, address_of, listen, page_file, server_config
from speech2face.app.service import PAGE_FOLDER, Threads, in_thread
from speech2face.audio.recording import read_recording
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import SILENCE_RMS, Activity, find_speech, snr_db
from speech2face.consent import (
    VOICE_FILE,
    AgeRange,
    ConsentFolder,
    ConsentRecord,
    Language,
    Lent,
    Name,
    StatedGender,
    StudioTerms,
    consent_form,
    facts_of,
    local_day,
    new_code,
)
from speech2face.data.faces import FaceCandidate, FaceLimits, FaceSearch, SeenFace, aligned_face, face_alignment
from speech2face.data.media import Rejected
from speech2face.errors import FaceNotFound, InvalidOption, MissingExtra, NoSpeech, SilentRecording, TooLittleSpeech
from speech2face.face.appearance import Points
from speech2face.face.detect import Picture, read_photograph

# --- How good a recording or photograph is that somebody makes just now: measured, as codes; the page has the words.
# What stands in the way of learning refuses a photograph; what only makes it worse is advice, and is written into the
# record. The limits are those of `data prepare`, or stricter: the person is still there and can do it again.

# --- The voice.

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
    from speech2face.models import load_model
    from speech2face.models.contract import CHILD
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


# --- The photographs.

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
    try:
        return FaceJudge(), None
    except MissingExtra as error:
        return NoJudge(), str(error)


# --- The studio itself.

log = logging.getLogger(__name__)
SENTENCES: Final = PAGE_FOLDER / "studio_sentences.json"
SESSION_HEADER: Final = "Studio-Session"
STUDIO_HEADERS: Final = HEADERS | {
    "Permissions-Policy": "microphone=(self), camera=(self), geolocation=(), payment=(), usb=()",
    "Cache-Control": "no-store",  # the next person at this machine has the same browser
}
SAMPLE_RATES: Final = (8_000, 192_000)
LONGEST_PIXELS: Final = 1920  # side of a photograph that is kept


@dataclass(frozen=True)
class StudioLimits:
    """What one studio takes."""

    sessions: int = 4
    idle_seconds: float = 900.0  # without any request; then the session is erased
    sound_seconds: float = 240.0  # of a recording, pauses included
    upload_bytes: int = 12 * MIB  # of a piece of sound or a photograph
    wrong_code_seconds: float = 1.0  # that a wrong withdrawal code costs


@dataclass(frozen=True)
class StudioSettings:
    """What `speech2face studio` was asked for."""

    folder: Path
    terms: StudioTerms
    host: str = "127.0.0.1"
    port: int = 8766
    limits: StudioLimits = field(default_factory=StudioLimits)


@dataclass
class StudioSession:
    """One person between signing and the end, in memory alone."""

    key: str
    signing: Signing
    signed_at: datetime
    touched: float
    sample_rate: int | None = None
    sound: bytearray = field(default_factory=bytearray)
    """Signed 16-bit samples, mono, little-endian."""
    parts: int = 0
    voice: VoiceReport | None = None
    photographs: dict[int, tuple[bytes, PhotographReport]] = field(default_factory=dict)
    """By place: as they will be stored."""
    stored: tuple[ConsentRecord, str] | None = None
    """The record and the withdrawal code, once all is stored; what was recorded is no longer held then."""
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def wav(self) -> bytes:
        """The recording as a WAV file, at the rate of the microphone."""
        assert self.sample_rate is not None, "something was recorded"
        sink = io.BytesIO()
        with wave.open(sink, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.sample_rate)
            file.writeframes(bytes(self.sound))
        return sink.getvalue()

    def forget_voice(self) -> None:
        """Begin the recording anew."""
        self.sound, self.parts, self.sample_rate, self.voice = bytearray(), 0, None, None


class Studio:
    """What all requests share."""

    def __init__(
        self, settings: StudioSettings, judge: PhotographJudge | None = None, check_voice: VoiceCheck | None = None
    ) -> None:
        self.settings, self.terms, self.limits = settings, settings.terms, settings.limits
        self.folder = ConsentFolder(settings.folder)
        self.form = consent_form(settings.terms)
        self.sentences = sentences_of(settings.terms)
        self.why_unchecked: str | None = None
        if judge is None:
            judge, self.why_unchecked = open_judge()
        self.judge, self.check_voice = judge, check_voice or open_voice_check()
        self.sessions: dict[str, StudioSession] = {}
        self._erasing: dict[str, asyncio.Task[int]] = {}
        self.gate = Gate(Limits(upload_bytes=self.limits.upload_bytes, requests_at_once=16, body_seconds=30.0))
        self.threads = Threads(1, "studio")  # one: a finder of faces is not for several at once
        self.clock: Callable[[], float] = time.monotonic

    def begin(self, signing: Signing) -> StudioSession:
        """Open the session of somebody who has signed.

        Raises:
            Problem: another form, a tick that is missing, no sentences in the language, too many at once.
            InvalidOption: the term is over.
        """
        self.sweep()
        if signing.form_sha256 != self.form.sha256:
            raise Problem(422, "other_form", "the form has changed since this page was opened; read it again")
        if tuple(signing.statements) != self.form.statements:
            raise Problem(422, "not_agreed", "each statement has to be ticked; without them nothing is recorded")
        if signing.language not in self.sentences:
            raise Problem(422, "invalid_request", f"there are sentences in {', '.join(self.sentences)}")
        if len(self.sessions) >= self.limits.sessions:
            raise too_many("as many people as can be are being recorded; finish one of the open pages first", 30)
        now = datetime.now(UTC)
        self.terms.last_day(local_day(now))
        session = StudioSession(secrets.token_urlsafe(24), signing, now, self.clock())
        self.sessions[session.key] = session
        return session

    def session(self, key: str | None, *, stored: bool = False) -> StudioSession:
        """The session of a request; before the last step, or `stored` after it.

        Raises:
            Problem: 401 for one that is closed or never was, 422 for the wrong side of the last step.
        """
        self.sweep()
        found = self.sessions.get(key or "")
        if found is None:
            raise Problem(401, "session_gone", "this session is closed; what was not finished was erased")
        if (found.stored is not None) != stored:
            text = "it is stored already" if found.stored else "nothing is stored yet"
            raise Problem(422, "wrong_step", text)
        found.touched = self.clock()
        return found

    @contextlib.asynccontextmanager
    async def held(self, key: str | None) -> AsyncIterator[StudioSession]:
        """The session of a request before the last step, with nothing else done to it meanwhile.

        Raises:
            Problem: as `session`, also where it was closed or stored while this waited.
        """
        session = self.session(key)
        async with session.busy:
            yield self.session(key)

    def sweep(self) -> None:
        """Erase the sessions of those who are gone."""
        late = self.clock() - self.limits.idle_seconds
        for key in [key for key, each in self.sessions.items() if each.touched < late and not each.busy.locked()]:
            del self.sessions[key]
            log.info("session closed", extra={"data": {"reason": "idle"}})

    def missing(self, session: StudioSession) -> str | None:
        """What a person still has to do before the last step, as one sentence; None where nothing."""
        speech = session.voice.speech_seconds if session.voice else 0.0
        if speech < self.terms.speech_seconds:
            return f"{speech:.0f} s of speech were recorded; {self.terms.speech_seconds:.0f} s are asked for"
        if session.voice is not None and NOT_A_VOICE in session.voice.findings:
            return "what was recorded is no voice; start over"
        if len(session.photographs) < self.terms.photographs:
            return f"{len(session.photographs)} photographs were taken; {self.terms.photographs} are asked for"
        return None

    def store(self, session: StudioSession, finishing: Finishing) -> tuple[ConsentRecord, str]:
        """Write everything of one person; for a worker thread.

        Raises:
            Speech2FaceError: as `ConsentFolder.add`; nothing is stored then.
        """
        assert session.voice is not None, "missing() was asked"
        taken = [each for _, each in sorted(session.photographs.items())]
        findings = {VOICE_FILE: session.voice.findings}
        findings |= {f"photo-{number}.png": report.findings for number, (_, report) in enumerate(taken, start=1)}
        code = new_code()
        lent = Lent(
            name=session.signing.name,
            form_sha256=session.signing.form_sha256,
            statements=tuple(session.signing.statements),
            signed_at=session.signed_at,
            language=session.signing.language,
            voice=session.wav(),
            photographs=tuple(content for content, _ in taken),
            speech_seconds=session.voice.speech_seconds,
            findings=findings,
            age=finishing.age,
            gender=finishing.gender,
        )
        return self.folder.add(lent, self.terms, code), code

    async def erase(self, person: str) -> int:
        """Erase a person's files, how many there were; who asks while it is done is told the same."""
        if person not in self._erasing:
            self._erasing[person] = asyncio.create_task(self._erase(person))
        return await asyncio.shield(self._erasing[person])

    async def _erase(self, person: str) -> int:
        files: tuple[str, ...] = ()
        try:
            with contextlib.suppress(InvalidOption):  # the organiser's command line has erased them meanwhile
                files = (await asyncio.to_thread(self.folder.withdraw, person)).files
        finally:
            del self._erasing[person]
        for session in tuple(self.sessions.values()):
            if session.stored is not None and session.stored[0].person == person:
                del self.sessions[session.key]  # its page is still open, and it holds the record
        log.info("withdrawn")
        return len(files)


def sentences_of(terms: StudioTerms) -> dict[str, tuple[str, ...]]:
    """Sentences to read by language, in the terms' order.

    Raises:
        InvalidOption: there are none in a language.
    """
    known: Mapping[str, list[str]] = json.loads(SENTENCES.read_text(encoding="utf-8"))
    found = {}
    for language in terms.languages:
        chosen = terms.sentences.get(language) or known.get(language)
        if not chosen:
            raise InvalidOption(
                f"there are no sentences in {language!r}; there are {', '.join(known)}, or give your own:"
                f' [sentences] {language} = ["..."]'
            )
        found[language] = tuple(chosen)
    return found


# --- What the page sends.


class Signing(BaseModel):
    """A signature under the form."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    form_sha256: str = Field(max_length=64)
    statements: Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=8)]
    """Those that were ticked, in their own words."""
    language: Language


class Finishing(BaseModel):
    """What a person says of themselves, if anything."""

    model_config = ConfigDict(extra="forbid")
    age: AgeRange = ""
    gender: StatedGender = ""


class Withdrawing(BaseModel):
    """A withdrawal code as somebody types it."""

    model_config = ConfigDict(extra="forbid")
    code: str = Field(max_length=100)


SessionKey = Annotated[str | None, Header(alias=SESSION_HEADER, max_length=100)]
router = APIRouter()


def _studio(request: Request) -> Studio:
    studio: Studio = request.app.state.studio
    return studio


async def _body(request: Request) -> bytes:
    """The bytes of one piece of sound or one photograph, in memory."""
    async with _studio(request).gate.admitted(request) as arrival:
        upload = await arrival.read()
    if len(upload.recordings) != 1:
        raise Problem(422, "invalid_request", "one piece at a time")
    return upload.recordings[0][1]


@router.get("/")
async def studio_page() -> Response:
    """The page."""
    return page_file("studio.html")


@router.get("/studio/form")
async def read_form(request: Request) -> dict[str, Any]:
    """What is asked, and everything that the page has to know."""
    studio = _studio(request)
    return {
        "organisation": studio.terms.organisation,
        "contact": studio.terms.contact,
        "version": studio.form.version,
        "sha256": studio.form.sha256,
        "sections": studio.form.sections,
        "statements": studio.form.statements,
        "sentences": studio.sentences,
        "speech_seconds": studio.terms.speech_seconds,
        "photographs": studio.terms.photographs,
        "checked": studio.why_unchecked is None,
        "idle_seconds": studio.limits.idle_seconds,
    }


@router.post("/studio/sign")
async def sign(request: Request, signing: Signing) -> dict[str, Any]:
    """Sign; what comes back opens the other doors of this session."""
    return {"session": _studio(request).begin(signing).key}


@router.post("/studio/voice")
async def add_voice(
    request: Request,
    rate: Annotated[int, Query(ge=SAMPLE_RATES[0], le=SAMPLE_RATES[1])],
    part: Annotated[int, Query(ge=0, le=100_000)],
    key: SessionKey = None,
) -> dict[str, Any]:
    """Append the next piece of sound, s16le mono, and judge the recording so far; a piece that came already is not
    appended twice."""
    studio = _studio(request)
    studio.session(key)
    piece = await _body(request)
    async with studio.held(key) as session:
        if len(piece) % 2 or (session.sample_rate not in (None, rate)) or part > session.parts:
            raise Problem(422, "invalid_request", "pieces are whole 16-bit samples, of one rate, one after the other")
        if part == session.parts:
            if len(session.sound) + len(piece) > 2 * rate * studio.limits.sound_seconds:
                raise Problem(413, "recording_too_long", "the recording is too long; start it anew")
            samples = np.frombuffer(session.sound + piece, "<i2")
            wanted, check = studio.terms.speech_seconds, studio.check_voice
            session.voice = await in_thread(
                studio.threads, lambda: judge_voice(samples, rate, wanted_seconds=wanted, check=check)
            )
            session.sound += piece  # only now: a piece that cannot be judged is refused whole, and can come again
            session.parts, session.sample_rate = part + 1, rate
        assert session.voice is not None, "a piece was judged"
        return _voice_answer(session.voice, studio)


def _voice_answer(report: VoiceReport, studio: Studio) -> dict[str, Any]:
    return {
        "speech_seconds": round(report.speech_seconds, 2),
        "seconds": round(report.seconds, 2),
        "enough": report.enough(studio.terms.speech_seconds),
        "advice": report.advice,
        "findings": report.findings,
    }


@router.delete("/studio/voice")
async def restart_voice(request: Request, key: SessionKey = None) -> dict[str, Any]:
    """Forget the recording so far."""
    async with _studio(request).held(key) as session:
        session.forget_voice()
    return {}


@router.post("/studio/look")
async def look(request: Request, key: SessionKey = None) -> dict[str, Any]:
    """Judge a snapshot of the camera, which is forgotten at once."""
    studio = _studio(request)
    studio.session(key)
    content = await _body(request)
    return _photograph_answer((await in_thread(studio.threads, lambda: _judged(studio, content, kept=False)))[1])


@router.post("/studio/photographs/{place}")
async def take_photograph(request: Request, place: int, key: SessionKey = None) -> dict[str, Any]:
    """Keep a photograph in its place, from 1, unless something stands in the way of learning from it."""
    studio = _studio(request)
    studio.session(key)
    if not 1 <= place <= studio.terms.photographs:
        raise Problem(404, "not_found", f"photographs are counted from 1 to {studio.terms.photographs}")
    content = await _body(request)
    async with studio.held(key) as session:
        png, report = await in_thread(studio.threads, lambda: _judged(studio, content, kept=True))
        if not report.refused:
            session.photographs[place] = png, report
    return _photograph_answer(report) | {"taken": sorted(session.photographs)}


def _judged(studio: Studio, content: bytes, *, kept: bool) -> tuple[bytes, PhotographReport]:
    """A photograph as PNG, without anything that a camera wrote beside the pixels, and how good it is."""
    try:
        picture = read_photograph(content)
    except (FaceNotFound, MissingExtra) as error:
        raise Problem(415, "not_a_photograph", str(error)) from None
    if not kept:
        return b"", studio.judge.judge(picture, kept=False)
    image = Image.fromarray(picture)
    image.thumbnail((LONGEST_PIXELS, LONGEST_PIXELS))
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue(), studio.judge.judge(np.asarray(image, np.uint8), kept=True)


def _photograph_answer(report: PhotographReport) -> dict[str, Any]:
    return {"refused": report.refused, "advice": report.advice, "box": report.box}


@router.post("/studio/finish")
async def finish(request: Request, finishing: Finishing, key: SessionKey = None) -> dict[str, Any]:
    """Store everything and say the withdrawal code; asked again, it says the same."""
    studio = _studio(request)
    studio.sweep()
    known = studio.sessions.get(key or "")
    session = studio.session(key, stored=bool(known and known.stored))
    async with session.busy:
        if session.stored is None:
            missing = studio.missing(session)
            if missing is not None:
                raise Problem(422, "not_complete", missing)
            session.stored = await asyncio.to_thread(studio.store, session, finishing)
            session.forget_voice()
            session.photographs.clear()
            if session.key not in studio.sessions:  # left meanwhile, and so never shown the code
                await asyncio.to_thread(studio.folder.withdraw, session.stored[0].person)
                raise Problem(401, "session_gone", "this session was closed; what it had stored was erased")
            log.info("stored", extra={"data": {"people": len(studio.folder.people())}})
        record, code = session.stored
    files = [{"name": name, "bytes": each.bytes} for name, each in sorted(record.files.items())]
    return {"code": code, "record": facts_of(record), "files": files}


@router.post("/studio/erase")
async def erase(request: Request, key: SessionKey = None) -> dict[str, Any]:
    """Erase what was stored a moment ago, without the code."""
    studio = _studio(request)
    stored = studio.session(key, stored=True).stored
    assert stored is not None, "session() looked"
    return {"files": await studio.erase(stored[0].person)}


@router.delete("/studio/session")
async def leave(request: Request, key: SessionKey = None) -> dict[str, Any]:
    """Close the session; what was not finished is gone. One that is closed already is as good."""
    if _studio(request).sessions.pop(key or "", None) is not None:
        log.info("session closed", extra={"data": {"reason": "left"}})
    return {}


@router.post("/studio/withdraw")
async def withdraw(request: Request, withdrawing: Withdrawing) -> dict[str, Any]:
    """Erase the files of whoever has this code."""
    studio = _studio(request)
    person = await asyncio.to_thread(studio.folder.person_of, withdrawing.code)
    if person is None:
        await asyncio.sleep(studio.limits.wrong_code_seconds)
        raise Problem(404, "unknown_code", "nobody here has this withdrawal code; look at it again")
    return {"files": await studio.erase(person)}


# --- The application, and its server.


def create_studio(
    settings: StudioSettings, judge: PhotographJudge | None = None, check_voice: VoiceCheck | None = None
) -> FastAPI:
    """The application; `app.state.studio` is what its routes share. The folder is made, and put right.

    Without `judge` and `check_voice`, photographs are judged by what is installed and voices by the shipped model.

    Raises:
        InvalidOption: sentences in an unknown language, or a key that others may read.
        CannotWrite, DatasetError, RunLocked: as `ConsentFolder.prepare`.
        WeightsError: the shipped model is missing or damaged.
    """
    studio = Studio(settings, judge, check_voice)
    studio.folder.prepare(studio.form)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sweeping = asyncio.create_task(_sweep_always(studio))
        yield
        sweeping.cancel()
        studio.sessions.clear()
        studio.threads.shutdown(wait=True, cancel_futures=True)

    app = FastAPI(
        title="Speech2Face consent studio",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.studio = studio
    app.include_router(router, default_response_class=JSONResponse)
    app.mount("/page", PageFiles(directory=PAGE_FOLDER, check_dir=False))
    add_handlers(app)
    app.add_middleware(Observer, service_metrics=Metrics(), gate=studio.gate, limits=Limits())
    # No cookie, a key in a header of its own, and the origin looked at: another site's page can do nothing here.
    app.add_middleware(Authentication, token=None, any_host=False, headers=STUDIO_HEADERS)
    return app


async def _sweep_always(studio: Studio) -> None:
    while True:
        await asyncio.sleep(min(30.0, studio.limits.idle_seconds / 2))
        studio.sweep()


def make_studio_server(settings: StudioSettings) -> OrderlyServer:
    """A server of the studio.

    Raises:
        InvalidOption: an address that other machines reach: a name, a voice and a face are not for an open network.
        As `create_studio`.
    """
    if not is_loopback(settings.host):
        raise InvalidOption(f"{settings.host} can be reached from other machines; the studio serves this machine alone")
    limits = Limits(upload_bytes=settings.limits.upload_bytes)
    return OrderlyServer(server_config(create_studio(settings), limits))


def run_studio(settings: StudioSettings, say: Callable[[str], None]) -> None:
    """Serve the studio until a signal ends it; `say` is told where it is and what an organiser should know.

    Raises:
        As `make_studio_server`.
    """
    server = make_studio_server(settings)
    studio: Studio = server.config.app.state.studio  # type: ignore[union-attr]
    listening = listen(settings.host, settings.port)
    say(f"open {address_of(settings.host, listening)} in a browser on this machine; Ctrl+C ends the studio")
    say(f"records are signed with the key {studio.folder.public_key[:16]}; note it, to know them again")
    if studio.why_unchecked is not None:
        say(f"photographs are stored unchecked: {studio.why_unchecked}")
    over = sum(each.state == "expired" for each in studio.folder.verify(date.today()))
    if over:
        say(f"the term of {over} people is over: speech2face studio --erase-expired --out {settings.folder}")
    server.run(sockets=[listening])
