"""The page in a browser, end to end: what a person does, with a made voice in the microphone."""

from pathlib import Path
from typing import TYPE_CHECKING

from speech2face.provenance import DIGITAL_SOURCE_TYPE, read_provenance
from tests.app.page_browser import EXAMPLES, Visit

if TYPE_CHECKING:
    pass


def drawn_faces(page: Visit) -> int:
    return page.page.locator("#faces canvas[data-drawn]").count()


def faces_on_show(page: Visit) -> list[str]:
    drawn: list[str] = page.page.eval_on_selector_all("#faces canvas", "faces => faces.map((face) => face.toDataURL())")
    return drawn


def picture_on_show(page: Visit) -> list[int]:
    """Some pixels of the newest picture."""
    pixels: list[int] = page.page.evaluate(
        """() => {
          const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 32 });
          const images = document.querySelectorAll("#stage img");
          canvas.getContext("2d").drawImage(images[images.length - 1], 0, 0, 32, 32);
          return [...canvas.getContext("2d").getImageData(0, 0, 32, 32).data];
        }"""
    )
    return pixels


def few_tones(page: Visit) -> bool:
    """Whether the newest picture is flat, as a drawing is: most pixels are of its eight commonest colours."""
    share: float = page.page.evaluate(
        """() => {
          const size = 256;
          const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
          const images = document.querySelectorAll("#stage img");
          canvas.getContext("2d").drawImage(images[images.length - 1], 0, 0, size, size);
          const { data } = canvas.getContext("2d").getImageData(0, 0, size, size);
          const counts = new Map();
          for (let place = 0; place < data.length; place += 4) {
            const colour = [0, 1, 2].map((band) => data[place + band] >> 4).join();
            counts.set(colour, (counts.get(colour) ?? 0) + 1);
          }
          const commonest = [...counts.values()].sort((one, other) => other - one).slice(0, 8);
          return commonest.reduce((sum, count) => sum + count, 0) / (size * size);
        }"""
    )
    return share > 0.8


def test_the_portrait_changes_while_somebody_speaks_and_says_what_it_is(page: Visit) -> None:
    assert page.text("seconds") == "0.0"
    page.speak()
    first, heard = picture_on_show(page), page.seconds()
    page.wait(lambda: page.pictures() >= 4 and page.seconds() > 4, "three more pictures")
    assert picture_on_show(page) != first
    assert page.seconds() > heard >= 1
    assert page.text("gender").startswith("feminine (")
    assert page.text("age").startswith("about ")
    low, high = (int(word) for word in page.text("age-interval").split() if word.isdigit())
    assert 5 <= low < high <= 95
    assert "Not you, not the speaker." in page.text("easel")
    assert "Nobody's likeness." in page.text("notice")
    page.wait(lambda: drawn_faces(page) == 6, "six equally likely faces")
    assert "synthetic" in (page.page.get_attribute("#stage", "aria-label") or "").lower()
    assert "Age about" in page.text("live")
    page.page.click("#speak")
    page.wait(lambda: page.text("speak-text") == "Go on speaking", "the pause")
    assert page.text("listening") == "Stopped"


def more_speech(page: Visit) -> int:
    """How many pictures there are once more speech was heard."""
    heard = page.seconds()
    page.wait(lambda: page.seconds() > heard + 1.0, "more speech")
    return page.pictures()


def test_a_held_picture_stays_while_the_voice_goes_on_and_is_the_one_saved(page: Visit, tmp_path: Path) -> None:
    page.speak(until_pictures=2)
    page.page.click("#hold")
    page.page.wait_for_selector("#hold[aria-pressed=true]")
    pictures = more_speech(page)
    while (shown := more_speech(page)) != pictures:  # what was under way
        pictures = shown
    held = picture_on_show(page)
    more_speech(page)
    assert (picture_on_show(page), page.pictures()) == (held, pictures)
    provenance, facts = read_provenance(page.save(tmp_path))
    assert provenance.digital_source_type == DIGITAL_SOURCE_TYPE
    assert (provenance.kind, provenance.model_name) == ("portrait", "starter")
    assert facts["seconds_heard"] < page.seconds()
    page.page.click("#hold")
    page.wait(lambda: page.pictures() > pictures, "the picture moves again")


def test_what_is_set_by_hand_is_drawn_and_written_into_the_saved_picture(page: Visit, tmp_path: Path) -> None:
    page.speak()
    page.page.select_option("#given-gender", "male")
    page.page.fill("#given-age", "70")
    page.page.fill("#exaggerate", "1.5")
    page.wait(lambda: "drawn as male" in page.text("gender-set"), "the gender that was set")
    page.wait(lambda: "drawn as 70" in page.text("age-set"), "the age that was set")
    provenance, facts = read_provenance(page.save(tmp_path))
    assert set(provenance.given) == {"age", "gender"}
    assert facts["given"] == {"age": 70, "gender": "male"}
    assert provenance.exaggerate == 1.5
    page.page.click("#as-heard")
    page.wait(lambda: page.text("gender-set") == "", "the gender that was heard")


