import csv
from pathlib import Path

import pytest

from speech2face.evaluation.clips import Speaker, read_speakers

COLUMNS = ["speaker", "file", "seconds", "gender", "age", "age_impression", "language", "accent", "source", "licence"]
REAL = Path(__file__).resolve().parents[3] / "shared" / "starter"


def written(folder: Path, count: int = 400) -> Path:
    (folder / "voices").mkdir()
    ages = ["twenties", "fifties", "7", "teens", "19", ""]
    with (folder / "voices" / "voices.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for index in range(count):
            row = dict.fromkeys(COLUMNS, "")
            row |= {
                "speaker": f"s{index}",
                "file": f"s{index}.opus",
                "seconds": "5.0",
                "source": "A" if index % 2 else "B",
            }
            row |= {"gender": ["male", "female", ""][index % 3], "age": ages[index % len(ages)]}
            if not row["age"]:
                row["age_impression"] = "old"
            writer.writerow(row)
    return folder


def by_name(speakers: list[Speaker]) -> dict[str, Speaker]:
    return {speaker.name: speaker for speaker in speakers}


def test_ages_become_intervals_and_impressions_are_told_apart(tmp_path: Path) -> None:
    people = by_name(read_speakers(written(tmp_path)))
    assert people["s0"].age == (20, 30)
    assert people["s0"].is_adult
    assert people["s0"].age_years == 25
    assert people["s2"].age == (7, 8)
    assert people["s2"].is_child
    assert not people["s3"].is_adult  # a teenager is neither
    assert not people["s3"].is_child
    assert people["s4"].is_adult
    assert people["s5"].age == (55, 90)
    assert people["s5"].age_is_impression
    assert not people["s5"].is_adult  # annotators' impressions are never evaluated


def test_every_speaker_is_in_one_split_and_every_stratum_in_all(tmp_path: Path) -> None:
    speakers = read_speakers(written(tmp_path))
    assert len({s.name for s in speakers}) == len(speakers)
    shares = {split: sum(s.split == split for s in speakers) / len(speakers) for split in ("validation", "calibration")}
    assert shares["validation"] == pytest.approx(0.20, abs=0.02)
    assert shares["calibration"] == pytest.approx(0.10, abs=0.02)
    for age in {s.age for s in speakers}:
        assert {s.split for s in speakers if s.age == age} == {"train", "calibration", "validation"}


def test_splits_do_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    first = {s.name: s.split for s in read_speakers(written(tmp_path))}
    path = tmp_path / "voices" / "voices.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert {s.name: s.split for s in read_speakers(tmp_path)} == first


@pytest.mark.skipif(not (REAL / "voices").is_dir(), reason="the starter's voices are not beside the checkout")
def test_the_starters_speakers_are_disjoint_and_counted() -> None:
    speakers = read_speakers(REAL)
    assert len(speakers) == 2586
    assert len({s.file for s in speakers}) == 2586
    assert sum(s.is_child for s in speakers) == 104
