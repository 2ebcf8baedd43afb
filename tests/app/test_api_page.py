"""What docs/api.md says is true: options, close codes, messages, addresses, limits, and its Python."""

import csv
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


def table(name: str) -> list[dict[str, str]]:
    with (ROOT / "docs" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_option_is_in_the_table_and_no_other() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", section("A portrait"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(Options.model_fields)


def test_the_close_codes_are_ours_and_those_of_websockets_themselves() -> None:
    live = [row["number"] for row in table("service_codes") if row["protocol"] == "WS /v1/live"]
    assert {int(code) for numbers in live for code in numbers.split(", ")} == {*CloseCode, 1002, 1007, 1009}
    assert {int(code) for code in re.findall(r"\b(?:10[01]\d|44\d\d|4503)\b", section("Live"))} <= {*CloseCode, 1009}


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
    limits, stated = Limits(), {row["what"]: row["most"] for row in table("service_limits")}
    wanted = {
        "a request's body": (limits.upload_bytes / 2**20, "MiB"),
        "recordings held in memory, all requests together": (limits.uploads_held_bytes / 2**20, "MiB"),
        "a recording": (limits.recording_seconds / 60, "minutes"),
        "a body until it is whole: in all, and the least of it": (
            limits.body_seconds,
            f"s, {limits.body_least_bytes // 1024} KiB in every {limits.body_pause_seconds:g} s",
        ),
        "decoding a recording: memory, time": (limits.decoding_bytes / 2**20, f"MiB, {limits.decoding_seconds:g} s"),
        "an answer until it is taken, all of them together": (
            limits.answer_seconds,
            f"s, {limits.answers_held_bytes // 2**20} MiB",
        ),
        "of one address, of requests, held bytes and live sessions": (limits.share_of_one_address, "of all"),
        "files in one request": (limits.files_per_request, ""),
        "samples of one recording, of one request": (limits.samples, f", {limits.samples_per_request}"),
        "requests waiting or being drawn": (limits.requests_at_once, ""),
        "live sessions at once": (limits.sessions_at_once, ""),
        "live messages": (limits.messages_per_second, f"a second, {limits.message_burst} in a burst"),
        "one binary live message, one text": (limits.frame_bytes / 2**20, f"MiB, {limits.text_bytes // 1024} KiB"),
        "updates": (limits.updates_per_second, "a second"),
        "without any message": (limits.idle_seconds / 60, "minutes"),
        "a live session": (limits.session_seconds / 3600, "hours"),
        "a client that does not read": (limits.send_seconds, "seconds"),
        "packets of a WebRTC peer": (limits.packets_per_second, f"a second, {limits.packet_burst:g} in a burst"),
    }
    assert set(stated) == set(wanted)
    for what, (number, unit) in wanted.items():
        found = re.match(r"[\d.]+", stated[what])
        assert found is not None and float(found[0]) == number and unit in stated[what], what
    for words in ("64 MiB", "60 s", "15 minutes", "16 files", "32 live sessions", "4 hours"):
        assert words in section("Limits")
        assert any(most.startswith(words.split()[0]) for most in stated.values()), words


def test_the_python_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    with server() as listening:
        exec(block.replace("http://127.0.0.1:8765", listening.address), {})
    assert capsys.readouterr().out.splitlines()[-1] == "['starter'] ready"
