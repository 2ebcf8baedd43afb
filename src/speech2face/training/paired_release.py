"""Assembles a paired release: half-precision weights, ONNX graphs, spread, golden tensors, card, manifest."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from speech2face.audio.spectrogram import FREQUENCIES, SAMPLE_RATE, FloatArray, spectrogram
from speech2face.audio.tiling import tile
from speech2face.decoder.convolutional import ConvolutionalFaceDecoder
from speech2face.errors import CannotWrite, OutputExists, WeightsError
from speech2face.export import export, save_half
from speech2face.face.embedders import EmbedderRecord
from speech2face.models.paired_model import PairedModel, load_paired_model
from speech2face.models.paired_release import BELIEF, KIND
from speech2face.models.paired_runtime import BLOCK_COLUMNS, VOICE_COLUMNS, VOICE_HEAD
from speech2face.release import FORMATS, write_manifest
from speech2face.runtime import FACE_DECODER, LANDMARKS
from speech2face.training.paired_card import CARD, paired_card
from speech2face.training.paired_measures import Measures
from speech2face.untrusted import load_npz
from speech2face.voice.column_stream import FIRST_FRAMES, ColumnStep
from speech2face.voice.encoder import COLUMN_FREQUENCIES, COLUMN_HOP, RECEPTIVE_FRAMES, VoiceEncoder
from speech2face.voice.golden import golden_speech

logger = logging.getLogger(__name__)

VOICE_WEIGHTS, FACE_WEIGHTS, GOLDEN = "voice.safetensors", "face.safetensors", "golden.npz"
FILES = (VOICE_WEIGHTS, VOICE_COLUMNS, VOICE_HEAD, FACE_WEIGHTS, FACE_DECODER, BELIEF, GOLDEN)
# What the recording alone decides; the starter's, set on its calibration speakers (training/starter_release.py).
RECORDING_THRESHOLDS = {"telephone_high_band_db": -50.0, "noise_snr_db": 16.0}
PARITY = 1e-3  # of an embedding's length, between torch and ONNX Runtime; what goes wrong is wrong by more
PARITY_GREY_LEVELS = 2
EXAMPLE_STEPS = 2  # in what the graph is traced with; any number up to BLOCK_COLUMNS runs


@dataclass(frozen=True)
class Citation:
    """What the user must say of a release."""

    name: str
    version: str
    licence: str
    training: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from, JSON-ready: manifests, steps, settings."""


def whole_tensors(module: nn.Module) -> set[str]:
    """Tensors that stay in float32: rows of numbers, which take no space, and what half precision cannot hold."""
    limit = torch.finfo(torch.float16).max
    return {name for name, tensor in module.state_dict().items() if tensor.ndim < 2 or tensor.abs().max() > limit}


def golden_spectrogram(clip_seconds: float) -> Tensor:
    """The made voice as it is heard, all of it and at least a training clip, (1, 2, frequency, frames)."""
    speech = golden_speech()
    return torch.from_numpy(spectrogram(tile(speech, max(speech.size, round(clip_seconds * SAMPLE_RATE)))))[None]


def export_voice(encoder: VoiceEncoder, out: Path) -> None:
    """Write the voice encoder's weights and graphs; its own weights are rounded to what was written."""
    config = json.dumps(encoder.config.to_dict())
    save_half(encoder, out / VOICE_WEIGHTS, {"config": config}, whole=whole_tensors(encoder))
    step = ColumnStep(encoder.columns)
    kept = step.start(torch.zeros(1, 2, FREQUENCIES, FIRST_FRAMES))
    names = [f"kept_{number}" for number in range(len(kept))]
    steps = torch.export.Dim("steps", min=1, max=BLOCK_COLUMNS)
    export(
        step, (torch.zeros(1, 2, FREQUENCIES, EXAMPLE_STEPS * COLUMN_HOP), *kept), out / VOICE_COLUMNS,
        inputs=["frames", *names], outputs=["columns", *(f"{name}_next" for name in names)],
        dynamic={3: COLUMN_HOP * steps}, weights=out / VOICE_WEIGHTS,
    )  # fmt: skip
    export(
        encoder.head, torch.zeros(2, encoder.config.channels[-1], COLUMN_FREQUENCIES), out / VOICE_HEAD,
        inputs=["mean_column"], outputs=["face_embedding"], dynamic={0: "batch"},
        weights=out / VOICE_WEIGHTS, prefix="head.",
    )  # fmt: skip


