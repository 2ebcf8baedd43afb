"""Headless Chromium before a served page: a microphone that plays a recording, and what every page test looks at."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_SECONDS = 180.0  # a laden machine is slow; nothing waits this long when all is well
LATE_DEVICES = """() => {
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.asked = [];  // by the page, and not allowed yet
  window.given = [];  // tracks
  navigator.mediaDevices.getUserMedia = (wanted) =>
    new Promise((resolve) => window.asked.push(async () => {
      const stream = await real(wanted);
      window.given.push(...stream.getTracks());
      resolve(stream);
    }));
  window.allow = () => Promise.all(window.asked.splice(0).map((each) => each()));
}"""
NO_NETWORK = (
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
    "--disable-quic",
)


@contextmanager
def served(**settings: Any) -> Iterator[str]:
    """The address of a service on a free port of this machine, its model loaded."""
    pytest.importorskip("uvicorn")
    pytest.importorskip("fastapi")
    from speech2face.app.server import listen, make_server
    from speech2face.app.service import Settings

    server = make_server(Settings(**settings))
    socket = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.service.registry.state == "ready", "the model is loaded")
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


@contextmanager
def chromium(heard: Path, *more: str) -> Iterator["Browser"]:
    """A browser whose microphone plays a WAV file again and again, with `more` options; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine; Debian's package is chromium")
    fake = ("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={heard}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *NO_NETWORK, *fake, *more])
        yield browser
        browser.close()


@dataclass
class Visit:
    """One visit to the page, and everything that went wrong in it."""

    page: "Page"
    faults: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def text(self, name: str) -> str:
        """What an element says."""
        return (self.page.text_content(f"#{name}") or "").strip()

    def seconds(self) -> float:
        """Of speech heard, as the page says."""
        return float(self.text("seconds"))

    def pictures(self) -> int:
        """Shown since the page was empty."""
        return int(self.page.get_attribute("#stage", "data-pictures") or 0)

    def wait(self, condition: Any, what: str) -> None:
        """Until it holds; while the page goes on."""
        wait_until(condition, what, lambda: self.page.wait_for_timeout(40))

    def speak(self, *, until_pictures: int = 1) -> None:
        """Press Speak, and wait for so many pictures."""
        self.page.click("#speak")
        self.wait(lambda: self.pictures() >= until_pictures, f"{until_pictures} pictures")

    def message(self) -> str:
        """Title and text of the box that says what went wrong."""
        self.page.wait_for_selector("#message:not([hidden])", timeout=1000 * PATIENCE_SECONDS)
        return f"{self.text('message-title')}: {self.text('message-text')}"

    def save(self, folder: Path, button: str = "save") -> Path:
        """The picture that "Save picture" gives, or another button."""
        with self.page.expect_download() as started:
            self.page.click(f"#{button}")
        path = folder / started.value.suggested_filename
        started.value.save_as(path)
        return path


@contextmanager
def visit(browser: "Browser", address: str, *, microphone: bool = True, **context_options: Any) -> Iterator[Visit]:
    """A page in a context of its own, ready to be used; nothing may go wrong in its scripts."""
    options = {"viewport": {"width": 1280, "height": 900}, "permissions": ["microphone"] if microphone else []}
    context = browser.new_context(**(options | context_options))
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    try:
        found = Visit(context.new_page())
        found.page.on("pageerror", lambda error: found.faults.append(str(error)))
        found.page.on(
            "console", lambda said: found.faults.append(said.text) if "Content Security" in said.text else None
        )
        found.page.on("request", lambda request: found.addresses.append(request.url))
        found.page.goto(address)
        yield found
        assert found.faults == []
    finally:
        context.close()


def findings(page: Visit) -> list[str]:
    """What axe holds for serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page.page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {each['nodes'][0]['html'][:120]}" for each in grave]


def wait_until(condition: Any, what: str, between: Any = lambda: time.sleep(0.02)) -> None:
    """Wait for something to become true.

    Raises:
        AssertionError: it did not in time.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        between()


def write_microphone_sound(path: Path, recording: Path) -> Path:
    """A recording as the WAV file that Chromium plays as its microphone."""
    import wave

    import numpy as np

    from speech2face.audio.recording import read_recording
    from speech2face.audio.spectrogram import SAMPLE_RATE

    waveform = read_recording(recording).waveform
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path
