"""The consent studio in a browser, step by step, with a made voice and a synthetic face before the devices."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fastapi", reason="the studio needs the extra `serve`")
pytest.importorskip("cryptography", reason="the studio needs the extra `serve`")

from speech2face.app.studio import Studio, StudioLimits, StudioSettings
from tests.app.page_browser import LATE_DEVICES, Visit, visit, write_microphone_sound
from tests.app.studio_browser import filmed, serving, write_film
from tests.app.studio_people import EXAMPLES, PORTRAIT, terms

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ASKED = terms(speech_seconds=5.0, photographs=2)
NAME = "Ada Example"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

REFUSED = """() => { navigator.mediaDevices.getUserMedia = () =>
  Promise.reject(new DOMException("no", "NotAllowedError")); }"""
EMPTY_ROOM = """() => { navigator.mediaDevices.getUserMedia = async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 480 });
  const room = canvas.getContext("2d");
  const paint = () => { room.fillStyle = "#999"; room.fillRect(0, 0, 640, 480); };
  setInterval(paint, 100);
  paint();
  return canvas.captureStream(10);
}; }"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    folder = tmp_path_factory.mktemp("devices")
    voice = write_microphone_sound(folder / "voice.wav", EXAMPLES / "female.mp3")
    with filmed(voice, write_film(folder / "film.y4m", PORTRAIT)) as opened:
        yield opened


@pytest.fixture(scope="module")
def served(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Studio]]:
    limits = StudioLimits(wrong_code_seconds=0.0)
    with serving(StudioSettings(tmp_path_factory.mktemp("studio") / "consent", ASKED, limits=limits)) as found:
        yield found


@contextmanager
def at_studio(browser: "Browser", address: str, **options: Any) -> Iterator[Visit]:
    """A visit that asks nobody but the studio for anything."""
    with visit(browser, address, **({"permissions": ["microphone", "camera"], "viewport": WIDE} | options)) as found:
        found.page.set_default_timeout(40_000)
        found.page.wait_for_selector("body[data-step=read]")
        yield found
        others = [each for each in found.addresses if not each.startswith((f"{address}/", "blob:", "data:"))]
        assert others == []
        assert found.page.context.cookies() == []
        assert found.page.evaluate("localStorage.length + sessionStorage.length") == 0


def step(page: Visit) -> str | None:
    return page.page.get_attribute("body", "data-step")


def sign(page: Visit) -> None:
    page.page.click("#to-sign")
    for tick in page.page.query_selector_all("#statements input"):
        tick.check()
    page.page.fill("#name", NAME)
    page.page.click("#signed")
    page.wait(lambda: step(page) == "voice", "the signature is taken")


def record(page: Visit) -> None:
    page.page.click("#record")
    page.page.wait_for_selector("#to-photographs:enabled")
    page.page.click("#to-photographs")


def photograph(page: Visit) -> None:
    page.page.click("#open-camera")
    for number in (1, 2):
        page.page.wait_for_selector("#take:enabled")
        page.page.click("#take")
        page.wait(lambda n=number: page.page.locator("#taken img").count() == n, f"photograph {number}")
    page.page.click("#to-about")


