"""A stream hears what the whole recording holds, computes nothing twice and forgets what it does not need."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the paper's voice encoder needs torch; install the extra `train`")

from torch import Tensor, nn  # noqa: E402

from speech2face.audio.spectrogram import FREQUENCIES, frame_count  # noqa: E402
from speech2face.errors import SpeechTooShort  # noqa: E402
from speech2face.voice.encoder import (  # noqa: E402
    COLUMN_FREQUENCIES,
    COLUMN_HOP,
    FIRST_FRAMES,
    RECEPTIVE_FRAMES,
    TABLE_1,
    WARM_UP_COLUMNS,
    ColumnStep,
    ColumnStream,
    SpectrogramFrontEnd,
    VoiceEncoder,
    VoiceEncoderConfig,
    WaveformColumnStream,
    column_count,
)

SMALL = VoiceEncoderConfig(channels=(2, 2, 3, 3, 3, 4, 4, 5, 6), hidden=8, embedding=7)


def encoder() -> VoiceEncoder:
    """With weights that let the input through, and running statistics that are not the identity."""
    torch.manual_seed(0)
    network = VoiceEncoder(SMALL).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


NETWORK = encoder()


def noise(frames: int, seed: int = 0) -> Tensor:
    made: Tensor = torch.randn(1, 2, FREQUENCIES, frames, generator=torch.Generator().manual_seed(seed))
    return made


def whole(spectrogram: Tensor) -> Tensor:
    with torch.inference_mode():
        embedding: Tensor = NETWORK(spectrogram)
        return embedding


def test_these_comparisons_notice_a_single_frame_too_few() -> None:
    spectrogram = noise(RECEPTIVE_FRAMES + 1)
    assert (whole(spectrogram[..., 1:]) - whole(spectrogram[..., :-1])).abs().max() > 0.01


@settings(max_examples=12, deadline=None)
@given(
    pieces=st.lists(st.one_of(st.integers(0, 5), st.integers(1, 200), st.just(COLUMN_HOP)), max_size=12),
    last=st.integers(RECEPTIVE_FRAMES, 400),
)
def test_any_pieces_give_the_embedding_of_the_whole(pieces: list[int], last: int) -> None:
    spectrogram, stream, at, made = noise(sum(pieces) + last), ColumnStream(NETWORK), 0, 0
    for piece in (*pieces, last):
        made += stream.push(spectrogram[..., at : at + piece])
        at += piece
        assert made == stream.columns == column_count(at), "a column is there as soon as its frames are"
    torch.testing.assert_close(stream.embedding(), whole(spectrogram), atol=1e-5, rtol=1e-5)


def test_one_piece_of_twenty_seconds_and_frame_by_frame_agree_with_the_whole() -> None:
    spectrogram = noise(2000)
    at_once, one_by_one = ColumnStream(NETWORK), ColumnStream(NETWORK)
    assert at_once.push(spectrogram) == column_count(2000)
    for frame in range(400):
        one_by_one.push(spectrogram[..., frame : frame + 1])
    torch.testing.assert_close(at_once.embedding(), whole(spectrogram), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one_by_one.embedding(), whole(spectrogram[..., :400]), atol=1e-5, rtol=1e-5)


def test_recordings_side_by_side_do_not_touch_each_other() -> None:
    both = torch.cat([noise(400, 1), noise(400, 2)])
    stream = ColumnStream(NETWORK)
    stream.push(both[..., :300])
    stream.push(both[..., 300:])
    torch.testing.assert_close(stream.embedding(), whole(both), atol=1e-5, rtol=1e-5)


def test_no_time_step_of_any_layer_is_computed_twice() -> None:
    computed = [0] * len(TABLE_1)
    network = encoder()
    for number, convolution in enumerate(network.columns.convolutions):

        def count(_module: Any, _inputs: Any, output: Tensor, number: int = number) -> None:
            computed[number] += output.shape[-1]

        convolution.register_forward_hook(count)
    frames = RECEPTIVE_FRAMES + 6 * COLUMN_HOP
    with torch.inference_mode():
        network.columns(noise(frames))
    needed, computed[:] = computed[:], [0] * len(TABLE_1)
    stream = ColumnStream(network)
    for piece in torch.split(noise(frames), 50, dim=-1):
        stream.push(piece)
    # More than needed only by what grows out of the zeros before the start, at most 6 time steps a layer.
    extra = [made - least for made, least in zip(computed, needed, strict=True)]
    assert extra == [0, 3, 6, 6, 6, 6, 6, 4, WARM_UP_COLUMNS]


def test_an_hour_is_kept_in_no_more_room_than_a_second() -> None:
    def kept(stream: ColumnStream) -> int:
        tensors = [*stream._kept, *stream._waiting]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    short, long = ColumnStream(NETWORK), ColumnStream(NETWORK)
    short.push(noise(RECEPTIVE_FRAMES + 10))
    for _ in range(5):
        long.push(noise(RECEPTIVE_FRAMES + 10))
    rows = sum(int(np.prod(shape)) for shape in ColumnStep(NETWORK.columns).kept_shapes())
    for stream in (short, long):
        assert kept(stream) <= 4 * (rows + 2 * FREQUENCIES * COLUMN_HOP)


def test_before_the_first_column_there_is_no_embedding() -> None:
    stream = ColumnStream(NETWORK)
    assert stream.push(noise(258)) == 0
    with pytest.raises(SpeechTooShort, match=r"258 frames .* 259"):
        stream.embedding()
    assert stream.push(noise(1)) == 1
    assert stream.embedding().shape == (1, SMALL.embedding)


def test_an_encoder_in_training_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"encoder.eval\(\)"):
        ColumnStream(VoiceEncoder(SMALL))


@settings(max_examples=10, deadline=None)
@given(pieces=st.lists(st.integers(1, 20_000), max_size=6), last=st.integers(42_000, 60_000))
def test_waveform_pieces_of_any_length_give_the_embedding_of_the_whole(pieces: list[int], last: int) -> None:
    samples = sum(pieces) + last
    waveform = torch.rand(1, samples, generator=torch.Generator().manual_seed(samples)) - 0.5
    stream, at = WaveformColumnStream(NETWORK), 0
    for piece in (*pieces, last):
        stream.push(waveform[:, at : at + piece])
        at += piece
    assert stream.columns == column_count(frame_count(samples))
    torch.testing.assert_close(stream.embedding(), whole(SpectrogramFrontEnd()(waveform)), atol=1e-4, rtol=1e-4)


def test_by_hand_three_columns_grow_out_of_zeros_and_the_fourth_is_the_first() -> None:
    assert (FIRST_FRAMES, WARM_UP_COLUMNS) == (3, 3)
    step, spectrogram = ColumnStep(NETWORK.columns), noise(RECEPTIVE_FRAMES)
    with torch.inference_mode():
        columns, *_ = step(spectrogram[..., 3:], *step.start(spectrogram[..., :3]))
        expected = NETWORK.columns(spectrogram)
    assert columns.shape == (1, SMALL.channels[-1], COLUMN_FREQUENCIES, 4)
    torch.testing.assert_close(columns[..., 3:], expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(columns[..., 2:3], expected, atol=1e-3)


def test_the_step_runs_as_onnx_and_agrees(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="export needs onnxscript; install the extra `train`")
    import onnxruntime

    step, spectrogram = ColumnStep(NETWORK.columns).eval(), noise(RECEPTIVE_FRAMES + 2 * COLUMN_HOP)
    kept = step.start(spectrogram[..., :FIRST_FRAMES])
    names = [f"kept_{number}" for number in range(len(kept))]
    example = (torch.cat([spectrogram[..., 3 : 3 + 2 * COLUMN_HOP]], dim=-1), *kept)
    new = torch.export.Dim("new", min=1, max=64)
    torch.onnx.export(
        step, example, tmp_path / "step.onnx", dynamo=True, opset_version=18, verbose=False,
        input_names=["frames", *names], output_names=["columns", *(f"{name}_next" for name in names)],
        dynamic_shapes=({3: COLUMN_HOP * new}, tuple({} for _ in names)),
    )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "step.onnx")
    state, columns, at = [tensor.numpy() for tensor in kept], [], FIRST_FRAMES
    for new_columns in (1, 3, 2):
        frames = spectrogram[..., at : at + new_columns * COLUMN_HOP].numpy()
        found, *state = session.run(None, dict(zip(["frames", *names], [frames, *state], strict=True)))
        assert found.shape[-1] == new_columns
        columns.append(found)
        at += frames.shape[-1]
    with torch.inference_mode():
        expected = NETWORK.columns(spectrogram).numpy()
    np.testing.assert_allclose(np.concatenate(columns, axis=-1)[..., WARM_UP_COLUMNS:], expected, atol=1e-5)
