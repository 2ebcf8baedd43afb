from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="the paper's voice encoder needs torch; install the extra `train`")

from torch import Tensor, nn  # noqa: E402

from speech2face.audio.spectrogram import FREQUENCIES, HOP, SAMPLE_RATE, WINDOW, frame_count  # noqa: E402
from speech2face.errors import SpeechTooShort  # noqa: E402
from speech2face.voice.encoder import (  # noqa: E402
    COLUMN_FREQUENCIES,
    COLUMN_HOP,
    RECEPTIVE_FRAMES,
    TABLE_1,
    VoiceEncoder,
    VoiceEncoderConfig,
    column_count,
)

SMALL = VoiceEncoderConfig(channels=(2, 2, 3, 3, 3, 4, 5, 5, 5), hidden=8, embedding=7)
# Table 1 of the paper: channels, then time x frequency for 6 s and for 3 s, after the row's maximum if it has one.
TABLE_1_SHAPES = (
    (64, (595, 254), (295, 254)),
    (64, (592, 251), (292, 251)),
    (128, (294, 248), (144, 248)),
    (128, (145, 245), (70, 245)),
    (128, (71, 242), (33, 242)),
    (256, (34, 239), (15, 239)),
    (512, (31, 236), (12, 236)),
    (512, (14, 117), (5, 117)),
    (512, (6, 57), (1, 57)),
)


def encoder(config: VoiceEncoderConfig = SMALL, seed: int = 0) -> VoiceEncoder:
    torch.manual_seed(seed)
    return VoiceEncoder(config).eval()


def noise(frames: int, seed: int = 0) -> Tensor:
    made: Tensor = torch.randn(1, 2, FREQUENCIES, frames, generator=torch.Generator().manual_seed(seed))
    return made


def test_the_papers_network_has_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        network = VoiceEncoder(VoiceEncoderConfig())
    trained = sum(parameter.numel() for parameter in network.parameters())
    statistics = sum(b.numel() for name, b in network.named_buffers() if not name.endswith("num_batches_tracked"))
    assert trained == 148_062_976
    assert trained + statistics == 148_067_584


@pytest.mark.parametrize(("frames", "which"), [(598, 0), (298, 1)], ids=["6 s", "3 s"])
def test_every_row_of_table_1_has_the_papers_shape(frames: int, which: int) -> None:
    with torch.device("meta"):
        columns = VoiceEncoder(VoiceEncoderConfig()).columns
        x = torch.empty(1, 2, FREQUENCIES, frames)
        for number, row in enumerate(TABLE_1_SHAPES):
            x = columns.stage(number, x)
            time, frequency = (row[1], row[2])[which]
            assert x.shape == (1, row[0], frequency, time), f"row {number + 1}"
        assert columns(torch.empty(1, 2, FREQUENCIES, frames)).shape == x.shape


def test_the_output_is_a_face_embedding_of_4096() -> None:
    with torch.device("meta"):
        assert VoiceEncoder(VoiceEncoderConfig())(torch.empty(2, 2, FREQUENCIES, 598)).shape == (2, 4096)


def test_a_column_sees_2600_milliseconds_and_the_next_begins_640_later() -> None:
    assert (RECEPTIVE_FRAMES, COLUMN_HOP, COLUMN_FREQUENCIES) == (259, 64, 57)
    assert frame_count(SAMPLE_RATE * 26 // 10 + WINDOW - HOP) >= RECEPTIVE_FRAMES
    assert COLUMN_HOP * HOP / SAMPLE_RATE == 0.64


@pytest.mark.parametrize("frames", [259, 260, 322, 323, 324, 387, 598, 701])
def test_any_duration_gives_as_many_columns_as_are_counted(frames: int) -> None:
    network = encoder()
    with torch.inference_mode():
        assert network.columns(noise(frames)).shape[-1] == column_count(frames)
        assert network(noise(frames)).shape == (1, SMALL.embedding)


def test_the_papers_durations_give_6_columns_and_1() -> None:
    assert [column_count(frames) for frames in (598, 298, 259, 258, 0)] == [6, 1, 1, 0, 0]


def test_258_frames_are_refused_with_the_way_out() -> None:
    with pytest.raises(SpeechTooShort, match=r"258 frames .* 259.*repeat the speech"):
        encoder()(noise(258))


def test_a_column_depends_on_its_own_frames_and_on_no_other() -> None:
    network = encoder()
    spectrogram = noise(RECEPTIVE_FRAMES + 2 * COLUMN_HOP)
    with torch.inference_mode():
        before = network.columns(spectrogram)
        for frame, changed in ((0, [0]), (COLUMN_HOP - 1, [0]), (COLUMN_HOP, [0, 1]), (RECEPTIVE_FRAMES, [1, 2])):
            moved = spectrogram.clone()
            moved[..., frame] += 100.0
            difference = (network.columns(moved) - before).abs().amax(dim=(0, 1, 2))
            assert [i for i in range(3) if difference[i] > 0] == changed, f"frame {frame}"


def test_the_mean_over_time_is_what_makes_one_embedding_of_any_duration() -> None:
    network = encoder()
    with torch.inference_mode():
        columns = network.columns(noise(450))
        torch.testing.assert_close(network(noise(450)), network.head(columns.mean(dim=-1)))
        # The same column over and over has the same mean.
        constant = torch.ones(1, 2, FREQUENCIES, RECEPTIVE_FRAMES)
        longer = torch.ones(1, 2, FREQUENCIES, 3 * RECEPTIVE_FRAMES)
        torch.testing.assert_close(network(constant), network(longer))


def test_the_last_layer_is_linear_so_an_embedding_may_be_negative() -> None:
    network = encoder(replace(SMALL, embedding=200))
    with torch.inference_mode():
        embedding = network(noise(300))
    assert (embedding < 0).any() and (embedding > 0).any()


def test_the_order_is_convolution_then_relu_then_normalisation() -> None:
    network = encoder()
    with torch.no_grad():
        norm = network.columns.norms[0]
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
        norm.running_mean.fill_(10.0)  # ReLU after it would cut what is below zero
        first = network.columns.stage(0, noise(300))
    assert first.amin() < -9


def test_without_batch_normalisation_there_is_none_anywhere() -> None:
    network = encoder(replace(SMALL, batch_norm=False))
    assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len([m for m in encoder().modules() if isinstance(m, nn.BatchNorm2d)]) == len(TABLE_1)
    with torch.inference_mode():
        assert network(noise(300)).shape == (1, SMALL.embedding)


def test_in_evaluation_one_clips_embedding_does_not_depend_on_its_neighbours() -> None:
    network = encoder()
    one, other = noise(300, 1), noise(300, 2)
    with torch.inference_mode():
        torch.testing.assert_close(network(torch.cat([one, other]))[:1], network(one))


def test_a_config_survives_being_stored() -> None:
    for config in (SMALL, VoiceEncoderConfig(), replace(SMALL, batch_norm=False)):
        assert VoiceEncoderConfig.from_dict(config.to_dict()) == config


def test_a_config_with_too_few_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="9 numbers"):
        VoiceEncoderConfig(channels=(64, 64))
