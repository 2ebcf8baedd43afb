"""One step of the stream of columns gives what the whole recording gives, in torch and as ONNX."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the paper's voice encoder needs torch; install the extra `train`")

from torch import Tensor, nn  # noqa: E402

from speech2face.audio.spectrogram import FREQUENCIES  # noqa: E402
from speech2face.voice.encoder import (  # noqa: E402
    COLUMN_FREQUENCIES,
    COLUMN_HOP,
    FIRST_FRAMES,
    RECEPTIVE_FRAMES,
    WARM_UP_COLUMNS,
    ColumnStep,
    VoiceEncoder,
    VoiceEncoderConfig,
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