def grave(page: Visit) -> list[str]:
    """What axe holds for serious or critical."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page.page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in grave]


def narrow_enough(page: Visit) -> bool:
    return bool(page.page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["a wide window", "a telephone's in the dark"]
)
def test_the_whole_way_can_be_gone_and_every_step_be_used_by_everybody(
    browser: "Browser", served: tuple[str, Studio], viewport: dict[str, int], scheme: str
) -> None:
    address, studio = served
    before = set(studio.folder.people())
    with at_studio(browser, address, viewport=viewport, color_scheme=scheme) as page:

        def looked_at() -> None:
            assert grave(page) == [], step(page)
            assert narrow_enough(page), step(page)

        assert "for 2 years from the day you sign" in page.text("form")
        looked_at()
        page.page.click("#to-sign")
        looked_at()
        page.page.click("#signed")
        assert step(page) == "sign", "without ticks and a name nothing is signed"
        page.page.click("[data-back=read]")
        sign(page)
        looked_at()
        page.page.click("#record")
        page.wait(lambda: int(page.text("speech")) >= 2, "speech is counted")
        assert page.page.get_attribute("#record", "data-on") == "true"
        page.page.wait_for_selector("#to-photographs:enabled")
        page.wait(lambda: page.page.get_attribute("#record", "data-on") == "false", "the microphone is closed")
        assert page.text("voice-advice") == "That is enough. Thank you."
        page.page.click("#to-photographs")
        looked_at()
        page.page.click("#open-camera")
        if studio.why_unchecked is None:
            page.page.wait_for_selector("#camera[data-state=good]")
            assert "Very good" in page.text("photograph-advice")
        looked_at()
        page.page.wait_for_selector("#take:enabled")
        page.page.click("#take")
        page.wait(lambda: page.page.locator("#taken img").count() == 1, "the first photograph")
        assert not page.page.is_enabled("#to-about")
        page.page.wait_for_selector("#take:enabled")
        page.page.click("#take")
        page.wait(lambda: page.page.locator("#taken img").count() == 2, "the second photograph")
        looked_at()
        page.page.click("#to-about")
        page.page.select_option("#age", "40-49")
        looked_at()
        assert set(studio.folder.people()) == before, "nothing is stored before the last step"
        page.page.click("#store")
        page.wait(lambda: step(page) == "done", "all is stored")
        looked_at()
        (person,) = set(studio.folder.people()) - before
        code = page.text("code")
        assert studio.folder.person_of(code) == person
        assert studio.folder.record(person).record.name == NAME
        assert {each.state for each in studio.folder.verify(date.today())} == {"valid"}
        said = page.text("stored")
        assert person in said
        assert "aged 40 to 49" in said
        page.page.click("#end")
        page.wait(lambda: step(page) == "read", "the screen is cleared")
        assert NAME not in page.page.content()
        assert code not in page.page.content()
        # Another day: the code alone erases everything.
        page.page.click("summary")
        page.page.fill("#code-in", "00000-00000-00000-00000")
        page.page.press("#code-in", "Enter")
        assert page.message().startswith("Nobody here has this code")
        page.page.fill("#code-in", code.lower().replace("-", " "))
        page.page.press("#code-in", "Enter")
        page.wait(lambda: step(page) == "over", "all is erased")
        looked_at()
        assert "Everything was erased" in page.text("over-title")
    assert person not in studio.folder.people()


def test_it_works_by_keyboard_alone_and_says_where_one_is(browser: "Browser", served: tuple[str, Studio]) -> None:
    with at_studio(browser, served[0]) as page:
        keyboard = page.page.keyboard
        focused = "document.activeElement.id"
        assert page.page.evaluate(focused) == "read-title"
        keyboard.press("Tab")
        assert page.page.evaluate(focused) == "to-sign"
        keyboard.press("Enter")
        page.wait(lambda: step(page) == "sign", "the next step")
        assert page.page.evaluate(focused) == "sign-title"
        for _ in range(2):
            keyboard.press("Tab")
            keyboard.press("Space")
        keyboard.press("Tab")
        assert page.page.evaluate(focused) == "name"
        keyboard.type(NAME)
        keyboard.press("Enter")
        page.wait(lambda: step(page) == "voice", "signed by Enter")
        assert page.page.evaluate(focused) == "voice-title"
        assert page.page.get_attribute("#steps [data-for=voice]", "aria-current") == "step"
        keyboard.press("Tab")
        assert page.page.evaluate(focused) == "record"


def test_who_stops_or_closes_the_page_leaves_nothing(browser: "Browser", served: tuple[str, Studio]) -> None:
    address, studio = served
    before = studio.folder.people()
    with at_studio(browser, address) as page:
        sign(page)
        record(page)
        assert len(studio.sessions) == 1
        page.page.click("#leave")
        assert "Press again" in page.text("leave")
        page.page.click("#leave")
        page.wait(lambda: step(page) == "over", "all is erased")
        assert studio.sessions == {}
        page.page.click("#anew")
        page.wait(lambda: step(page) == "read", "the beginning")
        sign(page)
        assert len(studio.sessions) == 1
        page.page.goto("about:blank")
        page.wait(lambda: studio.sessions == {}, "the page said goodbye")
        page.page.goto(address)
    assert studio.folder.people() == before


def test_what_was_stored_can_be_erased_at_once_and_asks_twice(browser: "Browser", served: tuple[str, Studio]) -> None:
    address, studio = served
    before = studio.folder.people()
    with at_studio(browser, address) as page:
        sign(page)
        record(page)
        photograph(page)
        page.page.click("#store")
        page.wait(lambda: step(page) == "done", "all is stored")
        assert len(studio.folder.people()) == len(before) + 1
        page.page.click("#erase")
        assert len(studio.folder.people()) == len(before) + 1, "the first press only asks"
        page.page.click("#erase")
        page.wait(lambda: step(page) == "over", "all is erased")
        assert re.search("no longer needed", page.text("over-text"))
        assert page.text("code") == ""
    assert studio.folder.people() == before


def test_a_page_left_alone_is_closed(browser: "Browser", served: tuple[str, Studio]) -> None:
    address, studio = served
    with at_studio(browser, address) as page:
        sign(page)
        studio.sessions.clear()  # what the clock does after a quarter of an hour
        page.page.click("#record")
        page.wait(lambda: step(page) == "over", "the page was closed")
        assert "left alone" in page.text("over-title")
        assert page.page.input_value("#name") == ""


def test_a_refused_microphone_is_explained(browser: "Browser", served: tuple[str, Studio]) -> None:
    with at_studio(browser, served[0]) as page:
        sign(page)
        page.page.evaluate(REFUSED)
        page.page.click("#record")
        assert "site settings" in page.message()
        assert page.page.get_attribute("#record", "data-on") == "false"


def test_an_empty_room_is_no_photograph(browser: "Browser", served: tuple[str, Studio]) -> None:
    address, studio = served
    if studio.why_unchecked is not None:
        pytest.skip("finding faces needs the extra `faces`")
    with at_studio(browser, address) as page:
        sign(page)
        record(page)
        page.page.evaluate(EMPTY_ROOM)
        page.page.click("#open-camera")
        page.page.wait_for_selector("#camera[data-state=bad]")
        assert page.text("photograph-advice").startswith("No face is found")
        page.page.click("#take")
        page.page.wait_for_selector("#take:enabled:not([data-busy])")
        assert page.page.locator("#taken img").count() == 0
        assert page.text("take-text") == "Take photograph 1"


@pytest.mark.parametrize("leaves", [False, True])
def test_devices_that_are_allowed_late_are_opened_once_and_never_for_who_left(
    browser: "Browser", served: tuple[str, Studio], leaves: bool
) -> None:
    address, _ = served
    running = "window.given.filter((track) => track.readyState === 'live').length"
    with at_studio(browser, address) as page:
        sign(page)
        page.page.evaluate(LATE_DEVICES)
        page.page.click("#record")
        page.page.click("#record")
        if leaves:
            page.page.click("#leave")
            page.page.click("#leave")
            page.wait(lambda: step(page) == "over", "the session is over")
            page.page.evaluate("window.allow()")
            page.wait(lambda: page.page.evaluate(running) == 0, "the microphone is closed")
            return
        page.page.evaluate("window.allow()")
        page.page.wait_for_selector("#to-photographs:enabled")
        page.page.click("#to-photographs")
        page.wait(lambda: page.page.evaluate(running) == 0, "the microphone is closed")
        page.page.click("#open-camera")
        page.page.evaluate("document.getElementById('open-camera').click()")
        page.page.evaluate("window.allow()")
        page.page.wait_for_selector("#take:enabled")
        page.page.click("#leave")
        page.page.click("#leave")
        page.wait(lambda: step(page) == "over", "the session is over")
        page.wait(lambda: page.page.evaluate(running) == 0, "the camera is closed")


def test_who_presses_twice_signs_and_withdraws_once(browser: "Browser", served: tuple[str, Studio]) -> None:
    address, studio = served
    with at_studio(browser, address) as page:
        page.page.click("#to-sign")
        for tick in page.page.query_selector_all("#statements input"):
            tick.check()
        page.page.fill("#name", NAME)
        before = len(studio.sessions)
        page.page.evaluate("for (const _ of [1, 2]) document.getElementById('signed').click()")
        page.wait(lambda: step(page) == "voice", "the signature is taken")
        assert len(studio.sessions) == before + 1
        record(page)
        photograph(page)
        page.page.click("#store")
        page.wait(lambda: step(page) == "done", "all is stored")
        code = page.text("code")
    with at_studio(browser, address) as page:
        page.page.click("summary")
        page.page.fill("#code-in", code)
        twice = (
            "() => { const form = document.getElementById('withdraw'); form.requestSubmit(); form.requestSubmit(); }"
        )
        page.page.evaluate(twice)
        page.wait(lambda: step(page) == "over", "all is erased")
        page.page.wait_for_timeout(500)  # for the answer to a second request, were there one
        assert (page.text("over-title"), page.page.is_hidden("#message")) == ("Everything was erased", True)
