"""The service inside this process, with the shipped starter or with a model that draws grey squares."""

from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra `serve`")
pytest.importorskip("httpx", reason="the service's tests need the extra `serve`")

from starlette.testclient import TestClient

from speech2face.app.http import Limits
from speech2face.app.server import create_app
from speech2face.app.service import Service, Settings
from tests.app.speaking import wait_until

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
