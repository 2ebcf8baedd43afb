"""A learned release is a release like any other: what takes a release takes this one, and shows what it learned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.data.members import Clip
from speech2face.data.shards import write_shards
from speech2face.data.storage import Storage
from speech2face.evaluation.clips import open_clips
from speech2face.evaluation.predictions import open_predictor, references_for
from speech2face.face.embedders import EmbedderRecord
from speech2face.gallery.entries import Entry, GalleryRecord
from speech2face.gallery.files import FileWriter, unit_rows
from speech2face.gallery.gallery import BY_ATTRIBUTES, Gallery, attribute_coordinates, search_gallery, space_of
from speech2face.live import LiveSession, PcmFormat
from speech2face.models import load_model
from speech2face.models.attributes import LearnedModel, load_learned_model
from speech2face.models.contract import Given
from speech2face.portrait import reconstruct
from tests.learned_pairs import tiny_release
from tests.voices import made_voice

EXAMPLES = Path(__file__).parents[2] / "examples"
VOICE = EXAMPLES / "male.flac"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_release(tmp_path_factory.mktemp("learned") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LearnedModel:
    return load_learned_model(folder, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few made voices of both genders, with embeddings of another face embedder."""
    place = tmp_path_factory.mktemp("data") / "made"
    write_shards(
        place,
        (
            Clip(
                key=f"clip-{number}",
                speaker=f"speaker {number}",
                split="test",
                waveform=made_voice(2.2, 110.0 if number % 2 else 205.0),
                face_embedding=np.random.default_rng(number).standard_normal(12).astype(np.float32),
                labels={"gender": "male" if number % 2 else "female", "age": str(25 + number), "language": "en"},
            )
            for number in range(8)
        ),
        embedder=EmbedderRecord("planted", 12),
    )
    return place


def run(*arguments: object) -> str:
    ran = CliRunner().invoke(app, [str(each) for each in arguments])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    return ran.output


def test_a_portrait_by_command_says_whose_it_is_and_is_read_back(folder: Path, tmp_path: Path) -> None:
    run("portrait", VOICE, "--model", folder, "--out", tmp_path / "p.png", "--samples", 2, "--given", "age=50")
    assert "tiny" in run("inspect", tmp_path / "p.png")
    for style in ("photographic", "drawn"):
        run("portrait", VOICE, "--model", folder, "--out", tmp_path / f"{style}.png", "--style", style)


def test_attributes_population_and_exaggeration_move_a_corrected_portrait(model: LearnedModel) -> None:
    starter = load_model(threads=1)
    plain = reconstruct(model, VOICE)
    assert np.abs(plain.belief.mean - reconstruct(starter, VOICE).belief.mean).max() > 0.05
    group = next(iter(model.population))
    for changed in (
        reconstruct(model, VOICE, given={"age": 70}),
        reconstruct(model, VOICE, given={"gender": "female"}),
        reconstruct(model.with_population({group: 1.0}), VOICE),
    ):
        assert np.abs(changed.belief.mean - plain.belief.mean).max() > 0.05
    assert not np.array_equal(reconstruct(model, VOICE, exaggerate=1.0).image, plain.image)


def test_a_call_ends_at_the_belief_of_the_whole_recording(model: LearnedModel) -> None:
    from speech2face.audio.recording import read_recording

    heard = read_recording(VOICE)
    session = LiveSession(model, PcmFormat())
    session.push((np.clip(heard.waveform, -1, 1) * 32767).astype("<i2").tobytes())
    session.finish()
    seen = session.snapshot().belief
    assert seen is not None
    np.testing.assert_allclose(seen.mean, reconstruct(model, VOICE).belief.mean, atol=0.1)


def test_the_service_draws_with_it(folder: Path) -> None:
    pytest.importorskip("fastapi", reason="the service needs the extra `serve`")
    pytest.importorskip("httpx", reason="the service's tests need the extra `serve`")
    from starlette.testclient import TestClient

    from speech2face.app.server import create_app
    from speech2face.app.service import Settings
    from tests.app.speaking import wait_until

    with TestClient(create_app(Settings(workers=1, models=(folder,))), base_url="http://localhost:8765") as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        wait_until(lambda: service.registry.state != "starting")
        answer = client.post("/v1/portraits", files={"recording": ("male.flac", VOICE.read_bytes())})
        assert answer.status_code == 200, answer.text
        assert b"tiny" in answer.content  # its XMP


def test_it_is_evaluated_and_not_held_against_other_embeddings(folder: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra `eval`")
    reference, notes = references_for(open_clips(str(data)), open_predictor(str(folder)).facts)
    assert reference is None
    assert "not compared" in notes[0]
    run(
        "evaluate", "--data", data, "--model", folder, "--out", tmp_path / "report", "--parts", "attributes,consistency"
    )
    assert "tiny" in json.dumps(json.loads((tmp_path / "report" / "results.json").read_text())["models"])


def test_it_is_audited_into_its_own_card(folder: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need the extra `eval`")
    card = tmp_path / "CARD.md"
    card.write_text((folder / "CARD.md").read_text())
    run(
        "audit",
        "--data",
        data,
        "--model",
        folder,
        "--out",
        tmp_path / "audit",
        "--channels",
        "telephone",
        "--card",
        card,
    )
    assert card.read_text().startswith((folder / "CARD.md").read_text()[:60])
    assert len(card.read_text()) > len((folder / "CARD.md").read_text())


def test_a_gallery_is_ranked_by_what_photographs_can_tell(model: LearnedModel, tmp_path: Path) -> None:
    writer = FileWriter(Storage(tmp_path / "g"), GalleryRecord("people", space_of(model), "exact", "made"))
    population = model.release.population
    names = [f"{gender} {age}" for gender in ("woman", "man") for age in range(20, 80, 10)]
    faces = [population.embedding(float(each.split()[1]), float(each.startswith("woman"))) for each in names]
    writer.put(
        [Entry(name, name, "made up") for name in names],
        unit_rows(np.stack([attribute_coordinates(model, face) for face in faces])),
    )
    writer.finish()
    found = search_gallery(Gallery.open(tmp_path / "g"), model, VOICE, top=3)
    assert all(hit.entry.id.startswith("man") for hit in found.ranking.hits)
    assert BY_ATTRIBUTES in found.limits


def test_a_photograph_comes_back_through_it_as_through_the_starter(model: LearnedModel) -> None:
    face = model.encode(made_voice(3.0)).draw(Given(), np.random.default_rng(0))
    np.testing.assert_array_equal(model.decode(face), load_model(threads=1).decode(face))
    assert model.face_fitter().size == face.size
