"""Stage two: the voice encoder learns the face embedding, the face side frozen (Oh et al., CVPR 2019, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from speech2face.data.layout import Part
from speech2face.errors import WeightsError
from speech2face.evaluation.embeddings import embedding_numbers
from speech2face.training.balance import PAPER_STEP, balance_of, far_off, gradient_lengths
from speech2face.training.losses import EncoderLoss
from speech2face.voice.encoder import VoiceEncoder
from speech2face.voice.front_end import SpectrogramFrontEnd, from_pcm


class TeacherHead(nn.Module):
    """The classification layer of a face embedder, frozen: face embedding -> logits of its identities (fc8)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.float())
        self.register_buffer("bias", bias.float())

    def forward(self, face_embedding: Tensor) -> Tensor:
        """(batch, embedding) -> (batch, identities)."""
        return functional.linear(face_embedding, self.weight, self.bias)


def load_teacher_head(path: Path, embedding: int) -> TeacherHead:
    """`fc8.weight` (identities, embedding) and `fc8.bias` (identities,) of a safetensors file.

    Raises:
        WeightsError: not there, no such tensors, or for embeddings of another length.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            weight, bias = opened.get_tensor("fc8.weight"), opened.get_tensor("fc8.bias")
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path} is no safetensors file with fc8.weight and fc8.bias ({error}); convert the face network's weights"
            " with `speech2face convert`"
        ) from error
    if weight.ndim != 2 or weight.shape[1] != embedding or bias.shape != weight.shape[:1]:
        raise WeightsError(
            f"{path}: fc8.weight is {tuple(weight.shape)} and fc8.bias {tuple(bias.shape)}; the data's face embeddings"
            f" have {embedding} numbers, so (identities, {embedding}) and (identities,) are wanted"
        )
    return TeacherHead(weight, bias)


class EncoderStage:
    """What the engine needs to train a voice encoder."""

    name = "encoder"
    parts: tuple[Part, ...] = ("waveform", "face_embedding")
    balanced_at = PAPER_STEP

    @property
    def rule(self) -> EncoderStage:
        """The paper's, by which the weights of Equation 1 are chosen."""
        return self

    def __init__(self, network: VoiceEncoder, loss: EncoderLoss) -> None:
        self.network: nn.Module = network
        self.loss = loss
        self.front_end = SpectrogramFrontEnd()

    def to(self, device: torch.device) -> None:
        """Move the encoder, the front end and the frozen layers of the loss."""
        self.network.to(device)
        self.front_end.to(device)
        for layer in (self.loss.first_layer, self.loss.teacher_head):
            if isinstance(layer, nn.Module):
                layer.to(device).requires_grad_(False)

    def predict(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Face embeddings of the batch's voices, (batch, embedding) float32."""
        spectrogram = self.front_end(from_pcm(batch["waveform"]))  # (batch, 2, frequency, frames)
        return network(spectrogram).float()  # type: ignore[no-any-return]

    def losses(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Equation 1, weighted."""
        return self._loss(self.predict(network, batch), batch["face_embedding"])

    def _loss(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """In single precision: autocast would round the frozen layers to three digits before they are compared."""
        with torch.autocast(predicted.device.type, enabled=False):
            return self.loss(predicted, target)

    def gradients(self, network: nn.Module, batch: dict[str, Tensor]) -> dict[str, float]:
        """Mean length of each unweighted term's gradient with respect to a clip's predicted embedding."""
        with torch.no_grad():
            predicted = self.predict(network, batch)
        with torch.autocast(predicted.device.type, enabled=False):
            return gradient_lengths(self.loss, predicted, batch["face_embedding"])

    def judge(self, gradients: Mapping[str, float], step: int) -> tuple[dict[str, float], tuple[str, ...]]:
        """Each term's weighted gradient and the weight by the paper's rule; a sentence for each that is far off."""
        terms = balance_of(gradients, self.loss.weights)
        numbers = {f"{term.term}_gradient": term.pull for term in terms}
        numbers |= {f"{term.term}_suggested_weight": term.suggested for term in terms if term.suggested < math.inf}
        return numbers, far_off(terms, step)

    def evaluate(self, network: nn.Module, batches: Iterable[dict[str, Tensor]]) -> dict[str, float]:
        """Loss, feature similarity and retrieval on clips of other speakers."""
        pairs = [(self.predict(network, batch), batch["face_embedding"]) for batch in batches]
        predicted, reference = (torch.cat(side) for side in zip(*pairs, strict=True))
        terms = {name: float(term) for name, term in self._loss(predicted, reference).items()}
        numbers = embedding_numbers(_numpy(predicted), _numpy(reference))
        return {"loss": sum(terms.values())} | terms | numbers

    def notes(self) -> tuple[str, ...]:
        """Terms that are left out."""
        return self.loss.left_out()


def _numpy(embeddings: Tensor) -> np.ndarray:
    return embeddings.cpu().numpy().astype(np.float32, copy=False)
