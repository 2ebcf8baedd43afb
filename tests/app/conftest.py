"""The service inside this process, with the shipped starter or a model that draws grey squares; and in a browser."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")
pytest.importorskip("httpx", reason="the service's tests need the extra `serve`")

from starlette.testclient import TestClient

from speech2face.app.http import Limits
from speech2face.app.server import create_app
from speech2face.app.service import Service, Settings
from tests.app import page_browser
from tests.app.speaking import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

AT_HOME = "http://localhost:8765"


def service_of(client: TestClient) -> Service:
    service = client.app.state.service  # type: ignore[attr-defined]
    assert isinstance(service, Service)
    return service


@pytest.fixture(scope="session")
def served() -> Iterator[TestClient]:
    """The starter behind the default limits; nobody changes it."""
    with TestClient(create_app(Settings(workers=2)), base_url=AT_HOME, raise_server_exceptions=False) as client:
        wait_until(lambda: service_of(client).registry.state == "ready")
        yield client


@pytest.fixture
def limited() -> Iterator[Callable[..., TestClient]]:
    """Makes a service with other limits, settings too, ready for use."""
    opened: list[TestClient] = []

    def make(limits: Limits | None = None, **settings: object) -> TestClient:
        app = create_app(Settings(workers=2, limits=limits or Limits(), **settings))  # type: ignore[arg-type]
        client = TestClient(app, base_url=AT_HOME, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        wait_until(lambda: service_of(client).registry.state != "starting")
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    """Chromium whose microphone plays a woman's voice, or the example that a module names as HEARD."""
    heard = page_browser.EXAMPLES / getattr(request.module, "HEARD", "female.mp3")
    sound = page_browser.write_microphone_sound(tmp_path_factory.mktemp("microphone") / "voice.wav", heard)
    with page_browser.chromium(sound) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(browser: "Browser") -> Iterator[str]:
    """A service of the module's own that asks for no token; not begun where there is no browser."""
    with page_browser.served() as found:
        yield found


@pytest.fixture
def page(browser: "Browser", address: str) -> Iterator[page_browser.Visit]:
    """A visit to its page, ready to be used."""
    with page_browser.visit(browser, address) as found:
        found.page.wait_for_selector("#service[data-state=ready]")
        yield found
