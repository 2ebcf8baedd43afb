"""Equation 1 by hand, and the rule by which its weights are chosen."""

import math

import pytest
import torch
from torch import Tensor, nn

from speech2face.training.balance import gradient_lengths, suggest_weights
from speech2face.training.losses import EncoderLoss, cosine_loss, decoder_layer_loss, distillation_loss


def twice(x: Tensor) -> Tensor:
    return 2 * x


def unchanged(x: Tensor) -> Tensor:
    return x


TARGET = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
PREDICTED = torch.tensor([[4.0, 3.0], [0.0, 2.0]])


def test_the_decoder_layer_term_is_a_sum_over_the_layer_and_a_mean_over_clips() -> None:
    # |2(3-4)| + |2(4-3)| = 4; |2(1-0)| + |2(0-2)| = 6
    assert decoder_layer_loss(PREDICTED, TARGET, twice).item() == pytest.approx(5.0)


def test_the_cosine_term_is_two_less_twice_the_cosine_and_knows_no_length() -> None:
    # cosines 24/25 and 0: 2 - 48/25 = 0.08 and 2
    assert cosine_loss(PREDICTED, TARGET).item() == pytest.approx((0.08 + 2.0) / 2)
    assert cosine_loss(7 * PREDICTED, TARGET).item() == pytest.approx((0.08 + 2.0) / 2)
    assert cosine_loss(TARGET, TARGET).item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_loss(-TARGET, TARGET).item() == pytest.approx(4.0)


def test_distillation_is_a_cross_entropy_at_the_papers_temperature() -> None:
    target, predicted = torch.tensor([[0.0, 2 * math.log(3)]]), torch.tensor([[0.0, 0.0]])
    # at T = 2 the teacher says 1/4, 3/4; the student 1/2, 1/2
    assert distillation_loss(predicted, target, unchanged).item() == pytest.approx(math.log(2))
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert distillation_loss(target, target, unchanged).item() == pytest.approx(entropy)


def test_the_sum_has_the_papers_weights() -> None:
    loss = EncoderLoss(twice, unchanged)
    terms = loss(PREDICTED, TARGET)
    assert terms["decoder_layer"].item() == pytest.approx(5.0)
    assert terms["cosine"].item() == pytest.approx(0.025 * 1.04)
    assert terms["distillation"].item() == pytest.approx(200 * distillation_loss(PREDICTED, TARGET, unchanged).item())


def test_what_is_left_out_is_said() -> None:
    loss = EncoderLoss(None, None, cosine_weight=0.0)
    assert loss(PREDICTED, TARGET) == {}
    said = " / ".join(loss.left_out())
    assert "no face decoder" in said and "no classification head" in said
    assert "cosine is left out: its weight is 0" in said
    assert EncoderLoss(twice, unchanged).left_out() == ()


def test_bfloat16_predictions_are_compared_in_single_precision() -> None:
    wide = torch.full((1, 4096), 1.0)
    assert decoder_layer_loss(wide, wide * 0, unchanged).item() == 4096
    terms = EncoderLoss(unchanged, None).terms(wide.bfloat16(), wide * 0)
    assert terms["decoder_layer"].dtype == torch.float32 and terms["decoder_layer"].item() == 4096


def test_gradient_lengths_by_hand() -> None:
    # The decoder layer's gradient is -2 sign(difference) on each of two numbers: length 2 sqrt 2 for every clip.
    lengths = gradient_lengths(EncoderLoss(twice, None), PREDICTED, TARGET)
    assert lengths["decoder_layer"] == pytest.approx(2 * math.sqrt(2))
    # 2 - 2 cos at a right angle falls by 2 a radian, and a radian is 2 units away at a length of 2: length 1.
    only_second = gradient_lengths(EncoderLoss(None, None), PREDICTED[1:], TARGET[1:])
    assert only_second["cosine"] == pytest.approx(1.0)


def test_the_suggested_weights_make_all_gradients_equally_long() -> None:
    torch.manual_seed(0)
    target, predicted = torch.randn(16, 6), torch.randn(16, 6)
    loss = EncoderLoss(nn.Linear(6, 10), nn.Linear(6, 5))
    found = suggest_weights(loss, [(predicted[:8], target[:8]), (predicted[8:], target[8:])])
    pulls = [term.gradient * term.suggested for term in found]
    assert [term.term for term in found] == ["decoder_layer", "cosine", "distillation"]
    assert found[0].suggested == pytest.approx(1.0)
    assert pulls == pytest.approx([pulls[0]] * 3)


def test_the_suggestion_does_not_depend_on_the_weights_it_replaces() -> None:
    torch.manual_seed(0)
    pair = [(torch.randn(8, 6), torch.randn(8, 6))]
    layer, head = nn.Linear(6, 10), nn.Linear(6, 5)
    first = suggest_weights(EncoderLoss(layer, head), pair)
    second = suggest_weights(EncoderLoss(layer, head, cosine_weight=3.0, distillation_weight=0.1), pair)
    assert [t.suggested for t in first] == pytest.approx([t.suggested for t in second])
