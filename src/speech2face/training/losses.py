"""The loss of Speech2Face (Oh et al., CVPR 2019, Equation 1): one function a term, and their weighted sum.

In all of them `predicted` is the voice encoder's face embedding v_s and `target` the face embedder's v_f, both
(batch, embedding); each returns the mean over the batch, (). The paper's weights belong to reductions that it does not
state. The first term is taken as a mean over the decoder layer's outputs: with a sum over its 1000, the other two would
pull a thousandth of it by the paper's weights; with the mean, .025 and 200 are what its own rule gives for embeddings
of length 1 to 2.5 (`docs/fidelity.md`). For embeddings of another scale `suggest_weights` gives other ones.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from speech2face.decoder.paper import DecodedFace

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


class WeightedTerms(ABC):
    """A loss of named terms, each with a weight; one that cannot be computed, or has the weight 0, is left out."""

    @property
    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """The weight of each term."""

    @property
    @abstractmethod
    def missing(self) -> Mapping[str, str]:
        """Why a term cannot be computed, by its name."""

    @abstractmethod
    def terms(self, predicted: Any, target: Any) -> dict[str, Tensor]:
        """The terms without their weights, by name, each ()."""

    def left_out(self) -> tuple[str, ...]:
        """What is not in the loss, one sentence each."""
        missing = [f"{name} is left out: {why}" for name, why in self.missing.items() if self.weights[name]]
        return (*missing, *(f"{name} is left out: its weight is 0" for name, each in self.weights.items() if not each))

    def __call__(self, predicted: Any, target: Any) -> dict[str, Tensor]:
        """The terms, weighted: their sum is the loss."""
        return {name: self.weights[name] * term for name, term in self.terms(predicted, target).items()}


@dataclass(frozen=True)
class EncoderLoss(WeightedTerms):
    """Equation 1; a term whose layer is None is left out."""

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

    @property
    def missing(self) -> Mapping[str, str]:
        """Terms whose layer is not there."""
        found = {}
        if self.first_layer is None:
            found["decoder_layer"] = "no face decoder is named"
        if self.teacher_head is None:
            found["distillation"] = "the face embedder has no classification head"
        return found


# --- The face decoder's loss (Cole et al. 2017): texture, landmarks, and whether the drawn face is the same person.
# The papers name the terms and not their weights. Each function returns the mean over the batch, ().

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
class DecoderLoss(WeightedTerms):
    """The three terms; without a differentiable embedder the last one is left out."""

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

    @property
    def missing(self) -> Mapping[str, str]:
        """The similarity, where no embedder is there."""
        why = "no face embedder that gradients pass through is named"
        return {"embedder_similarity": why} if self.embedder is None else {}


# --- Weights for the terms of the loss by the paper's rule (Oh et al., CVPR 2019, section 4, implementation details).
# There they are chosen so that the gradients of all terms with respect to the predicted face embedding have about the
# same magnitude at iteration 1000. The paper's numbers fit its own feature scale; other embedders need others.
# `speech2face train` measures once, at that step, and warns; `speech2face balance` measures a checkpoint.

PAPER_STEP = 1000
REFERENCE_TERM = "decoder_layer"  # its weight is 1 in Equation 1
FAR_OFF = 10.0  # "similar" is no number; a term this many times weaker or stronger than the first is not that


@dataclass(frozen=True)
class Balance:
    """One term: how long its gradient is without a weight, and the weight that makes it as long as the reference's."""

    term: str
    gradient: float
    weight: float
    suggested: float

    @property
    def pull(self) -> float:
        """Length of the weighted term's gradient: how hard it pulls at the prediction."""
        return self.gradient * self.weight


def gradient_lengths(loss: EncoderLoss, predicted: Tensor, target: Tensor) -> dict[str, float]:
    """Mean length over the batch of each unweighted term's gradient with respect to one clip's predicted embedding."""
    lengths = {}
    for name in loss.terms(predicted, target):
        free = predicted.detach().requires_grad_()
        term = loss.terms(free, target)[name]
        (gradient,) = torch.autograd.grad(term * len(free), free)  # the term is a mean over clips
        lengths[name] = float(gradient.norm(dim=1).mean())
    return lengths


def suggest_weights(loss: EncoderLoss, pairs: Iterable[tuple[Tensor, Tensor]]) -> list[Balance]:
    """Suggested weights from (predicted, target) batches, as `balance_of` their mean gradients."""
    sums: dict[str, float] = {}
    count = 0
    for predicted, target in pairs:
        count += 1
        for name, length in gradient_lengths(loss, predicted, target).items():
            sums[name] = sums.get(name, 0.0) + length
    return balance_of({name: total / count for name, total in sums.items()}, loss.weights)


def balance_of(lengths: Mapping[str, float], weights: Mapping[str, float]) -> list[Balance]:
    """The terms by their unweighted gradients' lengths; the reference keeps its own weight and comes first.

    Where there is no decoder_layer term, the first one that is there is the reference.
    """
    reference = REFERENCE_TERM if REFERENCE_TERM in lengths else next(iter(lengths))
    pull = weights[reference] * lengths[reference]
    return [
        Balance(name, lengths[name], weights[name], pull / lengths[name] if lengths[name] else math.inf)
        for name in (reference, *(name for name in lengths if name != reference))
    ]


def far_off(terms: list[Balance], step: int) -> tuple[str, ...]:
    """A sentence for each term that pulls ten times less or more than the first, with the way out."""
    reference, *others = terms
    if not reference.pull > 0:  # nothing to compare with: the prediction is exact, or the gradient is no number
        return ()
    sentences = []
    for term in others:
        ratio = term.pull / reference.pull
        if 1 / FAR_OFF < ratio < FAR_OFF:
            continue
        name, effect = term.term, "hardly counts" if ratio < 1 else "drowns the others"
        remedy = f": --set encoder_loss.{name}={term.suggested:.3g}" if 0 < term.suggested < math.inf else ""
        sentences.append(
            f"at step {step} the gradient of {name} ({term.gradient:.3g} x weight {term.weight:g}) is {ratio:.2g} times"
            f" as long as that of {reference.term} ({reference.gradient:.3g} x weight {reference.weight:g}), so {name}"
            f" {effect}; by the paper's rule they are about equal at step {PAPER_STEP}. Begin again with the weights"
            f" that `speech2face balance` measures{remedy}"
        )
    return tuple(sentences)
