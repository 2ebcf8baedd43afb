"""The paper's face decoder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from speech2face.decoder.paper import ConvolutionalFaceDecoder, ConvolutionalFaceDecoderConfig, DecodedFace
from speech2face.decoder.warp import BorderedSpline

TINY = ConvolutionalFaceDecoderConfig(
    embedding=6,
    first=10,
    landmarks=5,
    landmark_hidden=8,
    size=32,
    base_channels=16,
    least_channels=4,
    border_per_side=2,
)
SHAPE = torch.tensor([[10.0, 12.0], [21.0, 12.0], [15.5, 17.0], [11.0, 22.0], [20.0, 22.0]])


def decoder(seed: int = 0) -> ConvolutionalFaceDecoder:
    torch.manual_seed(seed)
    network = ConvolutionalFaceDecoder(TINY, SHAPE)
    with torch.no_grad():
        list(network.landmark_network.parameters())[-1].normal_()  # a shape of its own
    return network.eval()


def embeddings(count: int = 3) -> torch.Tensor:
    return torch.randn(count, TINY.embedding, generator=torch.Generator().manual_seed(5))


def test_the_papers_sizes_follow_from_the_defaults() -> None:
    config = ConvolutionalFaceDecoderConfig()
    assert (config.start, config.channels) == (14, (256, 128, 64, 32, 32))
    with torch.device("meta"):
        network = ConvolutionalFaceDecoder(config)
    texture = network.texture_network
    assert network.first_layer.weight.shape == (1000, 4096)
    assert texture.spread.weight.shape == (14 * 14 * 256, 1000)
    assert [tuple(p.shape) for p in texture.doublings.parameters() if p.ndim == 4] == [
        (256, 128, 5, 5), (128, 64, 5, 5), (64, 32, 5, 5), (32, 32, 5, 5),
    ]  # fmt: skip
    assert texture.colour.weight.shape == (3, 32, 1, 1)
    first, spread = 4096 * 1000 + 1000, (1000 + 1) * 50_176
    convolutions = 25 * (256 * 128 + 128 * 64 + 64 * 32 + 32 * 32) + 128 + 64 + 32 + 32 + 32 * 3 + 3
    landmarks = 1000 * 256 + 256 + 256 * 136 + 136
    assert sum(p.numel() for p in network.parameters()) == first + spread + convolutions + landmarks


def test_the_shapes_of_texture_landmarks_and_face() -> None:
    decoded = decoder().parts(embeddings())
    assert decoded.texture.shape == decoded.face.shape == (3, 3, 32, 32)
    assert decoded.landmarks.shape == (3, 5, 2)
    assert bool(((decoded.face >= 0) & (decoded.face <= 1)).all())


def test_forward_gives_the_face_and_on_request_what_it_was_drawn_from() -> None:
    network, given = decoder(), embeddings()
    parts = network(given, parts=True)
    assert isinstance(parts, DecodedFace)
    assert_close(network(given), parts.face)
    assert_close(network.texture(given), parts.texture)
    assert_close(network.landmarks(given), parts.landmarks)


def test_the_face_is_the_texture_moved_from_the_mean_shape_to_its_landmarks() -> None:
    network = decoder()
    decoded = network.parts(embeddings())
    assert float((decoded.landmarks - SHAPE).detach().abs().mean()) > 0.3
    expected = BorderedSpline(32, nodes=16, border_per_side=2).move(
        decoded.texture, SHAPE.expand(3, -1, -1), decoded.landmarks
    )
    assert_close(decoded.face, expected)


def test_a_decoder_at_rest_draws_the_mean_shape() -> None:
    network = decoder()
    with torch.no_grad():
        for parameter in network.landmark_network.parameters():
            parameter.zero_()
    decoded = network.parts(embeddings())
    assert_close(decoded.landmarks, SHAPE.expand(3, -1, -1))
    assert_close(decoded.face, decoded.texture, atol=1e-5, rtol=0)


def test_the_first_layer_is_linear_because_the_voice_encoders_loss_compares_its_outputs() -> None:
    layer = decoder().first_layer
    one, other = embeddings(2)
    middle = layer(((one + other) / 2)[None])
    assert_close(middle, (layer(one[None]) + layer(other[None])) / 2)
    assert middle.shape == (1, TINY.first)


def test_untrained_doublings_draw_no_checkerboard_on_an_even_ground() -> None:
    for doubling in decoder().texture_network.doublings:
        weight = next(doubling.parameters())
        even = doubling(torch.ones(1, weight.shape[0], 8, 8))[..., 4:-4, 4:-4]  # away from the border
        assert_close(even, even.mean((2, 3), keepdim=True).expand_as(even), atol=1e-5, rtol=0)
        assert float(even.detach().abs().max()) > 0.1


def test_a_drawn_face_teaches_every_layer() -> None:
    network = decoder().train()
    network(embeddings()).square().sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert without == []


def test_weights_and_config_make_the_same_decoder_again() -> None:
    network = decoder()
    config = ConvolutionalFaceDecoderConfig.from_dict(json.loads(json.dumps(TINY.to_dict())))
    again = ConvolutionalFaceDecoder(config)
    again.load_state_dict(network.state_dict())  # the mean shape included
    assert config == TINY
    assert_close(again.eval()(embeddings()), network(embeddings()), atol=0, rtol=0)


@pytest.mark.parametrize("size", [0, 40, 100])
def test_a_size_that_is_not_doubled_four_times_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        ConvolutionalFaceDecoderConfig(size=size)


def test_a_mean_shape_of_other_landmarks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(5, 2\), not \(4, 2\)"):
        ConvolutionalFaceDecoder(TINY, SHAPE[:4])


@pytest.mark.slow
def test_the_exported_graph_draws_the_same_faces(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from speech2face.training.export import export, save_half

    network = decoder()
    weights = tmp_path / "weights.safetensors"
    save_half(network, weights, {})
    export(
        network, torch.randn(2, TINY.embedding), tmp_path / "decoder.onnx",
        inputs=["face_embedding"], outputs=["face"], dynamic={0: "batch"}, weights=weights,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(tmp_path / "decoder.onnx")
    for count in (1, 5):
        given = embeddings(count)
        with torch.inference_mode():
            expected = network(given).numpy()
        found = session.run(None, {"face_embedding": given.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)
