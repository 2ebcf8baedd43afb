"""The API's description of itself: complete, and true of what is answered to made-up requests."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

schemathesis = pytest.importorskip("schemathesis", reason="made-up requests need the extra `test`")

import requests  # noqa: E402
from hypothesis import HealthCheck, Phase, settings  # noqa: E402
from schemathesis.specs.openapi import checks as conformance  # noqa: E402

from speech2face.app.server import create_app  # noqa: E402
from speech2face.app.service import Settings  # noqa: E402
from tests.app.listening import Listening, server  # noqa: E402

SCHEMA = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
CHECKS = [
    schemathesis.checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(served: TestClient) -> dict[str, Any]:
    answer = served.get("/openapi.json")
    assert answer.status_code == 200
    values: dict[str, Any] = answer.json()
    return values


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]


def test_every_route_is_described_with_its_errors(document: dict[str, Any]) -> None:
    calls = {"/v1/calls/{call}", "/v1/calls/{call}/{track}.png", "/v1/webrtc", "/v1/webrtc/offer"}
    assert set(document["paths"]) == {"/health", "/metrics", "/v1/models", "/v1/portrait", "/v1/portraits"} | calls
    for path, operation in operations(document):
        assert operation["summary"], path
        errors = {status: each for status, each in operation["responses"].items() if int(status) >= 400}
        assert {"405", "421", "500"} <= set(errors), path
        for status, error in errors.items():
            assert error["description"], path
            assert status == "503" or "application/problem+json" in error["content"], (path, status)


def test_every_reference_and_every_option_is_there(document: dict[str, Any]) -> None:
    text = str(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text, name
    portrait = document["paths"]["/v1/portrait"]["post"]
    names = {parameter["name"] for parameter in portrait["parameters"]}
    assert names == {
        "samples",
        "seed",
        "exaggerate",
        "age",
        "gender",
        "group",
        "hair",
        "model",
        "style",
        "pixels",
        "picture",
    }
    assert set(portrait["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
        "application/octet-stream",
    }
    pictures = {"image/png", "image/webp", "image/svg+xml"}
    assert set(portrait["responses"]["200"]["content"]) == {"application/json", *pictures}


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server() as running:
        yield running


@SCHEMA.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=8,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_made_up_requests_are_answered_as_described(listening: Listening, case: Any) -> None:
    with requests.Session() as session:
        session.trust_env = False  # no proxy knows the way to this machine
        case.call_and_validate(base_url=listening.address, session=session, checks=CHECKS)
