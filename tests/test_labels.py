"""Every picture that leaves the program is labelled, and `speech2face inspect` reads the label back.

Who makes bytes of pictures is found in the source: nobody but `speech2face.provenance` does without a stated reason,
and everybody who asks it to is asked here for a picture.
"""

import ast
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.errors import InvalidOption
from speech2face.limits import Style
from speech2face.models.attributes import AttributeModel, load_attribute_model
from speech2face.portrait import Portrait, reconstruct
from speech2face.provenance import (
    CHART_SOURCE_TYPE,
    COMPOSITE_SOURCE_TYPE,
    DIGITAL_SOURCE_TYPE,
    ENCODINGS,
    chart_provenance,
    comparison_provenance,
    parse_xmp_packet,
    picture_bytes,
    read_provenance,
    write_sheet,
    xmp_packet,
)

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "speech2face"
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "recipes").rglob("*.py")])
EXAMPLES = Path(__file__).parents[1] / "examples"
FACE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
LABELLERS = {"picture_bytes", "portrait_svg", "write_sheet", "labelled_bytes", "film_bytes"}
# Who makes the bytes of a picture beside the labelled ones, and why that may be.
OTHER_WRITERS = {
    "provenance.py": "the one place where a picture becomes bytes, with its label",
    "signing.py": "eight black pixels, signed for trial and thrown away",
    "gallery/build.py": "small copies of the user's own photographs, kept in the gallery",
    "data/members.py": "aligned photographs inside a data set's shards",
    "data/statement.py": "the page of a data set: frames of its videos, aligned photographs, spectrograms",
    "app/studio.py": "photographs that people take of themselves, and sign for",
    "app/webrtc.py": "live video, which can carry no XMP: its label is painted into every frame",
    "video.py": "frames with their label painted in, for a camera or a container with the tags of provenance.py",
    "training/augment.py": "sound only",
    "shielding.py": "sound only",
}
NOT_PICTURES = ("np.save", "torch.save", "self.save", "self._journal.save", "onnx.save")


def place(path: Path) -> str:
    return path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT).as_posix()


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]


