"""A voice as it is spoken in, the portrait so far out: one speaker, one call.

What is believed is always about everything since the beginning, or the last `reset`. While a call lasts, decisions are
made with what is known by then, and the encoder is given only what is new. A call of up to a minute ends exactly as a
recording of it would, since all of it is encoded once more; of a longer one nothing but sums is kept.
"""

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from speech2face import portrait
from speech2face.audio.recording import is_array
from speech2face.audio.spectrogram import FloatArray
from speech2face.audio.speech import DEFAULT_ACTIVITY, high_band_db, open_voice_activity, snr_db
from speech2face.audio.stream import (
    ChannelMix,
    Media,
    MediaStream,
    PcmFormat,
    PcmStream,
    SoundStream,
    SpeechStream,
)
from speech2face.errors import InvalidOption, NoSpeech
from speech2face.face.appearance import HairStyle, sample_place
from speech2face.inputs import BytesLike, brief, described, plain_bytes, seed_number, whole_number
from speech2face.limits import MIN_SPEECH_SECONDS, Style
from speech2face.models.contract import Caution, EncoderState, FaceBelief, Given, Model, SpeechEncoding, judge_cautions
from speech2face.motion import PoseStream
from speech2face.voice.belief import AttributeBelief

__all__ = ("LiveMotion", "LiveSession", "LiveSnapshot", "Media", "PcmFormat")

SAMPLE_TYPES = {"s16le": "<i2", "f32le": "<f4", "mulaw": "u1", "alaw": "u1"}  # numpy's names
MAX_PIXELS = 4096  # eight times the portrait's own; more shows nothing
SAME_FACE = 4e-3  # of the embedding's length: moves up to it change pixels by a grey level at most
ListeningState = Literal["waiting", "hearing", "paused"]


@dataclass(frozen=True)
class LiveSnapshot:
    """What is believed after the speech so far; without `encoding` where it is too little, or no voice.

    `listening` is "waiting" until there is something to draw, then "hearing" or "paused".
    """

    model: Model
    listening: ListeningState
    encoding: SpeechEncoding | None
    belief: FaceBelief | None
    seconds_heard: float
    seconds_recorded: float
    cautions: tuple[Caution, ...]
    given: Given
    exaggerate: float
    style: Style
    speaker: int | None = None
    """Which of the session's speakers it is of, from 1; None where the session has one alone."""
    speakers: int = 1

    @property
    def embedding(self) -> FloatArray | None:
        """The expected face embedding, (K,); None where there is nothing to draw yet."""
        return None if self.belief is None else self.belief.mean

    @property
    def attributes(self) -> AttributeBelief | None:
        """What the voice tells about age and gender; None where nothing is known, or the model states none."""
        return None if self.encoding is None else self.encoding.attributes

    def facts(self) -> dict[str, Any]:
        """Return the facts, JSON-ready: those of `Portrait.facts`, and whether somebody speaks."""
        release, population = self.model.release, self.model.population
        return portrait.encoded_facts(self) | {
            "listening": self.listening,
            **({} if self.speaker is None else {"speaker": self.speaker, "speakers": self.speakers}),
            "seed": None,
            "model": {"name": release.name, "version": release.version},
            **({"reference_population": population} if population else {}),
            "notice": self.model.notice,
        }


LiveLook = LiveSnapshot  # its earlier name


