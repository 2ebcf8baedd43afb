"""Sums over people: what is added is subtracted exactly, few people are refused, and what does not go together too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from speech2face.errors import DatasetError, InvalidOption, OutputExists
from speech2face.learning.release import LearnOptions, lesson_of_sums, lesson_of_table, subtract, sums_of_table, verdict
from speech2face.learning.scores import LearningTable, drawn_folds, hashed_parts, hashed_places
from speech2face.learning.sums import (
    ARRAYS,
    FORMAT,
    LEAST_PEOPLE,
    PreparedSums,
    Strength,
    Sums,
    SumsFile,
    SumsLabel,
    beyond,
    learn,
    read_sums,
    teach,
    total,
)
from tests.learned_pairs import PlantedPairs
from tests.learning.made_sets import pair_set

WORLD = PlantedPairs.of(0.3)


def sums_file(table: LearningTable, sha256: str = "a" * 64) -> SumsFile:
    return sums_of_table(table, pair_set(sha256), by_attributes=True)


def without(table: LearningTable, number: int) -> LearningTable:
    """The same people but one."""
    rows = table.person != number
    people = np.arange(len(table)) != number
    return replace(
        table,
        names=tuple(name for place, name in enumerate(table.names) if place != number),
        person=np.unique(table.person[rows], return_inverse=True)[1],
        x=table.x[rows],
        prior_mean=table.prior_mean[rows],
        prior_covariance=table.prior_covariance[rows],
        face=table.face[people],
        noise=table.noise[people],
        labels={name: values[people] for name, values in table.labels.items()},
        licences=table.licences[1:],
        consents=table.consents[1:],
        seconds=table.seconds[rows],
        fit_error=table.fit_error[rows],
    )


def assert_alike(one: Sums, other: Sums) -> None:
    for name in ARRAYS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=1e-9, err_msg=name)


def test_sums_by_hand() -> None:
    x, r = np.array([[1.0], [3.0], [2.0]]), np.array([[2.0, 0.0], [4.0, 0.0], [1.0, 1.0]])
    nothing = np.zeros((3, 2, 2))
    found = Sums.of(x, r, np.array([0.5, 0.5, 1.0]), nothing, nothing)  # two clips of one person, one of another
    assert found.people == 2
    assert found.x.tolist() == [0.5 + 1.5 + 2]
    assert found.xx.tolist() == [[0.5 + 4.5 + 4]]
    assert found.xr.tolist() == [[1 + 6 + 2, 2]]
    assert found.rr.tolist() == [[2 + 8 + 1, 1], [1, 1]]


def test_a_person_is_found_however_the_letters_of_the_name_were_typed() -> None:
    table = WORLD.table(60)
    table = replace(table, names=("Zo\u00eb", *table.names[1:]))
    file = sums_file(table)
    one, other = (subtract(file, table, names) for names in (["Zo\u00eb"], ["Zoe\u0308", "Zo\u00eb"]))
    assert one.label.people == other.label.people == 59
    for left, right in zip(one.parts, other.parts, strict=True):
        assert_alike(left, right)


def test_a_person_who_is_subtracted_was_never_there() -> None:
    table = WORLD.table(150, clips=2)
    left = subtract(sums_file(table), table, [table.names[7]])
    never = sums_file(without(table, 7))
    assert left.label.people == never.label.people == 149
    place = hashed_places(without(table, 7).names, left.label.hashed)
    again = [without(table, 7).sums(place == number) for number in range(left.label.hashed)]
    for one, other in zip(left.parts, again, strict=True):
        assert_alike(one, other)
    numbers = table.numbers[:5]
    np.testing.assert_allclose(
        teach(left.parts).lines.predict(numbers), teach(again).lines.predict(numbers), rtol=0, atol=1e-6
    )


def test_files_of_several_clinics_are_the_sums_of_all_people(tmp_path: Path) -> None:
    table = WORLD.table(200)
    some = np.arange(200) < 90
    everybody = table.sums(np.ones(200, bool))
    for number, people in enumerate((some, ~some)):
        SumsFile(replace(sums_file(table).label, made_of=[str(number)]), (table.sums(people),)).write(
            tmp_path / f"{number}.sums"
        )
    joined = read_sums(tmp_path / "0.sums") + read_sums(tmp_path / "1.sums")
    assert_alike(total(joined.parts), everybody)
    assert joined.label.made_of == ["0", "1"]
    with pytest.raises(InvalidOption, match="joined from several"):
        subtract(joined, table, [table.names[0]])


def test_sums_of_few_people_are_neither_written_nor_read(tmp_path: Path) -> None:
    table = WORLD.table(40)
    few = SumsFile(sums_file(table).label, (table.sums(np.arange(40) < LEAST_PEOPLE - 1),))
    with pytest.raises(InvalidOption, match="29 people can give a person away"):
        few.write(tmp_path / "few.sums")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidOption, match="20 people"):
        hashed_parts(WORLD.table(20).names)


def test_sums_of_other_networks_or_of_the_same_data_are_not_added() -> None:
    file = sums_file(WORLD.table(60))
    with pytest.raises(InvalidOption, match="same data"):
        file + file
    for change in ({"encoder": "other"}, {"target": "dlib"}, {"by_attributes": False}):
        other = SumsFile(replace(file.label, made_of=["b"], **change), file.parts)
        with pytest.raises(InvalidOption, match="cannot be added"):
            file + other


def test_a_file_of_sums_comes_back_and_is_not_overwritten(tmp_path: Path) -> None:
    file = sums_file(WORLD.table(130))
    file.write(tmp_path / "a.sums")
    again = read_sums(tmp_path / "a.sums")
    assert again.label == file.label
    for one, other in zip(again.parts, file.parts, strict=True):
        assert_alike(one, other)
    with pytest.raises(OutputExists):
        file.write(tmp_path / "a.sums")


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x00" * 100])
def test_what_is_no_file_of_sums_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.sums").write_bytes(content)
    with pytest.raises(DatasetError, match="no file of sums"):
        read_sums(tmp_path / "a.sums")


def test_the_label_of_sums_names_nobody() -> None:
    table = WORLD.table(60)
    said = repr(sums_file(table).label)
    assert all(name not in said for name in table.names)
    assert isinstance(sums_file(table).label, SumsLabel)


def test_errors_of_people_left_out_follow_from_their_sums() -> None:
    table = WORLD.table(120)
    fold = drawn_folds(120, 3)
    parts = [table.sums(fold == number) for number in range(3)]
    line = PreparedSums(parts[0] + parts[1]).line(Strength(0.15, True))
    away = table.residual[fold == 2] - line.predict(table.numbers[fold == 2])
    np.testing.assert_allclose(line.errors(parts[2]), away.T @ away, atol=1e-8)
    first = learn([part.leading(table.face.shape[1]) for part in parts]).line
    left = beyond(parts[2], first)
    size = table.face.shape[1]
    rest = table.residual[fold == 2] - first.predict(table.attributes[fold == 2])
    np.testing.assert_allclose(left.xr, table.numbers[fold == 2][:, size:].T @ rest, atol=1e-8)
    np.testing.assert_allclose(left.r, rest.sum(0), atol=1e-8)


def test_what_would_give_people_away_is_weakened_from_sums_as_from_pairs(tmp_path: Path) -> None:
    table = PlantedPairs.of(0.5).table(80)
    _, _, judged = lesson_of_table(table, LearnOptions("pairs"), lambda what, done, of: None)
    file = sums_file(table)
    assert file.label.weakened == judged.weakened < 1
    assert file.label.gate_passed == judged.passed
    calm = replace(sums_file(PlantedPairs.of(0.05).table(200, 1), "b" * 64))
    assert calm.label.weakened == 1
    for number, each in enumerate((file, calm)):
        each.write(tmp_path / f"{number}.sums")
    joined = read_sums(tmp_path / "0.sums") + read_sums(tmp_path / "1.sums")
    assert joined.label.weakened == judged.weakened  # the strictest of all places
    lesson = lesson_of_sums(joined)
    assert lesson.training["gate_of_places"] == {"passed": True, "weakened": judged.weakened}
    strong = SumsFile(file.label, tuple(table.sums(drawn_folds(80, 5) == number) for number in range(5)))
    learned, plain = (
        lesson_of_sums(SumsFile(replace(strong.label, weakened=factor), strong.parts))
        for factor in (judged.weakened, 1.0)
    )
    assert learned.lines is not None and plain.lines is not None
    np.testing.assert_allclose(learned.lines.voice.weights, judged.weakened * plain.lines.voice.weights)


def test_sums_whose_gate_did_not_pass_add_nothing() -> None:
    table = PlantedPairs.of(0.5).table(80)
    parts = tuple(table.sums(drawn_folds(80, 5) == number) for number in range(5))
    label = sums_file(table).label
    assert lesson_of_sums(SumsFile(label, parts)).training["pays"]
    failed = lesson_of_sums(SumsFile(replace(label, gate_passed=False), parts))
    assert failed.lines is None
    assert not failed.training["pays"]
    assert "would give away" in verdict(failed.training)


def test_sums_of_an_older_program_are_refused(tmp_path: Path) -> None:
    file = sums_file(WORLD.table(60))
    replace(file, label=replace(file.label, format=FORMAT - 1)).write(tmp_path / "old.sums")
    with pytest.raises(DatasetError, match=r"format 1; this program reads 2; write it again with learn --sums-only"):
        read_sums(tmp_path / "old.sums")


def test_nobody_is_taken_off_twice() -> None:
    table = replace(WORLD.table(100), marks=tuple(f"{number:016x}" for number in range(100)))
    less = subtract(sums_file(table), table, [table.names[3]])
    assert less.label.taken_off == [f"{3:016x}"]
    with pytest.raises(InvalidOption, match="taken off these sums already"):
        subtract(less, table, [table.names[3]])
