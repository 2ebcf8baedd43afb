"""Take the pictures of docs/page.md and docs/calls.md anew, as each release of weights wants it.

    python runs/page_pictures.py         about a minute; needs the test set and Chromium

What speaks is the synthesiser of `examples/`.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the browser that the tests use

from tests.app.page_browser import EXAMPLES, Visit, chromium, served, visit, write_microphone_sound  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = ROOT / "docs" / "images"
COLOURS = 256  # of a picture's palette, no further than 15 of 255 from the true ones: a third of the bytes
SHARPENING_SECONDS = (1.2, 2.4, 3.6, 6.5)  # of speech
SHARPENING_PIXELS, MARGIN = 300, 16


def keep(path: Path, image: Image.Image) -> None:
    """Write a picture with a palette."""
    image.convert("RGB").quantize(COLOURS, kmeans=2).save(path, optimize=True)
    print(path.name, image.size)


def shot(page: Visit, name: str, **options: Any) -> None:
    """What is on show, as a file of the documentation."""
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.page.screenshot(path=file.name, **options)
        keep(IMAGES / name, Image.open(file.name))


def top_of(page: Visit, selector: str) -> float:
    """Where on the whole page something begins."""
    place: float = page.page.eval_on_selector(selector, "found => found.getBoundingClientRect().top + scrollY")
    return place


def above(page: Visit) -> dict[str, float]:
    """The part of the page over the two voices beside each other, which have a picture of their own."""
    size = page.page.viewport_size
    assert size is not None
    return {"x": 0, "y": 0, "width": size["width"], "height": top_of(page, "#beside") - 20}


def drawn(page: Visit) -> None:
    """Wait for six faces, and for the last one to have faded in."""
    page.wait(lambda: page.page.locator("#faces canvas[data-drawn]").count() == 6, "six faces")
    page.page.wait_for_timeout(1500)


def ready(page: Visit) -> None:
    """Wait for the service; its port is one that documentation names."""
    page.page.set_default_timeout(300_000)
    page.page.wait_for_selector("#service[data-state=ready]")
    page.page.evaluate("document.getElementById('address').textContent = '127.0.0.1:8765'")


def heard(page: Visit, seconds: float) -> bool:
    """Whether so much speech was heard."""
    return page.seconds() >= seconds


def speaking(browser: "Browser", address: str) -> None:
    """The page while somebody speaks, and how the portrait sharpens."""
    with visit(browser, address, viewport={"width": 1400, "height": 1100}) as page:
        ready(page)
        page.page.click("#speak")
        faces = []
        for seconds in SHARPENING_SECONDS:
            page.wait(partial(heard, page, seconds), f"{seconds} s of speech")
            with tempfile.NamedTemporaryFile(suffix=".png") as file:
                page.page.locator("#stage").screenshot(path=file.name)
                face = Image.open(file.name).convert("RGB").resize((SHARPENING_PIXELS, SHARPENING_PIXELS))
            faces.append((face, f"{page.text('seconds')} s heard, {page.text('age-interval')}"))
        drawn(page)
        shot(page, "page-1400-light.png", full_page=True, clip=above(page))
    sheet = Image.new("RGB", (len(faces) * (SHARPENING_PIXELS + MARGIN) + MARGIN, SHARPENING_PIXELS + 60), "#f4f3ef")
    for number, (face, text) in enumerate(faces):
        left = MARGIN + number * (SHARPENING_PIXELS + MARGIN)
        sheet.paste(face, (left, MARGIN))
        place = (left, SHARPENING_PIXELS + MARGIN + 8)
        ImageDraw.Draw(sheet).text(place, text, fill="#20262b", font=ImageFont.load_default(16))
    keep(IMAGES / "page-sharpening.png", sheet)


def from_files(browser: "Browser", address: str) -> None:
    """A phone, what was set by hand, and drawn faces."""
    with visit(browser, address, viewport={"width": 360, "height": 740}) as page:
        ready(page)
        page.page.set_input_files("#file", EXAMPLES / "male.m4a")
        drawn(page)
        shot(page, "page-360-light.png", full_page=True, clip=above(page))
    with visit(browser, address, viewport={"width": 820, "height": 900}, color_scheme="dark") as page:
        ready(page)
        page.page.select_option("#given-gender", "female")
        page.page.fill("#given-age", "66")
        page.page.set_input_files("#file", EXAMPLES / "telephone.wav")
        drawn(page)
        shot(page, "page-820-dark.png", full_page=True, clip=above(page))
    with visit(browser, address, viewport={"width": 1160, "height": 900}) as page:
        ready(page)
        page.page.click("label:has(input[value=drawn])")
        page.page.set_input_files("#file", EXAMPLES / "male.m4a")
        drawn(page)
        top = top_of(page, ".likely") - 20
        clip = above(page)
        shot(page, "page-drawn.png", full_page=True, clip=clip | {"y": top, "height": clip["height"] - top})


def refused(browser: "Browser", address: str) -> None:
    """A microphone that was not given."""
    options: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
    with visit(browser, address, microphone=False, **options) as page:
        ready(page)
        page.page.click("#speak")
        page.page.wait_for_selector("#message:not([hidden])")
        shot(page, "page-360-refused.png")


def beside(browser: "Browser", address: str) -> None:
    """Two voices beside each other."""
    with visit(browser, address, viewport={"width": 1160, "height": 900}) as page:
        ready(page)
        page.page.set_input_files("#first-voice .file", EXAMPLES / "female.mp3")
        page.page.set_input_files("#second-voice .file", EXAMPLES / "male.m4a")
        page.page.wait_for_selector("#moved:not([hidden])")
        page.page.wait_for_timeout(1500)
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            page.page.locator("#beside").screenshot(path=file.name)
            inner = Image.open(file.name).convert("RGB")
        framed = Image.new("RGB", (inner.width + 48, inner.height + 48), inner.getpixel((2, inner.height - 2)))
        framed.paste(inner, (24, 24))
        keep(IMAGES / "page-beside.png", framed)


def call(browser: "Browser", address: str) -> None:
    """One tab of a call, while somebody speaks in the other."""
    place, size = f"{address}/call#call=tabs", {"width": 1100, "height": 760}
    with visit(browser, place) as speaker, visit(browser, place, viewport=size, microphone=False) as viewer:
        for page, button in ((speaker, "#speak"), (viewer, "#look")):
            page.page.click(button)
            page.page.wait_for_selector("body[data-state=connected]")
        viewer.wait(lambda: "s of speech heard" in viewer.text("heard"), "the readings are there")
        viewer.page.wait_for_timeout(4000)
        shot(viewer, "call-page.png")


SPEAKERS = {"female.mp3": (beside, from_files, refused, speaking), "male.flac": (call,)}


def main() -> None:
    """All of them."""
    for speaker, takes in SPEAKERS.items():
        with tempfile.TemporaryDirectory() as folder:
            sound = write_microphone_sound(Path(folder) / "voice.wav", EXAMPLES / speaker)
            with chromium(sound) as browser, served() as address:
                for take in takes:
                    take(browser, address)


if __name__ == "__main__":
    main()
