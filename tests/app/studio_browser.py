"""Chromium before the consent studio: a microphone that plays a recording, a camera that films a picture."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from speech2face.app.studio import Studio, StudioSettings, make_studio_server
from tests.app.page_browser import NO_NETWORK, PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTH, HEIGHT = 640, 480


@contextmanager
def serving(settings: StudioSettings) -> Iterator[tuple[str, Studio]]:
    """The address of a studio on a free port, and what its routes share."""
    from speech2face.app.server import listen

    server = make_studio_server(settings)
    socket = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, "the studio listens")
        yield f"http://127.0.0.1:{socket.getsockname()[1]}", server.config.app.state.studio  # type: ignore[union-attr]
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


@contextmanager
def filmed(voice: Path, film: Path) -> Iterator["Browser"]:
    """A browser with both; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on this machine; Debian's package is chromium")
    fake = (
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={voice}",
        f"--use-file-for-fake-video-capture={film}",
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", *NO_NETWORK, *fake])
        yield browser
        browser.close()


def write_film(path: Path, picture: Path) -> Path:
    """A YUV4MPEG2 file of ten frames of a picture in the middle of a grey room."""
    room = Image.new("RGB", (WIDTH, HEIGHT), (150, 155, 160))
    face = Image.open(picture).convert("RGB").resize((HEIGHT, HEIGHT))
    room.paste(face, ((WIDTH - HEIGHT) // 2, 0))
    luma, blue, red = (np.asarray(plane) for plane in room.convert("YCbCr").split())
    planes = luma.tobytes() + blue[::2, ::2].tobytes() + red[::2, ::2].tobytes()  # 4:2:0
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F10:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(head + 10 * (b"FRAME\n" + planes))
    return path
