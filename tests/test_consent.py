"""The folder of consent: what is signed, stored, verified and erased, whatever happens in between."""

import json
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="signing needs the extra `serve`")

from speech2face.consent import (
    CODE_LETTERS,
    CONSENT_FILE,
    PAIRS,
    PAIRS_COLUMNS,
    ConsentFolder,
    ConsentRecord,
    Lent,
    StudioTerms,
    consent_form,
    new_code,
    plain_code,
    read_terms,
)
from speech2face.data.record import Record, read_tombstones
from speech2face.data.sources import open_source
from speech2face.data.storage import Storage
from speech2face.errors import CannotWrite, DatasetError, InvalidOption
from speech2face.outputs import TEMPORARY_PREFIX, decode_csv

SIGNED = datetime(2026, 3, 31, 12, 0, tzinfo=UTC)
TODAY = date(2026, 4, 1)
NAME = "Ada Example-Nobody"
ROOT = Path(__file__).parents[1]


def terms(**changes: Any) -> StudioTerms:
    values: dict[str, Any] = {
        "organisation": "Example Clinic",
        "purpose": "To learn.",
        "contact": "studies@clinic.example",
        "licence": "LicenseRef-Example",
        "term_months": 11,
    }
    return StudioTerms(**(values | changes))


def lent(asked: StudioTerms, **changes: Any) -> Lent:
    form = consent_form(asked)
    values: dict[str, Any] = {
        "name": NAME,
        "form_sha256": form.sha256,
        "statements": form.statements,
        "signed_at": SIGNED,
        "language": "en",
        "voice": b"a voice",
        "photographs": (b"one", b"two", b"three"),
        "speech_seconds": 31.26,
        "findings": {"photo-2.png": ("too_dark",)},
        "age": "40-49",
        "gender": "female",
    }
    return Lent(**(values | changes))


@pytest.fixture
def folder(tmp_path: Path) -> ConsentFolder:
    found = ConsentFolder(tmp_path / "consent")
    found.prepare(consent_form(terms()))
    return found


def added(folder: ConsentFolder, **changes: Any) -> tuple[ConsentRecord, str]:
    asked, code = terms(), new_code()
    return folder.add(lent(asked, **changes), asked, code), code


def rows(folder: ConsentFolder) -> list[list[str]]:
    return decode_csv((folder.path / PAIRS).read_bytes())[1:]


def files(folder: ConsentFolder) -> set[str]:
    return {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*") if path.is_file()}


def states(folder: ConsentFolder, today: date = TODAY) -> list[str]:
    return [each.state for each in folder.verify(today)]


# Terms, form and code


@pytest.mark.parametrize(
    ("signed", "months", "last"),
    [
        (date(2026, 3, 31), 11, date(2027, 2, 28)),
        (date(2027, 3, 31), 11, date(2028, 2, 29)),
        (date(2026, 12, 1), 1, date(2027, 1, 1)),
        (date(2026, 1, 15), 24, date(2028, 1, 15)),
    ],
)
def test_the_last_day_is_so_many_months_after_signing(signed: date, months: int, last: date) -> None:
    assert terms(term_months=months).last_day(signed) == last


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="a process has one time zone on Windows")
@pytest.mark.parametrize(
    ("zone", "signed", "last"),
    [
        ("America/New_York", datetime(2026, 7, 1, 3, tzinfo=UTC), date(2026, 6, 30)),  # 23:00 of the day before
        ("Pacific/Auckland", datetime(2026, 6, 29, 13, tzinfo=UTC), date(2026, 6, 30)),  # 01:00 of the day after
    ],
)
def test_the_day_of_signing_is_that_of_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, signed: datetime, last: date
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        asked = terms(term_months=None, until=last)
        folder = ConsentFolder(tmp_path / "consent")
        folder.prepare(consent_form(asked))
        assert folder.add(lent(asked, signed_at=signed), asked, new_code()).until == last.isoformat()
        asked = terms(term_months=12)
        record = folder.add(lent(asked, signed_at=signed), asked, new_code())
        assert record.until == last.replace(year=last.year + 1).isoformat()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_last_day_for_everybody_ends_the_signing() -> None:
    asked = terms(term_months=None, until=date(2026, 4, 1))
    assert asked.last_day(date(2026, 4, 1)) == date(2026, 4, 1)
    with pytest.raises(InvalidOption, match="2026-04-01"):
        asked.last_day(date(2026, 4, 2))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"term_months": None}, "term_months and until"),
        ({"until": date(2030, 1, 1)}, "term_months and until"),
        ({"purpose": " "}, "purpose"),
        ({"licence": "two\nlines"}, "licence"),
        ({"photographs": 0}, "photographs"),
        ({"languages": ("English",)}, "languages"),
        ({"purpos": "x"}, "purpos"),
    ],
)
def test_terms_that_say_nothing_or_too_much_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        terms(**changes)


