"""The face decoder's loss (Cole et al. 2017): texture, landmarks, and whether the drawn face is the same person.

The papers name the terms and not their weights. Each function returns the mean over the batch, ().
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from speech2face.decoder.convolutional import DecodedFace

Embedder = Callable[[Tensor], Tensor]
"""Differentiable: aligned faces (batch, 3, size, size) in [0, 1] -> (batch, embedding)."""

INTEROCULAR_SHARE = 55 / 224  # Cole et al. align faces to 55 pixels between the eyes in pictures of 224

TEXTURE_WEIGHT = 1.0
LANDMARKS_WEIGHT = 1.0
SIMILARITY_WEIGHT = 0.1


def texture_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of textures on the mean shape, (batch, 3, size, size) in [0, 1]."""
    return (predicted - target).abs().mean()


def landmark_loss(predicted: Tensor, target: Tensor, size: int) -> Tensor:
    """Mean squared distance of landmarks, (batch, landmarks, 2) pixels of a picture of this size.

    The unit of length is the distance between the eyes that Cole et al. align to, whatever the picture's size.
    """
    return ((predicted - target) / (INTEROCULAR_SHARE * size)).square().sum(dim=2).mean()


def similarity_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - cos of the embeddings of the drawn and the target face, (batch, embedding): 0 is the same, 1 is unrelated."""
    return 1.0 - functional.cosine_similarity(predicted, target, dim=1).mean()


@dataclass(frozen=True)
class DecoderLoss:
    """The three terms. Without a differentiable embedder, or with a weight of 0, a term is left out and said so."""

    size: int
    """Pixels of the face."""
    embedder: Embedder | None = None
    texture_weight: float = TEXTURE_WEIGHT
    landmarks_weight: float = LANDMARKS_WEIGHT
    similarity_weight: float = SIMILARITY_WEIGHT

    def terms(self, predicted: DecodedFace, target: DecodedFace) -> dict[str, Tensor]:
        """The terms without their weights, by name, each (); the target's texture is what its photograph shows."""
        found: dict[str, Tensor] = {}
        if self.texture_weight:
            found["texture"] = texture_loss(predicted.texture.float(), target.texture.float())
        if self.landmarks_weight:
            found["landmarks"] = landmark_loss(predicted.landmarks.float(), target.landmarks.float(), self.size)
        if self.embedder is not None and self.similarity_weight:
            with torch.no_grad():
                wanted = self.embedder(target.face)
            found["embedder_similarity"] = similarity_loss(self.embedder(predicted.face).float(), wanted.float())
        return found

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each term."""
        return {
            "texture": self.texture_weight,
            "landmarks": self.landmarks_weight,
            "embedder_similarity": self.similarity_weight,
        }

    def left_out(self) -> tuple[str, ...]:
        """What is not in the loss, one sentence each."""
        reasons = []
        if self.embedder is None and self.similarity_weight:
            reasons.append("embedder_similarity is left out: no face embedder that gradients pass through is named")
        return tuple(reasons + [f"{name} is left out: its weight is 0" for name, w in self.weights.items() if not w])

    def __call__(self, predicted: DecodedFace, target: DecodedFace) -> dict[str, Tensor]:
        """The terms, weighted: their sum is the loss."""
        return {name: self.weights[name] * term for name, term in self.terms(predicted, target).items()}
