"""A photograph in, a canonical face out; the photographs are the starter's own synthetic faces."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import speech2face
from speech2face import cli
from speech2face.errors import (
    FaceNotFound,
    InvalidOption,
    MissingExtra,
    OutputExists,
    RecordingNotFound,
    Speech2FaceError,
    UnreadableRecording,
    WeightsError,
)
from speech2face.face.detect import LONGEST_SIDE_PIXELS, read_photograph
from speech2face.face.embedders import describe_embedder
from speech2face.face.landmarks import HAND_PLACED
from speech2face.models.attributes import load_attribute_model
from speech2face.models.paired import load_paired_model
from speech2face.models.release import MANIFEST
from speech2face.provenance import DECODED_NOTICE, read_provenance

RELEASE_SIZE = 12  # numbers in the tiny release's face embedding


class FakeEmbedder:
    """Sees a face wherever it is brighter than black."""

    size = RELEASE_SIZE

    def embed(self, picture: np.ndarray) -> np.ndarray | None:
        return np.full(self.size, picture.mean() / 255, np.float32) if picture.any() else None


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speech2face.models.paired.open_embedder", lambda record, file: FakeEmbedder())


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command line inside this process, in an empty folder: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["speech2face", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def picture_bytes(picture: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def grey(level: int = 128) -> np.ndarray:
    return np.full((40, 30, 3), level, np.uint8)


def synthetic_face() -> np.ndarray:
    starter = load_attribute_model()
    return starter.decode(starter.release.population.embedding(35.0, 0.0))


@pytest.mark.usefixtures("embedded")
def test_a_photograph_becomes_a_picture_that_says_what_it_is(paired_folder: Path, program: Any) -> None:
    Path("me.jpg").write_bytes(picture_bytes(grey(), "JPEG"))
    code, out, err = program("decode", "me.jpg", "--model", paired_folder, "--exaggerate", "0.5")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in Path().iterdir()) == ["me-decoded.json", "me-decoded.png", "me.jpg"]
    for text in ("me-decoded.png", "a photograph's face embedding", "planted", "exaggerated by", DECODED_NOTICE):
        assert text in out
    provenance, facts = read_provenance("me-decoded.png")
    assert (provenance.kind, provenance.model_name, provenance.exaggerate) == ("reconstruction", "tiny", 0.5)
    assert b"me.jpg" not in Path("me-decoded.png").read_bytes()
    assert json.loads(Path("me-decoded.json").read_text()) == {"photograph_file": "me.jpg"} | facts
    code, out, _ = program("inspect", "me-decoded.png")
    assert code == 0
    assert "synthetic reconstruction" in out
    assert "missing" not in out
    assert program("decode", "me.jpg", "--model", paired_folder, "-o", "me-decoded.png")[0] == OutputExists.exit_code
    assert "me-decoded-2.png" in program("decode", "me.jpg", "--model", paired_folder)[1]
    assert sorted(path.name for path in Path().glob("*-2.*")) == ["me-decoded-2.json", "me-decoded-2.png"]
    code, out, _ = program("decode", "me.jpg", "--model", paired_folder, "-o", "new/face.png", "--json")
    assert code == 0
    assert json.loads(out)["files"] == ["new/face.png", "new/face.json"]


@pytest.mark.usefixtures("embedded")
def test_standard_output_gets_the_picture_and_nothing_else(
    paired_folder: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("me.jpg").write_bytes(picture_bytes(grey(), "JPEG"))
    code, _, err = program("decode", "me.jpg", "--model", paired_folder, "-o", "-", "--json")
    assert (code, err.count("\n")) == (InvalidOption.exit_code, 1)
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output))
    code, _, err = program("decode", "me.jpg", "--model", paired_folder, "-o", "-")
    assert code == 0
    assert f"note: {DECODED_NOTICE}" in err
    assert read_provenance(output.getvalue())[0].kind == "reconstruction"
    assert [path.name for path in Path().iterdir()] == ["me.jpg"]


@pytest.mark.usefixtures("embedded")
def test_the_picture_is_the_decoders_for_the_embedding(paired_folder: Path) -> None:
    model = load_paired_model(paired_folder)
    made = speech2face.decode_photograph(model, picture_bytes(grey(51)))
    np.testing.assert_allclose(made.face_embedding, 0.2, atol=1e-6)
    np.testing.assert_array_equal(made.image, model.decode(made.face_embedding))
    moved = speech2face.decode_photograph(model, picture_bytes(grey(51)), exaggerate=1.0)
    np.testing.assert_array_equal(moved.image, model.decode(model.exaggerated(made.face_embedding, 1.0)))
    assert not np.array_equal(moved.image, made.image)
    assert "0.2" not in json.dumps(made.facts())  # the embedding would identify a person


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing.jpg"], RecordingNotFound),
        (["black.png"], FaceNotFound),
        (["text.jpg"], FaceNotFound),
        (["folder"], UnreadableRecording),
        (["grey.png", "-o", "face.jpg"], InvalidOption),
        (["grey.png", "--exaggerate", "3"], InvalidOption),
    ],
)
@pytest.mark.usefixtures("embedded")
def test_a_mistake_is_one_line_with_its_own_code(
    paired_folder: Path, program: Any, arguments: list[str], error: type[Speech2FaceError]
) -> None:
    Path("grey.png").write_bytes(picture_bytes(grey()))
    Path("black.png").write_bytes(picture_bytes(grey(0)))
    Path("text.jpg").write_text("Dear diary")
    Path("folder").mkdir()
    before = sorted(Path().iterdir())
    code, out, err = program("decode", *arguments, "--model", paired_folder)
    assert (code, out, err.count("\n")) == (error.exit_code, "", 1)
    assert sorted(Path().iterdir()) == before


def test_models_without_an_embedder_at_hand_say_why(paired_folder: Path) -> None:
    photograph = picture_bytes(grey())
    with pytest.raises(InvalidOption, match="leave --embedder out"):
        speech2face.decode_photograph(speech2face.load_model(), photograph, embedder_file="mine.onnx")
    with pytest.raises(InvalidOption, match="leave --landmarks out"):
        speech2face.decode_photograph(load_paired_model(paired_folder), photograph, landmarks="points.json")
    with pytest.raises(WeightsError, match="planted world"):
        speech2face.decode_photograph(load_paired_model(paired_folder), photograph)


def hand_placed(embedding: np.ndarray) -> list[list[float]]:
    points = np.zeros((189, 2))
    points[list(HAND_PLACED)] = load_attribute_model().landmarks(embedding)[: len(HAND_PLACED)]
    return [[float(x), float(y)] for x, y in points]


def test_the_starter_draws_the_face_that_is_fitted_to_a_photograph(program: Any) -> None:
    starter = load_attribute_model()
    embedding = starter.release.population.embedding(35.0, 0.0)
    Path("me.png").write_bytes(picture_bytes(starter.decode(embedding)))
    Path("points.json").write_text(json.dumps({"landmarks": {"me": hand_placed(embedding), "you": [[0.0, 0.0]]}}))
    code, out, err = program("decode", "me.png", "--landmarks", "points.json")
    assert (code, err) == (0, "")
    for text in ("me-decoded.png", "shape-and-texture model", "fit error", "head turned", DECODED_NOTICE):
        assert text in out
    provenance, facts = read_provenance("me-decoded.png")
    assert (provenance.kind, provenance.model_name) == ("reconstruction", "starter")
    assert facts["photograph"]["fit"]["error"] < 0.3
    assert "embedding" not in facts["photograph"]["fit"]  # it would identify a person


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        ("{}", "no faces"),
        ('{"landmarks": {"a": [[1, 2]], "b": [[1, 2]]}}', 'no landmarks of "me"'),
        ('{"landmarks": {"a": [[1, 2]]}}', "no 68, 189 or 468 points"),
        ('{"landmarks": {"me": "left"}}', "no points"),
        ("here", "points.json"),
    ],
)
def test_a_mistake_in_a_file_of_landmarks_is_one_line(program: Any, landmarks: str, message: str) -> None:
    Path("me.png").write_bytes(picture_bytes(grey()))
    Path("points.json").write_text(landmarks)
    code, out, err = program("decode", "me.png", "--landmarks", "points.json")
    assert (code, out, err.count("\n")) == (InvalidOption.exit_code, "", 1)
    assert message in err
    assert sorted(path.name for path in Path().iterdir()) == ["me.png", "points.json"]


def release_with(paired_folder: Path, folder: Path, embedder: dict[str, Any]) -> Path:
    shutil.copytree(paired_folder, folder)
    values = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(values | {"embedder": embedder}))
    return folder


def test_an_embedder_of_the_users_own_must_be_named_and_be_the_one_on_record(
    paired_folder: Path, tmp_path: Path
) -> None:
    record = {"kind": "onnx", "size": RELEASE_SIZE, "sha256": "0" * 64, "settings": {}}
    model = load_paired_model(release_with(paired_folder, tmp_path / "release", record))
    with pytest.raises(WeightsError, match="--embedder"):
        speech2face.decode_photograph(model, picture_bytes(grey()))
    (tmp_path / "mine.onnx").write_bytes(b"other weights")
    with pytest.raises(WeightsError):
        speech2face.decode_photograph(model, picture_bytes(grey()), embedder_file=tmp_path / "mine.onnx")


def test_dlib_embeds_a_face_and_finds_none_on_a_wall(paired_folder: Path, tmp_path: Path) -> None:
    try:
        record = describe_embedder("dlib")
    except MissingExtra as missing:
        pytest.skip(str(missing))
    folder = release_with(paired_folder, tmp_path / "release", record.to_dict() | {"size": 128})
    kind, embedder = load_paired_model(folder).face_embedder()
    found = embedder.embed(read_photograph(picture_bytes(synthetic_face(), "JPEG", quality=90)))
    assert kind == "dlib"
    assert found is not None and found.shape == (128,)
    assert embedder.embed(read_photograph(picture_bytes(grey()))) is None


def test_photographs_are_read_upright_in_colour_and_not_too_large() -> None:
    left_red = np.zeros((20, 40, 3), np.uint8)
    left_red[:, :20, 0] = 255
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held turned to the right: the picture's left is its top
    upright = read_photograph(picture_bytes(left_red, exif=turned.tobytes()))
    assert upright.shape == (40, 20, 3)
    assert upright[:20, :, 0].min() == 255
    assert upright[20:].max() == 0
    assert read_photograph(picture_bytes(grey()[..., 0])).shape == (40, 30, 3)
    large = read_photograph(picture_bytes(np.zeros((4000, 100, 3), np.uint8)))
    assert max(large.shape) == LONGEST_SIDE_PIXELS
    with pytest.raises(FaceNotFound, match="damaged"):
        read_photograph(picture_bytes(left_red)[:-30])
