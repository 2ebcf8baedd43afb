"""The record of a release learned from pairs of a voice and a face: sizes, face embedder, spread, thresholds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.audio.spectrogram import FloatArray
from speech2face.errors import WeightsError
from speech2face.face.embedders import EmbedderRecord
from speech2face.release import Release, common_parts, open_release, parsing
from speech2face.untrusted import load_npz
from speech2face.voice.spread import Spread

KIND = "paired"
BELIEF = "belief.npz"


@dataclass(frozen=True)
class VoiceGeometry:
    """How speech is cut for the voice encoder: what `voice/encoder.py` derives from its layers, without torch."""

    clip_seconds: float
    """What the encoder was trained to hear; shorter speech is repeated until it is as long, as in the paper."""
    receptive_frames: int
    """Frames that one column sees."""
    column_hop: int
    """Frames from one column to the next."""


@dataclass(frozen=True)
class PairedRelease(Release):
    """A release whose voice encoder says the face embedding itself."""

    embedding: int
    """Length of the face embedding, K."""
    size: int
    """Width and height of the canonical face in pixels."""
    embedder: EmbedderRecord
    """What makes such embeddings from photographs."""
    geometry: VoiceGeometry
    mean_embedding: FloatArray  # (K,) of the faces it was measured on; what exaggeration moves away from
    spread: Spread
    training: dict[str, Any]
    """What it was trained on and for how long, for the card."""


def _read_belief(path: Path, embedding: int) -> tuple[FloatArray, Spread]:
    try:
        arrays = load_npz(path)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}; fetch the release again") from error
    mean, spread = arrays["mean_embedding"].astype(np.float32), Spread.from_arrays(arrays)
    if mean.shape != (embedding,) or spread.axes.shape[1] != embedding:
        raise ValueError(f"{path.name}, made for {mean.size} numbers where the face embedding has {embedding}")
    return mean, spread


def read_paired_release(folder: Path, values: dict[str, Any]) -> PairedRelease:
    """The record in a checked manifest.

    Raises:
        WeightsError: a part is missing, of the wrong kind, or does not go with the others.
    """
    with parsing(folder):
        voice = values["voice"]
        embedding = int(values["face"]["embedding"])
        mean, spread = _read_belief(folder / BELIEF, embedding)
        return PairedRelease(
            **common_parts(folder, values),
            embedding=embedding,
            size=int(values["face"]["size"]),
            embedder=EmbedderRecord.from_dict(values["embedder"]),
            geometry=VoiceGeometry(
                float(voice["clip_seconds"]), int(voice["receptive_frames"]), int(voice["column_hop"])
            ),
            mean_embedding=mean,
            spread=spread,
            training=dict(values["training"]),
        )


def load_paired_release(folder: Path | str) -> PairedRelease:
    """Read and check a release of this kind.

    Raises:
        WeightsError: missing, damaged, of another kind, or made for another version; names the file.
    """
    place, values = open_release(folder, KIND)
    return read_paired_release(place, values)
