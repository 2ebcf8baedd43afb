"""Assembles the starter release: half-precision weights, ONNX graphs, calibration, golden tensors, manifest."""

import argparse
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors import safe_open

from recipes.starter.calibration import fit
from recipes.starter.channels import CHANNELS
from recipes.starter.encoder import FRAMES
from recipes.starter.features import Packed
from recipes.starter.linear import LinearFaceDecoder, LinearFaceDecoderConfig
from recipes.starter.readings import read_packed
from speech2face.audio.spectrogram import golden_speech
from speech2face.evaluation.clips import Speaker, read_speakers
from speech2face.face.appearance import AttributeBasis
from speech2face.models.attributes import KIND, VOICE_FRAMES, VOICE_HEAD, load_attribute_model
from speech2face.models.release import FACE_DECODER, FORMATS, write_manifest
from speech2face.outputs import replace_file
from speech2face.training.export import export, load_half, save_half
from speech2face.training.pretrained import HeadOutputs, VoiceHead, WhisperConfig
from speech2face.voice.belief import Calibration, FacePopulation

logger = logging.getLogger(__name__)

NAME = "starter"
VERSION = "2.0.0"
LICENCE = "Apache-2.0"
CALIBRATION_SECONDS = (1.0, 2.0, 3.0, 6.0, None)
DISTANCE = Calibration(distance_free=1.0, distance_slope=5.0, distance_most=4.0)  # docs/starter_held_out.csv
VOICE_WEIGHTS, FACE_WEIGHTS, GOLDEN = "voice.safetensors", "face.safetensors", "golden.npz"
# Set on the calibration speakers; recipes/starter/caution_rates.py prints how often each caution is right and wrong.
THRESHOLDS = {
    "voice_logit": 0.0,
    "telephone_high_band_db": -50.0,
    "noise_snr_db": 16.0,
    "same_speaker_cosine": 0.42,
    "unfamiliar_distance": 1.6,
}
PLAIN_HAIR = "short"
MEAN_FACE = {"age": 40.0, "femininity": 0.5}  # the middle of what can be drawn: exaggeration moves away from here


def export_voice(head: VoiceHead, frames: Path, out: Path) -> None:
    """Write the voice side: the frozen layers' graph as it is, the heads' weights and graph."""
    if frames.resolve() != (out / VOICE_FRAMES).resolve():
        shutil.copyfile(frames, out / VOICE_FRAMES)
    save_half(head, out / VOICE_WEIGHTS, {"config": json.dumps(head.config.to_dict())})
    export(
        head,
        torch.rand(2, 3, head.config.channels) + torch.tensor([1.0, 0.0, 2.0])[:, None],
        out / VOICE_HEAD,
        inputs=["moments"],
        outputs=list(HeadOutputs._fields),
        dynamic={0: "batch"},
        weights=out / VOICE_WEIGHTS,
    )


def load_head(file: Path) -> VoiceHead:
    """The heads of a file in torch, in evaluation mode."""
    with safe_open(file, "pt") as opened:
        head = VoiceHead(WhisperConfig(**json.loads(opened.metadata()["config"])))
    load_half(head, file)
    return head.eval()


def load_face_decoder(folder: Path, face: dict[str, Any]) -> LinearFaceDecoder:
    """The face decoder whose tensors lie in `folder`."""
    sizes: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in face["decoder"].items()}
    decoder = LinearFaceDecoder(LinearFaceDecoderConfig(**sizes))
    load_half(decoder, folder / FACE_WEIGHTS)
    return decoder.eval()