def test_the_shown_settings_can_be_read_and_a_mistake_names_the_file(tmp_path: Path) -> None:
    asked = read_terms(Path("studio"))
    assert asked.term_months == 24
    assert len(asked.more) == 2
    wrong = tmp_path / "studio.toml"
    wrong.write_text('organisation = "A"\nterm_month = 3\n')
    with pytest.raises(InvalidOption, match=r"studio\.toml.*term_month"):
        read_terms(wrong)


def test_whatever_changes_in_the_terms_changes_the_digest_of_the_form() -> None:
    other: list[dict[str, Any]] = [
        {"organisation": "Another"},
        {"purpose": "To teach."},
        {"contact": "a@b.example"},
        {"licence": "CC0-1.0"},
        {"term_months": 12},
        {"version": "2"},
        {"more": ("One thing more.",)},
        {"photographs": 2},
    ]
    digests = {consent_form(terms(**changes)).sha256 for changes in other}
    assert len(digests | {consent_form(terms()).sha256}) == len(other) + 1


def test_a_form_says_in_words_who_asks_for_how_long_and_how_to_withdraw() -> None:
    text = consent_form(terms(term_months=24)).text
    for words in (
        "Example Clinic",
        "To learn.",
        "for 2 years from the day you sign",
        "studies@clinic.example",
        "18 years",
    ):
        assert words in text
    assert "until 31 December 2030" in consent_form(terms(term_months=None, until=date(2030, 12, 31))).text
    assert "for 11 months" in consent_form(terms()).text
    assert "for 1 month from" in consent_form(terms(term_months=1)).text


def test_a_code_is_the_same_however_it_is_typed() -> None:
    code = "0123456789ABCDEFGHJK"
    shown = "01234-56789-ABCDE-FGHJK"
    assert {plain_code(text) for text in (shown, shown.lower(), f" {code} ", "OI234 56789 abcde fghjk")} == {code}
    assert plain_code(shown[:-1]) is None
    assert plain_code(shown.replace("A", "U")) is None
    codes = {new_code() for _ in range(50)}
    assert len(codes) == 50
    assert set("".join(codes)) - {"-"} <= set(CODE_LETTERS)


# Adding


def test_what_is_stored_is_a_table_of_pairs_that_the_project_reads(folder: ConsentFolder) -> None:
    record, _ = added(folder)
    records = list(open_source({"name": "pairs", "table": str(folder.path / PAIRS)}).records())
    assert len(records) == 3
    for number, each in enumerate(records, start=1):
        assert isinstance(each, Record)
        assert (each.speaker, each.licence) == (record.person, "LicenseRef-Example")
        assert "until 2027-02-28" in each.consent
        assert record.form_sha256[:16] in each.consent
        assert each.labels["age"] == "40-49"
        assert each.labels["gender"] == "female"
        assert Path(each.media).read_bytes() == b"a voice"
        assert each.photograph is not None
        assert each.photograph.endswith(f"photo-{number}.png")


