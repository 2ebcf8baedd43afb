"""What docs/calls.md says is true: addresses, messages, limits, error codes, and the talking machine's Python."""

import csv
import re
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from speech2face.app.calls import GIVE_UP_AFTER, Offer
from speech2face.app.http import CloseCode, Limits
from speech2face.app.telephone import MAX_FILL_MS, WINDOW_CHUNKS, Started, Wishes, read_event
from speech2face.provenance import read_provenance
from tests.app.listening import server

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "calls.md").read_text(encoding="utf-8")
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/speech2face/app").glob("*.py"))


def test_every_address_of_the_page_exists(served: TestClient) -> None:
    named = {re.sub(r"CA1|inbound", "NAME", path) for path in re.findall(r"127\.0\.0\.1:8765(/[\w/.]+)", PAGE)}
    described = {re.sub(r"\{\w+\}", "NAME", path) for path in served.get("/openapi.json").json()["paths"]}
    ours = {path for path in described if path.startswith(("/v1/calls", "/v1/webrtc"))}
    assert named == ours | {"/call"}
    assert served.get("/call").status_code == 200
    assert "text/html" in served.get("/call").headers["content-type"]


def test_the_messages_and_options_are_those_of_the_code() -> None:
    start = re.search(r'\{"event": "start".*?\}\}`', PAGE)
    assert start is not None
    event = read_event(start[0].rstrip("`"))
    assert isinstance(event, Started)
    assert event.start.tracks == ["inbound", "outbound"]
    rows = PAGE.split("| custom parameter")[1].split("\n\n")[0] + PAGE.split("| in the offer")[1].split("\n\n")[0]
    named = {name for row in re.findall(r"^\| (`[^|]+) \|", rows, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == {*Wishes.model_fields, *Offer.model_fields} - {"type"}


def test_every_error_code_of_a_media_stream_is_one() -> None:
    with (ROOT / "docs" / "service_codes.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["protocol"] == "WS /v1/media-stream"]
    codes = {code for row in rows for code in row["code"].split(", ") if " " not in code and code}
    assert len(codes) > 12
    assert {int(row["number"]) for row in rows} <= set(CloseCode)
    raised = {code for code in codes if f'"{code}"' in SOURCE}
    assert codes - raised == {"invalid_option"}, "which is made of the error's name"


def test_the_limits_are_those_of_the_code() -> None:
    limits, flat = Limits(), " ".join(PAGE.split())
    for text, number in (
        ("256 ended calls", limits.calls_kept),
        ("10 frames", WINDOW_CHUNKS),
        ("within 5 seconds", limits.callback_seconds),
        ("within 10 s", limits.start_seconds),
        ("within 15 seconds", limits.connect_seconds),
        ("over 4 hours", limits.session_seconds / 3600),
        ("over 16 KiB", limits.text_bytes / 1024),
        ("More than 2000 messages", limits.messages_per_second),
    ):
        assert text in flat, text
        assert [float(found) for found in re.findall(r"\d+", text)] == [number], text
    assert (limits.callback_tries, GIVE_UP_AFTER, MAX_FILL_MS, limits.call_keep_seconds) == (3, 5, 1000, 600)
    for text in ("is tried three times, and after five", "at most one second of it", "for ten minutes after the call"):
        assert text in flat, text


def test_a_synthesisers_voice_gets_its_face_while_it_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("no synthesiser on this machine; Debian's package is espeak-ng")
    monkeypatch.chdir(tmp_path)
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    assert len(block.splitlines()) <= 15
    with server() as listening:
        exec(block.replace("http://127.0.0.1:8765", listening.address), {})
    assert float(capsys.readouterr().out.split()[-2]) > 4
    provenance, facts = read_provenance(tmp_path / "face.png")
    assert provenance.kind == "portrait"
    assert facts["gender"]["reading"] == "feminine"
