"""Galleries built from data sets and photographs: who enters, who does not, and what is counted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from speech2face.audio.spectrogram import FloatArray
from speech2face.cli import app
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.errors import DatasetError, InvalidOption, OutputExists, SeveralFaces, WeightsError
from speech2face.face.detect import Picture
from speech2face.face.embed import PictureEmbedder
from speech2face.face.embedders import EmbedderRecord
from speech2face.forget import forget as forget_in_data
from speech2face.gallery import build as building
from speech2face.gallery.build import BuildOptions, build_gallery
from speech2face.gallery.entries import RECORD, Space
from speech2face.gallery.gallery import Gallery, space_of
from speech2face.models.contract import Model
from speech2face.models.paired import PairedEncoding, PairedModel, PairedRelease, PairedRuntime, VoiceGeometry
from speech2face.models.release import MANIFEST
from speech2face.provenance import read_provenance
from speech2face.voice.belief import Spread
from tests.gallery.server import Server

EMBEDDING = 12
PLANTED = EmbedderRecord("planted", EMBEDDING)
EXAMPLES = Path(__file__).parents[2] / "examples"
CLIPS = 12
CONSENT = "form of the tests"


class StandIn(PairedModel):
    """A model learned from pairs that hears the same face in every voice."""

    def prefetch(self) -> None:
        """Nothing is loaded."""

    def encode(self, speech: FloatArray) -> PairedEncoding:
        """The same face."""
        return PairedEncoding(self, (), np.arange(1, EMBEDDING + 1, dtype=np.float32))

    def decode(self, face_embedding: FloatArray, hair: str | None = None) -> np.ndarray:
        """Grey."""
        return np.full((64, 64, 3), 128, np.uint8)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PairedModel:
    """Also what the command line loads."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / MANIFEST).write_text("{}")
    mean, geometry = np.zeros(EMBEDDING, np.float32), VoiceGeometry(6.0, 259, 64)
    spread = Spread(np.eye(EMBEDDING, dtype=np.float32)[:2], np.ones(2, np.float32), 1.0)
    release = PairedRelease(folder, "tiny", "0.1.0", "CC0-1.0", {}, EMBEDDING, 64, PLANTED, geometry, mean, spread, {})
    made = StandIn(release, cast(PairedRuntime, None))
    monkeypatch.setattr("speech2face.models.load_model", lambda place: made)
    return made


def clip(number: int, *, seed: int = 0) -> Clip:
    rng = np.random.default_rng((number, seed))
    return Clip(
        key=f"clip-{number}",
        speaker=f"speaker {number // 2}",
        split="train" if number < 8 else "test",
        waveform=None,
        face_embedding=rng.standard_normal(EMBEDDING).astype(np.float32),
        aligned_face=rng.integers(0, 255, (16, 16, 3)).astype(np.uint8),
        labels={"gender": ("female", "male")[number % 2]},
        licence="CC0-1.0",
        consent="" if number == 5 else CONSENT,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_shards(tmp_path / "data", [clip(number) for number in range(CLIPS)], embedder=PLANTED)
    return tmp_path / "data"


class Brightness:
    """Embeds a picture by its mean colours; a black one has no face."""

    size = EMBEDDING

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, picture: Picture) -> np.ndarray | None:
        self.asked += 1
        if not picture.any():
            return None
        return np.resize(picture.reshape(-1, 3).mean(0), EMBEDDING).astype(np.float32) + 1


