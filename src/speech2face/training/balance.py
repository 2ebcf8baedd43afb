"""Weights for the terms of the loss by the paper's rule (Oh et al., CVPR 2019, section 4, implementation details).

There they are chosen so that the gradients of all terms with respect to the predicted face embedding have about the
same magnitude at iteration 1000. The paper's numbers fit its own feature scale; other embedders need others.
`speech2face train` measures once, at that step, and warns; `speech2face balance` measures a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from speech2face.training.losses import EncoderLoss

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
