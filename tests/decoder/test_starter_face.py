"""The shipped face release: what it draws, the face embedder reads back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from recipes.starter.linear import LinearFaceDecoder, LinearFaceDecoderConfig
from speech2face.face.appearance import AppearanceModel, AttributeBasis
from tests.decoder.test_warp import pixel_centres

RELEASE = Path(__file__).resolve().parents[2] / "src" / "speech2face" / "weights" / "starter"
pytestmark = pytest.mark.skipif(not (RELEASE / "face.json").exists(), reason="no face release in this checkout")


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((RELEASE / "face.json").read_text(encoding="utf-8"))
    return stored


@pytest.fixture(scope="module")
def decoder(facts: dict[str, Any]) -> LinearFaceDecoder:
    built = LinearFaceDecoder(LinearFaceDecoderConfig.from_dict(facts["decoder"]))
    built.load_state_dict(load_file(RELEASE / "face.safetensors"))
    return built.eval()


def draw(facts: dict[str, Any], age: float, femininity: float, seed: int) -> NDArray[np.float32]:
    basis = AttributeBasis.from_dict(facts["attributes"])
    residuals = np.random.default_rng(seed).normal(size=len(facts["residual_sd"])) * facts["residual_sd"]
    return np.concatenate([basis.design(age, femininity, np.full(4, 0.25)), residuals]).astype(np.float32)


def test_the_release_is_at_most_22_megabytes() -> None:
    assert (RELEASE / "face.safetensors").stat().st_size <= 22_000_000


def test_the_components_are_few_enough_to_hold_nobody(facts: dict[str, Any]) -> None:
    assert len(facts["residual_sd"]) <= 16
    assert max(facts["residual_sd"]) <= 0.8


def test_draws_neither_fold_nor_leave_the_frame(facts: dict[str, Any], decoder: LinearFaceDecoder) -> None:
    for seed in range(20):
        embedding = torch.from_numpy(draw(facts, 18.0 + 3.0 * seed, seed % 2, seed))[None]
        flow = decoder.flow(embedding)[0]
        spacing = float(pixel_centres(flow.shape[-1])[0, 1, 0] - pixel_centres(flow.shape[-1])[0, 0, 0])
        across = torch.diff(flow, dim=2)[:, :-1] / spacing
        down = torch.diff(flow, dim=1)[:, :, :-1] / spacing
        area = (1 + across[0]) * (1 + down[1]) - across[1] * down[0]
        assert float(area.min()) > 0.0
        ground = torch.tensor(decoder.config.ground)
        assert torch.allclose(decoder(embedding)[0, :, :3].mean((1, 2)), ground, atol=0.01)


def test_embedding_a_portrait_gives_back_the_face_it_was_drawn_from(
    facts: dict[str, Any], decoder: LinearFaceDecoder
) -> None:
    embedding = draw(facts, 35.0, 0.0, 1)
    buffers = {name: part.numpy() for name, part in decoder.state_dict().items()}
    spread = np.concatenate([np.ones(decoder.config.attributes), facts["residual_sd"]]).astype(np.float32)
    model = AppearanceModel.from_buffers(buffers, prior_sd=spread, tone_offset=decoder.config.tone_offset)
    with torch.no_grad():
        drawn = torch.from_numpy(embedding)[None]
        portrait = decoder(drawn)[0].permute(1, 2, 0).numpy()
        landmarks = decoder.landmarks(drawn)[0].numpy()
        found = model.embed(portrait, landmarks)
        again = decoder(torch.from_numpy(found)[None])[0].permute(1, 2, 0).numpy()
        mean = decoder(torch.zeros_like(drawn))[0].permute(1, 2, 0).numpy()
    # coordinates trade against one another (older man, another group); the face is what has to come back
    face = (slice(150, 420), slice(130, 380))
    assert np.abs(again - portrait)[face].mean() < 0.35 * np.abs(mean - portrait)[face].mean()
