"""A paired release of tiny networks with random weights, for tests of everything that uses one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="a paired release is made with torch; install the extra `train`")

from speech2face.decoder.paper import ConvolutionalFaceDecoder, ConvolutionalFaceDecoderConfig  # noqa: E402
from speech2face.face.embedders import EmbedderRecord  # noqa: E402
from speech2face.models.paired import PairedModel  # noqa: E402
from speech2face.training.export import Citation, Measures, measure, write_paired_release  # noqa: E402  # noqa: E402
from speech2face.voice.encoder import VoiceEncoder, VoiceEncoderConfig  # noqa: E402

EMBEDDING = 12
CLIPS = 40
CITATION = Citation("tiny", "0.1.0", "CC0-1.0", {"manifest": "0" * 64, "encoder steps": 7})
PLANTED = EmbedderRecord("planted", EMBEDDING)


def tiny_encoder(embedding: int = EMBEDDING) -> VoiceEncoder:
    """Random weights whose normalisations have seen something, so that they are no identity."""
    torch.manual_seed(0)
    encoder = VoiceEncoder(VoiceEncoderConfig((4,) * 9, 16, embedding))
    for name, values in encoder.named_buffers():
        if name.endswith("running_mean"):
            values.normal_(0, 0.02)
        elif name.endswith("running_var"):
            values.uniform_(0.01, 0.1)
    return encoder.eval()


def tiny_decoder(embedding: int = EMBEDDING, size: int = 64) -> ConvolutionalFaceDecoder:
    """Random weights and a shape of three points: the exported solver has a step for each."""
    torch.manual_seed(1)
    config = ConvolutionalFaceDecoderConfig(
        embedding, first=16, landmarks=3, landmark_hidden=8, size=size, base_channels=16, border_per_side=1
    )
    shape = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.7]]) * size
    return ConvolutionalFaceDecoder(config, shape).eval()


def tiny_measures(seed: int = 0) -> Measures:
    """Faces around a mean that is not zero, and predictions that err in three directions."""
    rng = np.random.default_rng(seed)
    target = (1 + rng.standard_normal((CLIPS, EMBEDDING))).astype(np.float32)
    errors = rng.standard_normal((CLIPS, 3)) @ rng.standard_normal((3, EMBEDDING)) * 0.3
    return measure((target - errors).astype(np.float32), target, np.arange(CLIPS) // 4)


def write_tiny(out: Path, **options: Any) -> PairedModel:
    """The release in a folder; options replace what `write_paired_release` is given."""
    encoder, decoder = options.pop("encoder", None) or tiny_encoder(), options.pop("decoder", None) or tiny_decoder()
    citation = replace(CITATION, **options.pop("citation", {}))
    given: dict[str, Any] = {"embedder": PLANTED, "measures": tiny_measures(), "citation": citation} | options
    return write_paired_release(out, encoder, decoder, **given)