class LiveSession:
    """A live session: it takes one speaker's sound piece by piece, and gives the portrait of all of it so far.

    It is for one thread at a time, cheap to make, and to be closed.
    """

    def __init__(
        self,
        model: Model,
        source: PcmFormat | Media,
        *,
        given: portrait.GivenLike | None = None,
        exaggerate: float = 0.0,
        style: Style | str = Style.photographic,
        seed: int | None = None,
        voice_activity: str = DEFAULT_ACTIVITY,
    ) -> None:
        """Begin a session.

        Args:
            model: from `load_model`; any number of sessions may share it, best with `threads=1`.
            source: how the sound comes.
            given: attributes that override what the voice suggests.
            exaggerate: how far to move the embedding from the mean face.
            style: "photographic", "drawn" or "line".
            seed: of the samples; None draws one for the session, so that a sheet changes with the belief alone.
            voice_activity: name of the detector that finds the speech: "webrtc", or one that a package adds.

        Raises:
            InvalidGiven, InvalidOption: what cannot be drawn, or a detector that is not there.
        """
        portrait.check_model(model)
        self.model = model
        chosen = seed_number(seed)
        self.seed = int(np.random.default_rng().integers(2**31)) if chosen is None else chosen
        self._given, self._exaggerate, self._style = Given(), 0.0, Style.photographic
        self.set(given=given, exaggerate=exaggerate, style=style)
        if not isinstance(source, PcmFormat | Media):
            raise InvalidOption(f"the source is {described(source)}; give PcmFormat(...) or Media(...)")
        self._source = source
        open_voice_activity(voice_activity)  # an unknown name is refused before a recorder's thread is started
        self._voice_activity = voice_activity
        self._stream: SoundStream = MediaStream(source) if isinstance(source, Media) else PcmStream(source)
        self.reset()

    def set(
        self,
        *,
        given: portrait.GivenLike | None = None,
        exaggerate: float | None = None,
        style: Style | str | None = None,
    ) -> None:
        """Change the stated attributes, the exaggeration or the style; None leaves each as it is.

        Raises:
            InvalidGiven, InvalidOption: what cannot be drawn; nothing is changed then.
        """
        wanted = self._style if style is None else portrait.check_style(self.model, style)
        stated = self._given if given is None else portrait.check_given(self.model, given)
        amount = self._exaggerate if exaggerate is None else portrait.check_exaggeration(exaggerate)
        self._style, self._given, self._exaggerate = wanted, stated, amount

    def reset(self) -> None:
        """Forget the voice so far: somebody else speaks. The stream of sound goes on."""
        self._sound = SpeechStream(pauses=self.model.encodes_pauses, voice_activity=self._voice_activity)
        self._voice = self._start_encoding()
        self._restarts = 0
        self._encoding: SpeechEncoding | None = None
        self._seen_until = 0.0  # seconds of speech
        self._sound_until = 0.0  # seconds of sound
        self._drawn: tuple[FloatArray, tuple[Any, ...], portrait.DrawnFace] | None = None

    def _start_encoding(self) -> EncoderState:
        """What takes the speech from now on."""
        return self.model.start_encoding()

    def _heard_seconds(self) -> float:
        """Seconds of speech of which a snapshot tells."""
        return self._sound.speech_seconds

    def push(self, chunk: BytesLike) -> bool:
        """Take the next bytes of sound, any number of them; return whether there is speech that no snapshot has seen.

        Raw samples may come as an array, (samples,) or (samples, channels), of the type that the source states.

        Raises:
            InvalidOption: neither bytes nor such an array.
            CorruptRecording, NoAudioStream, RecordingTooLong: the sound cannot be used.
        """
        self._hear(self._stream.push(plain_chunk(chunk, self._source)))
        return self._sound.speech_seconds > self._seen_until

    def _hear(self, channels: FloatArray) -> None:
        before = self._sound.speech_seconds
        piece = self._sound.push(channels)
        if self._sound.restarts > self._restarts:  # what was encoded so far was a silent room's
            self._restarts, before, self._seen_until = self._sound.restarts, 0.0, -1.0
            if not self.model.encodes_pauses:
                self._voice = self._start_encoding()
        if piece.size:
            self._voice.push(piece, self._sound.speech_seconds - before)

    def snapshot(self) -> LiveSnapshot:
        """Return the belief over all sound so far. Where nothing is new, as in a pause, it costs nothing."""
        if (again := self._sound.reconsider()) is not None:
            self._voice = self._start_encoding()
            self._voice.push(again, self._sound.speech_seconds)
            self._seen_until = -1.0
        seconds, until = self._sound.speech_seconds, self._sound.seconds if self.model.encodes_pauses else 0.0
        if (seconds, until) != (self._seen_until, self._sound_until):
            self._seen_until, self._sound_until, self._encoding = seconds, until, None
            if self._heard_seconds() >= MIN_SPEECH_SECONDS:
                with contextlib.suppress(NoSpeech):  # noise that the detector let pass: a voice may yet come
                    self._encoding = self._voice.encoding()
        return self._snapshot(self._encoding, self._heard_seconds(), self._sound.high_band_db(), self._sound.snr_db())

    look = snapshot  # its earlier name

    def finish(self) -> LiveSnapshot:
        """End the sound, and return what `reconstruct` says of all of it, exactly so up to `SETTLED_SECONDS`.

        Raises:
            SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
            CorruptRecording, NoAudioStream, RecordingTooLong: the sound cannot be used.
        """
        self._hear(self._stream.finish())
        self.close()
        self._drawn = None  # the last picture is that of a recording, to the last grey level
        if (waveform := self._sound.recorded()) is None:
            self._sound.settle()
            encoding = self._voice.encoding()
            return self._snapshot(encoding, self._heard_seconds(), self._sound.high_band_db(), self._sound.snr_db())
        activity, encoding = portrait.encode_speech(self.model, waveform, voice_activity=self._voice_activity)
        return self._snapshot(encoding, activity.seconds, high_band_db(activity.speech()), snr_db(activity))

    def _snapshot(
        self, encoding: SpeechEncoding | None, seconds_heard: float, high_band: float | None, snr: float | None
    ) -> LiveSnapshot:
        cautions: tuple[Caution, ...] = ()
        state: ListeningState = "waiting"
        if encoding is not None:
            state = "hearing" if self._sound.speaking else "paused"
            cautions = judge_cautions(
                self.model.release.thresholds,
                seconds=seconds_heard,
                high_band=high_band,
                snr=snr,
                speaker_change=encoding.speaker_change(),
                of_the_voice=encoding.cautions(),
            )
        return LiveSnapshot(
            model=self.model,
            listening=state,
            encoding=encoding,
            belief=None if encoding is None else encoding.belief(self._given),
            seconds_heard=seconds_heard,
            seconds_recorded=self._sound.seconds,
            cautions=cautions,
            given=self._given,
            exaggerate=self._exaggerate,
            style=self._style,
        )

    def __repr__(self) -> str:
        """Return one line: the model, how the sound comes, how much of it came."""
        release, sound = self.model.release, self._sound
        speech = f"{sound.speech_seconds:.1f} s of speech in {sound.seconds:.1f} s"
        return brief(self, f"{release.name} {release.version}", str(self._source), speech)

    def close(self) -> None:
        """Stop the decoder of the sound; harmless when done twice. Snapshots can still be drawn."""
        self._stream.close()

    def draw(self, snapshot: LiveSnapshot, *, samples: int = 0, pixels: int | None = None) -> portrait.Portrait:
        """Draw the portrait of a snapshot.

        Args:
            snapshot: one with an embedding.
            samples: further faces, drawn from the belief with the session's seed.
            pixels: width and height; None is the model's own.

        Raises:
            InvalidOption: nothing to draw yet, too many samples, or no size that a picture can have.
        """
        if not isinstance(snapshot, LiveSnapshot):
            raise InvalidOption(f"the snapshot is {described(snapshot)}; give what snapshot() or finish() returned")
        if snapshot.encoding is None or snapshot.belief is None:
            raise InvalidOption("too little of a voice was heard to draw a portrait; go on speaking")
        samples = portrait.check_samples(samples)
        size = None if pixels is None else whole_number("pixels", pixels, 1, MAX_PIXELS)
        rng = np.random.default_rng(self.seed)
        shown = self._expected_face(snapshot, snapshot.belief.mean, size)
        draws = [snapshot.encoding.draw(snapshot.given, rng) for _ in range(samples)]
        others = [
            self._picture(
                snapshot,
                draw,
                portrait.worn_hair(self.model, draw, snapshot.given, sample_place(self.seed, number)),
                size,
            )
            for number, draw in enumerate(draws)
        ]
        release = snapshot.model.release
        return portrait.Portrait(
            image=shown.image,
            samples=tuple(other.image for other in others),
            attributes=snapshot.attributes,
            belief=snapshot.belief,
            seconds_heard=snapshot.seconds_heard,
            seconds_recorded=snapshot.seconds_recorded,
            cautions=snapshot.cautions,
            given=snapshot.given,
            exaggerate=snapshot.exaggerate,
            seed=self.seed if samples else None,
            model_name=release.name,
            model_version=release.version,
            population=snapshot.model.population,
            notice=snapshot.model.notice,
            style=snapshot.style,
            drawing=shown.drawing,
            hair=shown.hair,
            sample_hair=portrait.hair_of(others),
        )

    def _expected_face(
        self, snapshot: LiveSnapshot, face_embedding: FloatArray, pixels: int | None
    ) -> portrait.DrawnFace:
        """The last picture, where the belief has not moved enough to change it: the longer a call, the more often."""
        hair = portrait.worn_hair(self.model, face_embedding, snapshot.given)
        how = (snapshot.exaggerate, snapshot.style, pixels, hair)
        if self._drawn is not None:
            before, drawn_how, picture = self._drawn
            moved = float(np.linalg.norm(face_embedding - before))
            if drawn_how == how and moved <= SAME_FACE * float(np.linalg.norm(before)):
                return picture
        picture = self._picture(snapshot, face_embedding, hair, pixels)
        self._drawn = (face_embedding, how, picture)
        return picture

    def _picture(
        self, snapshot: LiveSnapshot, face_embedding: FloatArray, hair: HairStyle, pixels: int | None
    ) -> portrait.DrawnFace:
        exaggerated = self.model.exaggerated(face_embedding, snapshot.exaggerate)
        return portrait.draw_picture(self.model, exaggerated, snapshot.style, pixels=pixels, hair=hair)


