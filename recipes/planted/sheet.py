"""Voices, planted faces and what is drawn from them, side by side: python -m recipes.planted.sheet --help.

The first speakers of the test split, unchosen. Columns: the recording's spectrogram; the planted face; its embedding
through the trained face decoder; the best possible prediction and the voice encoder's, through the same decoder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recipes.planted.scores import predict, world_of
from recipes.planted.shards import FIRST_SPEAKER
from recipes.planted.world import FaceArtist
from recipes.starter.face_sheet import contact_sheet
from speech2face.audio.spectrogram import SAMPLE_RATE, stft
from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.provenance import comparison_facts, comparison_provenance, write_sheet
from speech2face.training.stages import load_network

NOTICE = "Synthetic faces of made-up people, drawn from made-up traits. Nobody's likeness."
DYNAMIC_DB = 75.0  # shown below the loudest place


def spectrogram_picture(waveform: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Levels over time (to the right) and frequency (upwards), (frequency, frames, 3)."""
    level_db = 20 * np.log10(np.abs(stft(waveform)).T[::-1] + 1e-6)
    shown = np.clip((level_db - level_db.max()) / DYNAMIC_DB + 1, 0, 1)
    return np.repeat((255 - 255 * shown).astype(np.uint8)[..., None], 3, axis=2)


@torch.inference_mode()
def draw(decoder: nn.Module, face_embedding: NDArray[np.floating]) -> list[NDArray[np.uint8]]:
    """Face embeddings (people, embedding) to pictures (size, size, 3)."""
    faces = decoder(torch.from_numpy(np.asarray(face_embedding, np.float32)))  # (people, 3, size, size)
    return list((faces.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())


def write_people(rows: list[list[tuple[str, NDArray[np.uint8]]]], cell_pixels: int, out: Path) -> None:
    """A row of labelled pictures for each person, as a file; all faces on it are synthetic."""
    made = comparison_provenance(model_name="synthetic (planted) world", model_version="", notice=NOTICE)
    facts = comparison_facts("Voices of the test split and faces of the planted world", synthetic=4 * len(rows))
    write_sheet(np.asarray(contact_sheet(rows, cell_pixels)), made, facts, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", required=True, help="data set with a split named test")
    parser.add_argument("--encoder", type=Path, required=True, help="run folder of a voice encoder")
    parser.add_argument("--decoder", type=Path, required=True, help="run folder of a face decoder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--cell", type=int, default=128, help="pixels of one picture")
    arguments = parser.parse_args()
    manifest = Manifest.open(arguments.world)
    world = world_of(manifest)
    clips = ClipDataset(manifest, "test", seconds=arguments.seconds)
    encoder, _ = load_network(arguments.encoder)
    decoder, metadata = load_network(arguments.decoder)
    said, shown = predict(encoder, clips, limit=arguments.people)
    first = FIRST_SPEAKER["test"]
    traits = world.traits(range(first, first + arguments.people))
    waveforms = clips.batch(range(arguments.people))["waveform"].numpy()[:, : 3 * SAMPLE_RATE] / np.float32(2**15)
    columns = {
        "voice, 3 s, 0 to 8 kHz": [spectrogram_picture(waveform) for waveform in waveforms],
        "planted face": list(FaceArtist(world, metadata["network"]["size"]).draw(shown.astype(np.float64))[0]),
        "its embedding": draw(decoder, shown),
        "best possible": draw(decoder, world.best_prediction(traits.shared)),
        "from the voice": draw(decoder, said),
    }
    rows = [[(name, pictures[row]) for name, pictures in columns.items()] for row in range(arguments.people)]
    write_people(rows, arguments.cell, arguments.out)


if __name__ == "__main__":
    main()
