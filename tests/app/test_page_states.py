"""The page when things are not as they should be, and for whoever uses it otherwise: phone, keyboard, dark, token."""

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.page_browser import EXAMPLES, Visit, findings, served, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route, WebSocketRoute

PAGE_FILES = EXAMPLES.parent / "src" / "speech2face" / "app" / "page"
TOKEN = "a-token-of-this-test-alone"
NO_MICROPHONE = """(name) => {
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", name); };
}"""
MUTE_MICROPHONE = """() => {
  const nothing = new AudioContext().createMediaStreamDestination();
  navigator.mediaDevices.getUserMedia = async () => nothing.stream;
}"""
COUNT_FADES = """() => {
  window.fades = 0;
  const animate = Element.prototype.animate;
  Element.prototype.animate = function (...given) { window.fades += 1; return animate.apply(this, given); };
}"""
LATE_ANSWER = """async () => {
  const { openLive } = await import("./page/live.js");
  const socket = new EventTarget();
  socket.readyState = WebSocket.OPEN;
  socket.send = () => {};
  const tell = (message) => {
    socket.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(message) }));
    if (message.picture) socket.dispatchEvent(new MessageEvent("message", { data: new ArrayBuffer(1) }));
  };
  const [Socket, timeout] = [window.WebSocket, window.setTimeout];
  let late = null;
  try {
    window.WebSocket = Object.assign(function () { return socket; }, { OPEN: WebSocket.OPEN });
    window.setTimeout = (wait) => { late = wait; };
    const opened = openLive({ sampleRate: 16000 }, {});
    tell({ type: "ready" });
    const session = await opened;
    const first = session.labelled(512).then(() => "answered", (refusal) => refusal.code);
    late();
    const second = session.labelled(512, "svg");
    for (const seconds of [1, 2]) tell({ type: "portrait", facts: { seconds }, picture: { media_type: "image/png" } });
    return [await first, (await second).facts.seconds];
  } finally {
    window.WebSocket = Socket;
    window.setTimeout = timeout;
  }
}"""
READY = {"type": "ready", "protocol": 1, "model": {}, "limits": {}, "notice": "Nobody."}
FACTS = {
    "seconds_heard": 3.2,
    "seconds_recorded": 4.0,
    "age": 41.0,
    "age_interval_80": [30.0, 55.0],
    "gender": {"reading": "masculine", "probability": 0.9, "text": "masculine (90 %)"},
    "cautions": [{"code": "several_speakers", "text": "More than one voice seems to speak."}],
    "given": {},
    "notice": "Nobody.",
}


@pytest.fixture(scope="module")
def address(browser: "Browser") -> Iterator[str]:
    with served(token=TOKEN) as found:
        yield f"{found}/#token={TOKEN}"


def ready(page: Visit) -> Visit:
    page.page.wait_for_selector("#service[data-state=ready]")
    return page


def answer(page: Visit, reply: Callable[["WebSocketRoute", dict[str, Any]], None]) -> list[str]:
    """Let a stand-in answer the live messages instead of the service; the kinds that came, in order."""
    came: list[str] = []

    def serve(socket: "WebSocketRoute") -> None:
        def message(content: str | bytes) -> None:
            if isinstance(content, str):
                asked = json.loads(content)
                came.append(asked["type"])
                reply(socket, asked)

        socket.on_message(message)

    page.page.route_web_socket("**/v1/live", serve)
    return came


def say(socket: "WebSocketRoute", message: dict[str, Any], picture: bytes | None = None) -> None:
    described = None if picture is None else {"media_type": "image/png", "bytes": len(picture)}
    socket.send(json.dumps(message | ({} if message["type"] == "ready" else {"picture": described})))
    if picture is not None:
        socket.send(picture)


def grey_png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()


def test_a_refused_microphone_is_explained_and_a_file_still_works(browser: "Browser", address: str) -> None:
    with visit(browser, address, microphone=False) as page:
        ready(page).page.click("#speak")
        assert page.message().startswith("The microphone was refused: ")
        assert "site settings" in page.text("message-text")
        assert page.text("speak-text") == "Speak"
        page.page.set_input_files("#file", EXAMPLES / "female.mp3")
        page.wait(lambda: page.pictures() == 1, "a portrait of the file")
        assert not page.page.is_visible("#message")


def test_a_microphone_that_is_missing_taken_or_mute_is_explained(browser: "Browser", address: str) -> None:
    said = {"NotFoundError": "No microphone was found", "NotReadableError": "The microphone is taken"}
    with visit(browser, address) as page:
        for name, title in said.items():
            ready(page).page.evaluate(NO_MICROPHONE, name)
            page.page.click("#speak")
            assert page.message().startswith(title)
        page.page.evaluate(MUTE_MICROPHONE)
        page.page.click("#speak")
        page.wait(lambda: page.text("message-title") == "The microphone gives no sound", "three seconds of nothing")


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(browser: "Browser", address: str) -> None:
    with visit(browser, address) as page:
        assert ready(page).page.evaluate(LATE_ANSWER) == ["late", 2]