@pytest.fixture
def embedder(monkeypatch: pytest.MonkeyPatch) -> Brightness:
    """In the place of the model's own, which has none for photographs."""
    stand_in = Brightness()

    def opened(model: Model, file: Path | None = None) -> PictureEmbedder:
        return stand_in

    monkeypatch.setattr(building, "open_face_embedder", opened)
    return stand_in


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two of ann's, one of bob's, one without a face, one that is no picture."""
    colours = {
        "ann/1.png": (255, 0, 0),
        "ann/deep/2.jpg": (250, 9, 9),
        "bob/3.png": (0, 255, 0),
        "cas/4.png": (0, 0, 0),
    }
    for name, colour in colours.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(path)
    (tmp_path / "photos" / "bob" / "5.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_a_data_set_becomes_a_gallery_but_for_whoever_has_no_consent_basis(
    data: Path, model: Model, tmp_path: Path
) -> None:
    counts = build_gallery(data, model, tmp_path / "g")
    assert counts.to_dict() == {
        "offered": 12, "added": 11, "replaced": 0, "unchanged": 0, "left_out": {"no_consent": 1},
    }  # fmt: skip
    gallery = Gallery.open(tmp_path / "g")
    face = clip(3).face_embedding
    assert face is not None
    hit = gallery.search(face, 1).hits[0]
    assert (hit.entry.id, hit.entry.speaker, hit.entry.licence) == ("clip-3", "speaker 1", "CC0-1.0")
    assert hit.entry.labels == {"gender": "male"}
    assert hit.entry.thumbnail.startswith(b"\xff\xd8")
    assert gallery.record.space == space_of(model)


def test_a_split_and_a_basis_that_is_stated(data: Path, model: Model, tmp_path: Path) -> None:
    options = BuildOptions(split="train", consent="said so", thumbnails=False)
    assert build_gallery(data, model, tmp_path / "g", options).upserted.added == 8
    hit = Gallery.open(tmp_path / "g").search(np.asarray(clip(5).face_embedding), 1).hits[0]
    assert (hit.entry.consent, hit.entry.thumbnail) == ("said so", b"")


def test_whoever_was_forgotten_does_not_come_back_when_a_gallery_is_built_again(
    data: Path, model: Model, tmp_path: Path
) -> None:
    build_gallery(data, model, tmp_path / "g")
    Gallery.open(tmp_path / "g").forget(["speaker 1"])
    with pytest.raises(OutputExists, match="--add or --force"):
        build_gallery(data, model, tmp_path / "g")
    again = build_gallery(data, model, tmp_path / "g", BuildOptions(force=True))
    assert (again.upserted.added, again.left_out) == (9, {"no_consent": 1, "forgotten": 2})
    added = build_gallery(data, model, tmp_path / "g", BuildOptions(add=True))
    assert (added.upserted.added, added.unchanged, added.left_out["forgotten"]) == (0, 9, 2)
    other = build_gallery(data, model, tmp_path / "other", BuildOptions(tombstones=str(tmp_path / "g")))
    assert other.left_out["forgotten"] == 2
    assert "speaker 1" not in Gallery.open(tmp_path / "other").speakers()


def test_forgetting_in_the_data_reaches_the_gallery(data: Path, model: Model, tmp_path: Path) -> None:
    build_gallery(data, model, tmp_path / "g")
    done = forget_in_data(data, ["speaker 3"], galleries=[tmp_path / "g"])
    assert (done.clips, done.galleries, done.unknown) == (2, (tmp_path / "g",), ())
    gallery = Gallery.open(tmp_path / "g")
    assert ("speaker 3" in gallery.speakers(), len(gallery), gallery.forgotten()) == (False, 9, 1)


def test_photographs_are_embedded_and_those_without_a_face_counted(
    photos: Path, model: Model, embedder: Brightness, tmp_path: Path
) -> None:
    counts = build_gallery(photos, model, tmp_path / "g", BuildOptions(consent="all of them signed"))
    assert counts.left_out == {"no_face": 1, "unreadable": 1}
    gallery = Gallery.open(tmp_path / "g")
    assert gallery.speakers() == {"ann", "bob"}
    probe = embedder.embed(np.full((2, 2, 3), (255, 0, 0), np.uint8))
    assert probe is not None
    assert [hit.entry.id for hit in gallery.search(probe, 3).hits] == ["ann/1.png", "ann/deep/2.jpg", "bob/3.png"]


def test_pictures_of_any_ending_enter_and_every_other_file_is_counted_and_named(
    photos: Path, model: Model, embedder: Brightness, tmp_path: Path
) -> None:
    for name, kind in (
        ("dan/1.gif", "GIF"),
        ("dan/photo.jpeg.bak", "JPEG"),
        ("dan/no-ending", "PNG"),
        ("dan/5.JPG", "PNG"),
    ):
        (photos / "dan").mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (0, 0, 200)).save(photos / name, kind)
    (photos / "dan" / "notes.txt").write_text("whose is this?")
    (photos / "dan" / "empty.jpg").write_bytes(b"")
    (photos / ".hidden").write_text("the system's own")
    counts = build_gallery(photos, model, tmp_path / "g", BuildOptions(consent="signed"))
    assert counts.offered == 5 + 6
    assert counts.left_out == {"no_face": 1, "unreadable": 2, "no_picture": 1}
    assert counts.upserted.added == 3 + 4
    named = counts.to_dict()["left_out_first"]
    assert isinstance(named, dict)
    assert named["no_picture"] == ["dan/notes.txt"]
    assert [str(photos / name) in " ".join(named["unreadable"]) for name in ("bob/5.png", "dan/empty.jpg")] == [
        True
    ] * 2


def test_a_photograph_of_two_people_is_left_out_and_named(
    photos: Path, model: Model, embedder: Brightness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(picture: Picture) -> np.ndarray:
        raise SeveralFaces("2 faces were found where one person is meant; cut the picture to one face")

    monkeypatch.setattr(embedder, "embed", two)
    with pytest.raises(
        DatasetError, match=r"4 in which several faces were found, 1 that cannot be read; the first: .*2 faces"
    ):
        build_gallery(photos, model, tmp_path / "g", BuildOptions(consent="signed"))


def test_what_has_not_changed_is_not_embedded_again(
    photos: Path, model: Model, embedder: Brightness, tmp_path: Path
) -> None:
    options = BuildOptions(consent="signed")
    build_gallery(photos, model, tmp_path / "g", options)
    embedder.asked = 0
    Image.new("RGB", (40, 30), (0, 0, 255)).save(photos / "bob" / "3.png")
    counts = build_gallery(photos, model, tmp_path / "g", replace(options, add=True))
    assert (counts.unchanged, counts.upserted.replaced, counts.upserted.added) == (2, 1, 0)
    assert embedder.asked == 2  # the one that changed and the one without a face
    counts = build_gallery(photos, model, tmp_path / "g", BuildOptions(consent="another form", add=True))
    assert counts.upserted.replaced == 3


def test_a_table_says_whose_photographs_are_and_who_agreed(
    photos: Path, model: Model, embedder: Brightness, tmp_path: Path
) -> None:
    rows = ["file,speaker,id,consent,licence,hair", "ann/1.png,Ann A,a1,form 7,CC-BY-4.0,red", "bob/3.png,Bob,,,,"]
    (photos / "photographs.csv").write_text("\n".join(rows))
    counts = build_gallery(photos, model, tmp_path / "g")
    assert (counts.offered, counts.upserted.added, counts.left_out) == (2, 1, {"no_consent": 1})
    hit = Gallery.open(tmp_path / "g").search(np.ones(EMBEDDING), 1, {"hair": "red"}).hits[0].entry
    assert (hit.id, hit.speaker, hit.consent, hit.licence) == ("a1", "Ann A", "form 7", "CC-BY-4.0")
    (photos / "photographs.csv").write_text("file,speaker\nann/1.png,")
    with pytest.raises(DatasetError, match="row 2: no file or no speaker"):
        build_gallery(photos, model, tmp_path / "h")


def test_nothing_is_written_where_nobody_may_enter(
    photos: Path, model: Model, embedder: Brightness, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="nothing entered the gallery: of 5 faces 5 without consent basis"):
        build_gallery(photos, model, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    assert embedder.asked == 0


def test_faces_of_another_embedder_are_refused(data: Path, model: Model, tmp_path: Path) -> None:
    other = replace(PLANTED, settings={"seed": 9})
    write_shards(tmp_path / "other", [clip(0)], embedder=other)
    with pytest.raises(WeightsError, match="not what tiny says"):
        build_gallery(tmp_path / "other", model, tmp_path / "g")
    with pytest.raises(WeightsError, match="no embedder of photographs"):  # the planted world has none
        build_gallery(tmp_path, model, tmp_path / "g")
    build_gallery(data, model, tmp_path / "g")
    record = json.loads((tmp_path / "g" / RECORD).read_text())
    record["space"]["embedder"]["settings"] = {"seed": 9}
    (tmp_path / "g" / RECORD).write_text(json.dumps(record))
    with pytest.raises(WeightsError, match="was built with"):
        build_gallery(data, model, tmp_path / "g", BuildOptions(add=True))


def test_the_same_build_in_a_database_goes_on_and_is_not_taken_twice(
    data: Path, model: Model, tmp_path: Path, server: Server
) -> None:
    pytest.importorskip("psycopg", reason="install the extra `retrieval`")
    options = BuildOptions(backend="postgres", database=server.address, name=f"b{abs(hash(tmp_path)) % 10**9}")
    assert build_gallery(data, model, tmp_path / "g", options).upserted.added == 11
    with pytest.raises(OutputExists, match=r"the database has a gallery .* already"):
        build_gallery(data, model, tmp_path / "h", options)
    with Gallery.open(tmp_path / "g") as gallery:
        gallery.forget(["speaker 1"])
    again = build_gallery(data, model, tmp_path / "h", replace(options, force=True))
    assert (again.upserted.added, again.left_out["forgotten"]) == (9, 2)


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "exact", "database": "host=x"},
        {"backend": "postgres"},
        {"add": True, "force": True},
        {"consent": "two\nlines"},
        {"backend": "magic"},
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOption):
        BuildOptions(**options)  # type: ignore[arg-type]  # that is the point


def test_the_command_line_builds_searches_shows_and_forgets(data: Path, model: Model, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        ran = CliRunner().invoke(app, ["gallery", *arguments], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    place, sheet = str(tmp_path / "g"), tmp_path / "sheet.png"
    built = json.loads(run("build", str(data), "-o", place, "--json", "-q"))
    assert (built["added"], built["left_out"]) == (11, {"no_consent": 1})
    recording = str(EXAMPLES / "female.opus")
    search = ("search", recording, "-g", place, "--top", "3", "--filter", "gender=female")
    found = json.loads(run(*search, "--json", "--out", str(sheet)))
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3]
    assert {hit["labels"]["gender"] for hit in found["hits"]} == {"female"}
    assert found["ranked"] == 6 and found["hits"][0]["chance"] == pytest.approx(1 / 6)
    assert "not identification" in found["limits"][0]
    assert set(found["random"]) == {"cosine_mean", "cosine_sd"}
    said, facts = read_provenance(sheet)
    assert "not identification" in said.notice
    assert (said.kind, said.model_name, facts["synthetic_faces"], facts["photographs"]) == (
        "comparison sheet",
        "tiny",
        1,
        3,
    )
    with Image.open(sheet) as picture:
        assert "not identification" in picture.info["Description"]
        assert picture.width > 800
    assert "not identification" in run(*search)
    assert "no face has these labels" in run("search", recording, "-g", place, "--filter", "gender=neither")
    ran = CliRunner().invoke(app, ["gallery", *search, "--out", str(tmp_path / "sheet.jpg")])
    assert isinstance(ran.exception, InvalidOption) and "sheet.png instead" in str(ran.exception)
    shown = json.loads(run("show", place, "--json"))
    assert (shown["entries"], shown["speakers"], shown["labels"]) == (11, 6, ["gender"])
    run("forget", "speaker 0", "-g", place)
    ran = CliRunner().invoke(app, ["gallery", "forget", "speaker 0x", "-g", place])
    assert isinstance(ran.exception, DatasetError)
    assert 'not found in the gallery: "speaker 0x"' in str(ran.exception)
    assert json.loads(run("show", place, "--json"))["forgotten"] == 2


def test_a_gallery_of_another_model_is_not_searched(data: Path, model: Model, tmp_path: Path) -> None:
    from speech2face.gallery.gallery import search_gallery

    build_gallery(data, model, tmp_path / "g")
    gallery = Gallery.open(tmp_path / "g")
    starter = Space(8, None, "starter", "1", "0" * 64)
    with pytest.raises(WeightsError, match="reading of age and gender of starter"):
        gallery.check_space(starter)
    found = search_gallery(gallery, model, EXAMPLES / "male.m4a", top=2)
    again = search_gallery(gallery, model, EXAMPLES / "male.m4a", top=2)
    assert found.facts() == again.facts()
