"""Two voices beside each other on the page: from files, the microphone and a drop; what moved, in words and numbers."""

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.page_browser import EXAMPLES, Visit, findings, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PHONE = {"width": 390, "height": 844}
MOVED = """async ([first, second]) => {
  const { inRows, inSentences } = await import(new URL("page/moved.js", document.baseURI));
  return [inSentences(first, second).join(" "), inRows(first, second)];
}"""
DROP = """([selector, files]) => {
  const dataTransfer = new DataTransfer();
  for (const [name, base64] of files) {
    dataTransfer.items.add(new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], name));
  }
  for (const type of ["dragenter", "dragover", "drop"]) {
    const event = new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer });
    document.querySelector(selector).dispatchEvent(event);
  }
}"""
FOCUSED = """() => {
  const { className, parentElement } = document.activeElement;
  return `${parentElement.closest("[role=group]")?.id} ${className}`;
}"""
IN_A_ROW = """() => {
  const stages = ["first-voice", "second-voice"].map((id) => document.querySelector(`#${id} .stage`));
  const [first, second] = stages.map((stage) => stage.getBoundingClientRect());
  return [first.top === second.top, first.right < second.left, first.width];
}"""


def choose(page: Visit, slot: str, name: str) -> None:
    page.page.set_input_files(f"#{slot}-voice .file", EXAMPLES / name)


def both(page: Visit) -> None:
    """A woman's voice beside a man's."""
    choose(page, "first", "female.mp3")
    choose(page, "second", "male.m4a")
    page.page.wait_for_selector("#moved:not([hidden])")


