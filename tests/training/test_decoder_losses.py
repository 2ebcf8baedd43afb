"""The face decoder's loss."""

import pytest
import torch
from torch import Tensor

from speech2face.decoder.paper import DecodedFace
from speech2face.training.losses import DecoderLoss, landmark_loss, similarity_loss, texture_loss


def decoded(texture: float, shift: float) -> DecodedFace:
    landmarks = torch.tensor([[[4.0, 4.0], [10.0, 4.0]]]) + shift
    return DecodedFace(torch.full((1, 3, 16, 16), texture), landmarks, torch.full((1, 3, 16, 16), texture))


def test_the_texture_term_is_the_mean_absolute_difference() -> None:
    target = torch.zeros(2, 3, 4, 4)
    target[0] = 1.0
    assert float(texture_loss(torch.full_like(target, 0.25), target)) == pytest.approx((0.75 + 0.25) / 2)


def test_the_landmark_term_counts_in_distances_between_the_eyes() -> None:
    target = torch.zeros(1, 2, 2)
    predicted = torch.tensor([[[55.0, 0.0], [0.0, 0.0]]])  # one of two points off by one such distance
    assert float(landmark_loss(predicted, target, 224)) == pytest.approx(0.5)
    assert float(landmark_loss(predicted / 2, target, 112)) == pytest.approx(0.5)


def test_the_similarity_term_is_0_for_the_same_1_for_unrelated_and_2_for_opposite_embeddings() -> None:
    target = torch.tensor([[1.0, 0.0]])
    for predicted, expected in (([5.0, 0.0], 0.0), ([0.0, 2.0], 1.0), ([-1.0, 0.0], 2.0)):
        assert float(similarity_loss(torch.tensor([predicted]), target)) == pytest.approx(expected, abs=1e-6)


def test_terms_are_weighted_and_named() -> None:
    def embedder(face: Tensor) -> Tensor:
        return torch.stack([face.mean((1, 2, 3)), torch.ones(len(face))], dim=1)

    loss = DecoderLoss(16, embedder, texture_weight=2.0, landmarks_weight=3.0, similarity_weight=4.0)
    terms = loss.terms(decoded(0.5, 1.0), decoded(0.25, 0.0))
    assert list(terms) == ["texture", "landmarks", "embedder_similarity"]
    assert float(terms["texture"]) == pytest.approx(0.25)
    weighted = loss(decoded(0.5, 1.0), decoded(0.25, 0.0))
    assert [float(weighted[name] / terms[name]) for name in terms] == pytest.approx([2.0, 3.0, 4.0])
    assert loss.left_out() == ()


def test_a_term_that_cannot_be_or_has_no_weight_is_left_out_and_said() -> None:
    loss = DecoderLoss(16, texture_weight=0.0)
    assert list(loss(decoded(0.5, 1.0), decoded(0.25, 0.0))) == ["landmarks"]
    said = loss.left_out()
    assert len(said) == 2
    assert "embedder_similarity is left out: no face embedder" in said[0]
    assert said[1] == "texture is left out: its weight is 0"


def test_the_embedder_teaches_the_drawn_face_and_not_the_target() -> None:
    drawn = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    target = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    landmarks = torch.zeros(1, 2, 2)
    loss = DecoderLoss(16, lambda face: face.flatten(1) - 0.4, texture_weight=0.0, landmarks_weight=0.0)
    term = loss(DecodedFace(drawn, landmarks, drawn), DecodedFace(target, landmarks, target))["embedder_similarity"]
    found = torch.autograd.grad(term, (drawn, target), allow_unused=True)
    assert found[0] is not None
    assert found[1] is None
