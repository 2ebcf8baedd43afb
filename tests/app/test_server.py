"""The program as a user starts and ends it."""

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from speech2face.app.server import serve
from speech2face.app.service import Settings
from speech2face.console import JsonLines
from speech2face.errors import InvalidOption, WeightsError
from speech2face.models.release import SHIPPED
from tests.app.listening import SOURCE, health, program
from tests.app.speaking import EXAMPLES, start, wait_until


def test_it_starts_serves_and_says_goodbye_when_told_to_end(tmp_path: Path) -> None:
    with program(tmp_path / "log") as running:
        wait_until(lambda: health(running.address) == "ready")
        secret = "a-name-that-nobody-logs"
        files = {"file": (f"{secret}.mp3", (EXAMPLES / "female.mp3").read_bytes())}
        query = f"{running.address}/v1/portrait?age=44&pixels=64"
        assert httpx.post(query, files=files, trust_env=False, timeout=180).status_code == 200
        with connect(f"ws{running.address[4:]}/v1/live", proxy=None) as live:
            live.send(start())
            assert json.loads(live.recv())["type"] == "ready"
            assert running.end() == 0
            heard = json.loads(live.recv())
            with pytest.raises(ConnectionClosed) as closed:
                live.recv()
    assert (heard["type"], heard["code"], heard["fatal"]) == ("error", "shutdown", True)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    log = running.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {"listening", "ready", "live", "ending"} <= {line["event"] for line in lines}
    (posted,) = [line for line in lines if line.get("route") == "/v1/portrait"]
    assert (posted["event"], posted["status"], posted["method"]) == ("request", 200, "POST")
    assert secret not in log
    assert "age" not in log
    assert "127.0.0.1:" not in log.split("\n", 1)[1], "no client's address"
    assert "raceback" not in log


def test_a_missing_model_ends_the_program_with_one_line_and_its_code(tmp_path: Path) -> None:
    with program(tmp_path / "log", "--model", "no/such/folder") as running:
        assert running.process.wait(180) == 25
    (line,) = running.log.read_text().splitlines()
    assert line.startswith("speech2face: error: ")
    assert "model.json" in line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, "SPEECH2FACE_TOKEN"),
        ({"token": "short"}, "16"),
        ({"host": "203.0.113.7", "token": "a-token-of-many-letters"}, "--port"),
        ({"models": (None, None)}, "two models"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_loaded(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidOption, match=words):
        serve(Settings(**settings))


def test_a_release_with_a_missing_or_damaged_file_ends_the_service(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    shutil.copytree(SHIPPED, folder)
    weights = folder / "voice_head.onnx"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="damaged"):  # found while it already answers
        serve(Settings(port=0, models=(folder,)))
    weights.unlink()
    with pytest.raises(WeightsError, match=r"lacks voice_head\.onnx"):
        serve(Settings(port=0, models=(folder,)))


def test_a_port_that_is_taken_is_said_to_be() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidOption, match=f"port {port}"):
            serve(Settings(port=port))


def test_a_log_line_is_json_with_what_was_given() -> None:
    record = logging.LogRecord("here", logging.INFO, "", 0, "re%s", ("ady",), None)
    record.data = {"models": ["starter"]}
    line = json.loads(JsonLines().format(record))
    assert line["time"].endswith("+00:00")
    assert {key: line[key] for key in line if key != "time"} == {
        "level": "info",
        "from": "here",
        "event": "ready",
        "models": ["starter"],
    }


WITHOUT_WEBRTC = """
import sys
sys.modules["aiortc"] = None  # as where the extra `calls` is not installed
from speech2face.app.server import create_app
print(len(create_app().openapi()["paths"]))
"""


def test_a_service_without_the_extra_for_webrtc_is_made_and_described_all_the_same() -> None:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_WEBRTC], capture_output=True, text=True, env=environment, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "9\n"), ran.stderr
