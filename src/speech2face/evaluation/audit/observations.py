"""What a model says of every clip under every condition, as arrays: all that an audit's numbers are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.quality import snr_db
from speech2face.audio.spectrogram import FloatArray
from speech2face.cautions import CHILD
from speech2face.errors import DatasetError, Speech2FaceError
from speech2face.evaluation.audit.conditions import CLEAN, Condition
from speech2face.evaluation.audit.pitch import pitch_hz
from speech2face.evaluation.audit.voices import AuditClip
from speech2face.given import Given
from speech2face.models.contract import Model
from speech2face.portrait import hear
from speech2face.voice.belief import AttributeBelief

Floats = NDArray[np.float64]
LEVELS = (0.5, 0.8, 0.9, 0.95)  # masses of the stated interval whose coverage is looked at


@dataclass(frozen=True, eq=False)
class Heard:
    """One clip as heard; `refusal` is the error's kind, "" where there was none, and then the rest is there."""

    refusal: str = ""
    seconds: float = float("nan")
    embedding: FloatArray | None = None
    attributes: AttributeBelief | None = None
    called_child: bool = False
    pitch_hz: float = float("nan")
    snr_db: float = float("nan")


def listen(model: Model, waveform: FloatArray, *, closely: bool = False) -> Heard:
    """What a model makes of a waveform, (samples,); `closely` also measures pitch and noise."""
    try:
        activity, hearing = hear(model, waveform)
    except Speech2FaceError as error:
        return Heard(refusal=type(error).__name__)
    return Heard(
        seconds=activity.seconds,
        embedding=hearing.belief(Given()).mean,
        attributes=hearing.attributes,
        called_child=CHILD in hearing.cautions(),
        pitch_hz=pitch_hz(activity.speech()) if closely else float("nan"),
        snr_db=snr_db(activity) if closely else float("nan"),
    )


@dataclass(frozen=True, eq=False)
class Observations:
    """One condition over all clips; arrays are (clips, ...), NaN where the clip was refused or left out."""

    condition: Condition
    applies: NDArray[np.bool_]
    """False where the condition does not concern the clip: too short to be cut."""
    refusal: tuple[str, ...]
    seconds: Floats
    embedding: NDArray[np.float32]  # (clips, K)
    attributes: tuple[AttributeBelief | None, ...]
    called_child: Floats
    pitch_hz: Floats
    snr_db: Floats

    @property
    def heard(self) -> NDArray[np.bool_]:
        """Clips of which the model said something, (clips,)."""
        return np.asarray(self.applies & np.array([reason == "" for reason in self.refusal], bool))

    def of_attributes(self, read: Callable[[AttributeBelief], float]) -> Floats:
        """A number of each stated belief, (clips,); NaN where there is none."""
        return np.array([np.nan if belief is None else read(belief) for belief in self.attributes], np.float64)

    @property
    def states_attributes(self) -> bool:
        """Whether the model says age and gender."""
        return any(belief is not None for belief in self.attributes)


def observe(
    model: Model,
    clips: Sequence[AuditClip],
    conditions: Sequence[Condition],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, Observations]:
    """Listen to every clip under every condition; `clean` is the first of them."""
    assert conditions and conditions[0].name == CLEAN
    found: dict[str, list[Heard | None]] = {condition.name: [] for condition in conditions}
    for number, clip in enumerate(clips):
        try:
            waveform = clip.load()
            clean = listen(model, waveform, closely=True)
        except DatasetError:
            raise  # a damaged shard is nobody's voice
        except Speech2FaceError as error:
            waveform, clean = np.zeros(0, np.float32), Heard(refusal=type(error).__name__)
        for condition in conditions:
            found[condition.name].append(_under(condition, clip, waveform, clean, model))
        if progress is not None:
            progress(number + 1, len(clips))
    return {condition.name: _stack(condition, found[condition.name]) for condition in conditions}


def changed(clip: AuditClip, waveform: FloatArray, condition: Condition) -> FloatArray:
    """The waveform under a condition, the same every time: its chance comes from the clip's key."""
    seed = int.from_bytes(hashlib.sha256(f"{clip.key}:{condition.name}".encode()).digest()[:8], "little")
    return condition.change(waveform, np.random.default_rng(seed))


def _under(condition: Condition, clip: AuditClip, waveform: FloatArray, clean: Heard, model: Model) -> Heard | None:
    if condition.name == CLEAN:
        return clean
    if condition.cut_seconds is not None and not clean.seconds > condition.cut_seconds:
        return None
    if not waveform.size:
        return clean
    return listen(model, changed(clip, waveform, condition))


def _stack(condition: Condition, heard: Sequence[Heard | None]) -> Observations:
    nothing = Heard(refusal="left out")
    rows = [nothing if one is None else one for one in heard]
    size = next((one.embedding.size for one in rows if one.embedding is not None), 1)
    blank = np.full(size, np.nan, np.float32)

    def column(read: Callable[[Heard], float]) -> Floats:
        return np.array([read(one) for one in rows], np.float64)

    return Observations(
        condition=condition,
        applies=np.array([one is not None for one in heard], bool),
        refusal=tuple(one.refusal for one in rows),
        seconds=column(lambda one: one.seconds),
        embedding=np.stack([blank if one.embedding is None else one.embedding for one in rows])
        if rows
        else np.zeros((0, size), np.float32),
        attributes=tuple(one.attributes for one in rows),
        called_child=column(lambda one: np.nan if one.refusal else float(one.called_child)),
        pitch_hz=column(lambda one: one.pitch_hz),
        snr_db=column(lambda one: one.snr_db),
    )
