"""Stage one: the face decoder learns to draw a face from its embedding (Cole et al. 2017; Oh et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from speech2face.data.clips import ClipDataset
from speech2face.data.layout import Part
from speech2face.decoder.convolutional import ConvolutionalFaceDecoder, ConvolutionalFaceDecoderConfig, DecodedFace
from speech2face.errors import DatasetError, InvalidSettings
from speech2face.face.vggface import INPUT_PIXELS, VGGFace
from speech2face.face.vggface_weights import load_vggface
from speech2face.training.decoder_losses import DecoderLoss, texture_loss

if TYPE_CHECKING:
    from speech2face.data.manifest import Manifest
    from speech2face.training.settings import TrainingSettings

STATISTICS_CLIPS = 10_000  # enough for a mean shape to a tenth of a pixel; evenly spread over the training clips
STATISTICS_BATCH = 256
TRAINING_SPLIT = "train"


def to_unit(aligned_face: Tensor) -> Tensor:
    """uint8 (batch, 3, size, size) to float32 in [0, 1]."""
    return aligned_face.float().div(255.0)


def fit_first_layer(network: ConvolutionalFaceDecoder, mean: Tensor, deviation: float) -> None:
    """Let the untrained first layer see embeddings of mean 0 and deviation 1, whatever scale the face embedder has.

    dlib's numbers are a hundred times smaller than VGG-Face's; initial weights expect numbers near 1. The layer stays
    one linear layer. mean (embedding,); deviation over people, root mean square over the numbers.
    """
    with torch.no_grad():
        layer = network.first_layer
        layer.weight /= deviation
        layer.bias.sub_(layer.weight @ mean.to(layer.weight))


class DecoderStage:
    """What the engine needs to train a face decoder."""

    name = "decoder"
    parts: tuple[Part, ...] = ("face_embedding", "aligned_face", "landmarks")
    rule = None  # the paper's is about the voice encoder's loss

    def __init__(self, network: ConvolutionalFaceDecoder, loss: DecoderLoss) -> None:
        self.network: nn.Module = network
        self.decoder = network
        self.loss = loss
        if loss.embedder is None or not loss.similarity_weight:  # ranks wait for ever for gradients that never come
            network.texture_network.requires_grad_(bool(loss.texture_weight))
            network.landmark_network.requires_grad_(bool(loss.landmarks_weight))

    def to(self, device: torch.device) -> None:
        """Move the decoder and the frozen embedder of the loss."""
        self.network.to(device)
        if isinstance(self.loss.embedder, nn.Module):
            self.loss.embedder.to(device).eval().requires_grad_(False)

    def target(self, batch: dict[str, Tensor]) -> DecodedFace:
        """What the decoder should have drawn: the photographs, their landmarks and their textures on the mean shape."""
        face, landmarks = to_unit(batch["aligned_face"]), batch["landmarks"].float()
        mean = self.decoder.mean_landmarks.expand_as(landmarks)
        with torch.no_grad():
            return DecodedFace(self.decoder.spline.move(face, landmarks, mean), landmarks, face)

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of `DecoderLoss`, weighted."""
        return self.loss(network(batch["face_embedding"], parts=True), self.target(batch))

    def evaluate(self, network: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Loss and errors on clips of other people, and what one mean face for everybody would score.

        `texture_error` and `face_error` are mean absolute differences in [0, 1], `landmark_error_pixels` is a mean
        distance: lower is better. `..._of_mean` uses the mean of these very clips, the best that a constant can do.
        """
        clips = 0
        sums: dict[str, float] = {}
        textures: list[Tensor] = []
        for batch in batches:
            target = self.target(batch)
            drawn = network(batch["face_embedding"], parts=True)
            count = len(target.face)
            numbers = self.loss(drawn, target)
            numbers["loss"] = torch.stack(list(numbers.values())).sum()
            numbers["texture_error"] = texture_loss(drawn.texture.float(), target.texture)
            numbers["face_error"] = texture_loss(drawn.face.float(), target.face)
            numbers["landmark_error_pixels"] = _distance(drawn.landmarks, target.landmarks)
            numbers["landmark_error_pixels_of_mean"] = _distance(self.decoder.mean_landmarks, target.landmarks)
            for name, number in numbers.items():
                sums[name] = sums.get(name, 0.0) + float(number.detach()) * count
            textures.append(target.texture.cpu())
            clips += count
        mean = torch.stack([texture.sum(0) for texture in textures]).sum(0) / clips
        sums["texture_error_of_mean"] = sum(float(texture_loss(mean, texture)) * len(texture) for texture in textures)
        return {name: total / clips for name, total in sums.items()}

    def notes(self) -> tuple[str, ...]:
        """Terms that are left out."""
        return self.loss.left_out()


def _distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of landmarks in pixels, ()."""
    return (predicted.float() - target).square().sum(dim=2).sqrt().mean()


class ResizedEmbedder(nn.Module):
    """A face embedder's network behind a change of the picture's size."""

    def __init__(self, network: VGGFace) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor) -> Tensor:
        """(batch, 3, size, size) in [0, 1] -> (batch, embedding)."""
        if face.shape[-1] != INPUT_PIXELS:
            face = nn.functional.interpolate(
                face, size=(INPUT_PIXELS, INPUT_PIXELS), mode="bilinear", align_corners=False, antialias=True
            )
        embedding: Tensor = self.network(face)
        return embedding


