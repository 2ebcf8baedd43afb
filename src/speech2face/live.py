"""A voice as it is spoken in, the portrait so far out: one speaker, one call."""

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from speech2face.audio.activity import require_speech
from speech2face.audio.quality import high_band_db, snr_db
from speech2face.audio.resampling import mix
from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.stream import PcmFormat, PcmStream
from speech2face.audio.stream_activity import ActivityStream
from speech2face.cautions import Caution, judge_cautions
from speech2face.config import MAX_SAMPLES, MIN_SPEECH_SECONDS
from speech2face.errors import InvalidOption, NoSpeech
from speech2face.given import Given
from speech2face.models.contract import FaceBelief, Hearing, Listening, Model
from speech2face.portrait import Portrait, attribute_facts, check_exaggeration
from speech2face.voice.belief import AttributeBelief

ListeningState = Literal["waiting", "hearing", "paused"]
SETTLED_SECONDS = 60  # a call up to here ends as a recording of it would; beyond, decisions stay as they were made


@dataclass(frozen=True)
class LiveLook:
    """What is believed after the speech so far; without `hearing` where it is too little, or no voice."""

    model: Model
    listening: ListeningState
    hearing: Hearing | None
    belief: FaceBelief | None
    seconds_heard: float
    seconds_recorded: float
    cautions: tuple[Caution, ...]
    given: Given
    exaggerate: float

    @property
    def embedding(self) -> FloatArray | None:
        """The expected face embedding, (K,)."""
        return None if self.belief is None else self.belief.mean

    @property
    def attributes(self) -> AttributeBelief | None:
        """What the voice tells about age and gender; None where nothing is known, or the model states none."""
        return None if self.hearing is None else self.hearing.attributes

    def facts(self) -> dict[str, Any]:
        """Everything but the picture, JSON-ready: those of `Portrait.facts`, and whether somebody speaks."""
        attributes = {} if self.attributes is None else attribute_facts(self.attributes)
        release, population = self.model.release, self.model.population
        return attributes | {
            "listening": self.listening,
            "seconds_heard": round(self.seconds_heard, 2),
            "seconds_recorded": round(self.seconds_recorded, 2),
            "cautions": [{"code": caution.code, "text": caution.text} for caution in self.cautions],
            "given": self.given.to_dict(),
            "exaggerate": self.exaggerate,
            "seed": None,
            "model": {"name": release.name, "version": release.version},
            **({"reference_population": population} if population else {}),
            "notice": self.model.notice,
        }


