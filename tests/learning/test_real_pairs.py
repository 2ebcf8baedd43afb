"""`learn --pairs` on recordings and photographs as people have them: fitted or counted, and nothing claimed."""

from __future__ import annotations

import csv
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from recipes.planted import pairs as planted
from recipes.planted.synthesiser import HEARD_TRAITS, synthesise, voice_of
from speech2face.cli import app
from speech2face.data.members import Clip, encode_wav, to_samples
from speech2face.face.landmarks import HAND_PLACED, scheme_of

ROOT = Path(__file__).parents[2]
STARTER = ROOT.parent / "shared" / "starter"
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


def odd_photographs(one: Clip, other: Clip, folder: Path) -> dict[str, str]:
    """Photographs of drawn faces as people send them, and under which reason each is counted; "" where it is taken."""
    turned = importlib.import_module("head_pose").turned
    scheme = scheme_of(68)
    assert scheme is not None and one.aligned_face is not None and other.aligned_face is not None
    face, points = one.aligned_face, one.landmarks
    assert points is not None
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    pictures = {
        "two.png": (np.concatenate([face, other.aligned_face], 1), "several_faces"),
        "profile.png": (turned(face, scheme.carry @ points[list(HAND_PLACED)], 40, 0), "not_frontal"),
        "upside_down.png": (face[::-1, ::-1], "upside_down"),
        "tiny.png": (np.asarray(Image.fromarray(face).reduce(8)), "too_small"),
        "cut.png": (face[:300, :250], "no_face"),
        "grey.png": (np.asarray(Image.fromarray(face).convert("L")), ""),
    }
    for name, (picture, _) in pictures.items():
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / name)
    Image.fromarray(np.ascontiguousarray(np.rot90(other.aligned_face))).save(folder / "turned.jpg", exif=exif)
    return {name: reason for name, (_, reason) in pictures.items()} | {"turned.jpg": ""}


@pytest.mark.slow
def test_photographs_as_people_send_them_are_taken_or_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dlib", reason="finding faces needs the extra `faces`")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    one, other, *people = planted.clips(46, seconds=2.0, seed=0)
    planted.write_table(people, tmp_path)
    photographs = odd_photographs(one, other, tmp_path)
    with (tmp_path / "pairs.csv").open("a", newline="", encoding="utf-8") as table:
        for number, name in enumerate(photographs):
            heard = voice_of(np.array([-1.0, 0.5, 0.0]), np.zeros(len(HEARD_TRAITS)), "spectrum")  # a man's
            sound = synthesise(heard, 2.0, np.random.default_rng(number))
            (tmp_path / f"odd-{number}.wav").write_bytes(encode_wav(to_samples(sound)))
            csv.writer(table).writerow(
                (f"odd-{number}.wav", name, f"odd-{number}", "CC0-1.0", "made", "train", "male", "en")
            )
    given = ("--pairs", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "model"), "--json", "-q")
    ran = CliRunner().invoke(app, ["learn", *given, "--workers", "2"])
    assert ran.exit_code == 0, (ran.output, ran.exception)
    training = json.loads(ran.stdout)
    rejected = Counter(training["rejected"])
    odd = Counter(reason for reason in photographs.values() if reason)
    drawn = Counter({"child": rejected["child"], "no_face": rejected["no_face"] - odd["no_face"]})  # of the others
    assert rejected == odd + drawn
    assert training["people"] == len(people) + len(photographs) - rejected.total()
    with np.load(tmp_path / "pairs.csv.learning.features.npz") as kept:
        taken = set(kept["owner"][np.isin(kept["owner"][:, 0], kept["digest"]), 1])
    assert {f"odd-{number}" for number, reason in enumerate(photographs.values()) if not reason} <= taken


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="it is a script of bash")
def test_the_script_goes_from_nothing_to_a_portrait(tmp_path: Path) -> None:
    around = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}
    ran = subprocess.run(
        ["bash", str(ROOT / "runs" / "learn.sh"), str(tmp_path / "work"), "44"], env=around, capture_output=True,
        text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    made = {path.name for path in (tmp_path / "work").iterdir()}
    assert {"model", "nothing", "pairs.sums", "from-sums", "from-table", "portrait"} <= made
    assert list((tmp_path / "work" / "portrait").glob("*.png"))