def export_face(face_folder: Path, out: Path) -> dict[str, Any]:
    """Copy the face side's weights, write its graph, and return its metadata."""
    face: dict[str, Any] = json.loads((face_folder / "face.json").read_text(encoding="utf-8"))
    if face["gate"].get("measured", True) and not face["gate"]["passed"]:
        raise SystemExit(f"{face_folder}: the release gate is not passed: these faces are not released.")
    if (face_folder / FACE_WEIGHTS).resolve() != (out / FACE_WEIGHTS).resolve():
        shutil.copyfile(face_folder / FACE_WEIGHTS, out / FACE_WEIGHTS)
        shutil.copyfile(face_folder / "face.json", out / "face.json")
    decoder = load_face_decoder(out, face)
    export(
        decoder,
        (torch.zeros(2, decoder.config.embedding), torch.tensor([0, 1])),
        out / FACE_DECODER,
        inputs=["face_embedding", "hair"],
        outputs=["image"],
        dynamic={0: "batch"},
        weights=out / FACE_WEIGHTS,
        batched=True,
    )
    set_default(out / FACE_DECODER, "hair", np.array([decoder.config.hair_styles.index(PLAIN_HAIR)], np.int64))
    return face


def set_default(graph: Path, name: str, value: np.ndarray) -> None:
    """Give an input of a graph a value that it has where none is fed: programs older than the input draw faces too."""
    model = onnx.load(str(graph), load_external_data=False)
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    replace_file(graph, model.SerializeToString())


def write_golden(out: Path, decoder: LinearFaceDecoder, population: FacePopulation) -> None:
    """What the release says of the made voice, and the decoder's picture of one face embedding."""
    runtime = load_attribute_model(out).runtime
    reading = runtime.read([runtime.segment_moments(golden_speech())])
    face_embedding = population.embedding(45.0, 0.3)
    hair = decoder.config.hair_styles.index(PLAIN_HAIR)
    with torch.inference_mode():
        image = decoder(torch.from_numpy(face_embedding)[None], torch.tensor([hair]))[0]
    stored: dict[str, Any] = {name: np.asarray(value, np.float32) for name, value in vars(reading).items()}
    stored["face_embedding"], stored["hair"] = face_embedding, np.array(hair)
    stored["image"] = np.rint(image.numpy()[:, ::4, ::4] * 255).astype(np.uint8)  # every fourth pixel: a small file
    np.savez_compressed(out / GOLDEN, **stored)


def calibrate(head: VoiceHead, speakers: list[Speaker], features: Path) -> Calibration:
    """Fit the calibration on the split of that name, through every channel."""
    rows = [row for row, s in enumerate(speakers) if s.split == "calibration" and (s.age or s.gender)]
    channels = []
    for channel in CHANNELS:
        packed = Packed(features, channel)
        channels.append([read_packed(head, packed, rows, seconds) for seconds in CALIBRATION_SECONDS])
    return fit(channels, speakers, DISTANCE)


def assemble(head_file: Path, face_folder: Path, starter: Path, features: Path, out: Path) -> None:
    """Write the whole release into `out` and read it back."""
    out.mkdir(parents=True, exist_ok=True)
    head = load_head(head_file)
    export_voice(head, features / FRAMES, out)
    face = export_face(face_folder, out)
    calibration = calibrate(head, read_speakers(starter), features)
    logger.info("calibration %s", calibration.to_dict())
    basis = AttributeBasis.from_dict(face["attributes"])
    weights = [float(face["reference_population"][group]) for group in basis.groups]
    population = FacePopulation(basis, np.array(face["residual_sd"], np.float32), np.array(weights, np.float32))
    names = [VOICE_WEIGHTS, VOICE_FRAMES, VOICE_HEAD, FACE_WEIGHTS, FACE_DECODER, "face.json"]
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
            "hair_styles": face["hair_styles"],
            "mean_embedding": [
                float(value) for value in population.embedding(MEAN_FACE["age"], MEAN_FACE["femininity"])
            ],
        },
    }
    write_manifest(out, manifest, names)
    write_golden(out, load_face_decoder(out, face), population)
    write_manifest(out, manifest, [*names, GOLDEN])
    load_attribute_model(out).warm()
    logger.info("%s: %.1f MB", out, sum((out / name).stat().st_size for name in [*names, GOLDEN]) / 1e6)


def main() -> None:
    """Command line: python -m recipes.starter.release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starter", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--heads", type=Path, required=True, help="the fitted heads")
    parser.add_argument("--face", type=Path, required=True, help="the folder of face.safetensors and face.json")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    assemble(arguments.heads, arguments.face, arguments.starter, arguments.features, arguments.out)


if __name__ == "__main__":
    main()
