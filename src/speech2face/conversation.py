"""A recording in which several people speak: who speaks when, and a portrait for each of them.

The speech is cut into half seconds, each with what is said around it read as a speaker embedding by the voice encoder;
`voice/diarization.py` tells from these how many speak and which piece is whose. What is one speaker's is then encoded
and drawn as any recording is, so that of a single speaker the portrait is the same as `reconstruct` gives.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from speech2face.audio.recording import Recording, Source
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.speech import DEFAULT_ACTIVITY, Activity, Spans, open_voice_activity, require_speech
from speech2face.audio.stream import SETTLED_SECONDS
from speech2face.console import Tell, unheard
from speech2face.errors import InvalidOption, NoSpeech
from speech2face.inputs import brief, whole_number
from speech2face.limits import MAX_CONVERSATION_SECONDS, MAX_SPEAKERS, Style
from speech2face.live import LiveSession, LiveSnapshot
from speech2face.models import speaker_reader
from speech2face.models.contract import EncoderState, Model, SpeechEncoding
from speech2face.portrait import (
    GivenLike,
    LabelledPicture,
    Portrait,
    PortraitOptions,
    as_recording,
    attribute_facts,
    check_options,
    encode_speech,
    portrait_of,
)
from speech2face.provenance import (
    SHEET_NOTICE,
    SHEET_NOTICES,
    Kind,
    comparison_facts,
)
from speech2face.sheets import TimelineRow, counted, draw_timeline
from speech2face.video import Turn
from speech2face.voice.diarization import (
    OnlineRule,
    OnlineSpeakers,
    OnlineUnits,
    SpeakerSpace,
    TurnModel,
    first_clusters,
    speaker_probabilities,
)

if TYPE_CHECKING:
    from speech2face.models.attributes import AttributeRuntime

PIECE_SAMPLES = SAMPLE_RATE // 2  # how finely turns are told apart
AROUND = 1  # pieces before and after that are read with one: 1.5 s tell a voice four times as well as half a second
NEAR_SAMPLES = SAMPLE_RATE // 2  # over a longer pause the next piece may well be somebody else's
AT_ONCE = 128  # pieces whose moments are in memory together
LEAST_SECONDS = 2.0  # of a voice that is drawn; what is shorter is more often a piece of another one
Speakers = int | str
TOO_SHORT = "too little was heard to draw it"
TOO_MANY = f"only the {MAX_SPEAKERS} longest are drawn"
NO_VOICE = "no voice was recognised in it"
# Chosen on the calibration speakers, by benchmarks/conversations.py --split calibration.
LEAST_COSINE = 0.6  # of half seconds that are joined before anything else
FIRST_SPEAKERS = MAX_SPEAKERS + 2  # the model of turns begins with; more are worse, since it does not lose them all
TURNS = TurnModel(acoustic=0.15, speaker=6.0, stay=0.8)
LEAST_COSINE_ALONE, TURNS_ALONE = 0.75, TurnModel(acoustic=0.3, speaker=9.0, stay=0.7)  # by the embeddings alone
LONG_PIECES = 600  # five minutes of speech; from there on as much more has to speak for a further speaker as is heard
LEAST_SHARE = 0.01  # of all pieces, below which nothing speaks for a speaker
OVERLAP = -0.1  # of the line that tells two at once: half of them, and a fiftieth of other speech, lie over it
CROWD = 1.15  # of the same line, in the mean over what seems one voice: a crowd has 1.3, one in babble 1.0 at most
LEAST_SURENESS = 0.6  # of whose a piece is; the others are left out


# --- Who speaks when.


@dataclass(frozen=True)
class Diarization:
    """Spans of samples of each speaker, in the order in which they begin, and those that are left out."""

    speakers: tuple[Spans, ...]
    left_out: Spans


def cut_pieces(spans: Spans) -> Spans:
    """Spans of speech cut into pieces of about half a second."""
    pieces: list[tuple[int, int]] = []
    for start, stop in spans:
        count = max(1, round((stop - start) / PIECE_SAMPLES))
        edges = np.linspace(start, stop, count + 1).astype(int).tolist()
        pieces += itertools.pairwise(edges)
    return tuple(pieces)


def encode_pieces(
    reader: AttributeRuntime, waveform: FloatArray, pieces: Spans, progress: Tell = unheard
) -> tuple[FloatArray, FloatArray]:
    """What each piece says with its neighbours, as `SpeakerSpace.describe` has it, and two at once or not (pieces,).

    Beside these, memory does not grow with the number of pieces.
    """
    found: list[FloatArray] = []
    overlaps: list[FloatArray] = []
    waiting: list[FloatArray] = []  # moments from AROUND pieces before the next that is read
    first = 0  # the piece that waiting[0] is
    with ThreadPoolExecutor(1 if reader.threads == 1 else 2) as threads:
        for start in range(0, len(pieces), AT_ONCE):
            stop = min(start + AT_ONCE, len(pieces))
            parts = (waveform[slice(*piece)] for piece in pieces[start:stop])
            waiting += [moments.sums[0] for moments in threads.map(reader.segment_moments, parts)]
            ready = len(pieces) if stop == len(pieces) else stop - AROUND
            read = range(sum(map(len, found)), ready)
            if read:
                near = _around(pieces, read)
                sums = np.stack([np.sum(waiting[low - first : high - first], axis=0) for low, high in near])
                found.append(reader.speaker_space.describe(reader.speaker_embeddings(sums), sums))
                overlaps.append(reader.speaker_space.overlaps(sums))
            keep = max(first, ready - AROUND)
            waiting, first = waiting[keep - first :], keep
            progress("seconds of speech read", *(_whole_seconds(pieces[:part]) for part in (stop, len(pieces))))
    return np.concatenate(found), np.concatenate(overlaps)


def _around(pieces: Spans, read: range) -> Iterator[tuple[int, int]]:
    """Of each piece the first and the end of those that are read with it: no long pause lies between."""
    for piece in read:
        low, high = piece, piece + 1
        while low > max(0, piece - AROUND) and pieces[low][0] - pieces[low - 1][1] <= NEAR_SAMPLES:
            low -= 1
        while high < min(len(pieces), piece + AROUND + 1) and pieces[high][0] - pieces[high - 1][1] <= NEAR_SAMPLES:
            high += 1
        yield low, high


def diarize(model: Model, activity: Activity, speakers: int | None = None, progress: Tell = unheard) -> Diarization:
    """Tell who speaks when in speech that was found; `speakers` is how many at most, None where nobody knows.

    Whichever model draws, the shipped starter's encoder tells speakers apart. Pieces in which two speak at once, or
    which nobody is sure to have said, are left out.
    """
    reader = speaker_reader(model)
    pieces = cut_pieces(activity.spans)
    encoded = encode_pieces(reader, activity.waveform, pieces, progress)
    progress("telling voices apart", 0, None)
    return tell_apart(pieces, *encoded, reader.speaker_space, speakers)


def tell_apart(
    pieces: Spans, embeddings: FloatArray, overlaps: FloatArray, space: SpeakerSpace, speakers: int | None = None
) -> Diarization:
    """The same from encoded pieces, (pieces, numbers) and (pieces,), as `encode_pieces` gives them."""
    chance = _chances(embeddings, space, speakers)
    if chance.shape[1] == 1 and overlaps.mean() > CROWD:
        return Diarization((), _joined(pieces, np.ones(len(pieces), bool)))
    kept = (chance.max(1) >= LEAST_SURENESS) & ((overlaps < OVERLAP) | (chance.shape[1] == 1))
    labels = np.where(kept, chance.argmax(1), -1)
    order = [int(label) for label in dict.fromkeys(labels.tolist()) if label >= 0]
    spans = [_joined(pieces, labels == label) for label in order]
    return Diarization(tuple(spans), _joined(pieces, labels < 0))


def _chances(embeddings: FloatArray, space: SpeakerSpace, speakers: int | None) -> np.ndarray:
    """Probability that each speaker said each piece, (pieces, numbers) -> (pieces, speakers).

    Both views tell speakers apart. That there are several at all must be seen by the embeddings alone as well: beside
    them the readings mistake fewer pieces, and take one short or noisy voice for two several times as often.
    """
    most = FIRST_SPEAKERS if speakers is None else speakers
    learned = speakers is None
    coordinates = space(embeddings)
    # One person's voice wanders over an hour: without this, the longer they speak the more voices they become.
    turns = replace(TURNS, speaker=TURNS.speaker * max(1.0, len(embeddings) / LONG_PIECES))
    labels = first_clusters(space.both_units(embeddings), coordinates, LEAST_COSINE, most)
    chance = _of_some_weight(speaker_probabilities(coordinates, space.variances, labels, turns, learn_shares=learned))
    if learned and chance.shape[1] > 1:
        alone = coordinates[:, : space.between.size]
        labels = first_clusters(space.units(embeddings), alone, LEAST_COSINE_ALONE, most)
        seen = _of_some_weight(speaker_probabilities(alone, space.between, labels, TURNS_ALONE))
        if seen.shape[1] == 1:
            return seen
    return chance


def _of_some_weight(chance: np.ndarray) -> np.ndarray:
    """Only speakers who say more than next to nothing, (pieces, speakers)."""
    chance = chance[:, chance.mean(0) >= LEAST_SHARE]
    return np.asarray(chance / chance.sum(1, keepdims=True))


def _joined(pieces: Spans, chosen: np.ndarray) -> Spans:
    """The chosen pieces, (pieces,) bool, those that follow each other without a gap as one span."""
    spans: list[tuple[int, int]] = []
    for place in np.flatnonzero(chosen):
        start, stop = pieces[place]
        if spans and spans[-1][1] == start:
            start = spans.pop()[0]
        spans.append((start, stop))
    return tuple(spans)


# --- A portrait of each.


@dataclass(frozen=True, repr=False)
class ConversationSpeaker:
    """One speaker of a conversation, numbered from 1 in the order in which they begin to speak, the drawn ones first.

    `segments` are from and to in seconds; `portrait` is None where none was drawn, and `note` says why, else "".
    """

    number: int
    segments: tuple[tuple[float, float], ...]
    portrait: Portrait | None
    note: str = ""

    @property
    def seconds(self) -> float:
        """Seconds in which this speaker alone is heard."""
        return sum(stop - start for start, stop in self.segments)

    def __repr__(self) -> str:
        """Return one line: which speaker, how long, how often."""
        often = counted(len(self.segments), "stretch", "es")
        return brief(self, f"speaker {self.number}", f"{self.seconds:.1f} s in {often}", self.note)

    def facts(self) -> dict[str, Any]:
        """Return everything but the picture, JSON-ready."""
        return {
            "speaker": self.number,
            "seconds": round(self.seconds, 2),
            "segments": _rounded(self.segments),
            "note": self.note,
            "portrait": None if self.portrait is None else self.portrait.facts(),
        }


@dataclass(frozen=True, repr=False)
class Conversation(LabelledPicture):
    """Who spoke when in a recording, and a portrait of each; `image` is the timeline with the faces.

    `speakers` are all voices that were told apart, drawn or not; `left_out` are the stretches, from and to in seconds,
    in which speech was heard that is nobody's for sure.
    """

    image: np.ndarray
    speakers: tuple[ConversationSpeaker, ...]
    left_out: tuple[tuple[float, float], ...]
    seconds_recorded: float
    options: PortraitOptions
    model_name: str
    model_version: str
    notice: str
    kind: ClassVar[Kind] = "comparison sheet"

    @property
    def portraits(self) -> tuple[Portrait, ...]:
        """The portraits that were drawn, in the order of the speakers."""
        return tuple(each.portrait for each in self.speakers if each.portrait is not None)

    def __repr__(self) -> str:
        """Return one line: how many speak, how many are drawn, how long it lasts."""
        drawn = f"{len(self.portraits)} of {len(self.speakers)} voices drawn"
        return brief(self, drawn, f"{self.seconds_recorded:.1f} s", f"{self.model_name} {self.model_version}")

    def facts(self) -> dict[str, Any]:
        """Return who spoke when and the facts of each portrait, JSON-ready; times are in seconds."""
        return comparison_facts("Who spoke when, with a face for each voice", synthetic=len(self.portraits)) | {
            "seconds_recorded": round(self.seconds_recorded, 2),
            "speakers": [speaker.facts() for speaker in self.speakers],
            "left_out": _rounded(self.left_out),
            "given": self.options.given.to_dict(),
            "exaggerate": self.options.exaggerate,
            "style": self.options.style.value,
            "model": {"name": self.model_name, "version": self.model_version},
            "notice": self.notice,
        }


def _rounded(segments: tuple[tuple[float, float], ...]) -> list[list[float]]:
    return [[round(start, 2), round(stop, 2)] for start, stop in segments]


def _whole_seconds(spans: Spans) -> int:
    return sum(stop - start for start, stop in spans) // SAMPLE_RATE


def _seconds(spans: Spans) -> tuple[tuple[float, float], ...]:
    return tuple((start / SAMPLE_RATE, stop / SAMPLE_RATE) for start, stop in spans)


def turns_of(conversation: Conversation) -> list[Turn]:
    """When each drawn speaker of a conversation speaks, in the order of time: what a video shows."""
    turns = [
        Turn(start, stop, speaker.portrait)
        for speaker in conversation.speakers
        if speaker.portrait is not None
        for start, stop in speaker.segments
    ]
    return sorted(turns, key=lambda turn: turn.start)


def check_speakers(speakers: object) -> int | None:
    """How many speak, None for "auto"; also the number as text.

    Raises:
        InvalidOption: neither "auto" nor a number from 1 to `MAX_SPEAKERS`.
    """
    if speakers == "auto":
        return None
    if isinstance(speakers, str) and speakers.isascii() and speakers.isdigit():
        speakers = int(speakers[:9])
    if isinstance(speakers, str):
        raise InvalidOption(f'speakers "{speakers[:20]}" is no number; give auto, or 1 to {MAX_SPEAKERS}')
    return whole_number("speakers", speakers, 1, MAX_SPEAKERS)


def reconstruct_speakers(
    model: Model,
    recording: Source | Recording,
    *,
    speakers: Speakers = "auto",
    sample_rate: float | None = None,
    given: GivenLike | None = None,
    samples: int = 0,
    exaggerate: float = 0.0,
    seed: int | None = None,
    style: Style | str = Style.photographic,
    track: int | None = None,
    voice_activity: str = DEFAULT_ACTIVITY,
    progress: Tell = unheard,
) -> Conversation:
    """Draw a portrait for each speaker of a recording, and the timeline of who spoke when.

    Of one speaker it is the portrait that `reconstruct` draws. Speech of two at once is left out; a voice of which too
    little was heard is named and not drawn. At most `MAX_SPEAKERS` are drawn, those who speak longest.

    Args:
        model: from `load_model`.
        recording: as for `reconstruct`, up to `MAX_CONVERSATION_SECONDS` long.
        speakers: "auto", or how many speak.
        sample_rate: of an array given alone.
        given: attributes that override what every voice suggests.
        samples: further faces of each.
        exaggerate: how far to move each embedding from the mean face.
        seed: makes the samples repeatable.
        style: "photographic", "drawn" or "line".
        track: which of several sound tracks is heard, from 1.
        voice_activity: name of the detector that finds the speech.
        progress: called with what is counted, how many are done and of how many, None where nobody knows.

    Raises:
        Speech2FaceError: one of its typed kinds, for everything that is wrong with the recording or the options.
    """
    options = check_options(model, given=given, samples=samples, exaggerate=exaggerate, seed=seed, style=style)
    wanted = check_speakers(speakers)
    open_voice_activity(voice_activity)  # a name that is unknown is refused before anything is decoded
    model.prefetch()
    read = as_recording(
        recording, sample_rate, track, max_seconds=MAX_CONVERSATION_SECONDS, voice_activity=voice_activity
    )
    activity = require_speech(read.waveform, voice_activity=voice_activity)
    found = Diarization((activity.spans,), ()) if wanted == 1 else diarize(model, activity, wanted, progress)
    if not found.speakers:
        raise NoSpeech(
            "several people talk at once all through, and none can be told apart; record them one by one,"
            " or state one speaker if there is but one"
        )
    if len(found.speakers) == 1:
        alone = portrait_of(model, read, *encode_speech(model, read.waveform, voice_activity=voice_activity), options)
        return _conversation(model, read, options, [ConversationSpeaker(1, _seconds(activity.spans), alone)], ())
    # Those who are drawn come first, so that their numbers are those of their files.
    lengths = [sum(stop - start for start, stop in spans) for spans in found.speakers]
    longest = sorted(range(len(lengths)), key=lambda place: -lengths[place])[:MAX_SPEAKERS]
    heard = 0

    def count(samples: int) -> None:
        nonlocal heard
        heard += samples
        progress("seconds of speech drawn from", *(each // SAMPLE_RATE for each in (heard, sum(lengths))))

    tried = [
        _speaker(model, read, activity, spans, options, count, draw=place in longest)
        for place, spans in enumerate(found.speakers)
    ]
    tried.sort(key=lambda speaker: speaker.portrait is None)
    drawn = [replace(speaker, number=number) for number, speaker in enumerate(tried, 1)]
    if not any(each.portrait for each in drawn):
        raise NoSpeech("several voices were heard, none of them long enough to draw; give a longer recording")
    return _conversation(model, read, options, drawn, _seconds(found.left_out))


def _speaker(
    model: Model,
    read: Recording,
    activity: Activity,
    spans: Spans,
    options: PortraitOptions,
    count: Callable[[int], None],
    *,
    draw: bool,
) -> ConversationSpeaker:
    """One of several speakers, not yet numbered, drawn from what is theirs alone; `count` is told of the samples."""
    own = Activity(activity.waveform, spans)
    segments = _seconds(spans)
    if not draw or own.seconds < LEAST_SECONDS:
        return ConversationSpeaker(0, segments, None, TOO_SHORT if own.seconds < LEAST_SECONDS else TOO_MANY)
    try:
        encoding = _encoded(model, own, count)
    except NoSpeech:
        return ConversationSpeaker(0, segments, None, NO_VOICE)
    return ConversationSpeaker(0, segments, portrait_of(model, read, own, encoding, options))


def _encoded(model: Model, own: Activity, count: Callable[[int], None]) -> SpeechEncoding:
    """One speaker's speech: all at once, or where it is long as in a call, in memory that does not grow with it."""
    if own.seconds <= SETTLED_SECONDS:
        speech = own.speech()
        encoding = model.encode(speech)
        count(speech.size)
        return encoding.spoken_at(((0, speech.size),)) if model.encodes_pauses else encoding
    state = model.start_encoding()
    for start, stop in own.spans:
        state.push(own.waveform[start:stop], (stop - start) / SAMPLE_RATE)
        count(stop - start)
    return state.encoding()


