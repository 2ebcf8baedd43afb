"""Weights for the terms of the loss by the paper's rule (Oh et al., CVPR 2019, section 4, implementation details).

There they are chosen so that the gradients of all terms with respect to the predicted face embedding have about the
same magnitude at iteration 1000. The paper's numbers fit its own feature scale; other embedders need others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from speech2face.training.losses import EncoderLoss

PAPER_STEP = 1000
REFERENCE_TERM = "decoder_layer"  # its weight is 1 in Equation 1


@dataclass(frozen=True)
class Balance:
    """One term: how long its gradient is without a weight, and the weight that makes it as long as the reference's."""

    term: str
    gradient: float
    weight: float
    suggested: float


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
    """Suggested weights from (predicted, target) batches; the reference keeps its own weight.

    Where there is no decoder_layer term, the first one that is there is the reference.
    """
    sums: dict[str, float] = {}
    count = 0
    for predicted, target in pairs:
        count += 1
        for name, length in gradient_lengths(loss, predicted, target).items():
            sums[name] = sums.get(name, 0.0) + length
    lengths = {name: total / count for name, total in sums.items()}
    reference = REFERENCE_TERM if REFERENCE_TERM in lengths else next(iter(lengths))
    pull = loss.weights[reference] * lengths[reference]
    return [
        Balance(name, length, loss.weights[name], pull / length if length else float("inf"))
        for name, length in lengths.items()
    ]