def export_face(decoder: ConvolutionalFaceDecoder, out: Path) -> None:
    """Write the face decoder's weights and graph; its own weights are rounded to what was written."""
    config = json.dumps(decoder.config.to_dict())
    save_half(decoder, out / FACE_WEIGHTS, {"config": config}, whole=whole_tensors(decoder) | {"mean_landmarks"})
    shown = _ImageAndLandmarks(decoder.config, decoder.mean_landmarks)
    shown.load_state_dict(decoder.state_dict(), assign=True)
    export(
        shown, torch.zeros(2, decoder.config.embedding), out / FACE_DECODER,
        inputs=["face_embedding"], outputs=["image", LANDMARKS], dynamic={0: "batch"}, weights=out / FACE_WEIGHTS,
    )  # fmt: skip


class _ImageAndLandmarks(ConvolutionalFaceDecoder):
    """The decoder with what a drawing needs beside the picture."""

    def forward(self, face_embedding: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(batch, embedding) -> (batch, 3, size, size) in [0, 1] and (batch, landmarks, 2) in pixels."""
        decoded = self.parts(face_embedding)
        return decoded.face, decoded.landmarks


def _draw(decoder: ConvolutionalFaceDecoder, face_embedding: FloatArray) -> np.ndarray:
    """The picture as it is stored, (3, height, width) uint8."""
    image = decoder(torch.from_numpy(face_embedding)[None])[0].numpy()
    return np.asarray(np.rint(image * 255), np.uint8)


def write_networks(
    out: Path, encoder: VoiceEncoder, decoder: ConvolutionalFaceDecoder, measures: Measures, clip_seconds: float
) -> dict[str, float]:
    """Weights, graphs, spread and golden tensors; returns how far half precision moved both networks' answers."""
    speech = golden_spectrogram(clip_seconds)
    encoder.eval(), decoder.eval()
    with torch.inference_mode():
        said, drawn = encoder(speech)[0].numpy(), _draw(decoder, measures.mean_embedding).astype(int)
    export_voice(encoder, out)
    export_face(decoder, out)
    belief: dict[str, Any] = {"mean_embedding": measures.mean_embedding} | measures.spread.to_arrays()
    np.savez(out / BELIEF, **belief)
    with torch.inference_mode():
        rounded, image = encoder(speech)[0].numpy(), _draw(decoder, measures.mean_embedding)
    np.savez_compressed(out / GOLDEN, face_embedding=rounded, image=image)
    return {
        "face_embedding": float(np.linalg.norm(rounded - said) / max(float(np.linalg.norm(said)), 1e-12)),
        "grey_levels": float(np.abs(image.astype(int) - drawn).max()),
    }


def check_golden(model: PairedModel) -> None:
    """Run the graphs on the golden inputs.

    Raises:
        WeightsError: they do not say what torch said.
    """
    golden = load_npz(model.release.file(GOLDEN))
    said = model.hear(golden_speech()).face_embedding
    wrong = np.linalg.norm(said - golden["face_embedding"]) / max(
        float(np.linalg.norm(golden["face_embedding"])), 1e-12
    )
    picture = model.decode(model.release.mean_embedding).transpose(2, 0, 1)
    grey_levels = int(np.abs(picture.astype(int) - golden["image"].astype(int)).max())
    if not wrong <= PARITY or grey_levels > PARITY_GREY_LEVELS:
        raise WeightsError(
            f"the exported networks of {model.release.name} differ from the trained ones, the face embedding by"
            f" {wrong:.2g} of its length and the picture by {grey_levels} grey levels; nothing was released"
        )


def _manifest(
    encoder: VoiceEncoder,
    decoder: ConvolutionalFaceDecoder,
    embedder: EmbedderRecord,
    measures: Measures,
    citation: Citation,
    *,
    clip_seconds: float,
    rounding: Mapping[str, float],
) -> dict[str, Any]:
    speakers = measures.same_speaker
    judged = {} if speakers is None else {"same_speaker_cosine": round(speakers.threshold, 4)}
    measured = {
        "clips": measures.clips,
        "spread_share": round(measures.spread.share, 4),
        "numbers": {name: round(value, 4) for name, value in measures.numbers.items()},
        "same_speaker": None if speakers is None else asdict(speakers),
    }
    return {
        "format": FORMATS[KIND],
        "kind": KIND,
        "name": citation.name,
        "version": citation.version,
        "licence": citation.licence,
        "thresholds": RECORDING_THRESHOLDS | judged,
        "embedder": embedder.to_dict(),
        "voice": {
            "clip_seconds": clip_seconds,
            "receptive_frames": RECEPTIVE_FRAMES,
            "column_hop": COLUMN_HOP,
            **encoder.config.to_dict(),
        },
        "face": decoder.config.to_dict(),
        "training": dict(citation.training)
        | {
            "parameters": {
                "voice_encoder": sum(tensor.numel() for tensor in encoder.parameters()),
                "face_decoder": sum(tensor.numel() for tensor in decoder.parameters()),
            },
            "measured": measured,
            "rounding": dict(rounding),
        },
    }


def check_fit(encoder: VoiceEncoder, decoder: ConvolutionalFaceDecoder, embedder: EmbedderRecord) -> None:
    """Refuse parts that do not go together.

    Raises:
        WeightsError: their face embeddings are of different lengths.
    """
    sizes = {
        "the voice encoder": encoder.config.embedding,
        "the face decoder": decoder.config.embedding,
        "the face embedder": embedder.size,
    }
    if len(set(sizes.values())) > 1:
        raise WeightsError(
            f"these do not go together: {', '.join(f'{name} has face embeddings of {n}' for name, n in sizes.items())};"
            " take networks trained with one face embedder"
        )


def write_paired_release(
    out: Path,
    encoder: VoiceEncoder,
    decoder: ConvolutionalFaceDecoder,
    *,
    embedder: EmbedderRecord,
    measures: Measures,
    citation: Citation,
    clip_seconds: float = 6.0,
    force: bool = False,
) -> PairedModel:
    """Write a release folder, whole or not at all, and read it back; both networks are rounded to what was written.

    Raises:
        WeightsError: parts that do not go together, or graphs that do not say what the networks say.
        OutputExists, CannotWrite: the folder is there and `force` is not set; no space, no permission.
    """
    check_fit(encoder, decoder, embedder)
    check_folder(out, force=force)
    with ExitStack() as cleanup:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
            cleanup.callback(shutil.rmtree, made, ignore_errors=True)
            rounding = write_networks(made, encoder, decoder, measures, clip_seconds)
            values = _manifest(
                encoder, decoder, embedder, measures, citation, clip_seconds=clip_seconds, rounding=rounding
            )
            write_manifest(made, values, list(FILES))
            (made / CARD).write_text(paired_card(values), encoding="utf-8")
            check_golden(load_paired_model(made))
            made.chmod(0o755)  # as any other folder; mkdtemp's are for its owner only
            _put_in_place(made, out, cleanup)
        except (OSError, SafetensorError) as error:
            raise CannotWrite(f"cannot write the release {out}: {error}") from error
    logger.info("%s: %.1f MB", out, sum(path.stat().st_size for path in out.iterdir()) / 1e6)
    return load_paired_model(out)


def _put_in_place(made: Path, out: Path, cleanup: ExitStack) -> None:
    """Rename the finished folder; one that was there before goes only when the new one stands."""
    if not out.exists():
        made.rename(out)
        return
    old = made.with_name(f"{made.name}.old")
    out.rename(old)
    try:
        made.rename(out)
    except OSError:
        old.rename(out)
        raise
    cleanup.callback(shutil.rmtree, old, ignore_errors=True)


def check_folder(out: Path, *, force: bool) -> None:
    """Refuse early a folder that holds something.

    Raises:
        OutputExists: it does, and `force` is not set; or it is a file.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not force):
        raise OutputExists(f"{out} exists already; choose another folder or use --force")