def _conversation(
    model: Model,
    read: Recording,
    options: PortraitOptions,
    speakers: list[ConversationSpeaker],
    left_out: tuple[tuple[float, float], ...],
) -> Conversation:
    seconds = read.waveform.size / SAMPLE_RATE
    release = model.release
    rows = [TimelineRow(_face(each), tuple(_lines(each)), each.segments) for each in speakers]
    if left_out:
        lasted = sum(stop - start for start, stop in left_out)
        rows.append(TimelineRow(None, ("Left out", f"{lasted:.1f} s of speech", "two at once, or not sure"), left_out))
    voices = f"{len(speakers)} voice{'s' if len(speakers) > 1 else ''}"
    image = draw_timeline(
        rows,
        seconds=seconds,
        title=f"Synthetic faces: who spoke when, {voices} in {clock(seconds)}",
        footer=f"{SHEET_NOTICES.get(model.notice, SHEET_NOTICE)} Model {release.name} {release.version}",
    )
    return Conversation(image, tuple(speakers), left_out, seconds, options, release.name, release.version, model.notice)


def clock(seconds: float) -> str:
    """A time as minutes and seconds: 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _face(speaker: ConversationSpeaker) -> np.ndarray | None:
    return None if speaker.portrait is None else speaker.portrait.image


def _lines(speaker: ConversationSpeaker) -> Iterator[str]:
    """What the timeline says of a speaker."""
    yield f"Speaker {speaker.number}"
    portrait = speaker.portrait
    if portrait is None:
        yield speaker.note
    elif portrait.attributes is not None:
        stated = attribute_facts(portrait.attributes)
        low, high = stated["age_interval_80"]
        yield f"age {stated['age']:.0f} ({low:.0f} to {high:.0f}), {stated['gender']['text']}"
    yield f"{round(speaker.seconds, 2):.1f} s in {counted(len(speaker.segments), 'stretch', 'es')}"


# --- The same while they speak: a new voice gets a face of its own, a known one comes back to it.

ONLINE = OnlineRule(same=0.45, new=0.35, switch=0.1, pending=3)  # chosen on the calibration speakers


class SpeakersEncoderState:
    """The speech of several speakers as it comes, each piece encoded with those of the voice that it is most like.

    Where a recording is judged as a whole, a piece is given for good half a second after it was said.
    """

    def __init__(self, model: Model) -> None:
        self._model, self._reader = model, speaker_reader(model)
        self._tail = np.zeros(0, np.float32)
        self._sums: list[FloatArray] = []  # moments of the last pieces
        self._waiting: deque[FloatArray] = deque()  # pieces that are nobody's yet
        self._units = OnlineUnits(self._reader.speaker_space)
        self._told = OnlineSpeakers(ONLINE, MAX_SPEAKERS)
        self._voices: list[tuple[EncoderState, float]] = []  # of each voice its encoder and its seconds

    @property
    def speaker(self) -> int:
        """Which speaker was heard last, from 1."""
        return self._told.current + 1

    @property
    def speakers(self) -> int:
        """How many voices were told apart so far."""
        return max(1, self._told.count)

    @property
    def seconds(self) -> float:
        """Seconds of speech of the speaker who was heard last."""
        return self._voices[self._told.current][1] if self._voices else 0.0

    def push(self, waveform: FloatArray, spoken_seconds: float | None = None) -> None:
        """Take the next stretch of speech, (samples,)."""
        self._tail = np.concatenate([self._tail, waveform])
        while self._tail.size >= PIECE_SAMPLES:
            piece, self._tail = self._tail[:PIECE_SAMPLES], self._tail[PIECE_SAMPLES:].copy()
            self._waiting.append(piece)
            self._sums = [*self._sums[-2 * AROUND :], self._reader.segment_moments(piece).sums]
            if len(self._sums) > AROUND:  # one with what was said around it; the first has nothing before
                sums = np.sum(self._sums, axis=0)
                described = self._reader.speaker_space.describe(self._reader.speaker_embeddings(sums), sums)
                for voice in self._told.add(self._units.add(described)):
                    self._give(self._waiting.popleft(), voice)

    def encoding(self) -> SpeechEncoding:
        """What the model makes of the speaker who was heard last.

        Raises:
            NoSpeech: the encoder itself recognises no voice in it.
        """
        return self._voices[self._told.current][0].encoding()

    def _give(self, piece: FloatArray, voice: int) -> None:
        if voice == len(self._voices):
            self._voices.append((self._model.start_encoding(), 0.0))
        state, seconds = self._voices[voice]
        state.push(piece)
        self._voices[voice] = (state, seconds + piece.size / SAMPLE_RATE)


class LiveConversation(LiveSession):
    """A live session in which several people speak: its snapshots are of the one who was heard last.

    A snapshot says which of how many speakers it is of. Of one speaker the end is that of a `LiveSession`.
    """

    _voice: SpeakersEncoderState

    def _start_encoding(self) -> SpeakersEncoderState:
        if self.model.encodes_pauses:
            raise InvalidOption(
                f"the model {self.model.release.name} encodes pauses as well, and cannot tell live speakers apart;"
                " use the shipped starter, or a session for each speaker"
            )
        return SpeakersEncoderState(self.model)

    def _heard_seconds(self) -> float:
        return self._voice.seconds

    def finish(self) -> LiveSnapshot:
        """End the sound; of one speaker what `reconstruct` says of it, of several the one who was heard last.

        Raises:
            SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
            CorruptRecording, NoAudioStream, RecordingTooLong: the sound cannot be used.
        """
        self._hear(self._stream.finish())
        if self._voice.speakers == 1:
            return super().finish()
        self.close()
        self._drawn = None
        return self.snapshot()

    def _snapshot(self, *measured: Any) -> LiveSnapshot:
        return replace(super()._snapshot(*measured), speaker=self._voice.speaker, speakers=self._voice.speakers)
