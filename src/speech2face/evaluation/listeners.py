"""Models that are asked about recordings: a release of either kind, or the checkpoint of a training.

How much is heard is cut from the beginning of the recording as it is, pauses and all, as in Speech2Face (Oh et al.,
CVPR 2019, section 3.1). What then happens is what happens for a portrait: one that states attributes looks for speech
first and may refuse; one learned from pairs hears the cut as it is, and repeats what is shorter than its training
clips. Only that it refuses nothing here: a clip without a voice counts against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from speech2face.audio.spectrogram import SAMPLE_RATE, FloatArray
from speech2face.audio.tiling import tile
from speech2face.errors import CheckpointError, Speech2FaceError, SpeechTooShort, WeightsError
from speech2face.evaluation.evaluation_set import ModelFacts
from speech2face.given import Given
from speech2face.model import load_model
from speech2face.models.contract import Model
from speech2face.models.paired_release import PairedRelease
from speech2face.portrait import hear
from speech2face.release import MANIFEST, sha256
from speech2face.voice.belief import AttributeBelief

AT_ONCE = 16  # recordings in one run of a checkpoint's network


@dataclass(frozen=True, eq=False)
class Heard:
    """What a model said of one recording."""

    embedding: FloatArray  # (K,)
    attributes: AttributeBelief | None = None


class Listener(Protocol):
    """Whatever says a face embedding of a recording."""

    @property
    def facts(self) -> ModelFacts:
        """What is said of it in a report."""
        ...

    @property
    def model(self) -> Model | None:
        """What draws its pictures; None where there is only a voice encoder."""
        ...

    @property
    def learned_from(self) -> str:
        """SHA-256 of the manifest it was trained on, "" where that is not known."""
        ...

    def hear(self, waveforms: Sequence[FloatArray]) -> list[Heard | Speech2FaceError]:
        """What is said of each waveform, (samples,), or why nothing is."""
        ...


def open_listener(place: str | Path | None = None) -> Listener:
    """A release's folder, a training's run folder or a checkpoint; None is the shipped starter.

    Raises:
        WeightsError: none of these, damaged, or of another version.
    """
    if place is None or (Path(place) / MANIFEST).is_file():
        return ReleaseListener(load_model(place))
    try:
        return CheckpointListener(Path(place))
    except CheckpointError as error:
        raise WeightsError(f"{place} is neither a release nor a training: {error}") from error


class ReleaseListener:
    """A model as it is used."""

    def __init__(self, model: Model) -> None:
        release = model.release
        paired = isinstance(release, PairedRelease)
        self.model: Model = model
        self.facts = ModelFacts(
            release.name,
            release.version,
            "paired" if paired else "attributes",
            release.embedder.to_dict() if isinstance(release, PairedRelease) else None,
            sha256(release.folder / MANIFEST),
        )
        training = release.training if isinstance(release, PairedRelease) else {}
        self.learned_from = str(training.get("voice_data_manifest_sha256", ""))

    def hear(self, waveforms: Sequence[FloatArray]) -> list[Heard | Speech2FaceError]:
        """One after another."""
        return [self._hear(waveform) for waveform in waveforms]

    def _hear(self, waveform: FloatArray) -> Heard | Speech2FaceError:
        if not waveform.size:
            return SpeechTooShort("the recording is empty")
        try:
            model = self.model
            hearing = model.hear(waveform) if model.hears_pauses else hear(model, waveform)[1]
            return Heard(np.asarray(hearing.belief(Given()).mean, np.float32), hearing.attributes)
        except Speech2FaceError as error:
            return error


class CheckpointListener:
    """A voice encoder in training: no decoder, no record of its face embedder but the data set's."""

    model = None

    def __init__(self, place: Path) -> None:
        import torch

        from speech2face.training.checkpoint import find_checkpoint, load_network
        from speech2face.voice.encoder import VoiceEncoder

        file = find_checkpoint(place)
        network, metadata = load_network(file.path)
        if not isinstance(network, VoiceEncoder):
            raise CheckpointError(f"{place} trained a {metadata['stage']}, not a voice encoder; name an encoder's")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._network = network.to(self._device)
        self._samples = round(float(metadata["settings"]["data"]["seconds"]) * SAMPLE_RATE)
        name = place.name if place.is_dir() else file.path.parent.parent.name
        self.facts = ModelFacts(name, f"step {file.step}", "checkpoint", None, sha256(file.path))
        self.learned_from = str(metadata["manifest"])

    def hear(self, waveforms: Sequence[FloatArray]) -> list[Heard | Speech2FaceError]:
        """Those of one length together."""
        said: list[Heard | Speech2FaceError | None] = [None] * len(waveforms)
        by_length: dict[int, list[int]] = {}
        for number, waveform in enumerate(waveforms):
            if not waveform.size:
                said[number] = SpeechTooShort("the recording is empty")
            else:
                by_length.setdefault(max(waveform.size, self._samples), []).append(number)
        for length, numbers in by_length.items():
            for start in range(0, len(numbers), AT_ONCE):
                some = numbers[start : start + AT_ONCE]
                embeddings = self._run(np.stack([tile(waveforms[number], length) for number in some]))
                for number, embedding in zip(some, embeddings, strict=True):
                    said[number] = Heard(embedding)
        return cast(list[Heard | Speech2FaceError], said)

    def _run(self, waveforms: FloatArray) -> FloatArray:
        import torch

        from speech2face.voice.front_end import SpectrogramFrontEnd

        with torch.inference_mode():
            spectrogram = SpectrogramFrontEnd()(torch.from_numpy(waveforms))
            return np.asarray(self._network(spectrogram.to(self._device)).float().cpu().numpy())
