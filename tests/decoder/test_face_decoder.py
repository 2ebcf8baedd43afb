"""The linear face decoder on small made-up bases."""

import io
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.testing import assert_close

from speech2face.decoder.linear import LinearFaceDecoder, LinearFaceDecoderConfig
from speech2face.training.export import export, save_half

CONFIG = LinearFaceDecoderConfig(
    attributes=3,
    residuals=2,
    landmarks=4,
    size=32,
    flow_nodes=8,
    mean_chroma_size=16,
    chroma_size=8,
    residual_size=16,
    matte_size=32,
)


@pytest.fixture(scope="module")
def decoder() -> LinearFaceDecoder:
    made = LinearFaceDecoder(CONFIG)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in made.named_buffers():
        scale = {"flow_basis": 0.01, "matte_depth": 0.0}.get(name, 0.1)
        buffer.copy_(scale * torch.randn(buffer.shape, generator=generator))
    made.mean_luma.sub_(0.7)
    made.matte_depth[:, 4:28, 4:28] = 5.0
    made.matte_depth[:, :2] = -40.0
    return made


def test_the_mean_face_is_the_mean_texture_inside_and_the_ground_outside(decoder: LinearFaceDecoder) -> None:
    portrait = decoder(torch.zeros(1, CONFIG.embedding))
    assert portrait.shape == (1, 3, 32, 32)
    assert_close(portrait[0, :, 0, 0], torch.tensor(CONFIG.ground), atol=1e-3, rtol=0)
    assert float(portrait[0, :, 8:24, 8:24].mean()) < 0.6


def test_values_stay_in_zero_to_one_for_absurd_embeddings(decoder: LinearFaceDecoder) -> None:
    portrait = decoder(50.0 * torch.randn(2, CONFIG.embedding, generator=torch.Generator().manual_seed(1)))
    assert bool(torch.isfinite(portrait).all())
    assert float(portrait.min()) >= 0.0
    assert float(portrait.max()) <= 1.0


def test_a_batch_gives_what_single_calls_give(decoder: LinearFaceDecoder) -> None:
    embeddings = torch.randn(3, CONFIG.embedding, generator=torch.Generator().manual_seed(2))
    assert_close(decoder(embeddings)[1:2], decoder(embeddings[1:2]), atol=1e-6, rtol=0)


def test_luma_is_linear_in_the_face_embedding(decoder: LinearFaceDecoder) -> None:
    one, other = torch.randn(2, 1, CONFIG.embedding, generator=torch.Generator().manual_seed(3))
    middle = decoder.luma((one + other) / 2)
    assert_close(middle, (decoder.luma(one) + decoder.luma(other)) / 2, atol=1e-5, rtol=0)


def test_the_config_survives_json() -> None:
    assert LinearFaceDecoderConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG


def test_onnx_runtime_agrees_to_one_grey_level_at_any_batch_size(decoder: LinearFaceDecoder) -> None:
    embeddings = torch.randn(3, CONFIG.embedding, generator=torch.Generator().manual_seed(4))
    exported = torch.onnx.export(
        decoder,
        (embeddings[:2],),
        input_names=["face_embedding"],
        output_names=["portrait"],
        dynamic_shapes={"face_embedding": {0: torch.export.Dim("batch", min=1, max=64)}},
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    assert exported is not None
    stored = io.BytesIO()
    stored.write(exported.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(stored.getvalue(), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        found = session.run(None, {"face_embedding": embeddings[:count].numpy()})[0]
        assert np.abs(found - decoder(embeddings[:count]).numpy()).max() < 1.0 / 255.0


def test_the_exported_graph_holds_nothing_that_onnx_runtime_cannot_fold(
    decoder: LinearFaceDecoder, tmp_path: Path
) -> None:
    weights, graph = tmp_path / "face.safetensors", tmp_path / "face.onnx"
    save_half(decoder, weights, {})
    example = torch.zeros(2, CONFIG.embedding)
    export(decoder, example, graph, inputs=["z"], outputs=["image"], dynamic={0: "batch"}, weights=weights)
    kinds = {node.op_type for node in onnx.load(str(graph)).graph.node}
    assert "CastLike" not in kinds
    assert "GridSample" not in kinds  # 5 ms a channel, and no faster on two threads
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    embeddings = torch.randn(3, CONFIG.embedding, generator=torch.Generator().manual_seed(5))
    found = session.run(None, {"z": embeddings.numpy()})[0]
    assert np.abs(found - decoder(embeddings).numpy()).max() < 1.0 / 255.0
