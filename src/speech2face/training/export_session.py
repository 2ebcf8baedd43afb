"""From two finished trainings to a paired release: networks, the data they are measured on, what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from speech2face.data.clips import ClipDataset, clip_loader
from speech2face.data.manifest import Manifest
from speech2face.data.order import PassOrder
from speech2face.decoder.convolutional import ConvolutionalFaceDecoder
from speech2face.errors import CheckpointError, DatasetError, InvalidOption, WeightsError
from speech2face.models.paired_model import PairedModel
from speech2face.training.checkpoint import load_network
from speech2face.training.export_needs import LEAST_CLIPS, MOST_CLIPS
from speech2face.training.paired_measures import check_clips, measure, predict
from speech2face.training.paired_release import Citation, check_fit, check_folder, write_paired_release
from speech2face.training.paired_sources import (
    Source,
    check_decoder_data,
    check_speakers,
    find_source,
    last_name,
    speakers,
)
from speech2face.voice.encoder import VoiceEncoder

BATCH = 8


@dataclass(frozen=True)
class Trained:
    """A finished training: its network in evaluation mode, and what its checkpoint says of itself."""

    encoder: VoiceEncoder
    decoder: ConvolutionalFaceDecoder
    encoder_facts: dict[str, Any]
    decoder_facts: dict[str, Any]


def load_trained(encoder_run: Path, decoder_run: Path) -> Trained:
    """Both networks of run folders or checkpoints.

    Raises:
        CheckpointError: none there, damaged, or one of the other stage.
    """
    encoder, encoder_facts = load_network(encoder_run)
    decoder, decoder_facts = load_network(decoder_run)
    if not isinstance(encoder, VoiceEncoder):
        raise CheckpointError(f"{encoder_run} is a {encoder_facts['stage']}'s training; name a voice encoder's")
    if not isinstance(decoder, ConvolutionalFaceDecoder):
        raise CheckpointError(
            f"{decoder_run} is a {decoder_facts['stage']}'s training; name a face decoder's (--decoder)"
        )
    return Trained(encoder, decoder, encoder_facts, decoder_facts)


def open_data(trained: Trained, data: str | None) -> tuple[Manifest, tuple[str, ...]]:
    """The data set to measure on, by default the one the encoder learned from, and what the user must know about it.

    Raises:
        DatasetError, SpeakerLeak: it is not there, damaged, without face embeddings, or no longer the same.
    """
    place = trained.encoder_facts["settings"]["data"]["manifest"] if data is None else data
    try:
        manifest = Manifest.open(place)
    except DatasetError as error:
        if data is not None:
            raise
        raise type(error)(f"{error}; or name other data to measure on (--data)") from error
    if manifest.embedder is None:
        raise DatasetError(f"{place} names no face embedder: its clips hold no face embeddings to measure against")
    if manifest.sha256 == trained.encoder_facts["manifest"]:
        return manifest, ()
    if data is None:
        raise DatasetError(f"{place} is no longer the data the voice encoder was trained with; name the data (--data)")
    return manifest, (f"measured on {place}, which is not what the voice encoder was trained with",)


def check_voices(source: Source, measured: Manifest, split: str, clips: int) -> tuple[str, tuple[str, ...]]:
    """Whether the clips to measure on are enough, of new speakers and the same face embedder; and what was not checked.

    Raises:
        DatasetError: too few clips.
        SpeakerLeak: speakers among them were trained on.
        WeightsError: their embeddings are another face embedder's than the voice encoder learned.
    """
    there = len(measured.clips(split)) if split in measured.splits else 0
    check_clips(there, measured.storage, split)
    if clips < LEAST_CLIPS:
        raise InvalidOption(f"--clips {clips} is too few to measure on; at least {LEAST_CLIPS} are needed")
    speakers_are = check_speakers(source, measured, split)
    if source.manifest is None:
        return speakers_are, (
            f"{source.name}, which the voice encoder learned from, is not there as it was ({source.gone}): not checked"
            " whether these speakers were trained on, nor whether the face embedder is the same",
        )
    assert measured.embedder is not None
    learned = source.manifest.embedder
    if learned is not None and not learned.comparable_with(measured.embedder):
        raise WeightsError(
            f"the voice encoder learned from embeddings of {learned.to_dict()}, {measured.storage} holds those of"
            f" {measured.embedder.to_dict()}; measure on data of the same face embedder"
        )
    return speakers_are, ()


def training_facts(
    trained: Trained, source: Source, measured: Manifest, *, split: str, speakers_are: str
) -> dict[str, Any]:
    """Where the weights come from and what they are measured on, for the record and the card."""
    faces = find_source(trained.decoder_facts, source.manifest)
    return {
        "voice_data_manifest_sha256": trained.encoder_facts["manifest"],
        "face_data_manifest_sha256": trained.decoder_facts["manifest"],
        "measured_on_manifest_sha256": measured.sha256,
        "encoder_steps": trained.encoder_facts["step"],
        "encoder_batch": trained.encoder_facts["batch"],
        "decoder_steps": trained.decoder_facts["step"],
        "decoder_batch": trained.decoder_facts["batch"],
        "voice_data": source.to_dict(),
        "face_data": faces.to_dict(),
        "measured_on": {
            "name": last_name(measured.storage.name),
            "split": split,
            "speakers": len(speakers(measured, split)),
            "speakers_are": speakers_are,
        },
    }


def export_by_runs(
    encoder_run: Path,
    decoder_run: Path,
    out: Path,
    *,
    citation: Citation,
    data: str | None = None,
    clips: int = MOST_CLIPS,
    force: bool = False,
) -> tuple[PairedModel, tuple[str, ...]]:
    """A release from two trainings, measured on `clips` clips of the encoder's evaluation split, and its notes.

    Everything cheap is checked before anything is computed.

    Raises:
        Speech2FaceError: one of its typed kinds, for whatever is wrong with trainings, data or folder.
    """
    check_folder(out, force=force)
    trained = load_trained(encoder_run, decoder_run)
    settings = trained.encoder_facts["settings"]
    manifest, notes = open_data(trained, data)
    assert manifest.embedder is not None
    check_fit(trained.encoder, trained.decoder, manifest.embedder)
    source, split = find_source(trained.encoder_facts, manifest), settings["run"]["evaluate_split"]
    speakers_are, unchecked = check_voices(source, manifest, split, clips)
    notes += unchecked + check_decoder_data(trained.decoder_facts, manifest.embedder)
    facts = training_facts(trained, source, manifest, split=split, speakers_are=speakers_are)
    seconds = float(settings["data"]["seconds"])
    dataset = ClipDataset(manifest, split, seconds=seconds)
    batches = clip_loader(dataset, PassOrder(dataset.table, BATCH, limit=clips))
    measures = measure(*predict(trained.encoder, batches))
    if measures.same_speaker is None:
        notes += ("several speakers in one recording are not judged: too few pairs, or they are not told apart",)
    if not np.isfinite(measures.mean_embedding).all():
        raise DatasetError(f"face embeddings of {manifest.storage} hold numbers that are not finite")
    model = write_paired_release(
        out,
        trained.encoder,
        trained.decoder,
        embedder=manifest.embedder,
        measures=measures,
        citation=replace(citation, training={**facts, **citation.training}),
        clip_seconds=seconds,
        force=force,
    )
    return model, notes