def rows(page: Visit) -> dict[str, list[str]]:
    found: list[list[str]] = page.page.eval_on_selector_all(
        "#moved-rows tr", "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return {what: values for what, *values in found}


def facts(age: float, low: float, high: float, reading: str, **more: Any) -> dict[str, Any]:
    return {
        "age": age,
        "age_interval_80": [low, high],
        "gender": {"reading": reading, "probability": 0.9, "text": f"{reading} (90 %)"},
        "seconds_heard": 6.5,
        "cautions": [],
    } | more


def test_two_files_are_drawn_beside_each_other_and_what_moved_is_said_and_shown(page: Visit) -> None:
    assert not page.page.is_visible("#moved")
    both(page)
    text = f"{page.text('moved-text')} {page.text('moved-sure')}"
    assert text.startswith("The second is read ")
    assert "as masculine where the first is read as feminine" in text
    assert page.text("live") == text, "who listens to the page is told the same"
    found = rows(page)
    ages = [int(value.removeprefix("about ")) for value in found["Age"][:2]]
    assert ages[1] != ages[0]
    assert str(abs(ages[1] - ages[0])) in found["Age"][2] and found["Age"][2] in text
    assert found["Voice read as"][2] == "another reading"
    assert [page.page.inner_text(f"#{slot}-voice .source") for slot in ("first", "second")] == [
        "female.mp3",
        "male.m4a",
    ]
    label = page.page.get_attribute("#second-voice .stage", "aria-label") or ""
    assert label.startswith("Portrait of the second voice. ") and "Synthetic" in label
    page.page.click("#forget")
    page.page.wait_for_selector("#moved", state="hidden")
    assert page.page.locator("#wiped img").count() == 0
    assert page.page.inner_text("#first-voice .source") == "No voice yet"
    assert page.page.evaluate("document.activeElement.className") == "record", "the keyboard has lost its place"


def test_the_line_between_the_faces_is_moved_with_the_keyboard(page: Visit) -> None:
    both(page)
    clip = "getComputedStyle(document.querySelector('#wiped img:last-child')).clipPath"
    assert page.page.locator("#wiped img").count() == 2
    page.page.focus("#wipe")
    seen = {}
    for key in ("Home", "ArrowRight", "End"):
        page.page.keyboard.press(key)
        seen[key] = page.page.evaluate(clip)
    assert [seen["Home"], seen["ArrowRight"]] == ["inset(0px 0px 0px 100%)", "inset(0px 0px 0px 99%)"]
    assert seen["End"].startswith("inset(0px") and "%" not in seen["End"].replace("0%", "")
    assert page.page.get_attribute("#wipe", "aria-valuetext") == "100 percent of the second face"


def test_one_is_recorded_and_the_other_chosen_and_the_microphone_is_one_for_all(page: Visit) -> None:
    page.speak()
    record = page.page.locator("#first-voice .record")
    record.click()
    page.wait(lambda: page.text("speak-text") == "Go on speaking", "the portrait above has let the microphone go")
    page.wait(lambda: "Recording: 3" in page.page.inner_text("#first-voice .source"), "three seconds")
    assert record.inner_text() == "Stop"
    page.page.click("#speak")
    page.wait(lambda: page.page.inner_text("#first-voice .source") == "recording.wav", "the recording's portrait")
    assert record.inner_text() == "Record"
    choose(page, "second", "male.flac")
    page.page.wait_for_selector("#moved:not([hidden])")
    assert rows(page)["Voice read as"][0].startswith("feminine")
    assert 1 < float(rows(page)["Speech heard"][0].split()[0]) < 30


def test_a_file_without_speech_is_refused_in_its_own_place(page: Visit, tmp_path: Any) -> None:
    both(page)
    nothing = tmp_path / "notes.txt"
    nothing.write_text("no sound at all")
    page.page.set_input_files("#second-voice .file", nothing)
    page.page.wait_for_selector("#second-voice .problem:not([hidden])")
    assert page.page.inner_text("#second-voice .problem").startswith("No portrait of this file. ")
    assert not page.page.is_visible("#moved")
    assert not page.page.is_visible("#message")
    assert page.page.locator("#first-voice .stage img").count() == 1
    choose(page, "second", "male.m4a")
    page.page.wait_for_selector("#moved:not([hidden])")
    assert not page.page.is_visible("#second-voice .problem")


def test_what_is_dropped_goes_where_it_was_dropped_and_two_at_once_become_both(page: Visit) -> None:
    sounds = [(name, base64.b64encode((EXAMPLES / name).read_bytes()).decode()) for name in ("female.opus", "male.m4a")]
    page.page.evaluate(DROP, ["#second-voice .stage", sounds[:1]])
    page.wait(lambda: page.page.inner_text("#second-voice .source") == "female.opus", "the one it was dropped on")
    assert page.pictures() == 0, "nothing went to the portrait above"
    page.page.evaluate(DROP, ["body", sounds])
    page.page.wait_for_selector("#moved:not([hidden])")
    page.wait(lambda: page.page.inner_text("#second-voice .source") == "male.m4a", "both")
    assert page.page.inner_text("#first-voice .source") == "female.opus"


def test_both_are_drawn_anew_in_another_style_and_not_with_what_was_set_by_hand(page: Visit) -> None:
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url) if "/v1/portrait" in request.url else None)
    both(page)
    page.page.fill("#given-age", "70")
    page.page.wait_for_timeout(500)
    assert len(asked) == 2
    page.page.click("label:has(input[value=drawn])")
    page.wait(lambda: len(asked) == 4, "both once more")
    assert all("style=drawn" in each and "age=" not in each for each in asked[2:])


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            facts(30.4, 20, 40, "feminine"),
            facts(42.4, 35, 60, "feminine"),
            "The second is read 12 years older, and both are read as feminine."
            " Each age lies outside the other’s interval.",
        ),
        (
            facts(43, 30, 60, "masculine"),
            facts(42, 35, 60, "feminine", cautions=[{"code": "noise", "text": "Noisy."}]),
            "The second is read 1 year younger, and as feminine where the first is read as masculine."
            " Each age lies inside the other’s interval, so they may well be of the same age. Mind the cautions.",
        ),
        (
            facts(30, 20, 45, "feminine"),
            facts(44, 38, 60, "feminine"),
            "The second is read 14 years older, and both are read as feminine."
            " One of the ages lies outside the other’s interval.",
        ),
        (
            {"seconds_heard": 4.0, "cautions": []},
            {"seconds_heard": 5.0, "cautions": []},
            "What differs is the faces alone. This model states no age and no gender reading.",
        ),
    ],
)
def test_what_moved_is_said_in_whole_sentences(
    page: Visit, first: dict[str, Any], second: dict[str, Any], said: str
) -> None:
    text, found = page.page.evaluate(MOVED, [first, second])
    assert text == said
    table = {what: values for what, *values in found}
    assert table["Speech heard"][:2] == [f"{each['seconds_heard']:.1f} s" for each in (first, second)]
    assert ("Age" in table) == ("age" in first)
    if first.get("age") == 30.4:
        assert table["80 % interval"] == ["20 to 40", "35 to 60", "shared: 35 to 40"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_beside_each_other(browser: "Browser", address: str, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python")
    with visit(browser, address, color_scheme=scheme, viewport=PHONE) as page:
        page.page.wait_for_selector("#service[data-state=ready]")
        both(page)
        assert findings(page) == []
        for width in (320, 390, 820, 1400):
            page.page.set_viewport_size({"width": width, "height": 844})
            assert page.page.evaluate("document.documentElement.scrollWidth") <= width
            in_a_row, apart, size = page.page.evaluate(IN_A_ROW)
            assert in_a_row and apart and size > 100, width


def test_the_keyboard_reaches_both_voices_in_their_order(page: Visit) -> None:
    page.page.focus("#first-voice .record")
    reached = []
    for _ in range(4):
        reached.append(page.page.evaluate(FOCUSED))
        page.page.keyboard.press("Tab")
    assert reached == ["first-voice record", "first-voice choose", "second-voice record", "second-voice choose"]
