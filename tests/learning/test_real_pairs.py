"""`learn --pairs` on real recordings and photographs that do not belong together: fitted, and nothing claimed."""

from __future__ import annotations

import csv
import json
import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from speech2face.cli import app

STARTER = Path(__file__).parents[2].parent / "shared" / "starter"
PEOPLE = 60
COLUMNS = ("recording", "photograph", "speaker", "licence", "consent", "gender", "split")


def rows_of(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((STARTER / name).read_text(encoding="utf-8").splitlines()))


def pairs_of(folder: Path) -> Path:
    """Sixty voices, each with somebody else's face of the same gender; then three rows that cannot be learned from."""
    voices = defaultdict(list)
    for voice in rows_of("voices/voices.csv"):
        if voice["gender"] and voice["age"] in ("twenties", "thirties") and float(voice["seconds"]) >= 3:
            voices[voice["gender"]].append(voice)
    rows = []
    for face in rows_of("faces/faces.csv")[:PEOPLE]:
        voice = voices[face["gender"]].pop()
        # The photograph is made smaller: large ones cost most of the time in finding the face.
        picture = folder / f"{face['face']}.png"
        Image.open(STARTER / "faces" / face["file"]).reduce(2).save(picture)
        basis = (voice["licence"], "openly licensed material", face["gender"], "")
        rows.append((str(STARTER / "voices" / voice["file"]), str(picture), voice["speaker"], *basis))
    other = [voices["female"].pop() for _ in range(4)]
    sounds = [str(STARTER / "voices" / voice["file"]) for voice in other]
    Image.new("RGB", (300, 300), (90, 120, 90)).save(folder / "wall.png")
    (folder / "broken.wav").write_bytes(b"no sound")
    shutil.copy(folder / "001.png", folder / "again.png")
    rows += [
        (sounds[0], str(folder / "wall.png"), "wall", "CC0-1.0", "nobody", "", ""),
        (str(folder / "broken.wav"), rows[0][1], "broken", "CC0-1.0", "nobody", "", ""),
        (sounds[1], str(folder / "missing.png"), "missing", "CC0-1.0", "nobody", "", ""),
        (sounds[2], str(folder / "again.png"), "unasked", "CC0-1.0", "", "", ""),
        (sounds[3], str(folder / "again.png"), "held out", "CC0-1.0", "nobody", "", "test"),
    ]
    with (folder / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return folder / "pairs.csv"


@pytest.mark.slow
@pytest.mark.skipif(not (STARTER / "faces").is_dir(), reason="the starter's material is not beside this checkout")
def test_voices_and_faces_that_do_not_belong_together_teach_nothing(tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="finding faces needs the extra `faces`")
    table, model = pairs_of(tmp_path), tmp_path / "model"
    given = [
        "--pairs",
        str(table),
        "--out",
        str(model),
        "--weights-licence",
        "CC0-1.0",
        "--workers",
        "1",
        "--json",
        "-q",
    ]
    ran = CliRunner().invoke(app, ["learn", *given])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    training = json.loads(ran.stdout)
    rejected = training["rejected"]
    assert rejected["no_face"] == 1
    assert rejected["unreadable"] == 1
    assert rejected["no_photograph"] == 1
    assert rejected["no_consent"] == 1
    assert training["people"] + sum(rejected.values()) == PEOPLE + 4  # the one of the split test is not among them
    assert training["people"] >= 0.9 * PEOPLE
    assert not training["pays"]
    assert training["gate"]["passed"]  # so that it is the scores that say so
    card = (model / "CARD.md").read_text(encoding="utf-8")
    assert "not better than chance" in card
    assert "left out, no_face: 1" in card
    assert training["scores"]["beyond"]["low"] < 0.02
