"""Stage one: the face decoder learns to draw a face from its embedding (Cole et al. 2017; Oh et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from speech2face.data.layout import Part
from speech2face.decoder.convolutional import ConvolutionalFaceDecoder, DecodedFace
from speech2face.training.decoder_losses import DecoderLoss, texture_loss


def to_unit(aligned_face: Tensor) -> Tensor:
    """uint8 (batch, 3, size, size) to float32 in [0, 1]."""
    return aligned_face.float() / 255.0


def fit_first_layer(network: ConvolutionalFaceDecoder, mean: Tensor, deviation: float) -> None:
    """Let the untrained first layer see embeddings of mean 0 and deviation 1, whatever scale the face embedder has.

    dlib's numbers are a hundred times smaller than VGG-Face's; initial weights expect numbers near 1. The layer stays
    one linear layer. mean (embedding,); deviation over people, root mean square over the numbers.
    """
    with torch.no_grad():
        layer = network.first_layer
        layer.weight /= deviation
        layer.bias -= layer.weight @ mean.to(layer.weight)


class DecoderStage:
    """What the engine needs to train a face decoder."""

    name = "decoder"
    parts: tuple[Part, ...] = ("face_embedding", "aligned_face", "landmarks")

    def __init__(self, network: ConvolutionalFaceDecoder, loss: DecoderLoss) -> None:
        self.network: nn.Module = network
        self.decoder = network
        self.loss = loss

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
                sums[name] = sums.get(name, 0.0) + float(number) * count
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
    return torch.linalg.vector_norm(predicted.float() - target, dim=2).mean()