def test_a_busy_service_is_said_to_be_busy(browser: "Browser", address: str) -> None:
    with visit(browser, address) as page:
        answer(
            ready(page), lambda socket, _: socket.close(code=4429, reason="as many people are speaking as can be heard")
        )
        page.page.click("#speak")
        assert page.message().startswith("The service is busy: ")
        assert page.text("speak-text") == "Speak"


def test_a_lost_connection_leaves_the_last_picture_and_the_way_to_begin_anew(browser: "Browser", address: str) -> None:
    def reply(socket: "WebSocketRoute", asked: dict[str, Any]) -> None:
        if asked["type"] == "start":
            say(socket, READY)
            say(socket, {"type": "update", "number": 1, "facts": FACTS, "listening": "hearing"}, grey_png())
        if asked["type"] == "hold":
            socket.close(code=1011)

    with visit(browser, address) as page:
        answer(ready(page), reply)
        page.speak()
        page.page.click("#hold")
        assert page.message().startswith("The service stumbled: ")
        assert page.pictures() >= 1
        assert page.text("speak-text") == "Speak"
        assert page.text("listening") == "Stopped"


def test_another_voice_brings_the_offer_to_start_over_with_it(browser: "Browser", address: str) -> None:
    def reply(socket: "WebSocketRoute", asked: dict[str, Any]) -> None:
        if asked["type"] == "start":
            say(socket, READY)
            say(socket, {"type": "update", "number": 1, "facts": FACTS, "listening": "hearing"}, grey_png())
        if asked["type"] == "reset":
            say(socket, {"type": "reset"})

    with visit(browser, address) as page:
        came = answer(ready(page), reply)
        page.speak()
        page.page.click("#hold")
        page.page.click("text=Start over with this voice")
        page.wait(lambda: page.text("cautions") == "None so far.", "the empty page")
        assert came[-2:] == ["hold", "reset"], "a held picture is let go, or the next voice would get none"
        assert page.text("seconds") == "0.0"
        assert page.text("speak-text") == "Stop"


def test_of_two_models_one_is_chosen_and_what_it_does_not_state_is_not_shown(browser: "Browser", address: str) -> None:
    models: list[dict[str, Any]] = [
        {"name": name, "version": "1.0.0", "given": {}, "notice": f"Of {name}."} for name in ("starter", "pairs")
    ]
    facts = {key: value for key, value in FACTS.items() if not key.startswith(("age", "gender"))}
    started: list[str] = []

    def reply(socket: "WebSocketRoute", asked: dict[str, Any]) -> None:
        if asked["type"] == "start":
            started.append(asked["model"])
            say(socket, READY)
            say(socket, {"type": "update", "number": 1, "facts": facts, "listening": "hearing"}, grey_png())

    with visit(browser, address.split("#")[0]) as page:
        page.page.route("**/v1/models", lambda route: route.fulfill(json={"models": models}))
        answer(page, reply)
        page.page.reload()
        ready(page).page.select_option("#model", "pairs")
        assert page.text("service-text") == "Model pairs 1.0.0"
        assert page.text("notice") == "Of pairs."
        assert not page.page.is_visible("#given")
        page.speak()
        assert started == ["pairs"]
        assert not page.page.is_visible("#age-reading")
        assert not page.page.is_visible("#gender-reading")
        assert page.page.is_visible("#no-attributes")


def test_a_service_that_ends_is_missed_and_found_again(browser: "Browser") -> None:
    with served() as own, visit(browser, own) as page:
        ready(page).page.route("**/v1/models", lambda route: route.abort())
        page.page.route("**/v1/portrait?*", lambda route: route.abort())
        page.page.set_input_files("#file", EXAMPLES / "female.mp3")
        assert page.message().startswith("The service does not answer: ")
        page.page.wait_for_selector("#service[data-state=starting]")
        page.page.unroute_all()
        ready(page)


@pytest.mark.parametrize("how", ["a proxy does not reach it", "an answer is cut off"])
def test_a_service_that_goes_in_the_middle_is_found_again(browser: "Browser", address: str, how: str) -> None:
    def answer(route: "Route") -> None:
        if how == "an answer is cut off":
            route.fulfill(status=200, content_type="application/json", body='{"facts": ')
        else:
            route.fulfill(status=502, content_type="text/html", body="<html>Bad Gateway</html>")

    with visit(browser, address) as page:
        ready(page).page.route("**/v1/models", answer)
        page.page.route("**/v1/portrait?*", answer)
        page.page.set_input_files("#file", str(EXAMPLES / "male.flac"))
        assert "does not answer" in page.message()
        page.page.wait_for_selector("#service[data-state=starting]")
        page.page.unroute("**/v1/models")
        ready(page)