def decoder_config(settings: TrainingSettings, manifest: Manifest) -> ConvolutionalFaceDecoderConfig:
    """Sizes that follow the data: length of the embedding, number of landmarks, pixels of the faces.

    Raises:
        DatasetError: the data lack embeddings, faces or landmarks, or the faces have a size no decoder draws.
    """
    layout = manifest.layout
    if layout.embedding is None or layout.face is None or layout.landmarks is None:
        raise DatasetError(
            f"a face decoder learns from face embeddings, aligned faces and landmarks, {manifest.storage} has"
            f" {', '.join(layout.parts)}; prepare the data with all three"
        )
    height, width = layout.face
    try:
        if height != width:
            raise ValueError("the faces are not square")
        return ConvolutionalFaceDecoderConfig(
            embedding=layout.embedding,
            first=settings.decoder.first,
            landmarks=layout.landmarks,
            landmark_hidden=settings.decoder.landmark_hidden,
            size=height,
            base_channels=settings.decoder.base_channels,
        )
    except ValueError as error:
        raise DatasetError(
            f"{manifest.storage}: no face decoder draws faces of {height} x {width}: {error}; prepare them again,"
            " 224 x 224 as the paper does"
        ) from error


def training_statistics(manifest: Manifest) -> tuple[Tensor, Tensor, float]:
    """Mean shape (landmarks, 2), mean embedding (embedding,) and the embedding's deviation, over training clips.

    Raises:
        DatasetError: there is no training split, or all its embeddings are one.
    """
    clips = ClipDataset(manifest, TRAINING_SPLIT, parts=("face_embedding", "landmarks"))
    chosen = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), STATISTICS_CLIPS)).round().astype(int))
    read = [clips.batch(part.tolist()) for part in np.array_split(chosen, -(-len(chosen) // STATISTICS_BATCH))]
    landmarks, embeddings = (
        torch.cat([batch[name] for batch in read]).double() for name in ("landmarks", "face_embedding")
    )
    deviation = float(embeddings.var(0, correction=0).mean().sqrt())
    if not deviation > 0:
        raise DatasetError(f"{manifest.storage}: all face embeddings are the same; there is nothing to learn from them")
    return landmarks.mean(0).float(), embeddings.mean(0).float(), deviation


def build_decoder_stage(settings: TrainingSettings, manifest: Manifest) -> DecoderStage:
    """A decoder of the data's sizes, on the data's mean shape, its first layer fitted to the embeddings' scale.

    Raises:
        DatasetError: as `decoder_config` and `training_statistics`.
        WeightsError: `teacher.embedder` is no VGG-Face.
        InvalidSettings: nothing is left of the loss.
    """
    config = decoder_config(settings, manifest)
    mean_shape, mean_embedding, deviation = training_statistics(manifest)
    network = ConvolutionalFaceDecoder(config, mean_shape)
    fit_first_layer(network, mean_embedding, deviation)
    file, weights = settings.teacher.embedder, settings.decoder_loss
    loss = DecoderLoss(
        config.size,
        None if file is None else ResizedEmbedder(load_vggface(file)),
        texture_weight=weights.texture,
        landmarks_weight=weights.landmarks,
        similarity_weight=weights.embedder_similarity,
    )
    if len(loss.left_out()) == len(loss.weights):
        raise InvalidSettings(f"nothing is left of the loss: {'; '.join(loss.left_out())}")
    return DecoderStage(network, loss)