def makes_pictures(path: Path) -> bool:
    """Whether a module turns pixels into bytes of a picture or a film itself, or writes SVG."""
    for call in calls(path):
        name = ast.unparse(call.func)
        if name.endswith((".save", ".savefig", ".print_png")) and name not in NOT_PICTURES:
            return True
        if name.endswith((".imsave", ".imwrite", ".add_stream", "VideoFrame.from_ndarray")):
            return True
        if name == "ElementTree.Element" and "svg" in ast.unparse(call.args[0]):
            return path.name != "contours.py"  # the drawing that `portrait_svg` labels
    return any(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("<svg")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


def test_pictures_become_bytes_in_one_place_or_for_a_stated_reason() -> None:
    found = {place(path) for path in FILES if makes_pictures(path)}
    assert found == set(OTHER_WRITERS)


@cache
def model() -> AttributeModel:
    return load_attribute_model()


@cache
def portrait(style: Style = Style.photographic) -> Portrait:
    return reconstruct(model(), EXAMPLES / "female.mp3", samples=2, seed=1, style=style)


def of_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from speech2face.batch import Job, Outputs, conversation_files, portrait_files, reconstruction_files
    from speech2face.conversation import Conversation, ConversationSpeaker
    from speech2face.portrait import Reconstruction, check_options

    sheet, samples = folder / "sheet.png", (folder / "1.png", folder / "2.png")
    outputs = Outputs(folder / "drawn.png", folder / "facts.json", samples, sheet, folder / "drawn.svg")
    made = Reconstruction(FACE, np.zeros(4, np.float32), "dlib", 0.0, "paired", "1")
    files = portrait_files(portrait(Style.drawn), Job(None, outputs))
    files |= reconstruction_files(made, Path("me.jpg"), (folder / "decoded.png", folder / "decoded.json"))
    speaker = ConversationSpeaker(1, ((0.0, 1.0),), replace(portrait(), samples=()))
    talk = Conversation(FACE, (speaker,), (), 1.0, check_options(model()), "starter", "1", model().notice)
    own = Outputs(folder / "speaker-1.png", folder / "speaker-1.json", (), None)
    timeline = Outputs(folder / "timeline.png", folder / "timeline.json", (), None, speakers=(own,))
    files |= conversation_files(talk, Job(None, timeline))[0]
    return {path.name: content for path, content in files.items() if path.suffix != ".json"}


def of_the_service(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from speech2face.app.service import encoded

    return {f"served.{kind}": encoded(portrait(), kind, image=FACE, kind="sample") for kind in ("png", "webp")}


def of_a_portrait(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    names = ["saved.png", "saved.jpg", "saved.webp", "saved.svg"]
    for name in names:
        portrait(Style.drawn).save(folder / name)
    portrait(Style.line).save(folder / "lines.svg")
    names.append("lines.svg")
    return {name: (folder / name).read_bytes() for name in names} | {"shown.png": portrait()._repr_png_()}


def of_the_audit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from speech2face.sheets import draw_channels

    words = {"columns": ["clean", "telephone"], "rows": ["median"], "captions": [["clean", "12%"]]}
    return {"audit.png": draw_channels([[FACE, FACE]], **words, model=("starter", "1"), notice=model().notice)}  # type: ignore[arg-type]


def of_the_grid(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from speech2face.sheets import Column, draw_grid

    drawn, beside = Column(None, FACE, FACE, ("rank 1",)), Column(FACE, None, FACE, ("rank 2",))
    return {
        "grid.png": draw_grid([drawn], FACE, heard="6 s of voice", model=("starter", "1")),
        "grid-composite.png": draw_grid([drawn, beside], None, heard="6 s of voice", model=("starter", "1")),
        "grid-of-another-system.png": draw_grid([drawn], None, heard="Voice", model=("pictures \x07 of another", "")),
    }


def of_the_shield(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from speech2face.sheets import draw_before_after

    words = {"title": "Before and after", "footer": ("one line",), "captions": [("a", "b"), ("c", "d")]}
    return {"shield.png": draw_before_after([FACE, FACE], **words, model=("starter", "1"), notice=model().notice)}  # type: ignore[arg-type]


def of_the_sheets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    return {
        **of_the_shield(folder, monkeypatch),
        **of_the_grid(folder, monkeypatch),
        **of_the_audit(folder, monkeypatch),
    }


def of_a_gallery(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from speech2face.gallery.build import thumbnail
    from speech2face.gallery.entries import Entry
    from speech2face.gallery.gallery import Hit, Ranking, Search, search_sheet_png

    def search(kept: bytes) -> Search:
        hit = Hit(1, 0.9, 0.1, Entry("1.jpg", "somebody", "written", thumbnail=kept))
        ranking = Ranking((hit,), 10, (0.1, 0.2), True)
        return Search(ranking, portrait(), {"name": "made"}, {}, ("A ranking by likeness.",))

    return {
        "gallery-composite.png": search_sheet_png(search(thumbnail(FACE))),
        "gallery-without-pictures.png": search_sheet_png(search(b"")),
    }


def of_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    pytest.importorskip("matplotlib", reason="figures are drawn with matplotlib; install the extra `eval`")
    from speech2face.evaluation.report import render

    return {"chart.png": render(lambda canvas: canvas.set_facecolor("red"), (2.0, 1.0))}


def written_by(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, out: Path, *more: str) -> Mapping[str, bytes]:
    monkeypatch.setattr(sys, "argv", ["sheet", "--out", str(out), *more])
    main()
    files = sorted(out.iterdir()) if out.is_dir() else [out]
    return {path.name: path.read_bytes() for path in files}


def of_drawings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from recipes.starter import drawn_sheet

    monkeypatch.setattr(drawn_sheet, "draw_sheet", lambda model: Image.fromarray(FACE))
    return written_by(drawn_sheet.main, monkeypatch, folder / "drawings.png")


def of_speakers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from recipes.starter import speaker_sheet

    monkeypatch.setattr(speaker_sheet, "read_speakers", lambda starter: [])
    monkeypatch.setattr(speaker_sheet, "read_validation", lambda model, speakers: ([], 0, 0))
    monkeypatch.setattr(speaker_sheet, "choose", lambda readings: ())
    strip, face = folder / "voices.jpg", Image.fromarray(FACE)
    monkeypatch.setattr(speaker_sheet, "draw_strip", lambda chosen, faces: face)
    written = written_by(
        speaker_sheet.main, monkeypatch, folder / "speakers.png", "--starter", ".", "--strip", str(strip)
    )
    return {**written, "voices.jpg": strip.read_bytes()}


def of_the_face_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from recipes.starter import face_sheet

    for name in ("ages_sheet", "groups_sheet", "hair_sheet"):
        monkeypatch.setattr(face_sheet, name, lambda weights, **how: Image.fromarray(FACE))
    (folder / "faces").mkdir()
    return written_by(face_sheet.main, monkeypatch, folder / "faces", "--weights", ".")


def of_the_planted_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from recipes.planted import sheet

    sheet.write_people([[("planted face", FACE), ("from the voice", FACE)]], 32, folder / "planted.jpg")
    return {"planted.jpg": (folder / "planted.jpg").read_bytes()}


def of_a_video(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    from speech2face.motion import find_poses
    from speech2face.video import SpeakingFace, Turn, video_bytes

    sound = np.zeros(1600, np.float32)
    face, turns = SpeakingFace(model(), portrait(Style.line)), [Turn(0.0, 0.1, portrait(Style.line))]
    films = {
        f"speaks.{kind}": video_bytes(model(), sound, turns, encoding=kind, pixels=128) for kind in ("mp4", "webm")
    }
    return films | {"speaks.svg": face.animated(find_poses(sound)), "puppet.svg": face.puppet()}


EMITTERS: Mapping[str, Callable[[Path, pytest.MonkeyPatch], Mapping[str, bytes]]] = {
    "batch.py": of_batch,
    "portrait.py": of_a_portrait,
    "app/service.py": of_the_service,
    "video.py": of_a_video,
    "sheets.py": of_the_sheets,
    "evaluation/report.py": of_figures,
    "recipes/starter/drawn_sheet.py": of_drawings,
    "recipes/starter/speaker_sheet.py": of_speakers,
    "gallery/gallery.py": of_a_gallery,
    "recipes/planted/sheet.py": of_the_planted_world,
    "recipes/starter/face_sheet.py": of_the_face_model,
}


def labelling(module: str) -> set[str]:
    """Functions of a module that have pictures labelled, by their qualified names."""
    path = next(path for path in FILES if place(path) == module)
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        for child in ast.iter_child_nodes(node) if isinstance(node, ast.Module | ast.ClassDef) else ():
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [ast.unparse(one.func) for one in ast.walk(child) if isinstance(one, ast.Call)]
                if any(name.split(".")[-1] in LABELLERS for name in names):
                    found.add(f"{node.name}.{child.name}" if isinstance(node, ast.ClassDef) else child.name)
    return found


def test_everybody_who_emits_pictures_is_asked_for_one_here() -> None:
    found = {
        place(path)
        for path in FILES
        for call in calls(path)
        if ast.unparse(call.func).split(".")[-1] in LABELLERS and path.name != "provenance.py"
    }
    assert found == set(EMITTERS)


@pytest.mark.parametrize("module", EMITTERS)
def test_each_picture_that_leaves_is_read_back_by_inspect(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        ran.add(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        pictures = EMITTERS[module](tmp_path, monkeypatch)
    finally:
        sys.setprofile(None)
    assert pictures
    assert labelling(module) - ran == set(), "these emit pictures too and were not asked for one"
    for name, content in pictures.items():
        path = tmp_path / f"emitted-{name}"
        path.write_bytes(content)
        printed = CliRunner().invoke(app, ["inspect", str(path)])
        assert printed.exit_code == 0, (name, printed.output)
        assert "not readable" not in printed.output or path.suffix != ".png", (name, printed.output)
        said = read_provenance(path)[0]
        mixed, chart = "composite" in name, "chart" in name
        expected = CHART_SOURCE_TYPE if chart else COMPOSITE_SOURCE_TYPE if mixed else DIGITAL_SOURCE_TYPE
        assert said.digital_source_type == expected, name
        assert ("beside photographs" in printed.output) == mixed, (name, printed.output)
        assert bool(said.model_name) != chart, name
        assert said.notice, name


def test_a_sheet_names_the_origin_of_its_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sheet.png").write_bytes(of_the_grid(tmp_path, monkeypatch)["grid-composite.png"])
    said, facts = read_provenance(tmp_path / "sheet.png")
    assert (facts["synthetic_faces"], facts["photographs"]) == (3, 1)
    assert "real people" in said.notice
    assert said.kind == "comparison sheet"


@pytest.mark.parametrize("ending", ENCODINGS)
def test_a_sheet_keeps_its_label_in_every_encoding(ending: str, tmp_path: Path) -> None:
    made = comparison_provenance(model_name="a\x00b\ufffe <&> 'model", model_version="1", notice="nobody")
    write_sheet(FACE, made, {}, tmp_path / f"sheet{ending}")
    said, _ = read_provenance(tmp_path / f"sheet{ending}")
    assert said.model_name == "a\ufffdb\ufffd <&> 'model"  # what XML cannot hold does not cost the whole label
    with Image.open(tmp_path / f"sheet{ending}") as picture:
        assert picture.size == (32, 32)


def test_a_sheet_in_an_encoding_that_holds_no_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="can be labelled"):
        write_sheet(FACE, chart_provenance(), {}, tmp_path / "sheet.bmp")


def test_a_chart_is_no_synthetic_face(tmp_path: Path) -> None:
    content = picture_bytes(FACE, chart_provenance(), {})
    (tmp_path / "chart.png").write_bytes(content)
    assert Image.open(io.BytesIO(content)).size == (32, 32)
    printed = CliRunner().invoke(app, ["inspect", str(tmp_path / "chart.png")]).output
    assert "chart, without a face" in printed
    assert parse_xmp_packet(xmp_packet(chart_provenance())) == chart_provenance()


SHEETS = (
    "audit-channels.jpg",
    "conversation.png",
    "drawn.png",
    "faces_by_age.jpg",
    "faces_by_group.jpg",
    "faces_by_hair.jpg",
    "planted.jpg",
    "speakers.png",
    "speaking.jpg",
    "voices.jpg",
)


@pytest.mark.parametrize("name", [*SHEETS, "portrait.png"])
def test_the_faces_that_the_documentation_shows_are_labelled(name: str) -> None:
    said, _ = read_provenance(Path(__file__).parents[1] / "docs" / "images" / name)
    assert said.digital_source_type == DIGITAL_SOURCE_TYPE
    assert said.notice