class LiveMotion:
    """How a face moves while raw sound comes in: 25 poses a second, each at most 80 ms after its sound."""

    def __init__(self, source: PcmFormat | Media) -> None:
        """Begin in silence.

        Raises:
            InvalidOption: the source is a recorder's container, which comes in pieces too late to move with.
        """
        if not isinstance(source, PcmFormat):
            raise InvalidOption(f"the source is {described(source)}; a face moves with raw samples, PcmFormat(...)")
        self._source = source
        self._stream, self._mix, self._poses = PcmStream(source, 0.0), ChannelMix(), PoseStream()

    def push(self, chunk: BytesLike) -> FloatArray:
        """Take the next samples, as `LiveSession.push` does; return the poses they make known, (frames, 9).

        Raises:
            InvalidOption: neither bytes nor an array of the source's type.
            CorruptRecording: samples that are no finite numbers.
        """
        return self._poses.push(self._mix.push(self._stream.push(plain_chunk(chunk, self._source))))

    def finish(self) -> FloatArray:
        """End the sound; return the poses that are left, (frames, 9)."""
        last = self._poses.push(self._mix.push(self._stream.finish()))
        return np.concatenate([last, self._poses.finish()])


def plain_chunk(chunk: Any, source: PcmFormat | Media) -> bytes:
    """The bytes of a piece of sound: bytes-like, or an array of samples of the type that the source states.

    Raises:
        InvalidOption: neither.
    """
    if not is_array(chunk):
        return plain_bytes(chunk, "the chunk")
    samples = np.asarray(chunk)
    if not isinstance(source, PcmFormat) or samples.dtype != SAMPLE_TYPES[source.encoding]:
        stated = f"{source.container} in bytes" if isinstance(source, Media) else f"{source.encoding} samples"
        raise InvalidOption(f"the chunk is an array of {samples.dtype}, the source is {stated}; convert it before")
    if samples.ndim != 1 and samples.shape != (len(samples), source.channels):
        raise InvalidOption(f"the chunk has the shape {samples.shape}; give (samples,) or (samples, {source.channels})")
    return samples.tobytes()
