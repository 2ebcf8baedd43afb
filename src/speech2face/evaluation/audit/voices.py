"""The clips an audit listens to: a waveform each, with the labels that groups are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.evaluation.collect import Clips
from speech2face.evaluation.evaluation_set import Embeddings, parse_age

MOST_SECONDS = 30.0  # of a recording; what a model says moves little beyond


@dataclass(frozen=True, eq=False)
class AuditClip:
    """One recording of a speaker; `labels` hold what was said of them, "" or nothing where nobody said."""

    key: str
    speaker: int
    load: Callable[[], FloatArray]
    """The waveform, (samples,) at 16 kHz."""
    labels: Mapping[str, str] = field(default_factory=dict)
    reference: NDArray[np.float32] | None = None
    """The embedding of the speaker's own face, (K,), where the data have one."""

    @property
    def gender(self) -> str:
        """ "female", "male" or ""."""
        said = self.labels.get("gender", "").strip().lower()
        return said if said in ("female", "male") else ""

    @property
    def age(self) -> tuple[float, float] | None:
        """Half-open interval of years by the speaker's own word; None where they did not say."""
        return parse_age(self.labels.get("age", ""))


def audit_clips(clips: Clips, references: Embeddings | None) -> tuple[AuditClip, ...]:
    """The clips of a data set, one by one, with the embeddings of their own faces, (clips, K), where there are any."""

    def load(row: int) -> Callable[[], FloatArray]:
        return lambda: clips.waveform(row)[: int(MOST_SECONDS * SAMPLE_RATE)]

    return tuple(
        AuditClip(
            key=key,
            speaker=int(clips.speaker[row]),
            load=load(row),
            labels={name: values[row] for name, values in clips.labels.items()},
            reference=None if references is None or not np.isfinite(references[row]).all() else references[row],
        )
        for row, key in enumerate(clips.keys)
    )