def test_a_service_with_a_token_asks_for_it_and_the_address_does_not_keep_it(browser: "Browser", address: str) -> None:
    with visit(browser, address.split("#")[0]) as page:
        page.page.fill("#token", TOKEN)
        page.page.click("#token-form button")
        ready(page)
        assert not page.page.is_visible("#token-form")
    with visit(browser, address) as page:
        ready(page)
        assert TOKEN not in page.page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_before_during_and_after(browser: "Browser", address: str, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python")
    with visit(browser, address, color_scheme=scheme) as page:
        ready(page)
        assert findings(page) == []
        page.page.set_input_files("#file", EXAMPLES / "female.mp3")
        page.page.wait_for_selector("#faces canvas[data-drawn]")
        page.page.evaluate(NO_MICROPHONE, "NotFoundError")
        assert findings(page) == []
        page.page.click("#speak")
        page.message()
        assert findings(page) == []


def test_dark_is_dark_and_light_is_light(browser: "Browser", address: str) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        with visit(browser, address, color_scheme=scheme) as page:
            colour = ready(page).page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness[scheme] = sum(int(part) for part in colour.strip("rgb()").split(",")) / 3
    assert brightness["dark"] < 40
    assert brightness["light"] > 220


def test_nothing_is_wider_than_a_narrow_window_and_every_button_can_be_hit(browser: "Browser", address: str) -> None:
    with visit(browser, address, viewport={"width": 360, "height": 740}, has_touch=True) as page:
        ready(page).page.set_input_files("#file", EXAMPLES / "male.m4a")
        page.wait(lambda: page.pictures() == 1, "a portrait")
        for width in (320, 360, 736, 820, 1400):
            page.page.set_viewport_size({"width": width, "height": 740})
            assert page.page.evaluate("document.documentElement.scrollWidth") <= width
            heights = page.page.eval_on_selector_all(
                "button, select, input[type=range]",
                "elements => elements.filter((e) => e.offsetParent).map((e) => [e.id, e.offsetHeight])",
            )
            assert [name for name, height in heights if height < 36] == []
        page.page.set_viewport_size({"width": 360, "height": 740})
        box = page.page.locator("#speak").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 740, "Speak is below the first screen of a phone"


def test_the_keyboard_alone_reaches_everything_and_speaks(browser: "Browser", address: str) -> None:
    with visit(browser, address) as page:
        ready(page)
        reached = []
        for _ in range(12):
            page.page.keyboard.press("Tab")
            reached.append(page.page.evaluate("document.activeElement.id || document.activeElement.className"))
        assert reached[:3] == ["skip", "speak", "choose"]
        assert {"exaggerate", "given-age", "given-gender", "given-group"} <= set(reached)
        page.page.focus("#speak")
        page.page.keyboard.press("Enter")
        page.wait(lambda: page.pictures() >= 1, "a portrait")
        page.page.keyboard.press("Enter")
        page.wait(lambda: page.text("speak-text") == "Go on speaking", "the pause")
        page.page.focus("#restart")
        page.page.keyboard.press("Enter")
        page.wait(lambda: page.pictures() == 0, "the empty page")
        assert page.page.evaluate("document.activeElement.id") == "speak", "the keyboard has lost its place"


def test_less_motion_shows_pictures_without_a_fade(browser: "Browser", address: str) -> None:
    for wish, fades in (("no-preference", 1), ("reduce", 0)):
        with visit(browser, address, reduced_motion=wish) as page:
            ready(page).page.evaluate(COUNT_FADES)
            page.page.set_input_files("#file", EXAMPLES / "female.opus")
            page.page.wait_for_selector("#stage[data-pictures='1']")
            assert page.page.evaluate("window.fades") == fades


def test_nothing_comes_from_elsewhere(browser: "Browser", address: str) -> None:
    with visit(browser, address) as page:
        ready(page).speak()
        own = address.split("/#")[0]
        elsewhere = [each for each in page.addresses if not each.startswith((own, f"blob:{own}", "data:"))]
        assert elsewhere == []
        kept = page.page.evaluate("localStorage.length + sessionStorage.length + document.cookie.length")
        assert kept == 0


def test_every_file_of_the_page_is_named_in_it() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in PAGE_FILES.iterdir()}
    named = {name for text in files.values() for name in re.findall(r"""["'](?:page/|\./)?([\w.]+)["']""", text)}
    # Pages have addresses of their own: /, /call, /docs and a studio's /; the service reads the studio's sentences.
    assert set(files) - named == {"index.html", "call.html", "docs.html", "studio.html", "studio_sentences.json"}
    assert max(len(text.splitlines()) for text in files.values()) <= 300


def test_no_link_of_the_page_begins_at_the_root_of_its_site() -> None:
    """A proxy may show the service under a path."""
    begins = re.compile(r"""(?:from |import\(|fetch\(|ask\(|href=|src=|url\(|new URL\()["'`]/""")
    found = [path.name for path in PAGE_FILES.iterdir() if begins.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_no_file_of_the_page_names_another_host() -> None:
    for path in PAGE_FILES.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")  # SVG's namespace
        assert "http://" not in text, path.name
        assert "https://" not in text, path.name
