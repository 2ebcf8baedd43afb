import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from speech2face.data.manifest import Manifest
from speech2face.data.members import Clip
from speech2face.data.record import Reject
from speech2face.data.shards import write_shards
from speech2face.data.statement import make_statement, statement_markdown
from tests.data.made_clips import EMBEDDER, made_data


def clip(number: int, speaker: str, split: str, *, seconds: int = 9, language: str = "", consent: str = "") -> Clip:
    return Clip(
        key=f"clip-{number}",
        speaker=speaker,
        split=split,
        waveform=np.full(16_000 * seconds, number + 1, np.int16),
        labels={"source": "pairs", "language": language, "sharpness": 0.5 * number},
        licence="CC0 1.0",
        consent=consent,
    )


def four_clips(folder: Path) -> Manifest:
    """36 s: three of Ann, one of Bob."""
    clips = [
        clip(0, "Ann", "train", language="cy"),
        clip(1, "Ann", "train", language="cy", consent="signed"),
        clip(2, "Ann", "train", consent="signed"),
        clip(3, "Bob", "test", language="et", consent="signed"),
    ]
    write_shards(folder, clips, clips_per_shard=2)
    return Manifest.open(folder)


def rejects(*reasons: str) -> list[Reject]:
    return [Reject(f"k{number}", "Cid", "c.mp4", reason, "") for number, reason in enumerate(reasons)]


def test_clips_speakers_and_hours_are_counted_as_by_hand(tmp_path: Path) -> None:
    statement = make_statement(four_clips(tmp_path), rejects("no_face", "blurred", "no_face"))
    assert (statement["clips"], statement["speakers"], statement["hours"]) == (4, 2, 0.01)
    assert statement["clips_a_speaker"] == {"least": 1, "median": 2, "most": 3}
    assert statement["splits"]["test"] == {"clips": 1, "speakers": 1, "hours": 0.003}  # 9 s are 0.0025 h
    assert statement["sources"] == {"pairs": {"clips": 4, "speakers": 2, "hours": 0.01}}
    languages = statement["labels"]["language"]
    assert {value: (c["clips"], c["speakers"]) for value, c in languages.items()} == {
        "cy": (2, 1),
        "not known": (1, 1),
        "et": (1, 1),
    }
    assert statement["consents"]["not known"]["clips"] == 1
    assert statement["measures"]["sharpness"]["median"] == 0.75
    assert statement["rejects"] == {"blurred": 1, "no_face": 2}


def test_a_statement_lives_in_a_manifest(tmp_path: Path) -> None:
    manifest = four_clips(tmp_path / "one")
    statement = make_statement(manifest, settings={"seed": 0}, duplicates={"recording": 0})
    assert json.loads(json.dumps(statement)) == statement
    write_shards(tmp_path / "two", [clip(0, "Ann", "train")], statement=statement)
    assert Manifest.open(tmp_path / "two").statement == statement


def test_the_page_says_what_is_missing_and_what_was_allowed(tmp_path: Path) -> None:
    settings = {"sources": [{"kind": "pairs", "basis": {"licence": "", "allow": ["consent"]}}], "seed": 7}
    statement = make_statement(four_clips(tmp_path), rejects("no_face"), settings=settings, forgotten=2)
    page = statement_markdown(statement)
    assert page.startswith(
        "# Data statement\n\n4 clips of 2 speakers, 0.01 hours. Clips a speaker: 1 to 3, median 2.\n"
    )
    assert "| train | 3 | 1 | 0.01 |" in page
    assert "1 clips have no basis of consent: whoever prepared the data allowed that." in page
    assert "no licence:" not in page
    assert "| no_face | 1 | no face was found |" in page
    assert "## Alike across splits\n\nNobody looked.\n" in page
    assert "2 speakers asked to be forgotten" in page
    assert "      - allow: `consent`\n" in page
    assert "      - licence: not stated\n" in page
    assert "- seed: `7`\n" in page


def test_what_was_not_compared_is_said_in_words(tmp_path: Path) -> None:
    compared: dict[str, int | str] = {"recording": 1234, "face_embedding": "not compared (under 200 clips)"}
    statement = make_statement(four_clips(tmp_path), duplicates=compared)
    assert statement["duplicates"] == compared
    page = statement_markdown(statement)
    assert "| recording | 1,234 |\n| face_embedding | not compared (under 200 clips) |\n" in page


def test_the_licence_of_the_68_landmarks_is_told(tmp_path: Path) -> None:
    statement = make_statement(made_data(tmp_path))
    assert "300-W" not in statement_markdown(statement)
    assert "300-W" in statement_markdown(statement | {"landmarks": 68})


def test_what_the_limit_on_turned_faces_took_is_counted_among_the_faces_that_came_to_it(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)
    out = rejects("not_frontal", "not_frontal", "blurred", "no_face", "too_small")  # the last two come before it
    settings = {"options": {"limits": {"max_turn_degrees": 25.0}}}
    statement = make_statement(manifest, out, settings=settings)
    faces = len(manifest.table) + 3
    assert statement["turned"] == {"limit_degrees": 25.0, "rejected": 2, "of_faces": faces}
    page = statement_markdown(statement)
    assert f"2 of {faces} faces ({2 / faces:.0%}) were turned by more than 25 degrees" in page
    assert "at 20 degrees down" in page
    assert "Turned faces" not in statement_markdown(make_statement(manifest, out, settings={}))
    assert "Turned faces" not in statement_markdown({k: v for k, v in statement.items() if k != "turned"})  # an old one


def test_without_faces_nothing_is_said_of_turns(tmp_path: Path) -> None:
    assert make_statement(four_clips(tmp_path), rejects("silent"))["turned"] is None


def test_no_speaker_is_named(tmp_path: Path) -> None:
    statement = make_statement(four_clips(tmp_path), rejects("no_face"))
    for text in (json.dumps(statement), statement_markdown(statement)):
        assert not any(name in text for name in ("Ann", "Bob", "Cid", "clip-0"))


def test_a_label_of_a_thousand_values_is_a_hundred_rows_and_the_rest(tmp_path: Path) -> None:
    clips = [
        replace(clip(number, "Ann", "train", seconds=1), labels={"word": f"word {number}"}) for number in range(150)
    ]
    write_shards(tmp_path, [*clips, replace(clips[7], key="again")], embedder=EMBEDDER)
    words = make_statement(Manifest.open(tmp_path))["labels"]["word"]
    assert len(words) == 101
    assert next(iter(words.items())) == ("word 7", {"clips": 2, "speakers": 1, "hours": 0.001})
    assert words["others (50)"]["clips"] == 50


def test_a_bar_in_a_label_does_not_break_the_page(tmp_path: Path) -> None:
    write_shards(tmp_path, [clip(0, "Ann", "train", language="a|b")])
    assert "| a\\|b | 1 | 1 | 0.00 |" in statement_markdown(make_statement(Manifest.open(tmp_path)))
