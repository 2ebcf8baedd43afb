"""Equation 1 by hand, and the rule by which its weights are chosen."""

import math

import pytest
import torch
from torch import Tensor, nn

from speech2face.training.losses import (
    COSINE_WEIGHT,
    DISTILLATION_WEIGHT,
    Balance,
    EncoderLoss,
    cosine_loss,
    decoder_layer_loss,
    distillation_loss,
    far_off,
    gradient_lengths,
    suggest_weights,
)


def twice(x: Tensor) -> Tensor:
    return 2 * x


def unchanged(x: Tensor) -> Tensor:
    return x


TARGET = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
PREDICTED = torch.tensor([[4.0, 3.0], [0.0, 2.0]])


def test_the_decoder_layer_term_is_a_mean_over_the_layer_and_a_mean_over_clips() -> None:
    # |2(3-4)| + |2(4-3)| = 4; |2(1-0)| + |2(0-2)| = 6; each over two outputs
    assert decoder_layer_loss(PREDICTED, TARGET, twice).item() == pytest.approx(2.5)


def test_a_layer_of_twice_as_many_like_outputs_gives_the_same_term() -> None:
    def doubled(x: Tensor) -> Tensor:
        return torch.cat([twice(x), twice(x)], dim=1)

    assert decoder_layer_loss(PREDICTED, TARGET, doubled).item() == pytest.approx(2.5)


def test_a_weight_of_the_layers_width_makes_the_term_the_sum_it_was() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 128)
    target, predicted = torch.randn(8, 64), torch.randn(8, 64)
    weighted = EncoderLoss(layer, None, decoder_layer_weight=128.0)(predicted, target)["decoder_layer"]
    torch.testing.assert_close(weighted, (layer(target) - layer(predicted)).abs().sum(dim=1).mean())


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
    assert terms["decoder_layer"].item() == pytest.approx(2.5)
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
    terms = EncoderLoss(unchanged, None).terms(wide.bfloat16(), wide * 0.999)
    assert terms["decoder_layer"].dtype == torch.float32
    assert terms["decoder_layer"].item() == pytest.approx(0.001, rel=1e-3)  # bfloat16 knows no 0.999


def test_gradient_lengths_by_hand() -> None:
    # The decoder layer's gradient is -2 sign(difference) / 2 on each of two numbers: length sqrt 2 for every clip.
    lengths = gradient_lengths(EncoderLoss(twice, None), PREDICTED, TARGET)
    assert lengths["decoder_layer"] == pytest.approx(math.sqrt(2))
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


def embeddings(length: float, degrees: float, clips: int = 8) -> tuple[Tensor, Tensor]:
    """Predicted and target embeddings of one length at one angle, positive as fc7 is after its ReLU."""
    generator = torch.Generator().manual_seed(0)
    target = nn.functional.normalize(torch.randn(clips, 4096, generator=generator).relu(), dim=1)
    other = torch.randn(clips, 4096, generator=generator)
    other = nn.functional.normalize(other - (other * target).sum(dim=1, keepdim=True) * target, dim=1)
    angle = math.radians(degrees)
    return length * (math.cos(angle) * target + math.sin(angle) * other), length * target


@pytest.fixture(scope="module")
def paper_layers() -> tuple[nn.Linear, nn.Linear]:
    """Layers of the paper's sizes, f_dec and f_VGG, as torch draws their weights."""
    torch.manual_seed(0)
    return nn.Linear(4096, 1000), nn.Linear(4096, 2622)


def suggested(layers: tuple[nn.Linear, nn.Linear], length: float, degrees: float) -> dict[str, float]:
    return {term.term: term.suggested for term in suggest_weights(EncoderLoss(*layers), [embeddings(length, degrees)])}


def test_a_mean_makes_the_papers_weights_come_out_of_its_own_rule(paper_layers: tuple[nn.Linear, nn.Linear]) -> None:
    early = suggested(paper_layers, 2.5, 80)  # an encoder that has hardly begun
    assert early["cosine"] == pytest.approx(COSINE_WEIGHT, rel=0.05)
    assert early["distillation"] == pytest.approx(DISTILLATION_WEIGHT, rel=0.1)
    for length in (1.0, 1.75, 2.5):
        for degrees in (46, 80):  # 45 to 48 are the paper's angles when all is trained
            found = suggested(paper_layers, length, degrees)
            assert 0.35 < found["cosine"] / COSINE_WEIGHT < 1.5, (length, degrees)
            assert 0.9 < found["distillation"] / DISTILLATION_WEIGHT < 4, (length, degrees)


def test_with_a_sum_the_papers_weights_would_leave_one_term(paper_layers: tuple[nn.Linear, nn.Linear]) -> None:
    terms = suggest_weights(EncoderLoss(*paper_layers, decoder_layer_weight=1000.0), [embeddings(1.75, 46)])
    first, *others = (term.pull for term in terms)
    assert all(pull < 2e-3 * first for pull in others)


def test_a_term_ten_times_off_is_said_with_the_way_out_and_one_that_is_near_is_not() -> None:
    first = Balance("decoder_layer", 2.0, 1.0, 1.0)
    near = Balance("cosine", 1.0, 0.25, 2.0)  # an eighth
    weak = Balance("cosine", 1.0, 0.1, 2.0)  # a twentieth
    strong = Balance("distillation", 4.0, 200.0, 0.5)  # 400 times
    assert far_off([first, near], 1000) == ()
    (said,) = far_off([first, weak], 1000)
    assert "cosine (1 x weight 0.1) is 0.05 times" in said and "hardly counts" in said
    assert "`speech2face balance`" in said and "--set encoder_loss.cosine=2" in said
    (said,) = far_off([first, near, strong], 600)
    assert "at step 600" in said and "4e+02 times" in said and "drowns the others" in said


def test_nothing_is_said_where_there_is_nothing_to_compare_with() -> None:
    still = Balance("decoder_layer", 0.0, 1.0, 1.0)
    assert far_off([still, Balance("cosine", 1.0, 1.0, 0.0)], 1000) == ()
    assert far_off([Balance("cosine", 1.0, 1.0, 1.0)], 1000) == ()
    silent = Balance("distillation", 0.0, 200.0, math.inf)
    (said,) = far_off([Balance("decoder_layer", 2.0, 1.0, 1.0), silent], 1000)
    assert "hardly counts" in said and "--set" not in said
