"""Face embedders keep to one protocol, and another package can add one that records, preparation and releases name."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption, WeightsError
from speech2face.face.detect import FaceBox, Picture
from speech2face.face.embed import DlibEmbedder
from speech2face.face.embedders import (
    EmbedderRecord,
    check_face_embedder,
    describe_embedder,
    open_embedder,
    open_onnx,
)
from tests.face.test_onnx_embedder import PLAIN, PORTRAIT, mean_colour_network

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin" / "speech2face_example" / "embedder.py"


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, installed as another package would be."""
    shutil.copy(EXAMPLE, tmp_path / "eigenfaces.py")
    metadata = tmp_path / "eigenfaces-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: eigenfaces\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[speech2face.face_embedders]\neigenfaces = eigenfaces:Eigenfaces\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of the page's example."""
    rng = np.random.default_rng(0)
    path = tmp_path / "weights.npz"
    np.savez(path, mean=rng.uniform(0, 255, 64 * 64), axes=rng.standard_normal((5, 64 * 64)) / 64)
    return path


def test_dlibs_embedder_keeps_to_the_protocol() -> None:
    KINDS["face_embedders"].check("dlib")


def test_a_users_network_keeps_to_the_protocol(tmp_path: Path) -> None:
    path = mean_colour_network(tmp_path / "x.onnx", [1, 3, 112, 112])
    check_face_embedder(open_onnx, path, PLAIN.to_dict())
    with pytest.raises(AssertionError, match=r"weights are a file of the user, call .*check_face_embedder"):
        KINDS["face_embedders"].check("onnx")


@pytest.mark.usefixtures("added")
def test_the_example_of_the_page_is_checked_recorded_and_opened_by_name(weights: Path) -> None:
    check_face_embedder(KINDS["face_embedders"].load("eigenfaces"), weights)
    record = describe_embedder("eigenfaces", file=weights, settings={"margin": 0.2})
    assert (record.kind, record.size, record.settings) == ("eigenfaces", 5, {"margin": 0.2})
    assert EmbedderRecord.from_dict(record.to_dict()) == record
    embedder = open_embedder(record, weights)
    with Image.open(PORTRAIT) as image:
        found = embedder.embed(np.asarray(image.convert("RGB")))
    assert found is not None and found.shape == (5,)
    with pytest.raises(WeightsError, match="settings are wrong"):
        describe_embedder("eigenfaces", file=weights, settings={"colour": 1})


def test_a_record_of_a_package_that_is_not_at_hand_is_read_and_only_its_opening_refused() -> None:
    record = EmbedderRecord.from_dict({"kind": "arcface", "size": 512})
    with pytest.raises(InvalidOption, match="no 'arcface' here; known are dlib, vggface, onnx"):
        open_embedder(record)


class Wrong:
    """An embedder of one fault."""

    size = 4
    settings: Mapping[str, Any] = {}
    crop_detector = "hog"

    def __init__(self, fault: str) -> None:
        self.fault = fault
        if fault == "settings":
            self.settings = {"margin": np.float32(0.1)}
        if fault == "detector":
            self.crop_detector = "eyes"
        if fault == "no size":
            self.size = 0

    def crop(self, picture: Picture, box: FaceBox) -> Picture:
        """A square of the picture."""
        if self.fault == "changed":
            picture[:] = 0
        side = box.side if self.fault == "sides" else 8
        crop = np.zeros((side, side, 3), np.uint8)
        return cast(Picture, crop / 255) if self.fault == "fractions" else crop

    def embed_crops(self, crops: Sequence[Picture]) -> NDArray[np.float32]:
        """Their number, which says nothing of a face."""
        value = {"batch": len(crops), "infinite": np.inf}.get(self.fault, 1.0)
        found = np.full((len(crops), 3 if self.fault == "short" else 4), value)
        return found if self.fault == "doubles" else found.astype(np.float32)

    def embed(self, picture: Picture) -> NDArray[np.float32] | None:
        """None: there is no face."""
        return np.zeros(4, np.float32) if self.fault == "sees a face" else None


def opening(fault: str) -> Any:
    """A driver that opens the embedder of this fault."""
    return lambda file, settings: Wrong(fault)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no size", "size is 0"),
        ("settings", "which JSON does not give back"),
        ("detector", "crop_detector is 'eyes', not one of hog, cnn"),
        ("changed", "changed the picture"),
        ("fractions", "float64, not uint8"),
        ("sides", "crops of two boxes"),
        ("short", r"the shape \(2, 3\) for two crops, not \(2, 4\)"),
        ("doubles", "float64, not float32"),
        ("infinite", "not finite"),
        ("batch", "another embedding than beside others"),
        ("sees a face", "face in a grey picture"),
    ],
)
def test_an_embedder_that_does_not_keep_to_the_protocol_is_told_where(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_face_embedder(opening(fault))


def test_the_wrong_embedder_is_right_without_its_fault() -> None:
    check_face_embedder(opening("none"))


def test_a_face_in_a_known_box_is_embedded_as_the_one_that_is_found() -> None:
    with Image.open(PORTRAIT) as image:
        portrait = np.asarray(image.convert("RGB"))
    embedder = DlibEmbedder()
    found = embedder._detector.detect(portrait)
    np.testing.assert_array_equal(embedder.embed_box(portrait, found[0]), embedder.embed(portrait))
