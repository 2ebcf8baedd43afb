from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the voice encoder is torch; install the extra `train`")

from speech2face.audio.spectrogram import log_mel  # noqa: E402
from speech2face.training.pretrained import Block, VoiceHead, WhisperConfig, WhisperFrames, sinusoids  # noqa: E402
from speech2face.voice.belief import BIN_CENTRES  # noqa: E402
from tests.voices import made_voice  # noqa: E402

SMALL = WhisperConfig(layers=2, width=16, attention_heads=2, speaker_embedding=4, distance_axes=3)


def frames() -> WhisperFrames:
    torch.manual_seed(0)
    return WhisperFrames(SMALL).eval()


def test_the_whole_has_the_parameters_of_the_published_layers() -> None:
    stem = 80 * 512 * 3 + 512 + 512 * 512 * 3 + 512
    block = 4 * 512 * 512 + 3 * 512 + 2 * 4 * 512 * 512 + 4 * 512 + 512 + 4 * 512
    assert sum(p.numel() for p in WhisperFrames(WhisperConfig()).parameters()) == stem + 4 * block == 13_517_824


def test_positions_are_sines_then_cosines() -> None:
    positions = sinusoids(3, 4).numpy()
    np.testing.assert_allclose(positions[1], [np.sin(1), np.sin(1e-4), np.cos(1), np.cos(1e-4)], atol=1e-6)


def test_a_block_is_the_attention_of_torch_itself() -> None:
    torch.manual_seed(0)
    block: Any = Block(16, 2)
    x = torch.randn(1, 7, 16)
    normed = block.attn_ln(x)
    query, key, value = (
        block.attn[name](normed).reshape(1, 7, 2, 8).transpose(1, 2) for name in ("query", "key", "value")
    )
    attended = torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(1, 7, 16)
    expected = x + block.attn["out"](attended)
    expected = expected + block.mlp(block.mlp_ln(expected))
    torch.testing.assert_close(block(x), expected)


@settings(max_examples=10)
@given(st.integers(800, 60_000))
def test_any_length_gives_the_moments_of_a_frame_every_twenty_milliseconds(samples: int) -> None:
    with torch.inference_mode():
        moments = frames()(torch.from_numpy(log_mel(made_voice(4.0)[:samples]))[None])
    assert moments.shape == (1, 3, 32)
    assert (moments[:, 0] == (samples // 160 + 1) // 2).all()
    assert (moments[:, 2] * moments[:, 0] >= moments[:, 1].square() * 0.999).all()


def test_moments_of_two_segments_add_up_to_the_pooled_statistics_of_both() -> None:
    head = VoiceHead(SMALL)
    values = torch.randn(1, 50, 32)
    parts = values.split(20, 1)[:2]
    first, second = (torch.stack([torch.ones_like(x).sum(1), x.sum(1), x.square().sum(1)], 1) for x in parts)
    both = values[:, :40]
    expected = torch.cat([both.mean(1), both.std(1, unbiased=False)], 1)
    torch.testing.assert_close(head.pooled(first + second), expected, atol=1e-5, rtol=1e-4)


def test_distance_is_beside_what_is_typical_of_as_many_seconds() -> None:
    head = VoiceHead(SMALL)
    head.typical_distance.copy_(torch.tensor([2.0, 0.5]))
    statistics = torch.rand(3, 64)
    plain = head.distance(statistics).square().mean(1)
    said = head.relative_distance(statistics, torch.tensor([20.0, 200.0, 4000.0]))  # 0.4, 4 and 80 s
    torch.testing.assert_close(said, plain / 2 * torch.tensor([1.0, 2.0, 10**0.5]))


def test_age_logits_are_a_normal_distribution_around_the_line() -> None:
    head = VoiceHead(SMALL)
    with torch.no_grad():
        head.lines.weight.zero_()
        head.lines.bias.copy_(torch.tensor([0.5, 41.0, -1.0, 2.0]))
        said = head(torch.rand(1, 3, 32) + torch.tensor([1.0, 0.0, 2.0])[:, None])
    np.testing.assert_allclose(said.age_logits[0].numpy(), -0.5 * ((BIN_CENTRES - 41.0) / 10) ** 2, rtol=1e-4)
    assert (said.gender_logit.item(), said.voice_logit.item(), said.child_logit.item()) == (0.5, -1.0, 2.0)
    assert said.speaker_embedding.norm().item() == pytest.approx(1)


def test_years_over_the_knee_are_stretched_and_less_sure() -> None:
    head = VoiceHead(SMALL)
    head.age_shape.copy_(torch.tensor([30.0, 1.5, 0.4]))
    stated = head.stated_age(torch.tensor([20.0, 30.0, 40.0]))
    assert stated.tolist() == [20.0, 30.0, 55.0]
    logits = head.age_logits(torch.tensor([20.0, 40.0])).numpy()
    for row, (age, spread) in enumerate(((20.0, 10.0), (55.0, 20.0))):
        np.testing.assert_allclose(logits[row], -0.5 * ((BIN_CENTRES - age) / spread) ** 2, rtol=1e-5)
