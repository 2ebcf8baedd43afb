"""The whole of an evaluation by one command: over a made data set and a tiny release, and again from its own file."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from speech2face import cli
from speech2face.data.members import Clip
from speech2face.data.shards import ShardWriter
from speech2face.evaluation.parts import PARTS, evaluate
from speech2face.evaluation.pictures import EvaluationSettings
from tests.paired import EMBEDDING, PLANTED

CLIPS = 28


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise instead of voices: what is predicted is of no account here."""
    folder = tmp_path_factory.mktemp("data") / "made"
    with ShardWriter(folder, embedder=PLANTED, statement={"made": "up"}) as writer:
        for number in range(CLIPS):
            rng = np.random.default_rng(number)
            writer.add(
                Clip(
                    key=f"clip-{number:02d}",
                    speaker=f"speaker {number // 2}",
                    split="test",
                    waveform=(0.1 * rng.standard_normal(3 * 16000 if number % 4 else 16000))
                    .astype(np.float32)
                    .clip(-1, 1),
                    face_embedding=(1 + rng.standard_normal(EMBEDDING)).astype(np.float32),
                    aligned_face=rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
                    labels={"gender": ("female", "male")[number // 2 % 2], "age": str(20 + number), "language": "en"},
                    licence="CC0-1.0",
                    consent="nobody is shown",
                )
            )
    return folder


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["speech2face", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


def test_the_report_has_every_table_and_figure_of_the_paper() -> None:
    names = [entry.name for entry in PARTS]
    assert len(names) == len(set(names)) == 14
    assert {"feature_similarity", "retrieval", "attributes", "craniofacial", "duration", "grid"} <= set(names)


def test_one_command_measures_the_parts_and_its_file_gives_the_same_numbers(
    data: Path, paired_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    names = "feature_similarity,retrieval,matching,duration,ablations,consistency,languages,grid"
    common = ("--data", data, "--model", paired_folder, "--picture-clips", 4, "--parts", names)
    code, out, err = run(monkeypatch, capsys, *common, "--verbose", "--seconds", "1,3", "--out", first)
    assert code == 0, err
    assert f"clips heard by tiny: {CLIPS} of {CLIPS}\n" in err and "index.html" in out
    whole = results(first)
    assert [part["name"] for part in whole["parts"]] == names.split(",")
    assert whole["data"]["clips"] == CLIPS and whole["data"]["speakers"] == CLIPS // 2
    assert whole["models"][0]["name"] == "tiny" and str(tmp_path) not in json.dumps(whole)
    measured = {part["name"]: part for part in whole["parts"]}
    assert measured["duration"]["exclusions"] == {"too_short": CLIPS // 4}
    for name in ("feature_similarity", "retrieval", "matching", "consistency"):
        assert measured[name]["numbers"] and not measured[name]["skipped"]
    assert (first / "index.html").read_text(encoding="utf-8").count("<h2") >= len(names.split(","))
    code, _, err = run(
        monkeypatch, capsys, "--data", data, "--embeddings", first / "predictions.npz", "--out", second, "--quiet",
        "--parts", "retrieval,feature_similarity",
    )  # fmt: skip
    assert code == 0 and not err
    again = {part["name"]: part for part in results(second)["parts"]}
    assert list(again) == ["feature_similarity", "retrieval"]
    assert all(again[name]["numbers"] == measured[name]["numbers"] for name in again)
    with (second / "numbers.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == sum(len(part["numbers"]) for part in again.values())


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--parts", "retrival"), 23, "there is no part 'retrival'; there are feature_similarity, retrieval"),
        (("--parts", " , "), 23, "--parts names none; there are feature_similarity"),
        (("--seconds", "3;6"), 23, 'no list of numbers; write 3,6'),
        (("--seconds", "0"), 23, "--seconds takes numbers above 0"),
        (("--split", "dev"), 41, "no split 'dev'; it has test"),
        (("--reader", "x.onnx"), 23, "give both"),
        (("--model", "nowhere"), 25, "nowhere is neither a release nor a training"),
        (("--embeddings", "a.npz", "--model", "x", "--model", "y"), 23, "1 files of embeddings and 2 models"),
        (("--embeddings", "nowhere.npz"), 41, "no such file: nowhere.npz"),
        (("--fid-network", "nowhere.onnx", "--parts", "distribution"), 25, "nowhere.onnx"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_written(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    out = tmp_path / "report"
    found, _, err = run(monkeypatch, capsys, "--data", data, "--clips", 2, "--out", out, "--quiet", *options)
    assert (found, err.count("\n")) == (code, 1) and message in err
    assert not out.exists()


def test_a_report_that_is_there_is_not_replaced_unless_told(
    data: Path, paired_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = (
        "--data",
        data,
        "--model",
        paired_folder,
        "--seconds",
        1,
        "--clips",
        6,
        "--parts",
        "retrieval",
        "-o",
        out,
    )
    assert run(monkeypatch, capsys, *arguments, "--quiet")[0] == 0
    before = (out / "predictions.npz").read_bytes()
    code, _, err = run(monkeypatch, capsys, *arguments, "--quiet")
    assert code == 20 and "--force" in err
    assert run(monkeypatch, capsys, *arguments, "--quiet", "--force")[0] == 0
    assert len((out / "predictions.npz").read_bytes()) == len(before)


def test_models_are_compared_when_there_are_several(data: Path, paired_folder: Path, tmp_path: Path) -> None:
    model = str(paired_folder)
    done = evaluate(
        EvaluationSettings(
            str(data), tmp_path / "report", (model, model), seconds=(1.0,), clips=8, parts=("ablations",)
        )
    )
    differences = [n for n in done.parts[0].numbers if n.metric.endswith("_difference")]
    assert differences and all(n.estimate.value == 0 for n in differences)
    assert (tmp_path / "report" / "predictions-2.npz").is_file()


def test_a_model_of_attributes_is_not_compared_with_embeddings_and_says_so(data: Path, tmp_path: Path) -> None:
    from speech2face.evaluation.clips import open_clips
    from speech2face.evaluation.predictions import open_predictor, references_for

    reference, notes = references_for(open_clips(data), open_predictor(None).facts)
    assert reference is None and "not compared" in notes[0]


def test_pictures_of_another_system_are_looked_at_and_missing_ones_counted(data: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(4):
        Image.fromarray(np.full((32, 32, 3), 10 * number, np.uint8)).save(pictures / f"clip-{number:02d}.png")
    settings = EvaluationSettings(str(data), tmp_path / "report", pictures=pictures, parts=("retrieval", "grid"))
    done = evaluate(settings)
    retrieval, grid = done.parts
    assert retrieval.skipped and grid.figures
    assert {e.reason for e in grid.exclusions} >= {"picture_missing"}
    assert done.facts.models[0].kind == "pictures" and any("not embedded" in note for note in done.facts.data["notes"])