def test_a_name_is_in_the_record_alone_and_the_code_is_nowhere(folder: ConsentFolder) -> None:
    record, code = added(folder)
    holding = {name for name in files(folder) if NAME.encode() in (folder.path / name).read_bytes()}
    assert holding == {f"people/{record.person}/{CONSENT_FILE}"}
    for name in files(folder):
        content = (folder.path / name).read_text(errors="replace").upper()
        assert code not in content
        assert code.replace("-", "") not in content


def test_only_the_owner_can_look_at_people_and_key(folder: ConsentFolder) -> None:
    record, _ = added(folder)
    person = folder.path / "people" / record.person
    for path in (folder.path, person.parent, person, *person.iterdir(), folder.path / "studio.key"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_words_that_were_signed_can_be_shown_later(folder: ConsentFolder) -> None:
    record, _ = added(folder)
    folder.prepare(consent_form(terms(version="2", purpose="Another one.")))
    signed = folder.path / "forms" / f"{record.form_sha256}.txt"
    assert signed.read_text(encoding="utf-8") == consent_form(terms()).text
    assert states(folder) == ["valid"]


def test_columns_that_an_organiser_added_stay(folder: ConsentFolder) -> None:
    (folder.path / PAIRS).write_text(",".join(("room", *PAIRS_COLUMNS)) + "\n")
    record, _ = added(folder)
    assert [(row[0], row[3]) for row in rows(folder)] == [("", record.person)] * 3


@pytest.mark.parametrize("content", ["a,b\n1,2\n", ",".join(PAIRS_COLUMNS) + "\nshort\n", ""])
def test_a_table_that_is_damaged_is_left_alone(folder: ConsentFolder, content: str) -> None:
    (folder.path / PAIRS).write_text(content)
    with pytest.raises(DatasetError, match=r"pairs\.csv"):
        added(folder)
    assert (folder.path / PAIRS).read_text() == content
    assert folder.people() == []


@pytest.mark.parametrize("changes", [{"statements": ("I agree to all.",)}, {"form_sha256": "0" * 64}])
def test_what_was_not_signed_is_not_stored(folder: ConsentFolder, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption, match="sign"):
        added(folder, **changes)
    assert folder.people() == []


def test_many_at_once_all_arrive(folder: ConsentFolder) -> None:
    with ThreadPoolExecutor(8) as pool:
        people = {record.person for record, _ in pool.map(lambda _: added(ConsentFolder(folder.path)), range(8))}
    assert set(folder.people()) == people
    assert {row[2] for row in rows(folder)} == people
    assert len(rows(folder)) == 24
    assert states(folder) == ["valid"] * 8


def test_a_disk_that_fails_leaves_nothing_of_the_new_person(
    folder: ConsentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(folder)
    before = files(folder), rows(folder)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(CannotWrite, match="No space left"):
        added(folder)
    monkeypatch.undo()
    assert (files(folder), rows(folder)) == before
    assert states(folder) == ["valid"]


class Stopped(BaseException):
    """Stands for a process that ends at once: no cleaning up is run."""


def stop_at(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Let the process end in front of `os.rename` or after it; what would clean up is out of order too."""
    real = os.rename

    def stopping(*arguments: Any) -> None:
        if where == "after":
            real(*arguments)
        raise Stopped

    monkeypatch.setattr(os, "rename", stopping)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)


def test_a_machine_that_stops_before_all_is_in_place_leaves_nothing_at_the_next_start(
    folder: ConsentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(folder)
    before = files(folder), rows(folder)
    stop_at(monkeypatch, "before")
    real_write = ConsentFolder._write_table
    calls: list[int] = []

    def once(self: ConsentFolder, table: Any) -> None:
        calls.append(1)
        if len(calls) == 1:  # the second would take the rows back
            real_write(self, table)

    monkeypatch.setattr(ConsentFolder, "_write_table", once)
    with pytest.raises(Stopped):
        added(folder)
    monkeypatch.undo()
    assert len(rows(folder)) == 6
    assert any(name.startswith(TEMPORARY_PREFIX) for name in files(folder))
    folder.prepare()
    assert (files(folder), rows(folder)) == before


# Verifying


def change_name(folder: ConsentFolder, person: Path) -> None:
    path = person / CONSENT_FILE
    path.write_text(path.read_text().replace(NAME, "Somebody Else"))


def change_photograph(folder: ConsentFolder, person: Path) -> None:
    (person / "photo-2.png").write_bytes(b"tow")


def add_file(folder: ConsentFolder, person: Path) -> None:
    (person / "photo-4.png").write_bytes(b"four")


def lose_voice(folder: ConsentFolder, person: Path) -> None:
    (person / "voice.wav").unlink()


def change_form(folder: ConsentFolder, person: Path) -> None:
    (path,) = (folder.path / "forms").iterdir()
    path.write_text(path.read_text() + "And everything else.\n")


def sign_with_another_key(folder: ConsentFolder, person: Path) -> None:
    other = ConsentFolder(folder.path.parent / "other")
    other.prepare()
    for name in ("studio.key", "studio.pub"):
        (folder.path / name).write_bytes((other.path / name).read_bytes())


def swap_people(folder: ConsentFolder, person: Path) -> None:
    person.rename(person.with_name("p" + "0" * 16))


def break_record(folder: ConsentFolder, person: Path) -> None:
    (person / CONSENT_FILE).write_text("{}")


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (change_name, "changed after it was signed"),
        (change_photograph, "photo-2.png was changed"),
        (add_file, "photo-4.png is not in the record"),
        (lose_voice, "voice.wav is missing"),
        (change_form, "form"),
        (sign_with_another_key, "another key"),
        (swap_people, "the record is that of"),
        (break_record, "consent.json"),
    ],
)
def test_whatever_was_changed_after_the_signature_is_noticed(
    folder: ConsentFolder, tamper: Callable[[ConsentFolder, Path], None], words: str
) -> None:
    record, _ = added(folder)
    assert states(folder) == ["valid"]
    tamper(folder, folder.path / "people" / record.person)
    found = folder.verify(TODAY)
    assert {each.state for each in found} == {"invalid"}
    assert words in found[0].detail


def test_a_term_that_is_over_is_said_and_can_be_erased(folder: ConsentFolder) -> None:
    old, _ = added(folder)
    new, _ = added(folder, signed_at=SIGNED + timedelta(days=300))
    last = date.fromisoformat(old.until)
    assert states(folder, last) == ["valid", "valid"]
    over = last + timedelta(days=1)
    assert {each.person: each.state for each in folder.verify(over)} == {old.person: "expired", new.person: "valid"}
    assert [each.person for each in folder.erase_expired(over)] == [old.person]
    assert folder.people() == [new.person]
    assert folder.erase_expired(over) == []


def test_a_person_who_is_not_listed_is_said(folder: ConsentFolder) -> None:
    added(folder)
    (folder.path / PAIRS).write_text(",".join(PAIRS_COLUMNS) + "\n")
    (found,) = folder.verify(TODAY)
    assert found.state == "valid"
    assert "not in pairs.csv" in found.detail


def test_a_key_that_others_can_read_is_refused(folder: ConsentFolder) -> None:
    (folder.path / "studio.key").chmod(0o644)
    with pytest.raises(InvalidOption, match="chmod 600"):
        folder.prepare()


def test_a_folder_without_a_studio_is_none(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"studio\.pub"):
        ConsentFolder(tmp_path).verify(TODAY)


# Withdrawing


@pytest.mark.parametrize("by", ["code", "id"])
def test_who_withdraws_is_erased_and_leaves_a_tombstone(folder: ConsentFolder, by: str) -> None:
    record, code = added(folder)
    other, _ = added(folder, name="Bob Example")
    (folder.path / "pairs.csv.features.npz").write_bytes(b"numbers of both")
    done = folder.withdraw(code.lower() if by == "code" else record.person)
    assert done.person == record.person
    assert len(done.files) == 5
    assert folder.people() == [other.person]
    assert {row[2] for row in rows(folder)} == {other.person}
    for name in files(folder):
        content = (folder.path / name).read_bytes()
        assert NAME.encode() not in content
        assert record.person.encode() not in content
    assert not (folder.path / "pairs.csv.features.npz").exists()
    tombstones = read_tombstones(Storage(folder.path))
    assert tombstones is not None
    assert tombstones.has_speaker(record.person)
    assert not tombstones.has_speaker(other.person)
    assert folder.withdrawn() == 1
    assert states(folder) == ["valid"]
    with pytest.raises(InvalidOption, match="code"):
        folder.withdraw(code)


def test_of_two_who_erase_one_person_at_once_the_second_changes_nothing(
    folder: ConsentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(folder)
    second, _ = added(folder)
    real = ConsentFolder._held

    def held_by_another_before(self: ConsentFolder) -> Any:
        monkeypatch.setattr(ConsentFolder, "_held", real)
        ConsentFolder(self.path).withdraw(second.person)
        return real(self)

    monkeypatch.setattr(ConsentFolder, "_held", held_by_another_before)
    with pytest.raises(InvalidOption, match="nobody in this folder"):
        folder.withdraw(second.person)
    tombstones = read_tombstones(Storage(folder.path))
    assert tombstones is not None
    first_table = decode_csv((folder.path / "tables.csv").read_bytes())[1][1]
    assert first_table not in tombstones.manifests, "the second was not in it"


@pytest.mark.parametrize("wrong", ["", "nobody", "00000-00000-00000-00000", "../people"])
def test_a_wrong_code_erases_nobody(folder: ConsentFolder, wrong: str) -> None:
    added(folder)
    with pytest.raises(InvalidOption, match="withdrawal code"):
        folder.withdraw(wrong)
    assert states(folder) == ["valid"]


def model_of(folder: ConsentFolder, path: Path) -> Path:
    """A release that says it learned from the table as it is now."""
    import hashlib

    path.mkdir(parents=True)
    sha256 = hashlib.sha256((folder.path / PAIRS).read_bytes()).hexdigest()
    (path / "model.json").write_text(json.dumps({"training": {"manifest_sha256": sha256}}))
    return path


def test_models_that_learned_of_a_person_are_named_and_no_others(folder: ConsentFolder, tmp_path: Path) -> None:
    models = tmp_path / "models"
    added(folder)
    before = model_of(folder, models / "before")
    record, code = added(folder)
    first = model_of(folder, models / "first")
    added(folder)
    second = model_of(folder, models / "second")
    text = (folder.path / PAIRS).read_text()
    (folder.path / PAIRS).write_text(text.replace("female", "other"))  # by hand, just before
    third = model_of(folder, models / "third")
    done = folder.withdraw(code, models=[models])
    assert {trace.path.parent for trace in done.models} == {first, second, third}
    after = model_of(folder, models / "after")
    assert {before, after}.isdisjoint(trace.path.parent for trace in done.models)
    assert record.person not in (folder.path / PAIRS).read_text()


def test_a_folder_of_models_that_is_not_there_is_said_before_anything_is_erased(
    folder: ConsentFolder, tmp_path: Path
) -> None:
    _, code = added(folder)
    with pytest.raises(DatasetError, match="no folder"):
        folder.withdraw(code, models=[tmp_path / "nowhere"])
    assert states(folder) == ["valid"]


@pytest.mark.parametrize("where", ["before", "after"])
def test_an_erasure_that_was_stopped_is_finished_at_the_next_start(
    folder: ConsentFolder, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    record, code = added(folder)
    added(folder, name="Bob Example")
    stop_at(monkeypatch, where)
    with pytest.raises(Stopped):
        folder.withdraw(code)
    monkeypatch.undo()
    assert any(NAME.encode() in (folder.path / name).read_bytes() for name in files(folder))
    if where == "before":
        assert sorted(states(folder)) == ["valid", "withdrawn"]
    folder.prepare()
    assert not any(NAME.encode() in (folder.path / name).read_bytes() for name in files(folder))
    assert record.person not in (folder.path / PAIRS).read_text()
    assert states(folder) == ["valid"]