class LiveSession:
    """One speaker's voice so far; not for several threads at a time, cheap to make."""

    def __init__(
        self,
        model: Model,
        source: PcmFormat,
        *,
        given: Given | None = None,
        exaggerate: float = 0.0,
        seed: int | None = None,
    ) -> None:
        """Begin to listen.

        Args:
            model: from `load_model`; many sessions may share it.
            source: how the sound comes.
            given: attributes that override what the voice suggests.
            exaggerate: how far to move the embedding from the mean face.
            seed: of the samples; None draws one for the session.

        Raises:
            InvalidGiven, InvalidOption: what cannot be drawn.
        """
        self.model = model
        self.seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self._given, self._exaggerate = Given(), 0.0
        self.set(given=given, exaggerate=exaggerate)
        self._stream = PcmStream(source)
        self.reset()

    def set(self, *, given: Given | None = None, exaggerate: float | None = None) -> None:
        """Change what is given, or how far is exaggerated; None leaves it.

        Raises:
            InvalidGiven, InvalidOption: what cannot be drawn; nothing is changed then.
        """
        if given is not None:
            self.model.check(given)
        if exaggerate is not None:
            check_exaggeration(exaggerate)
            self._exaggerate = exaggerate
        if given is not None:
            self._given = given

    def reset(self) -> None:
        """Forget the voice so far: somebody else speaks."""
        self._activity = ActivityStream()
        self._voice: Listening = self.model.listen()
        self._speech_samples = self._looked_at = self._samples = 0
        self._recorded: list[FloatArray] = []

    def push(self, chunk: bytes) -> bool:
        """Hear the next bytes, any number; whether there is speech that no look has seen.

        Raises:
            CorruptRecording: the sound is damaged.
        """
        self._hear(self._stream.push(chunk))
        return self._speech_samples > self._looked_at

    def _hear(self, channels: FloatArray) -> None:
        if not channels.size:
            return
        waveform = mix(channels) if len(channels) > 1 else channels[0]
        self._samples += waveform.size
        self._recorded.append(waveform)
        speech = self._activity.push(waveform)
        if speech.size:
            self._speech_samples += speech.size
            self._voice.push(speech)

    def look(self) -> LiveLook:
        """The belief over all speech so far."""
        self._looked_at = self._speech_samples
        hearing = None
        if self._speech_samples >= MIN_SPEECH_SECONDS * SAMPLE_RATE:
            with contextlib.suppress(NoSpeech):
                hearing = self._voice.hearing()
        return self._look(hearing, None, None)

    def _look(self, hearing: Hearing | None, high_band: float | None, snr: float | None) -> LiveLook:
        seconds = self._speech_samples / SAMPLE_RATE
        state: ListeningState = "paused"
        if hearing is None:
            state = "waiting"
        elif self._activity.speaking:
            state = "hearing"
        cautions = (
            ()
            if hearing is None
            else judge_cautions(
                self.model.release.thresholds,
                seconds=seconds,
                high_band=high_band,
                snr=snr,
                speaker_change=hearing.speaker_change(),
                of_the_voice=hearing.cautions(),
            )
        )
        return LiveLook(
            model=self.model,
            listening=state,
            hearing=hearing,
            belief=None if hearing is None else hearing.belief(self._given),
            seconds_heard=seconds,
            seconds_recorded=self._samples / SAMPLE_RATE,
            cautions=cautions,
            given=self._given,
            exaggerate=self._exaggerate,
        )

    def finish(self) -> LiveLook:
        """The end of the sound: what `reconstruct` says of all of it.

        Raises:
            SilentRecording, NoSpeech, TooLittleSpeech: there is no voice, or too little of it.
        """
        self._hear(self._stream.finish())
        self.close()
        activity = require_speech(np.concatenate([*self._recorded, np.zeros(0, np.float32)]))
        self._speech_samples = round(activity.seconds * SAMPLE_RATE)
        hearing = self.model.hear(activity.speech())
        return self._look(hearing, high_band_db(activity.speech()), snr_db(activity))

    def close(self) -> None:
        """Let go of what decodes the sound; harmless when done twice."""
        self._stream.close()

    def draw(self, look: LiveLook, *, samples: int = 0, pixels: int | None = None) -> Portrait:
        """The portrait of a look.

        Args:
            look: one with an embedding.
            samples: further faces drawn from the belief; the same seed for a session's every sheet.
            pixels: width and height; None is the model's own.

        Raises:
            InvalidOption: nothing to draw yet, or too many samples.
        """
        if look.hearing is None or look.belief is None:
            raise InvalidOption("too little of a voice was heard to draw a portrait; go on speaking")
        if not 0 <= samples <= MAX_SAMPLES:
            raise InvalidOption(f"{samples} samples were asked for; 0 to {MAX_SAMPLES} can be drawn")
        rng = np.random.default_rng(self.seed)
        embeddings = [look.belief.mean, *(look.hearing.draw(look.given, rng) for _ in range(samples))]
        image, *others = (self._picture(embedding, look.exaggerate, pixels) for embedding in embeddings)
        release = look.model.release
        return Portrait(
            image=image,
            samples=tuple(others),
            attributes=look.attributes,
            belief=look.belief,
            seconds_heard=look.seconds_heard,
            seconds_recorded=look.seconds_recorded,
            cautions=look.cautions,
            given=look.given,
            exaggerate=look.exaggerate,
            seed=self.seed if samples else None,
            model_name=release.name,
            model_version=release.version,
            population=look.model.population,
            notice=look.model.notice,
        )

    def _picture(self, face_embedding: FloatArray, exaggerate: float, pixels: int | None) -> np.ndarray:
        image = self.model.decode(self.model.exaggerated(face_embedding, exaggerate))
        if pixels is None or pixels == len(image):
            return image
        from PIL import Image

        return np.asarray(Image.fromarray(image).resize((pixels, pixels), Image.Resampling.BOX))