def test_the_drawn_face_is_shown_while_somebody_speaks_and_saved_as_svg(page: Visit, tmp_path: Path) -> None:
    page.speak()
    page.wait(lambda: drawn_faces(page) == 6, "six faces like photographs")
    assert not page.page.is_visible("#save-drawing")
    faces = faces_on_show(page)
    page.page.click("label:has(input[value=drawn])")
    page.page.wait_for_selector("#save-drawing:visible")
    page.wait(lambda: faces_on_show(page) != faces, "six drawn faces")
    assert few_tones(page)
    page.page.click("#hold")
    page.page.wait_for_selector("#hold[aria-pressed=true]")
    _, facts = read_provenance(page.save(tmp_path))  # at once: before what is held has come
    held = page.seconds()
    page.wait(lambda: page.seconds() > held + 1.5, "more speech")
    _, later = read_provenance(page.save(tmp_path))
    assert later["seconds_heard"] == facts["seconds_heard"]
    drawing = page.save(tmp_path, "save-drawing")
    assert drawing.suffix == ".svg"
    provenance, in_drawing = read_provenance(drawing)
    assert provenance.digital_source_type == DIGITAL_SOURCE_TYPE
    assert in_drawing["style"] == facts["style"] == "drawn"
    assert in_drawing["seconds_heard"] == facts["seconds_heard"] < page.seconds()
    page.page.click("#hold")
    page.page.click("label:has(input[value=photographic])")
    page.page.wait_for_selector("#save-drawing", state="hidden")


def test_a_drawn_face_moves_while_somebody_speaks_and_rests_afterwards(page: Visit) -> None:
    page.page.click("label:has(input[value=line])")
    page.speak()
    puppet = page.page.locator("#stage .puppet")
    jaws: set[str | None] = set()

    def moves() -> bool:
        if puppet.count():
            jaws.add(puppet.first.get_attribute("data-jaw"))
        return len(jaws) > 4

    page.wait(moves, "a mouth that moves")
    assert "synthetic average face" in (puppet.first.text_content() or "")
    page.page.click("#speak")
    page.wait(lambda: puppet.first.get_attribute("data-jaw") == "0.00", "a closed mouth")
    page.page.click("label:has(input[value=photographic])")
    page.wait(lambda: puppet.count() == 0, "a still portrait")


def test_a_file_is_drawn_and_saved_as_svg(page: Visit, tmp_path: Path) -> None:
    page.page.click("label:has(input[value=drawn])")
    page.page.set_input_files("#file", EXAMPLES / "male.m4a")
    page.wait(lambda: drawn_faces(page) == 6, "a portrait and six faces")
    assert few_tones(page)
    assert read_provenance(page.save(tmp_path, "save-drawing"))[1]["style"] == "drawn"
    page.page.click("#restart")
    assert not page.page.is_visible("#save-drawing")


def test_starting_over_forgets_the_voice_and_goes_on_listening(page: Visit) -> None:
    page.speak()
    page.wait(lambda: page.seconds() > 2.5, "some speech")
    page.page.click("#restart")
    page.wait(lambda: page.seconds() < 1.0, "nothing is heard any more")
    page.wait(lambda: page.pictures() >= 1, "a new portrait")
    assert page.seconds() < 2.5
    assert page.text("speak-text") == "Stop"


def test_a_chosen_file_becomes_a_labelled_portrait_that_can_be_changed(page: Visit, tmp_path: Path) -> None:
    page.page.set_input_files("#file", EXAMPLES / "male.m4a")
    page.wait(lambda: drawn_faces(page) == 6, "a portrait and six faces")
    assert page.text("gender").startswith("masculine (")
    assert page.text("listening") == "Read from male.m4a"
    faces = faces_on_show(page)
    page.page.click("#draw")
    page.wait(lambda: faces_on_show(page) != faces, "six other faces")
    assert page.pictures() == 1
    page.page.select_option("#given-group", "east_asian")
    page.wait(lambda: page.pictures() == 2, "the picture with what was set")
    provenance, facts = read_provenance(page.save(tmp_path))
    assert provenance.given == {"group": "east_asian"}
    assert facts["given"] == {"group": "east_asian"}


def test_a_dropped_file_is_taken_and_one_without_speech_is_refused_in_words(page: Visit) -> None:
    drop = """([name, base64]) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([bytes], name));
      for (const type of ["dragenter", "dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
      }
    }"""
    import base64

    recording = base64.b64encode((EXAMPLES / "female.opus").read_bytes()).decode()
    page.page.evaluate(drop, ["female.opus", recording])
    page.wait(lambda: page.pictures() == 1, "a portrait of the dropped file")
    assert page.text("gender").startswith("feminine (")
    page.page.evaluate(drop, ["notes.txt", base64.b64encode(b"no sound at all").decode()])
    assert page.message().startswith("No portrait of this file: ")
    assert len(page.text("message-text")) > 10
    assert page.pictures() == 0
