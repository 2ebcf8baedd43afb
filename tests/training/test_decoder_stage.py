"""Stage one: the face decoder."""

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.decoder.paper import ConvolutionalFaceDecoder, ConvolutionalFaceDecoderConfig
from speech2face.errors import DatasetError, InvalidSettings
from speech2face.face.vggface import VGGFace, VGGFaceConfig
from speech2face.training.losses import DecoderLoss
from speech2face.training.settings import TrainingSettings, settings_from
from speech2face.training.stages import DecoderStage, ResizedEmbedder, build_decoder_stage, fit_first_layer
from tests.data.made_clips import made_data
from tests.training.drawn_faces import SIZE, drawn_data


def settings(folder: Path, **tables: object) -> TrainingSettings:
    small = {"first": 24, "landmark_hidden": 16, "base_channels": 32}
    return settings_from(
        {"stage": "decoder", "out": str(folder / "run"), "data": {"manifest": str(folder)}, "decoder": small} | tables
    )


def stage_of(manifest: Manifest, folder: Path, **tables: object) -> DecoderStage:
    torch.manual_seed(0)
    return build_decoder_stage(settings(folder, **tables), manifest)


def clips_of(manifest: Manifest, split: str, stage: DecoderStage) -> dict[str, torch.Tensor]:
    clips = ClipDataset(manifest, split, parts=stage.parts)
    return clips.batch(range(len(clips)))


def test_the_first_layer_sees_every_face_embedders_numbers_at_one_scale() -> None:
    torch.manual_seed(0)
    network = ConvolutionalFaceDecoder(
        ConvolutionalFaceDecoderConfig(embedding=400, first=300, landmarks=2, size=16, base_channels=4)
    )
    embeddings = 30.0 + 0.01 * torch.randn(500, 400)
    fit_first_layer(network, embeddings.mean(0), 0.01)
    outputs = network.first_layer(embeddings)
    assert_close(outputs.mean(), torch.tensor(0.0), atol=0.02, rtol=0)
    assert_close(outputs.std(), torch.tensor(3**-0.5), atol=0.05, rtol=0)  # of torch's own first weights


def test_sizes_and_mean_shape_follow_the_training_clips(tmp_path: Path) -> None:
    manifest = drawn_data(tmp_path)
    stage = stage_of(manifest, tmp_path)
    config = stage.decoder.config
    assert (config.embedding, config.landmarks, config.size, config.first) == (6, 11, SIZE, 24)
    assert_close(stage.decoder.mean_landmarks, clips_of(manifest, "train", stage)["landmarks"].mean(0))
    assert stage.notes() == ("embedder_similarity is left out: no face embedder that gradients pass through is named",)


def test_the_target_of_a_face_on_the_mean_shape_is_the_photograph_itself(tmp_path: Path) -> None:
    manifest = drawn_data(tmp_path)
    stage = stage_of(manifest, tmp_path)
    batch = clips_of(manifest, "train", stage)
    batch["landmarks"] = stage.decoder.mean_landmarks.expand_as(batch["landmarks"])
    target = stage.target(batch)
    assert_close(target.texture, batch["aligned_face"] / 255, atol=1e-5, rtol=0)


def test_a_decoder_learns_faces_it_was_shown_and_draws_new_people_better_than_the_mean_face(tmp_path: Path) -> None:
    manifest = drawn_data(tmp_path, training=48)
    stage = stage_of(manifest, tmp_path)
    train, validation = clips_of(manifest, "train", stage), clips_of(manifest, "validation", stage)
    optimiser = torch.optim.Adam(stage.network.parameters(), lr=3e-3)
    first = sum(float(term.detach()) for term in stage.losses(stage.network, train).values())
    for step in range(240):
        chosen = torch.arange(12) + 12 * (step % 4)
        loss = torch.stack(list(stage.losses(stage.network, {k: v[chosen] for k, v in train.items()}).values())).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    stage.network.eval()
    with torch.no_grad():
        last = sum(float(term) for term in stage.losses(stage.network, train).values())
        numbers = stage.evaluate(
            stage.network, [{k: v[:5] for k, v in validation.items()}, {k: v[5:] for k, v in validation.items()}]
        )
        whole = stage.evaluate(stage.network, [validation])
    assert last < first / 10
    assert numbers["texture_error"] < 0.7 * numbers["texture_error_of_mean"]
    assert numbers["landmark_error_pixels"] < 0.5 * numbers["landmark_error_pixels_of_mean"]
    assert numbers == pytest.approx(whole, rel=1e-4)  # however the clips are batched


