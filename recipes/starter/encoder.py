"""The published Whisper layers as the starter's graph: ONNX with matrices of eight bits."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from speech2face.audio.spectrogram import BANDS
from speech2face.training.export import export
from speech2face.training.pretrained import WhisperConfig, WhisperFrames

FRAMES = "voice_frames.onnx"


def load_frames(published: Path, config: WhisperConfig | None = None) -> WhisperFrames:
    """The frozen layers in torch, in evaluation mode and full precision."""
    frames = WhisperFrames(config or WhisperConfig())
    frames.load_published(load_file(published))
    return frames.eval().requires_grad_(False)


def write_frames(published: Path, out: Path) -> None:
    """Export the frozen layers, their matrices quantised to eight bits a channel (Whisper's own are of 16 bits).

    One bit of the range is left free, so that processors without VNNI instructions cannot overflow and agree with
    those that have them.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    frames = load_frames(published)
    with tempfile.TemporaryDirectory() as folder:
        whole, folded = Path(folder) / "frames.onnx", Path(folder) / "folded.onnx"
        example = torch.randn(1, BANDS, 300)
        export(frames, example, whole, inputs=["log_mel"], outputs=["moments"], dynamic={2: "frames"})
        quant_pre_process(whole, folded, skip_symbolic_shape=True)  # a transposed matrix becomes a constant
        options: dict[str, Any] = {"weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
        quantize_dynamic(folded, out, op_types_to_quantize=["MatMul"], **options)
