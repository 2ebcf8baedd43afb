"""What docs/api.md says is true: options, close codes, messages, addresses, limits, and its Python."""

import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from speech2face.app.http import CloseCode, Limits
from speech2face.app.live import read_control, read_start
from speech2face.app.server import Options
from tests.app.listening import server

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}")[1].split("\n## ")[0]


def test_every_option_is_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", section("A portrait"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(Options.model_fields)


def test_the_close_codes_are_ours_and_websockets_one_for_giants() -> None:
    assert {int(code) for code in re.findall(r"^\| (\d{4}) \|", PAGE, re.MULTILINE)} == {*CloseCode, 1009}


def test_every_message_of_the_page_is_one() -> None:
    start = re.search(r'\{"type": "start".*?\}\n', section("Live"), re.DOTALL)
    assert start is not None
    assert json.loads(start[0])["picture"] == read_start(start[0]).picture
    assert read_start(start[0]) == read_start('{"type": "start", "format": "s16le"}'), "the defaults shown are those"
    wishes = re.findall(r"^\| `(\{[^`]+\})` \|", PAGE, re.MULTILINE)
    kinds = ["set", "hold", "samples", "samples", "portrait", "reset", "finish"]
    assert [read_control(wish).type for wish in wishes] == kinds


def test_every_address_of_the_page_exists(served: TestClient) -> None:
    paths = set(re.findall(r"127\.0\.0\.1:8765(/[\w/.]+)", PAGE))
    of_calls = ("/v1/calls", "/v1/webrtc")  # docs/calls.md's
    documented = {path for path in served.get("/openapi.json").json()["paths"] if not path.startswith(of_calls)}
    assert documented <= paths
    assert paths - documented == {"/openapi.json"}


def test_the_limits_are_those_of_the_code() -> None:
    limits = Limits()
    for what, number in (
        ("64 MiB", limits.upload_bytes / 2**20),
        ("512 MiB", limits.uploads_held_bytes / 2**20),
        ("15 minutes", limits.recording_seconds / 60),
        ("| 16 |", limits.files_per_request),
        ("| 64 |", limits.requests_at_once),
        ("| 32 |", limits.sessions_at_once),
        ("2000 a second", limits.messages_per_second),
        ("4000 in a burst", limits.message_burst),
        ("1 MiB, 16 KiB", limits.frame_bytes / 2**20),
        ("10 a second", limits.updates_per_second),
        ("2 minutes", limits.idle_seconds / 60),
        ("4 hours", limits.session_seconds / 3600),
        ("20 seconds", limits.send_seconds),
    ):
        assert what in section("Limits")
        assert float(re.findall(r"\d+", what)[0]) == number, what


def test_the_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    with server() as listening:
        exec(block.replace("http://127.0.0.1:8765", listening.address), {})
    assert capsys.readouterr().out.splitlines()[-1] == "['starter'] ready"
