"""A gallery store of another package: the documented example, and the check that every store passes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.data.storage import Storage
from speech2face.drivers import KINDS
from speech2face.errors import DatasetError, InvalidOption
from speech2face.gallery.entries import (
    ADDRESS_VARIABLE,
    RECORD,
    GalleryRecord,
    backend_by_address,
    backends,
    check_gallery_store,
    read_record,
    store_of,
)
from speech2face.gallery.files import FileStores, unit_rows
from speech2face.gallery.gallery import Gallery
from tests.gallery.made import SPACE, made_entry, made_faces
from tests.gallery.server import Server

EXAMPLE = Path(__file__).parents[2] / "examples" / "plugin" / "speech2face_example" / "store.py"


@pytest.fixture
def lite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The documented example, installed as another package would be; an address of it."""
    facts = tmp_path / "site" / "lite-1.0.dist-info"
    facts.mkdir(parents=True)
    shutil.copy(EXAMPLE, tmp_path / "site" / "lite.py")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lite\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[speech2face.gallery_stores]\nlite = lite\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return f"lite://{tmp_path / 'faces.db'}"


def made(folder: Path, address: str) -> Gallery:
    record = GalleryRecord("made", SPACE, "lite", "made", address)
    writer = store_of("lite").build(folder, record, address, plan="", force=False)
    writer.put([made_entry(number) for number in range(10)], unit_rows(made_faces(10)))
    Storage(folder).write(RECORD, writer.finish().encode())
    writer.close()
    return Gallery.open(folder)


def test_an_added_store_is_chosen_by_its_name_or_by_the_scheme_of_the_address(lite: str) -> None:
    assert backends() == ("exact", "faiss", "postgres", "lite")
    assert backend_by_address("exact", lite) == "lite"
    assert backend_by_address("exact", "postgresql://host/faces") == "exact"
    with pytest.raises(InvalidOption, match='"magic" is unknown; there are exact, faiss, postgres, lite'):
        store_of("magic")


def test_a_gallery_in_an_added_store_is_searched_changed_and_forgets(lite: str, tmp_path: Path) -> None:
    with made(tmp_path / "g", lite) as gallery:
        assert gallery.search(made_faces(10)[7], 1).hits[0].entry == made_entry(7)
        assert gallery.search(made_faces(10)[7], 10, {"gender": "male"}).of == 5
        assert gallery.forget(["speaker 2"]).entries == 2
        with pytest.raises(DatasetError, match="was forgotten"):
            gallery.upsert([made_entry(4)], made_faces(1))
    shown = CliRunner().invoke(app, ["gallery", "show", str(tmp_path / "g"), "--json"], catch_exceptions=False)
    facts = json.loads(shown.stdout)
    assert (facts["backend"], facts["entries"], facts["forgotten"]) == ("lite", 8, 1)


def test_a_gallery_whose_store_is_not_installed_says_so(lite: str, tmp_path: Path) -> None:
    made(tmp_path / "g", lite).close()
    text = (tmp_path / "g" / RECORD).read_text()
    (tmp_path / "g" / RECORD).write_text(text.replace('"lite"', '"elsewhere"'))
    with pytest.raises(DatasetError, match="backend 'elsewhere', which is none here"):
        read_record(Storage(tmp_path / "g"))


def test_the_example_and_files_pass_the_check(lite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS_VARIABLE, lite)
    for name in ("files", "lite"):
        KINDS["gallery_stores"].check(name)


def test_postgres_passes_the_check(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="install the extra `retrieval`")
    monkeypatch.setenv(ADDRESS_VARIABLE, server.address)
    KINDS["gallery_stores"].check("postgres")


def test_a_store_that_breaks_the_contract_is_told_where(monkeypatch: pytest.MonkeyPatch) -> None:
    from speech2face.gallery import files

    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    whole = files.nearest

    def upside_down(vectors: np.ndarray, probes: np.ndarray, *rest: object) -> files.Nearest:
        return whole(vectors, -probes, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "nearest", upside_down)
    with pytest.raises(AssertionError, match="the nearest are"):
        check_gallery_store(FileStores())
