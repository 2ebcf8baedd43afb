"""Assembles the starter release: half-precision weights, ONNX graphs, calibration, golden tensors, manifest."""

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from recipes.starter.batches import Packed
from recipes.starter.calibration import Heard, fit
from recipes.starter.readings import read_packed
from recipes.starter.voices import load_encoder
from speech2face.audio.spectrogram import spectrogram
from speech2face.decoder.linear import LinearFaceDecoder, LinearFaceDecoderConfig
from speech2face.evaluation.clips import read_speakers
from speech2face.face.appearance import AttributeBasis
from speech2face.models.attributes import KIND, VOICE_FRAMES, VOICE_HEAD, load_attribute_model
from speech2face.models.release import FACE_DECODER, FORMATS, write_manifest
from speech2face.training.export import export, load_half, save_half
from speech2face.voice.belief import FacePopulation
from speech2face.voice.compact import CompactConfig, CompactVoiceEncoder
from speech2face.voice.segments import golden_speech

logger = logging.getLogger(__name__)

NAME = "starter"
VERSION = "1.0.0"
LICENCE = "Apache-2.0"
CALIBRATION_SECONDS = (1.0, 2.0, 3.0, 6.0, 10.0)
CALIBRATION_CHANNELS = ("clean", "telephone", "noisy")
VOICE_WEIGHTS, FACE_WEIGHTS, GOLDEN = "voice.safetensors", "face.safetensors", "golden.npz"
# Set on the calibration speakers; recipes/starter/caution_rates.py prints how often each caution is right and wrong.
THRESHOLDS = {"voice_logit": 0.0, "telephone_high_band_db": -50.0, "noise_snr_db": 16.0, "same_speaker_cosine": 0.3}
MEAN_FACE = {"age": 40.0, "femininity": 0.5}  # the middle of what can be drawn: exaggeration moves away from here


class FramesGraph(nn.Module):
    """The exported half of the voice encoder that runs once a segment."""

    def __init__(self, encoder: CompactVoiceEncoder) -> None:
        super().__init__()
        self.front, self.frames = encoder.front, encoder.frames

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(1, 2, frequency, frames) -> (1, 3, channels)."""
        result: Tensor = self.frames(self.front(spectrogram))
        return result


class HeadGraph(nn.Module):
    """The exported half that runs once a recording."""

    def __init__(self, encoder: CompactVoiceEncoder) -> None:
        super().__init__()
        self.head = encoder.head

    def forward(self, moments: Tensor) -> tuple[Tensor, ...]:
        """What `VoiceHead.forward` does."""
        return tuple(self.head(moments))


def export_voice(encoder: CompactVoiceEncoder, out: Path) -> None:
    """Write the voice side's weights and graphs; the encoder's own weights are rounded to what was written."""
    save_half(encoder, out / VOICE_WEIGHTS, {"config": json.dumps(encoder.config.to_dict())})
    example = torch.randn(1, 2, 257, 298)
    export(
        FramesGraph(encoder),
        example,
        out / VOICE_FRAMES,
        inputs=["spectrogram"],
        outputs=["moments"],
        dynamic={3: "frames"},
        weights=out / VOICE_WEIGHTS,
    )
    with torch.no_grad():
        moments = torch.cat([encoder.moments(example)] * 2)
    export(
        HeadGraph(encoder),
        moments,
        out / VOICE_HEAD,
        inputs=["moments"],
        outputs=["speaker_embedding", "gender_logit", "age_logits", "voice_logit", "child_logit"],
        dynamic={0: "batch"},
        weights=out / VOICE_WEIGHTS,
    )


def load_released_encoder(folder: Path) -> CompactVoiceEncoder:
    """The voice encoder of a release in torch, in evaluation mode."""
    with safe_open(folder / VOICE_WEIGHTS, "pt") as file:
        config = CompactConfig.from_dict(json.loads(file.metadata()["config"]))
    encoder = CompactVoiceEncoder(config)
    load_half(encoder, folder / VOICE_WEIGHTS)
    return encoder.eval()


def load_face_decoder(folder: Path, face: dict[str, Any]) -> LinearFaceDecoder:
    """The face decoder whose tensors lie in `folder`."""
    sizes: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in face["decoder"].items()}
    decoder = LinearFaceDecoder(LinearFaceDecoderConfig(**sizes))
    load_half(decoder, folder / FACE_WEIGHTS)
    return decoder.eval()


def export_face(face_folder: Path, out: Path) -> dict[str, Any]:
    """Copy the face side's weights, write its graph, and return its metadata."""
    face: dict[str, Any] = json.loads((face_folder / "face.json").read_text(encoding="utf-8"))
    if (face_folder / FACE_WEIGHTS).resolve() != (out / FACE_WEIGHTS).resolve():
        shutil.copyfile(face_folder / FACE_WEIGHTS, out / FACE_WEIGHTS)
        shutil.copyfile(face_folder / "face.json", out / "face.json")
    decoder = load_face_decoder(out, face)
    export(
        decoder,
        torch.zeros(2, decoder.config.embedding),
        out / FACE_DECODER,
        inputs=["face_embedding"],
        outputs=["image"],
        dynamic={0: "batch"},
        weights=out / FACE_WEIGHTS,
    )
    return face


