"""A model learned from pairs behind the service: what it can be shown as, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from speech2face.models import load_model
from speech2face.models.paired import PairedModel
from tests.app.speaking import EXAMPLES, hear_until, say, speak, start, voice

LIVE = "ws://localhost:8765/v1/live"
SVG = {"Accept": "image/svg+xml"}


def test_a_model_whose_landmarks_cannot_be_drawn_says_so_and_its_live_sessions_go_on(
    limited: Callable[..., TestClient], paired_folder: Path
) -> None:
    client = limited(models=(paired_folder,))  # of three landmarks
    assert client.get("/v1/models").json()["models"][0]["styles"] == ["photographic"]
    answer = client.post("/v1/portrait", content=(EXAMPLES / "female.mp3").read_bytes(), headers=SVG)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    assert "landmarks" in answer.json()["detail"]
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(start(picture="none"))
        say(socket, type="set", style="drawn")
        error = hear_until(socket, "error")[-1][0]
        speak(socket, voice(2.0))
        say(socket, type="finish")
        last = hear_until(socket, "end")[-2][0]
    assert (error["code"], error["fatal"]) == ("invalid_option", False)
    assert last["facts"]["style"] == "photographic"
    with client.websocket_connect(LIVE) as socket:
        socket.send_text(start(style="drawn"))
        assert socket.receive_json()["fatal"] is True


def test_of_a_model_learned_from_pairs_the_landmarks_decide(
    paired_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_model(paired_folder).styles == ("photographic",)
    with monkeypatch.context() as patched:
        patched.setattr(PairedModel, "_decoder_outputs", lambda self: ["face"])
        assert load_model(paired_folder).styles == ("photographic",)
    monkeypatch.setattr(PairedModel, "landmarks", lambda self, face_embedding: np.zeros((68, 2), np.float32))
    assert load_model(paired_folder).styles == ("photographic", "drawn", "line")
