"""`learn` on the command line: what goes together, and what is printed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.cli.data import check_sources, learned_rows
from speech2face.errors import DatasetError, InvalidOption
from speech2face.learning.release import LearnOptions, lesson_of_table
from tests.learned_pairs import PlantedPairs


def say_nothing(what: str, done: int, of: int | None) -> None:
    pass


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({}, "nothing to learn from"),
        ({"data": "a", "pairs": "b"}, "two sources"),
        ({"data": "a", "subtract": ["Ann"]}, "--subtract needs"),
        ({"add": [Path("a")], "subtract": ["Ann"]}, "--subtract needs"),
    ],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, object], match: str) -> None:
    nothing = {"data": None, "pairs": None, "add": None, "subtract": None}
    with pytest.raises(InvalidOption, match=match):
        check_sources(**(nothing | given), sums_only=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--data", "shards", "--licence", "CC0-1.0"], "are for rows of --pairs"),
        (["--add", "a.sums", "--allow-missing", "consent"], "are for rows of --pairs"),
        (["--pairs", "pairs.csv", "--face-embedder", "arcface.onnx"], "with --target embedder or both"),
        (["--pairs", "pairs.csv", "--embedder-set", "alignment=eyes"], "with --target embedder or both"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(options: list[str], match: str) -> None:
    ran = CliRunner().invoke(app, ["learn", "--out", "model", *options])
    assert isinstance(ran.exception, InvalidOption)
    assert match in str(ran.exception)


def test_a_data_set_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["learn", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "model")])
    assert isinstance(ran.exception, DatasetError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_screen_says_what_it_is_worth_and_whether_it_pays(shuffled: bool) -> None:
    table = PlantedPairs.of(0.4).table(100, shuffled=shuffled)
    lesson, scores, _ = lesson_of_table(table, LearnOptions("mine"), say_nothing)
    rows = dict(learned_rows(Path("model"), lesson.training))
    assert scores.pays is not shuffled
    assert ("not better than chance" in rows["verdict"]) is shuffled
    assert "starter's belief" in rows["verdict"] or not shuffled
    assert "chance 50" in rows["match, gender and decade"]
    assert "twice as many would give" in rows["by people"]
    assert rows["measurements of the face"].startswith("r ") and "age and gender" in rows["measurements of the face"]
    assert "within gender and language" in rows["error gone, one language"]
    assert rows["release gate"].startswith("passed")
    json.dumps(lesson.training, allow_nan=False)  # what model.json holds
