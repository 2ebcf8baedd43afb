"""The call's page in a browser: one tab speaks, the other sees the face; and what is said when it cannot be."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

pytest.importorskip("aiortc", reason="WebRTC needs the extra `calls`")
pytest.importorskip("fastapi", reason="the service needs the extra `serve`")

from PIL import Image

from tests.app.page_browser import LATE_DEVICES, Visit, visit, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

GREY_LEVELS = 8.0
HEARD = "male.flac"  # in the microphone


@contextmanager
def side(browser: "Browser", address: str, call: str, **options: Any) -> Iterator[Visit]:
    with visit(browser, f"{address}/call#call={call}", **options) as found:
        yield found


def state(page: Visit) -> str | None:
    return page.page.get_attribute("body", "data-state")


def shown(page: Visit) -> np.ndarray:
    """What the video shows, (320, 320, 3)."""
    address: str = page.page.evaluate(
        """() => {
          const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 320 });
          canvas.getContext("2d").drawImage(document.getElementById("face"), 0, 0, 320, 320);
          return canvas.toDataURL("image/png");
        }"""
    )
    content = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def portrait(address: str, call: str) -> np.ndarray | None:
    answer = httpx.get(f"{address}/v1/calls/{call}/a.png", trust_env=False, timeout=180)
    return (
        np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB").resize((320, 320)))
        if answer.status_code == 200
        else None
    )


def test_one_tab_speaks_and_the_other_sees_the_face(browser: "Browser", address: str) -> None:
    with side(browser, address, "tabs") as speaker, side(browser, address, "tabs", microphone=False) as viewer:
        assert viewer.page.get_attribute("#other", "href") == "/call#call=tabs"
        speaker.page.click("#speak")
        speaker.wait(lambda: state(speaker) == "connected", "the speaker is in the call")
        viewer.page.click("#look")
        viewer.wait(lambda: state(viewer) == "connected", "the viewer is in the call")

        def alike() -> bool:
            drawn = portrait(address, "tabs")
            if drawn is None:
                return False
            return float(np.abs(shown(viewer)[:280].astype(int) - drawn[:280].astype(int)).mean()) < GREY_LEVELS

        viewer.wait(alike, "the other tab shows the portrait")
        viewer.wait(lambda: "masculine" in viewer.text("heard"), "the readings are there")
        assert "s of speech heard" in viewer.text("heard")
        assert speaker.text("heard") == "", "who speaks sees the other, and there nobody speaks"
        speaker.page.click("#leave")
        assert state(speaker) == "idle"
    wait_until(
        lambda: httpx.get(f"{address}/health", trust_env=False, timeout=180).json()["live_sessions"] == 0,
        "all have left",
    )


def test_a_refused_microphone_is_explained_and_looking_still_works(browser: "Browser", address: str) -> None:
    with side(browser, address, "mute", microphone=False) as page:
        page.page.context.clear_permissions()
        page.page.evaluate(
            """() => { navigator.mediaDevices.getUserMedia = () =>
              Promise.reject(new DOMException("no", "NotAllowedError")); }"""
        )
        page.page.click("#speak")
        assert "microphone was refused" in page.message()
        page.page.click("#look")
        page.wait(lambda: state(page) == "connected", "looking works")
        assert page.page.is_hidden("#message")


def test_who_leaves_while_the_browser_asks_is_not_heard(browser: "Browser", address: str) -> None:
    with side(browser, address, "left") as page:
        page.page.evaluate(LATE_DEVICES)
        page.page.click("#speak")
        page.wait(lambda: page.page.evaluate("window.asked.length") == 1, "the browser asks")
        page.page.click("#leave")
        page.page.evaluate("window.allow()")
        closed = "window.given.every((track) => track.readyState === 'ended')"
        page.wait(lambda: page.page.evaluate(closed), "the microphone is closed")
        assert state(page) == "idle"
        page.page.click("#look")
        page.wait(lambda: state(page) == "connected", "who left can join again")
        assert sum(each.endswith("/v1/webrtc/offer") for each in page.addresses) == 1


def test_who_leaves_before_the_answer_takes_the_offer_back(browser: "Browser", address: str) -> None:
    with side(browser, address, "hurried", microphone=False) as page:
        page.page.route("**/v1/webrtc/offer", lambda route: None)  # it is never answered
        with page.page.expect_request("**/v1/webrtc/offer"):
            page.page.click("#look")
        with page.page.expect_event("requestfailed", lambda asked: asked.url.endswith("/v1/webrtc/offer")):
            page.page.click("#leave")
        assert (state(page), page.page.is_hidden("#message")) == ("idle", True)


def test_a_browser_that_cannot_call_is_told_and_its_microphone_closed(browser: "Browser", address: str) -> None:
    with side(browser, address, "unable") as page:
        page.page.evaluate(LATE_DEVICES)
        page.page.evaluate("delete window.RTCPeerConnection")
        page.page.click("#speak")
        page.wait(lambda: page.page.evaluate("window.asked.length") == 1, "the browser asks")
        page.page.evaluate("window.allow()")
        assert "could not join" in page.message()
        assert page.page.evaluate("window.given.map((track) => track.readyState)") == ["ended"]


def test_the_page_fits_a_telephone_and_asks_nobody_else(browser: "Browser", address: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for scheme in ("light", "dark"):
        options = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
        with side(browser, address, "narrow", **options) as page:
            assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            found = axe.run(page.page).response["violations"]
            assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
            assert all(each.startswith(address) for each in page.addresses)
