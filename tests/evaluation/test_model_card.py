import json
from pathlib import Path

import pytest

from recipes.starter.model_card import aims, by_condition, by_decade, by_source, gate_text, read_scores, write_card
from speech2face.errors import WeightsError
from speech2face.evaluation.audit import kept_block, put_block, weights_mark
from speech2face.models.release import MANIFEST, sha256
from speech2face.voice.belief import Calibration

HEAD = "metric,channel,seconds,source,value,low_95,high_95,speakers,trivial_baseline\n"
WHOLE = "all (3 or more)"
ROWS = f"""\
gender_balanced_accuracy_adults,clean,3,all,0.9712,0.95,0.99,200,0.5
gender_balanced_accuracy_adults,clean,{WHOLE},all,0.98,0.96,0.995,210,0.5
gender_balanced_accuracy_adults,clean,{WHOLE},Made corpus,0.9,0.8,1,20,0.5
gender_balanced_accuracy_adults,telephone,3,all,0.94,0.9,0.97,199,0.5
age_spearman,clean,{WHOLE},all,0.41,0.3,0.5,150,0
age_interval_80_coverage,clean,{WHOLE},all,0.81,0.75,0.86,150,nan
child_balanced_accuracy,clean,{WHOLE},all,nan,nan,nan,0,0.5
age_mae_years_of_60s,clean,{WHOLE},all,27.3,20,34,9,35
stated_age_mean_of_60s,clean,{WHOLE},all,37.7,33,45,9,25
"""
PEOPLE = {"faces": 10, "matched": 3, "matched_share": 0.3, "nearest": 0.51, "quantile_01_10_50": [0.5, 0.55, 0.6]}
GATE = {
    "measured": True,
    "passed": False,
    "dlib": {
        "threshold": 0.6,
        "strangers": PEOPLE,
        "expected": {"no_face_found": 0, **PEOPLE, "nearer": 0.71, "p": 0.0002},
        "draws": {"no_face_found": 0, **PEOPLE, "nearer": 0.44, "p": 0.9},
        "membership": {
            "everyone": {"people": 5, "told": 0.58},
            "white": {"people": 4, "told": 0.55, "median_with": 0.7, "median_without": 0.72},
            "lone": {"people": 1, "told": 1.0, "median_with": 0.6, "median_without": 0.62},
        },
    },
}


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(HEAD + ROWS)
    return path


def test_every_cell_has_its_interval_its_speakers_and_its_trivial_baseline(scores: Path) -> None:
    text = by_condition(read_scores(scores))
    assert "| 3 | 0.971 [0.950, 0.990], n 200, trivial 0.500 | 0.940 [0.900, 0.970], n 199, trivial 0.500 |" in text
    assert f"| {WHOLE} | 0.980 [0.960, 0.995], n 210, trivial 0.500 | - |" in text
    assert "0.810 [0.750, 0.860], n 150 |" in text  # no constant answer has a coverage of its own
    assert "nan" not in text


def test_an_aim_that_was_missed_says_so(scores: Path) -> None:
    lines = aims(read_scores(scores)).splitlines()
    reached = {tuple(cells[:2]): cells[-1] for cells in (line.strip("| ").split(" | ") for line in lines[2:])}
    assert reached["Gender, balanced accuracy (15 years and older)", "clean"] == "yes"
    assert reached["Gender, balanced accuracy (15 years and older)", "telephone"] == "not measured"
    assert reached["Age of adults, Spearman rank correlation", "clean"] == "**no**"
    assert reached["Share of adults inside the stated 80 % interval", "clean"] == "yes"
    assert reached["Children under 13 told from adults, balanced accuracy", "clean"] == "not measured"


def test_sources_and_decades_have_their_tables(scores: Path) -> None:
    assert "| Made corpus | 0.900 [0.800, 1.000], n 20, trivial 0.500 |" in by_source(read_scores(scores))
    assert "| 60s | 27.3 [20.0, 34.0], n 9, trivial 35.0 | 37.7 |" in by_decade(read_scores(scores))


def test_the_gate_is_told_as_measured() -> None:
    text = gate_text(GATE)
    assert "**Not passed.**" in text
    assert "| dlib | random draws | 0.600 | 44 % | 0.9 | 3 of 10 (30.0 %) |" in text
    assert "| dlib | the people themselves, to one another | 0.600 | - | - | 3 of 10 (30.0 %) |" in text
    assert "| white | 4 | 0.55 | 0.7 | 0.72 |" in text
    assert "lone" not in text  # one person's distance is theirs
    assert gate_text({}) == gate_text({"passed": False, "measured": False})
    assert "not measured" in gate_text({})


def test_the_card_names_every_file_of_the_release_and_its_digest(scores: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    face = {
        "reference_population": {"white": 0.25, "black": 0.25, "west_asian": 0.25, "east_asian": 0.25},
        "gate": GATE,
    }
    (folder / "face.json").write_text(json.dumps(face))
    manifest = {
        "format": 1,
        "name": "made",
        "version": "0.0.1",
        "licence": "CC0-1.0",
        "files": {"face.json": sha256(folder / "face.json")},
        "calibration": Calibration().to_dict(),
        "thresholds": {"voice_logit": 0.25},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))
    card = write_card(folder, read_scores(scores))
    assert card.startswith("# Model card: made 0.0.1\n")
    assert sha256(folder / "face.json") in card
    assert "white 0.25, black 0.25" in card
    assert "| voice logit | 0.25 |" in card
    assert "not the speaker's" in card
    for title in ("Limits", "Release gate", "Known failures", "Files"):
        assert card.count(f"\n## {title}\n") == 1
    (folder / "face.json").write_text(json.dumps(face | {"changed": True}))
    with pytest.raises(WeightsError, match=r"face\.json"):
        write_card(folder, read_scores(scores))
    # The audit's block, written by another command, lives through a new card.
    digest = sha256(folder / MANIFEST)
    audited = put_block(card, f"| made | audit | {weights_mark(digest)}")
    (tmp_path / "card.md").write_text(audited)
    (folder / "face.json").write_text(json.dumps(face))
    assert write_card(folder, read_scores(scores), (), kept_block(tmp_path / "card.md", digest)) == audited
