"""Measures: the built-in ones keep to the protocol, and one of another package stands in every form of a report."""

import json
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from speech2face.drivers import KINDS
from speech2face.errors import InvalidOption
from speech2face.evaluation.parts import PARTS, chosen_parts
from speech2face.evaluation.parts.similarity import measure_added
from speech2face.evaluation.report import ModelFacts, ReportFacts, write_report
from speech2face.metrics import measures
from speech2face.metrics.measures import (
    ANGLE_DEGREES,
    MEAN_RANK_PERCENT,
    Answers,
    ClipMeasure,
    added_measures,
    average,
    check_measure,
    made_answers,
)
from tests.evaluation.planted_sets import number, oracle

DOCUMENTED = Path(__file__).parents[2] / "examples" / "plugin" / "speech2face_example" / "measure.py"


def documented_measure() -> ClipMeasure:
    """The example that the documentation leads to."""
    names: dict[str, Any] = {}
    exec(DOCUMENTED.read_text(encoding="utf-8"), names)
    found: ClipMeasure = names["LENGTH_RATIO"]
    return found


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package's entry point, as if it were installed."""
    monkeypatch.setitem(__import__("sys").modules, "length_measure", SimpleNamespace(LENGTH_RATIO=documented_measure()))
    point = EntryPoint("length_ratio", "length_measure:LENGTH_RATIO", "speech2face.measures")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [point] if group == point.group else [])


def test_every_built_in_measure_is_found_by_name_and_keeps_to_the_protocol() -> None:
    written = {name.lower() for name, found in vars(measures).items() if isinstance(found, ClipMeasure)}
    assert written == set(KINDS["measures"].built_in), "drivers.py lists each measure of metrics/measures.py"
    for name in KINDS["measures"].built_in:
        assert KINDS["measures"].load(name).name == name
        KINDS["measures"].check(name)


def test_a_measure_of_another_package_stands_in_every_form_of_the_report(added: None, tmp_path: Path) -> None:
    assert [part.name for part in chosen_parts(None)] == [*(part.name for part in PARTS), "measures"]
    part = measure_added(oracle(60))
    write_report([part], ReportFacts("made", (ModelFacts("oracle"),), {}), tmp_path)
    (found,) = json.loads((tmp_path / "results.json").read_text())["parts"][0]["numbers"]
    assert found["metric"] == "length_ratio" and found["speakers"] == 60
    assert found["low_95"] < found["value"] < found["high_95"]
    assert found["value"] < found["chance"] and found["mean_face"] is not None
    shown = f"{found['value']:.3f} [{found['low_95']:.3f}, {found['high_95']:.3f}]"
    assert f"| Length ratio | {shown} | {found['chance']:.3f} | {found['mean_face']:.3f} |" in (
        tmp_path / "report.md"
    ).read_text(encoding="utf-8")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Measures of other packages" in page and f"<strong>{found['value']:.3f}</strong>" in page
    assert "length_ratio" in (tmp_path / "numbers.csv").read_text()
    KINDS["measures"].check("length_ratio")


def test_a_measure_whose_inputs_nobody_knows_is_not_measured_and_says_why(added: None) -> None:
    part = measure_added(replace(oracle(60), reference=None))
    assert "length_ratio needs predicted, reference" in part.skipped


def test_without_an_added_measure_the_report_has_no_such_part() -> None:
    assert "measures" not in [part.name for part in chosen_parts(None)]
    with pytest.raises(InvalidOption, match="no part 'measures'"):
        chosen_parts(("measures",))


def test_what_is_no_measure_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("wrong", "json:dumps", "speech2face.measures")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: [point] * (group == point.group))
    with pytest.raises(InvalidOption, match="'wrong' is no measure"):
        added_measures()


def changing(answers: Answers) -> np.ndarray:
    assert answers.stated_age is not None
    answers.stated_age[0] = 1
    return answers.stated_age


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Big Name"}, "small letters"),
        ({"inputs": ("weight",)}, "inputs are some of"),
        ({"of_answers": lambda answers: np.zeros(3)}, "one number a clip"),
        ({"of_answers": lambda answers: np.zeros(len(answers.speaker))}, "NaN where the inputs are missing"),
        ({"of_answers": lambda answers: answers.stated_age * np.random.default_rng().uniform()}, "two results"),
        ({"of_answers": changing}, "changes stated_age"),
        ({"chance_level": float("nan")}, "chance is a finite number"),
        ({"of_baselines": lambda answers: {"cheat": np.zeros(3)}}, "baselines are of"),
    ],
)
def test_the_conformance_check_says_what_is_wrong(change: dict[str, Any], said: str) -> None:
    good = ClipMeasure("years", ("stated_age",), None, lambda answers: np.asarray(answers.stated_age))
    check_measure(good)
    with pytest.raises(AssertionError, match=said):
        check_measure(replace(good, **change))


def test_the_trivial_baseline_of_a_measure_is_what_the_mean_face_earns_when_it_is_measured() -> None:
    answers = made_answers()
    earned = ANGLE_DEGREES.baselines(answers)["mean_face"]
    assert answers.predicted is not None
    said = np.full_like(answers.predicted, np.nan)
    said[answers.pairs] = answers.mean_face
    np.testing.assert_allclose(ANGLE_DEGREES.compute(replace(answers, predicted=said)), earned)
    assert average(MEAN_RANK_PERCENT.compute(replace(answers, predicted=said))) == pytest.approx(
        MEAN_RANK_PERCENT.chance(answers), abs=15
    )


def test_training_the_report_and_the_audit_mean_the_same_by_a_name() -> None:
    from speech2face.evaluation.groups import OF_FACES
    from speech2face.evaluation.parts.similarity import measure_feature_similarity
    from speech2face.metrics.measures import embedding_numbers

    evaluation = oracle(60)
    assert evaluation.reference is not None
    angle = number(measure_feature_similarity(evaluation), "angle_degrees").estimate.value
    watched = embedding_numbers(evaluation.predicted[6.0], evaluation.reference)["angle_degrees"]
    asked = next(question for question in OF_FACES if question.name == "angle_degrees")
    assert watched == pytest.approx(angle)
    assert average(asked.measure.compute(evaluation.answers(6.0))) == pytest.approx(angle)
