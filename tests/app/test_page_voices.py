"""Several voices on the page: a face for each of a file or at the microphone, and who spoke when."""

from pathlib import Path

from speech2face.provenance import read_provenance
from tests.app.page_browser import EXAMPLES, PATIENCE_SECONDS, Visit, findings

HEARD = "conversation.opus"


def rows(page: Visit) -> list[str]:
    return [" ".join(text.split()) for text in page.page.locator("#voice-rows li").all_inner_texts()]


def test_a_file_with_three_voices_shows_three_faces_and_when_each_speaks(page: Visit, tmp_path: Path) -> None:
    page.page.check("#several")
    page.page.set_input_files("#file", EXAMPLES / "conversation.opus")
    page.page.wait_for_selector(
        "#voices:not([hidden])", timeout=3000 * PATIENCE_SECONDS
    )  # seconds of work, not of waiting
    names = [row for row in rows(page) if row.startswith("Speaker")]
    assert [row.split(" age")[0] for row in names] == ["Speaker 1", "Speaker 2", "Speaker 3"]
    assert "feminine" in names[0]
    lanes = page.page.locator("#voice-rows .lane")
    assert (lanes.first.get_attribute("aria-label") or "").startswith("0:00 to 0:05, ")
    assert page.page.locator("#voice-rows li").first.locator(".lane i").count() == 4
    page.wait(lambda: page.text("gender").startswith("feminine ("), "the first speaker's reading")
    page.page.locator("#voice-rows button").nth(1).click()
    page.wait(lambda: page.text("gender").startswith("masculine ("), "the second speaker's reading")
    assert page.page.locator("#voice-rows button").nth(1).get_attribute("aria-pressed") == "true"
    provenance, facts = read_provenance(page.save(tmp_path))
    assert (provenance.kind, facts["gender"]["reading"]) == ("portrait", "masculine")
    assert page.page.is_disabled("#draw"), "of a conversation no other faces are asked for"
    assert findings(page) == []
    page.page.uncheck("#several")
    page.page.wait_for_selector("#voices", state="hidden", timeout=1000 * PATIENCE_SECONDS)


def test_at_the_microphone_a_new_voice_gets_a_face_of_its_own(page: Visit) -> None:
    page.page.check("#several")
    page.speak()
    page.wait(lambda: len(rows(page)) >= 2, "a second voice")
    assert rows(page)[0].startswith("Speaker 1")
    assert page.page.locator("#voice-rows button[aria-pressed=true]").count() == 1
    page.page.click("#speak")
    page.wait(lambda: page.text("speak-text") == "Go on speaking", "the pause")
    page.page.click("#restart")
    page.page.wait_for_selector("#voices", state="hidden", timeout=1000 * PATIENCE_SECONDS)
