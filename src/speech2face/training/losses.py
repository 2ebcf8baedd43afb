"""The loss of Speech2Face (Oh et al., CVPR 2019, Equation 1): one function a term, and their weighted sum.

In all of them `predicted` is the voice encoder's face embedding v_s and `target` the face embedder's v_f, both
(batch, embedding); each returns the mean over the batch, (). The paper's weights belong to reductions that it does not
state. The first term is taken as a mean over the decoder layer's outputs: with a sum over its 1000, the other two would
pull a thousandth of it by the paper's weights; with the mean, .025 and 200 are what its own rule gives for embeddings
of length 1 to 2.5 (`docs/fidelity.md`). For embeddings of another scale `training/balance.py` suggests other weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Layer = Callable[[Tensor], Tensor]

DISTILLATION_TEMPERATURE = 2.0  # T of Equation 2
COSINE_WEIGHT = 0.025  # lambda 1
DISTILLATION_WEIGHT = 200.0  # lambda 2


def decoder_layer_loss(predicted: Tensor, target: Tensor, first_layer: Layer) -> Tensor:
    """||f_dec(v_f) - f_dec(v_s)||_1 / width, f_dec being the face decoder's first layer: Equation 1, first term.

    A mean over the layer's outputs; the sum is this times the layer's width (1000 in the paper).
    """
    return (first_layer(target) - first_layer(predicted)).abs().mean(dim=1).mean()


def cosine_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """||v_f / ||v_f|| - v_s / ||v_s|| ||_2^2 = 2 - 2 cos: Equation 1, second term without its weight."""
    difference = functional.normalize(target, dim=1) - functional.normalize(predicted, dim=1)
    return difference.square().sum(dim=1).mean()


def distillation_loss(
    predicted: Tensor, target: Tensor, teacher_head: Layer, temperature: float = DISTILLATION_TEMPERATURE
) -> Tensor:
    """- sum p_i(f_VGG(v_f)) log p_i(f_VGG(v_s)), p = softmax(. / T): Equation 2, without its weight.

    A cross entropy: its least value is the entropy of the teacher's answer, not zero.
    """
    wanted = torch.softmax(teacher_head(target) / temperature, dim=1)
    said = torch.log_softmax(teacher_head(predicted) / temperature, dim=1)
    return -(wanted * said).sum(dim=1).mean()


@dataclass(frozen=True)
class EncoderLoss:
    """Equation 1. A term whose layer is None, or whose weight is 0, is left out; `left_out` says which and why."""

    first_layer: Layer | None
    teacher_head: Layer | None
    decoder_layer_weight: float = 1.0
    cosine_weight: float = COSINE_WEIGHT
    distillation_weight: float = DISTILLATION_WEIGHT
    temperature: float = DISTILLATION_TEMPERATURE

    def terms(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The terms without their weights, by name, each ()."""
        predicted, target = predicted.float(), target.float()  # sums of thousands of numbers do not fit bfloat16
        found: dict[str, Tensor] = {}
        if self.first_layer is not None and self.decoder_layer_weight:
            found["decoder_layer"] = decoder_layer_loss(predicted, target, self.first_layer)
        if self.cosine_weight:
            found["cosine"] = cosine_loss(predicted, target)
        if self.teacher_head is not None and self.distillation_weight:
            found["distillation"] = distillation_loss(predicted, target, self.teacher_head, self.temperature)
        return found

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of each term."""
        return {
            "decoder_layer": self.decoder_layer_weight,
            "cosine": self.cosine_weight,
            "distillation": self.distillation_weight,
        }

    def left_out(self) -> tuple[str, ...]:
        """What is not in the loss, one sentence each."""
        reasons = []
        if self.first_layer is None and self.decoder_layer_weight:
            reasons.append("decoder_layer is left out: no face decoder is named")
        if self.teacher_head is None and self.distillation_weight:
            reasons.append("distillation is left out: the face embedder has no classification head")
        return tuple(reasons + [f"{name} is left out: its weight is 0" for name, w in self.weights.items() if not w])

    def __call__(self, predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The terms, weighted: their sum is the loss."""
        return {name: self.weights[name] * term for name, term in self.terms(predicted, target).items()}
