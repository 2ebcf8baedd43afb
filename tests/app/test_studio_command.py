"""The command `studio`: served as a user starts it, and what an organiser does with the folder afterwards."""

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio needs the extra `serve`")
pytest.importorskip("cryptography", reason="the studio needs the extra `serve`")
import httpx

from speech2face import cli
from speech2face.consent import ConsentFolder, Lent, consent_form, new_code
from speech2face.inputs import shipped_settings
from tests.app.listening import start_program
from tests.app.speaking import wait_until
from tests.app.studio_people import terms

SETTINGS = shipped_settings()["studio"]
NAME = "Ada Example-Nobody"
TERMS = ("--organisation", "A", "--purpose", "B", "--contact", "C", "--licence", "D")


def ran(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `speech2face studio`."""
    monkeypatch.setattr(sys, "argv", ["speech2face", "studio", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return code, said.out, said.err


def lent(folder: Path, **changes: Any) -> tuple[str, str]:
    """Id and code of a new person of the folder."""
    asked, code, found = terms(), new_code(), ConsentFolder(folder)
    form = consent_form(asked)
    found.prepare(form)
    values: dict[str, Any] = {"signed_at": datetime.now(UTC)} | changes
    given = Lent(
        name=NAME,
        form_sha256=form.sha256,
        statements=form.statements,
        language="en",
        voice=b"voice",
        photographs=(b"one",),
        speech_seconds=31.0,
        findings={},
        **values,
    )
    return found.add(given, asked, code).person, code


def test_it_starts_says_where_it_is_and_ends_when_told(tmp_path: Path) -> None:
    words = ("studio", "--settings", str(SETTINGS), "--organisation", "Another House", "--out", str(tmp_path / "out"))
    with start_program(tmp_path / "log", *words, "--port", "0") as running:

        def address() -> str:
            found = re.search(r"open (http://127\.0\.0\.1:\d+) ", running.log.read_text())
            return found[1] if found else ""

        wait_until(lambda: bool(address()) or running.process.poll() is not None)
        form = httpx.get(f"{address()}/studio/form", trust_env=False, timeout=180).json()
        assert form["organisation"] == "Another House"
        assert form["contact"].startswith("studies@clinic.example")
        assert running.end() == 0
    log = running.log.read_text()
    assert log.splitlines()[-1] == "ended"
    assert "raceback" not in log
    assert ConsentFolder(tmp_path / "out").people() == []


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ((), 23, "--out"),
        (("--out", "x"), 23, "organisation is missing"),
        (("--out", "x", *TERMS), 23, "term_months and until"),
        (("--out", "x", *TERMS, "--until", "tomorrow"), 23, "until"),
        (("--out", "x", *TERMS, "--term-months", "6", "--languages", "xx"), 23, "'xx'"),
        (("--out", "x", "--settings", "no/such.toml"), 40, "no/such.toml"),
        (("--out", "x", "--settings", str(SETTINGS), "--until", "soon"), 23, "2030-12-31"),
        (("--verify", "x", "--withdraw", "y"), 23, "ask for one"),
        (("--verify", "no/such/folder"), 41, "studio.pub"),
        (("--withdraw", "code", "--out", "no/such/folder"), 41, "studio.pub"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, _, said = ran(monkeypatch, capsys, *words)
    assert (found, text in said, len(said.splitlines())) == (code, True, 1), said


def test_verifying_names_ids_and_states_and_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    (one, _), (two, _) = lent(folder), lent(folder, signed_at=datetime(2020, 1, 1, tzinfo=UTC))
    code, out, _ = ran(monkeypatch, capsys, "--verify", str(folder))
    assert code == 0
    assert re.search(rf"{one} +valid: until", out)
    assert re.search(rf"{two} +expired: until 2022-01-01", out)
    assert "1 valid, 1 expired, 0 invalid, 0 withdrawn" in out
    assert NAME not in out
    (folder / "people" / one / "voice.wav").write_bytes(b"other")
    code, out, said = ran(monkeypatch, capsys, "--verify", str(folder), "--json")
    assert code == 41
    states = {each["person"]: each["state"] for each in json.loads(out)["people"]}
    assert states == {one: "invalid", two: "expired"}
    assert "learn nothing of them" in said


def test_withdrawing_says_what_went_and_which_model_is_to_be_learned_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import hashlib

    folder, models = tmp_path / "out", tmp_path / "models"
    person, code = lent(folder)
    models.mkdir()
    learned = hashlib.sha256((folder / "pairs.csv").read_bytes()).hexdigest()
    (models / "model.json").write_text(json.dumps({"manifest_sha256": learned}))
    words = ("--withdraw", code, "--out", str(folder), "--models", str(models))
    ended, out, _ = ran(monkeypatch, capsys, *words)
    assert ended == 0
    assert f"{person}, 3 files" in out
    assert f"{models / 'model.json'}; learn it anew" in out
    assert ConsentFolder(folder).people() == []
    assert ran(monkeypatch, capsys, *words)[0] == 23, "nobody has this code any more"


def test_those_whose_term_is_over_are_erased(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    (stays, _), (goes, _) = lent(folder), lent(folder, signed_at=datetime(2020, 1, 1, tzinfo=UTC))
    code, out, _ = ran(monkeypatch, capsys, "--erase-expired", "--out", str(folder), "--json")
    assert code == 0
    assert [each["person"] for each in json.loads(out)["erased"]] == [goes]
    assert ConsentFolder(folder).people() == [stays]
    _, out, _ = ran(monkeypatch, capsys, "--erase-expired", "--out", str(folder))
    assert "nobody" in out