def write_golden(
    out: Path, encoder: CompactVoiceEncoder, decoder: LinearFaceDecoder, population: FacePopulation
) -> None:
    """Outputs of the torch networks for the made voice and for one face embedding."""
    speech = golden_speech()
    with torch.inference_mode():
        moments = encoder.moments(torch.from_numpy(spectrogram(speech))[None])
        embedding, gender, age, voice, child = encoder.head(moments)
        face_embedding = population.embedding(45.0, 0.3)
        image = decoder(torch.from_numpy(face_embedding)[None])[0]
    np.savez_compressed(
        out / GOLDEN,
        speaker_embedding=embedding[0].numpy(),
        gender_logit=gender.numpy(),
        age_logits=age[0].numpy(),
        voice_logit=voice.numpy(),
        child_logit=child.numpy(),
        face_embedding=face_embedding,
        image=np.rint(image.numpy()[:, ::4, ::4] * 255).astype(np.uint8),  # every fourth pixel keeps the file small
    )


def calibrate(encoder: CompactVoiceEncoder, starter: Path, features: Path) -> Any:
    """Fit the calibration on the split of that name."""
    speakers = read_speakers(starter)
    rows = [row for row, s in enumerate(speakers) if s.split == "calibration" and (s.age or s.gender)]
    chosen = [speakers[row] for row in rows]
    heard = []
    for name in CALIBRATION_CHANNELS:
        packed = Packed(features, name)
        for seconds in CALIBRATION_SECONDS:
            kept = [i for i, row in enumerate(rows) if packed.length(row) >= seconds * 100 - 2]
            readings = read_packed(encoder, packed, [rows[i] for i in kept], seconds)
            heard.append(Heard(readings, [chosen[i] for i in kept]))
    training = [s for s in speakers if s.split == "train"]
    return fit(heard, training)


def assemble(voice: Path, face_folder: Path, starter: Path, features: Path, out: Path) -> None:
    """Write the whole release into `out` and read it back."""
    out.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(voice)
    export_voice(encoder, out)
    face = export_face(face_folder, out)
    calibration = calibrate(encoder, starter, features)
    logger.info("calibration %s", calibration.to_dict())
    basis = AttributeBasis.from_dict(face["attributes"])
    weights = [float(face["reference_population"][group]) for group in basis.groups]
    population = FacePopulation(basis, np.array(face["residual_sd"], np.float32), np.array(weights, np.float32))
    write_golden(out, encoder, load_face_decoder(out, face), population)
    names = [VOICE_WEIGHTS, VOICE_FRAMES, VOICE_HEAD, FACE_WEIGHTS, FACE_DECODER, "face.json", GOLDEN]
    manifest = {
        "format": FORMATS[KIND],
        "kind": KIND,
        "name": NAME,
        "version": VERSION,
        "licence": LICENCE,
        "calibration": calibration.to_dict(),
        "thresholds": THRESHOLDS,
        "face": {
            "basis": face["attributes"],
            "residual_sd": face["residual_sd"],
            "group_weights": weights,
            "group_concentration": face["draw_group_concentration"],
            "mean_embedding": [
                float(value) for value in population.embedding(MEAN_FACE["age"], MEAN_FACE["femininity"])
            ],
        },
    }
    write_manifest(out, manifest, names)
    load_attribute_model(out).warm()
    logger.info("%s: %.1f MB", out, sum((out / name).stat().st_size for name in names) / 1e6)


def main() -> None:
    """Command line: python -m recipes.starter.release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--voice", type=Path, required=True, help="the trained voice encoder")
    parser.add_argument("--face", type=Path, required=True, help="the folder of face.safetensors and face.json")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    assemble(arguments.voice, arguments.face, arguments.starter, arguments.features, arguments.out)


if __name__ == "__main__":
    main()