def test_a_constant_face_scores_exactly_what_the_evaluation_says_a_constant_scores(tmp_path: Path) -> None:
    manifest = drawn_data(tmp_path)
    stage = stage_of(manifest, tmp_path)
    validation = clips_of(manifest, "validation", stage)
    target = stage.target(validation)
    numbers = stage.evaluate(stage.network, [validation])
    expected = (target.texture - target.texture.mean(0)).abs().mean()
    assert numbers["texture_error_of_mean"] == pytest.approx(float(expected), rel=1e-4)
    stage.decoder.mean_landmarks += 5  # that of other clips is another constant
    apart = (target.landmarks - target.landmarks.mean(0)).norm(dim=2).mean()
    found = stage.evaluate(stage.network, [validation])["landmark_error_pixels_of_mean"]
    assert found == pytest.approx(float(apart), rel=1e-4)


def test_the_similarity_term_passes_through_a_resized_face_network(tmp_path: Path) -> None:
    manifest = drawn_data(tmp_path, training=4)
    stage = stage_of(manifest, tmp_path)
    torch.manual_seed(0)
    face_network = ResizedEmbedder(VGGFace(VGGFaceConfig(channels=(4, 4, 4, 4, 4), hidden=32, identities=3)))
    for weight in face_network.parameters():  # torch's own first weights let nothing through so many layers
        torch.nn.init.kaiming_normal_(weight) if weight.ndim > 1 else torch.nn.init.zeros_(weight)
    stage = DecoderStage(stage.decoder, DecoderLoss(SIZE, face_network, texture_weight=0.0, landmarks_weight=0.0))
    stage.to(torch.device("cpu"))
    term = stage.losses(stage.network, clips_of(manifest, "train", stage))["embedder_similarity"]
    gradients = torch.autograd.grad(term, list(stage.network.parameters()), allow_unused=True)
    assert any(gradient is not None and bool((gradient != 0).any()) for gradient in gradients)
    assert not any(parameter.requires_grad for parameter in face_network.parameters())


def test_what_no_term_of_the_loss_teaches_is_frozen(tmp_path: Path) -> None:
    manifest = drawn_data(tmp_path, training=4)
    stage = stage_of(manifest, tmp_path, decoder_loss={"landmarks": 0})
    term = torch.stack(list(stage.losses(stage.network, clips_of(manifest, "train", stage)).values())).sum()
    taught = [parameter for parameter in stage.network.parameters() if parameter.requires_grad]
    assert all(bool((gradient != 0).any()) for gradient in torch.autograd.grad(term, taught))
    assert not any(parameter.requires_grad for parameter in stage.decoder.landmark_network.parameters())


def test_data_without_faces_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    manifest = made_data(tmp_path, 12, faces=False)
    with pytest.raises(DatasetError, match="aligned faces and landmarks"):
        build_decoder_stage(settings(tmp_path), manifest)


def test_faces_of_a_size_that_no_decoder_draws_are_refused(tmp_path: Path) -> None:
    manifest = made_data(tmp_path, 12)
    with pytest.raises(DatasetError, match="6 x 5: the faces are not square"):
        build_decoder_stage(settings(tmp_path), manifest)


def test_a_loss_of_nothing_is_refused(tmp_path: Path) -> None:
    manifest = drawn_data(tmp_path, training=4)
    with pytest.raises(InvalidSettings, match="nothing is left of the loss"):
        stage_of(manifest, tmp_path, decoder_loss={"texture": 0, "landmarks": 0})
