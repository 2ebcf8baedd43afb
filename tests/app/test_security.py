"""Who is let in, and what a browser is told it may do."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from speech2face.app.calls import check_callback
from speech2face.app.http import Access, Limits, check_address, is_loopback
from speech2face.app.server import create_app, server_config
from speech2face.app.service import Settings
from speech2face.errors import InvalidOption
from tests.app.speaking import EXAMPLES, start

TOKEN = "correct-horse-battery"
SOUND = (EXAMPLES / "female.mp3").read_bytes()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "myhost"])
def test_a_network_needs_a_token(host: str) -> None:
    with pytest.raises(InvalidOption, match="SPEECH2FACE_TOKEN"):
        check_address(host, None)
    check_address(host, TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_needs_none(host: str) -> None:
    assert is_loopback(host)
    check_address(host, None)


@pytest.mark.parametrize("token", ["", "short", "with-an-umlaut-äöü-in-it", "line\nbreak-in-the-middle"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(InvalidOption, match="16"):
        check_address("127.0.0.1", token)


def test_without_the_token_only_the_page_and_health_answer(limited: Callable[..., TestClient]) -> None:
    client = limited(token=TOKEN)
    assert client.get("/health").status_code == 200
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/portrait"),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token"), path
        assert answer.headers["www-authenticate"] == "Bearer"
        wrong = client.request(method, path, headers={"Authorization": f"Bearer {TOKEN}x"})
        assert wrong.status_code == 401
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/v1/models", headers=right).status_code == 200
    assert client.get("/metrics", headers=right).status_code == 200
    assert client.get("/metrics", headers={"Authorization": f"bearer  {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "localhost.evil.example", "", "[::1"])
def test_another_name_for_this_machine_is_misdirected(served: TestClient, host: str) -> None:
    answer = served.get("/health", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8765", "[::1]:8765"])
def test_the_names_of_this_machine_are_known(served: TestClient, host: str) -> None:
    assert served.get("/health", headers={"Host": host}).status_code == 200


def test_another_sites_page_may_not_listen(served: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:9999"):
        with (
            pytest.raises(WebSocketDisconnect),
            served.websocket_connect("ws://localhost:8765/v1/live", headers={"Origin": origin}),
        ):
            pass
    own = {"Origin": "http://localhost:8765"}
    with served.websocket_connect("ws://localhost:8765/v1/live", headers=own) as socket:
        socket.send_text("{")
        assert "error" in socket.receive_text()


def test_another_sites_page_may_read_nothing(served: TestClient) -> None:
    answer = served.options(
        "/v1/portrait", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    )
    assert "access-control-allow-origin" not in answer.headers
    assert served.post("/v1/portrait", content=SOUND, headers={"Origin": "https://evil.example"}).status_code == 403


# --- Behind a proxy: the names it is known by, other sites that were allowed, the path it is shown under.

HERE = "localhost:8765"
FACES = Access(hosts=frozenset({"Faces.example.org", "voice.example.org:8443"}))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("faces.example.org", "https://faces.example.org"),
        ("faces.example.org:443", "https://faces.example.org"),
        (HERE, "https://faces.example.org"),  # a proxy that hands on its own name for the service
        (HERE, "http://faces.example.org:80"),
        ("voice.example.org", "https://voice.example.org:8443"),  # nginx's $host leaves the port out
        ("voice.example.org:8443", "https://voice.example.org:8443"),
        ("faces.example.org:9000", "https://faces.example.org:9000"),  # the Host header says it
    ],
)
def test_a_page_behind_a_proxy_is_the_services_own(limited: Callable[..., TestClient], host: str, origin: str) -> None:
    client = limited(access=FACES)
    headers = {"Host": host, "Origin": origin}
    assert client.post("/v1/portrait?pixels=64", content=SOUND, headers=headers).status_code == 200
    with client.websocket_connect(f"ws://{HERE}/v1/live", headers=headers) as socket:
        socket.send_text(start())
        assert '"ready"' in socket.receive_text()


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("evil.example", "https://evil.example", 421),
        ("faces.example.org.evil.example", "", 421),
        (HERE, "https://faces.example.org:9000", 403),
        (HERE, "https://voice.example.org", 403),
        (HERE, "https://faces.example.org@evil.example", 403),
        (HERE, "https://faces.example.org:x", 403),
        (HERE, "null", 403),
        ("faces.example.org", "ftp://faces.example.org", 403),
    ],
)
def test_behind_a_proxy_other_names_and_origins_are_refused_and_told_what_to_do(
    limited: Callable[..., TestClient], host: str, origin: str, status: int
) -> None:
    client = limited(access=FACES)
    headers = {"Host": host} | ({"Origin": origin} if origin else {})
    answer = client.get("/health", headers=headers)
    assert answer.status_code == status
    assert "--allowed-host" in answer.json()["detail"]
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"ws://{HERE}/v1/live", headers=headers):
        pass


def test_a_service_for_a_network_answers_to_any_name_until_it_is_told_its_own(
    limited: Callable[..., TestClient],
) -> None:
    right = {"Authorization": f"Bearer {TOKEN}", "Host": "whatever.example"}
    open_service = limited(host="0.0.0.0", token=TOKEN)
    assert open_service.get("/v1/models", headers=right).status_code == 200
    named = limited(host="0.0.0.0", token=TOKEN, access=FACES)
    assert named.get("/v1/models", headers=right).status_code == 421
    assert named.get("/health", headers={"Host": "127.0.0.1:8765"}).status_code == 200, "a container asks itself"


def test_an_allowed_site_may_use_the_api_and_read_why_it_was_refused(limited: Callable[..., TestClient]) -> None:
    client = limited(token=TOKEN, access=Access(origins=frozenset({"https://App.example.org:443/"})))
    site = {"Origin": "https://app.example.org"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    before = client.options("/v1/portrait", headers=site | asked)
    assert before.status_code == 200, "a browser asks without the token"
    assert before.headers["access-control-allow-origin"] == "https://app.example.org"
    right = {"Authorization": f"Bearer {TOKEN}"}
    drawn = client.post("/v1/portrait?pixels=64", content=SOUND, headers=site | right)
    assert drawn.status_code == 200
    assert drawn.headers["access-control-allow-origin"] == "https://app.example.org"
    assert "Speech2Face-Facts" in drawn.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in drawn.headers
    refused = client.post("/v1/portrait", content=SOUND, headers=site)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://app.example.org")
    with client.websocket_connect(f"ws://{HERE}/v1/live", headers=site | right) as socket:
        socket.send_text(start())
        assert '"ready"' in socket.receive_text()
    other = {"Origin": "https://app.example.org:8443"}
    assert client.options("/v1/portrait", headers=other | asked).status_code == 400
    answer = client.post("/v1/portrait", content=SOUND, headers=other | right)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_under_a_path_it_answers_whether_the_proxy_takes_the_path_away_or_not(
    limited: Callable[..., TestClient],
) -> None:
    client = limited(access=Access(root_path="voice/face/"))
    for path in ("/health", "/", "/call", "/docs", "/page/main.js", "/page/style.css", "/v1/models", "/openapi.json"):
        assert client.get(path).status_code == 200, path
        assert client.get(f"/voice/face{path}").status_code == 200, path
    assert client.get("/voice/faces/health").status_code == 404
    bare = client.get("/voice/face", follow_redirects=False)
    assert (bare.status_code, bare.headers["location"]) == (307, "/voice/face/")
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/voice/face"}]
    with client.websocket_connect(f"ws://{HERE}/voice/face/v1/live") as socket:
        socket.send_text(start())
        assert '"ready"' in socket.receive_text()


@pytest.mark.parametrize(
    ("stated", "word"),
    [
        ({"hosts": {"https://faces.example.org"}}, "NAME:PORT"),
        ({"hosts": {"*"}}, "NAME:PORT"),
        ({"hosts": {"a.example:99999"}}, "NAME:PORT"),
        ({"origins": {"app.example.org"}}, "https://app.example.org"),
        ({"origins": {"*"}}, "origin"),
        ({"origins": {"https://app.example.org/path"}}, "no host"),
        ({"proxies": ("proxy.example.org",)}, "10.0.0.0/8"),
        ({"proxies": ("*",)}, "10.0.0.0/8"),
        ({"root_path": "https://x"}, "no path"),
        ({"root_path": "/a b"}, "no path"),
    ],
)
def test_what_cannot_be_a_name_an_origin_a_proxy_or_a_path_is_refused(stated: dict[str, Any], word: str) -> None:
    with pytest.raises(InvalidOption, match=re.escape(word)):
        Access(**stated)


def test_a_callback_host_is_a_name_of_whatever_capitals_or_refused() -> None:
    for stated in ("", "http://hooks.example.org/", "hooks.example.org:99999", "*"):
        with pytest.raises(InvalidOption, match="NAME:PORT"):
            Settings(callback_hosts=frozenset({stated}))
    hosts = Settings(callback_hosts=frozenset({"Hooks.Example.org"})).callback_hosts
    assert check_callback("https://hooks.example.org/x", hosts)


def test_a_path_of_the_service_itself_is_no_root_path() -> None:
    for path in ("/v1", "/page", "/call", "/v1/calls"):
        with pytest.raises(InvalidOption, match="--root-path"):
            create_app(Settings(access=Access(root_path=path)))


@pytest.mark.parametrize(
    ("proxies", "scheme", "client"),
    [
        ((), "http", "127.0.0.1"),
        (("127.0.0.1",), "https", "203.0.113.9"),
        (("127.0.0.0/8", "::1"), "https", "203.0.113.9"),
        (("10.0.0.0/8",), "http", "127.0.0.1"),
    ],
)
def test_a_forwarded_address_is_believed_of_stated_proxies_alone(
    proxies: tuple[str, ...], scheme: str, client: str
) -> None:
    seen: list[tuple[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["scheme"], scope["client"][0]))

    config = server_config(app, Limits(), Access(proxies=proxies).proxies)  # type: ignore[arg-type]
    config.load()
    forwarded = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"203.0.113.9")]
    scope = {"type": "http", "scheme": "http", "client": ("127.0.0.1", 5000), "headers": forwarded}
    asyncio.run(config.loaded_app(scope, None, None))
    assert seen == [(scheme, client)]


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/nothing", "/page/nothing.js", "/page/../service.py"])
def test_every_answer_carries_the_security_headers(served: TestClient, path: str) -> None:
    answer = served.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_a_path_cannot_leave_the_pages_folder(served: TestClient) -> None:
    for path in ("/page/..%2fservice.py", "/page/%2e%2e/service.py", "/page//etc/passwd"):
        assert served.get(path).status_code in (404, 405), path


def test_what_is_too_large_or_too_much_is_refused(limited: Callable[..., TestClient]) -> None:
    client = limited(Limits(upload_bytes=len(SOUND) + 500, files_per_request=1, recording_seconds=5))
    answer = client.post("/v1/portrait", content=SOUND * 2)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
    pieces = client.post("/v1/portrait", content=iter([SOUND, SOUND]))  # chunked: its size is not stated
    assert (pieces.status_code, pieces.json()["code"]) == (413, "upload_too_large")
    answer = client.post("/v1/portrait", content=SOUND)
    assert (answer.status_code, answer.json()["code"]) == (413, "recording_too_long")
    answer = client.post("/v1/portraits", files=[("file", ("a", b"x")), ("file", ("b", b"y"))])
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_files")
    busy = limited(Limits(requests_at_once=0)).post("/v1/portrait", content=SOUND)
    assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (429, "too_many", "1")
    full = limited(Limits(uploads_held_bytes=1000)).post("/v1/portrait", content=SOUND)
    assert (full.status_code, full.json()["code"]) == (429, "too_many")


def test_refused_uploads_are_let_go_of(limited: Callable[..., TestClient]) -> None:
    client = limited(Limits(upload_bytes=1000))
    for content in (SOUND, b"x" * 500):
        client.post("/v1/portrait", content=content)
    assert "speech2face_uploads_held_bytes 0.0\n" in client.get("/metrics").text


def test_no_upload_becomes_a_temporary_file(served: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def refuse(*arguments: object, **options: object) -> object:
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", refuse)
    large = b"\0" * 3 * 2**20
    answer = served.post("/v1/portrait", files={"file": ("large.bin", large)})
    assert (answer.status_code, answer.json()["code"]) == (422, "not_media")


def test_unknown_paths_and_methods_are_problems_too(served: TestClient) -> None:
    for method, path, status in (("GET", "/v1/nothing", 404), ("DELETE", "/v1/portrait", 405), ("GET", "/call/", 404)):
        answer = served.request(method, path)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_who_asks_for_the_head_alone_is_given_what_comes_before_the_body(served: TestClient) -> None:
    for path in ("/health", "/", "/docs", "/page/main.js", "/openapi.json", "/v1/models"):
        whole, head = served.get(path), served.head(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}, path
    assert served.head("/v1/portrait").status_code == 405
    assert served.head("/nothing").status_code == 404


def test_a_mistake_of_ours_shows_no_traceback(served: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr("speech2face.app.server.draw", broken)
    answer = served.post("/v1/portrait", content=SOUND)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Zero" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_before_the_models_are_there_the_answer_is_to_come_back(
    limited: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = limited()
    monkeypatch.setattr(client.app.state.service.registry, "state", "starting")  # type: ignore[attr-defined]
    assert client.get("/health").json()["status"] == "starting"
    for answer in (client.get("/v1/models"), client.post("/v1/portrait", content=SOUND)):
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "not_ready", "1")
    with client.websocket_connect("ws://localhost:8765/v1/live") as socket:
        socket.send_text(start())
        assert '"not_ready"' in socket.receive_text()
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 4503
