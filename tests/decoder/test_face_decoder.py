"""The linear face decoder on small made-up bases."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.testing import assert_close

from recipes.starter.linear import BALD, TONE_STEPS, TONE_ZERO, LinearFaceDecoder, LinearFaceDecoderConfig
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


HAIRY = replace(CONFIG, hair_styles=(BALD, "short", "long"), hair_back_size=16, hair_shade_size=8)


@pytest.fixture(scope="module")
def haired(decoder: LinearFaceDecoder) -> LinearFaceDecoder:
    """The same face with two styles: one before the forehead, one before it and behind everything."""
    made = LinearFaceDecoder(HAIRY)
    made.load_state_dict(decoder.state_dict(), strict=False)
    made.hair_front[0, 4:10, 4:28] = 255
    made.hair_front[1, 4:20, 4:28] = 255
    made.hair_back[1] = 255
    made.hair_tone.fill_(TONE_ZERO)
    made.hair_tone[0, ::2] += TONE_STEPS // 4
    made.hair_shade[:, 2:3] = 100
    made.hair_colour.copy_(torch.tensor([-1.5, 0.1, -0.1]))
    made.hair_colour_basis[0, 0] = 0.5
    made.hair_grey_basis[1] = 1.0
    made.hair_white.copy_(torch.tensor([-0.3, 0.0, 0.0]))
    return made


@pytest.fixture(scope="module")
def decoder() -> LinearFaceDecoder:
    made = LinearFaceDecoder(CONFIG)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in made.named_buffers():
        scale = {"flow_basis": 0.01, "matte_depth": 0.0}.get(name, 0.1)
        buffer.copy_(scale * torch.randn(buffer.shape, generator=generator))
    made.mean_luma.sub_(0.7)
    made.matte_depth[:, 4:28, 4:28] = 5.0
    made.matte_depth[:, :2] = made.matte_depth[:, :, :2] = -40.0
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


@pytest.mark.slow
def test_onnx_runtime_agrees_to_one_grey_level_at_any_batch_size_by_a_graph_that_it_can_fold(
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
    for count in (1, 3):  # it was exported with two
        found = session.run(None, {"z": embeddings[:count].numpy()})[0]
        assert np.abs(found - decoder(embeddings[:count]).numpy()).max() < 1.0 / 255.0


def test_the_bald_style_is_the_face_without_hair(decoder: LinearFaceDecoder, haired: LinearFaceDecoder) -> None:
    embeddings = torch.randn(2, CONFIG.embedding, generator=torch.Generator().manual_seed(6))
    assert_close(haired(embeddings, torch.tensor([0, 0])), decoder(embeddings), atol=1e-5, rtol=0)
    assert_close(haired(embeddings), decoder(embeddings), atol=1e-5, rtol=0)


def test_hair_hides_the_face_before_it_and_the_ground_behind_it(haired: LinearFaceDecoder) -> None:
    still = torch.zeros(1, CONFIG.embedding)
    bald, short, long = (haired(still, torch.tensor([style]))[0] for style in range(3))
    forehead, ground = (slice(None), slice(5, 8), slice(8, 24)), (slice(None), slice(22, 30), slice(0, 1))
    assert float(short[forehead].mean()) < float(bald[forehead].mean()) - 0.05
    assert_close(short[:, 16:24], bald[:, 16:24], atol=1e-5, rtol=0)  # below the hair nothing changes
    assert_close(short[ground], bald[ground], atol=1e-5, rtol=0)
    assert float(long[ground].max()) < 0.4  # no ground shines through hair behind the head


def test_the_colour_of_hair_is_linear_in_tones_and_grey_hair_is_white(haired: LinearFaceDecoder) -> None:
    def hair(coordinate: int, amount: float) -> torch.Tensor:
        face = torch.zeros(1, CONFIG.embedding)
        face[0, coordinate] = amount
        found: torch.Tensor = haired(face, torch.tensor([2]))[0, :, 29, 0]
        return found  # behind everything, where no flow reaches

    plain, fair, white = hair(0, 0.0), hair(0, 1.0), hair(1, 1.0)
    offset = CONFIG.tone_offset
    ratio = (fair[1] + offset) / (plain[1] + offset)
    assert_close(ratio, torch.exp(torch.tensor(0.5)), atol=0.02, rtol=0)
    assert float(plain[0] - plain[2]) > 0.02  # brown
    assert float(white.max() - white.min()) < 0.01 < float(white.min() - plain.max())


@pytest.mark.slow
def test_a_batch_of_styles_gives_in_onnx_what_single_ones_give_in_torch(
    haired: LinearFaceDecoder, tmp_path: Path
) -> None:
    weights, graph = tmp_path / "face.safetensors", tmp_path / "face.onnx"
    save_half(haired, weights, {})
    example = (torch.zeros(2, CONFIG.embedding), torch.tensor([0, 1]))
    export(
        haired, example, graph, inputs=["z", "hair"], outputs=["image"], dynamic={0: "batch"}, weights=weights,
        batched=True,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    embeddings = torch.randn(3, CONFIG.embedding, generator=torch.Generator().manual_seed(7))
    styles = torch.tensor([2, 0, 1])
    found = session.run(None, {"z": embeddings.numpy(), "hair": styles.numpy()})[0]
    for row in range(3):
        single = haired(embeddings[row : row + 1], styles[row : row + 1])[0].numpy()
        assert np.abs(found[row] - single).max() < 1.0 / 255.0
