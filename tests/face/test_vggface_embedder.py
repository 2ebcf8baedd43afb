"""A photograph to VGG-Face's embedding, on a network of a few channels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

torch = pytest.importorskip("torch", reason="VGG-Face needs torch; install the extra `train`")
pytest.importorskip("dlib", reason="faces are found by dlib; install the extra `faces`")

from PIL import Image  # noqa: E402

from speech2face.errors import WeightsError  # noqa: E402
from speech2face.face.detect import DlibCnnDetector, FaceBox  # noqa: E402
from speech2face.face.embed import VGGFaceSettings  # noqa: E402
from speech2face.face.embedders import EmbedderRecord, open_embedder  # noqa: E402
from speech2face.face.vggface import OUTSIDE, VGGFaceEmbedder  # noqa: E402
from tests.face.test_onnx_embedder import PORTRAIT  # noqa: E402
from tests.face.test_vggface import SMALL, saved, weights  # noqa: E402


def embedder(folder: Path, **settings: Any) -> VGGFaceEmbedder:
    path = saved(weights(), folder / "w.pth")
    return VGGFaceEmbedder(path, VGGFaceSettings(**{"detector": "hog", **settings}), config=SMALL)


def portrait() -> Any:
    with Image.open(PORTRAIT) as image:
        return np.asarray(image.convert("RGB"))


def test_a_crop_is_embedded_as_the_network_does_it(tmp_path: Path) -> None:
    made = embedder(tmp_path)
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    face = torch.from_numpy(crop.transpose(2, 0, 1).astype(np.float32) / 255)[None]
    expected = made.network(face)[0]
    assert_allclose(made.embed_crop(crop), expected.numpy(), rtol=1e-5)
    assert made.size == SMALL.hidden


def test_a_portrait_is_embedded_and_a_grey_wall_has_no_face(tmp_path: Path) -> None:
    made = embedder(tmp_path)
    found = made.embed(portrait())
    assert found is not None and found.shape == (SMALL.hidden,)
    assert made.embed(np.full((200, 200, 3), 128, np.uint8)) is None


def test_the_margin_is_around_the_box_and_beyond_the_picture_is_the_mean_colour(tmp_path: Path) -> None:
    picture = np.full((224, 224, 3), 250, np.uint8)
    crop = embedder(tmp_path, margin=0.5).crop(picture, FaceBox(0, 0, 224, 224))
    assert crop[0, 0].tolist() == list(OUTSIDE) == [129, 105, 94]
    assert crop[112, 112].tolist() == [250, 250, 250]
    assert (crop[112, :, 0] == 250).sum() == pytest.approx(112, abs=2)  # half the crop is the box
    assert_array_equal(embedder(tmp_path, margin=0.0).crop(picture, FaceBox(0, 0, 224, 224)), picture)


def test_the_papers_detector_finds_the_same_face(tmp_path: Path) -> None:
    small = np.asarray(Image.fromarray(portrait()).resize((200, 200)))
    boxes = DlibCnnDetector().detect(small)
    assert len(boxes) == 1
    assert boxes[0].left < 100 < boxes[0].right and boxes[0].top < 100 < boxes[0].bottom


def test_the_default_is_the_papers_detector_and_a_loose_crop() -> None:
    assert VGGFaceSettings().to_dict() == {"detector": "cnn", "margin": 0.3}
    with pytest.raises(ValueError, match="detector is one of hog, cnn"):
        VGGFaceSettings.from_dict({"detector": "mtcnn"})


def test_a_record_of_vgg_face_opened_with_another_networks_file_is_refused(tmp_path: Path) -> None:
    path = saved(weights(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"conv1_1.weight is \(2, 3, 3, 3\), VGG-Face's is \(64, 3, 3, 3\)"):
        open_embedder(EmbedderRecord("vggface", 4096, None), path)
