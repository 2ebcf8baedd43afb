"""The service behind nginx, configured by deploy/nginx.conf: names, ports, TLS, a path, WebSockets, a browser."""

import datetime
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="the service needs the extra `serve`")

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from speech2face.app.http import Access
from tests.app.listening import Listening, free_port, server
from tests.app.page_browser import chromium, visit, write_microphone_sound
from tests.app.speaking import EXAMPLES, label_in, pcm, start, voice, wait_until

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NAME = "faces.example.org"
HOST_LINE = "    proxy_set_header Host              $http_host;\n"
SOUND = (EXAMPLES / "female.mp3").read_bytes()
MAIN = """
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


@dataclass(frozen=True)
class Proxied:
    """A service and where nginx listens for it, on loopback alone."""

    listening: Listening
    folder: Path
    plain: int
    secure: int

    @property
    def address(self) -> str:
        """As a browser has it, whose resolver knows the name."""
        return f"https://{NAME}:{self.secure}"

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "fullchain.pem"))

    def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        """A request to the name, with the origin that a browser would send."""
        headers = {"Host": f"{NAME}:{self.secure}", "Origin": self.address} | content.pop("headers", {})
        with httpx.Client(verify=self.trust(), trust_env=False, timeout=180) as client:
            return client.request(method, f"https://127.0.0.1:{self.secure}{path}", headers=headers, **content)

    def speak(self, path: str, origin: str | None = None) -> dict[str, Any]:
        """The facts of a live session's last update."""
        with (
            socket.create_connection(("127.0.0.1", self.secure)) as opened,
            connect(
                f"wss://{NAME}:{self.secure}{path}",
                sock=opened,
                ssl=self.trust(),
                origin=Origin(origin or self.address),
                proxy=None,
            ) as live,
        ):
            live.send(start(picture="none"))
            live.send(pcm(voice(2.5)))
            live.send('{"type":"finish"}')
            said = [json.loads(message) for message in live]
        assert said[-1]["type"] == "end"
        facts: dict[str, Any] = [each for each in said if each["type"] == "update"][-1]["facts"]
        return facts


def write_certificate(folder: Path) -> None:
    """A certificate that signs itself, of the name and of this machine, for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def placed(text: str, place: str, by: str, times: int = 1) -> str:
    assert text.count(place) == times, f"deploy/nginx.conf has no {place!r}"
    return text.replace(place, by)


@contextmanager
def nginx(proxied: Proxied, change: Callable[[str], str] = lambda text: text) -> Iterator[Proxied]:
    """Run it with our file, in which only ports and folders are other ones, and what `change` says."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no nginx on this machine; Debian's package is nginx-light")
    folder = proxied.folder
    site = CONFIGURATION.read_text(encoding="utf-8")
    site = placed(site, "listen 80;", f"listen 127.0.0.1:{proxied.plain};")
    site = placed(site, "listen 443 ssl;", f"listen 127.0.0.1:{proxied.secure} ssl;")
    site = placed(site, "/etc/nginx/certificates/", f"{folder}/", 2)
    site = placed(site, "proxy_pass http://127.0.0.1:8765", f"proxy_pass http://127.0.0.1:{proxied.listening.port}", 2)
    (folder / "site.conf").write_text(change(site), encoding="utf-8")
    user = "user root;" if os.getuid() == 0 else ""  # else nobody, who may not read pytest's folder
    (folder / "main.conf").write_text(MAIN.format(folder=folder, user=user), encoding="utf-8")
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "main.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or answers(proxied.plain))
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            yield proxied
        finally:
            process.terminate()
            process.wait(180)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    """A service that knows its name at nginx's port, and its path; nginx is started by each test."""
    folder = tmp_path_factory.mktemp("nginx")
    write_certificate(folder)
    plain, secure = free_port(), free_port()
    access = Access(hosts=frozenset({f"{NAME}:{secure}"}), proxies=("127.0.0.1",), root_path="/voice")
    with server(access=access) as listening:
        yield Proxied(listening, folder, plain, secure)


@pytest.mark.parametrize(
    "host_line",
    [
        HOST_LINE,
        "    proxy_set_header Host $host;\n",  # without the port
        "",  # nginx's default: the service's own address
    ],
    ids=["as-it-stands", "host-without-port", "default-host"],
)
def test_portraits_and_live_sound_pass_whichever_host_nginx_names(proxied: Proxied, host_line: str) -> None:
    with nginx(proxied, lambda text: placed(text, HOST_LINE, host_line)):
        drawn = proxied.ask("POST", "/v1/portrait?pixels=64", content=SOUND)
        assert drawn.status_code == 200, drawn.text
        provenance, _ = label_in(drawn.content)
        assert provenance.kind == "portrait"
        assert proxied.speak("/v1/live")["seconds_heard"] > 1
        evil = proxied.ask("POST", "/v1/portrait", content=SOUND, headers={"Origin": "https://evil.example"})
        assert (evil.status_code, evil.json()["code"]) == (403, "wrong_origin")
        with pytest.raises(InvalidStatus):
            proxied.speak("/v1/live", origin="https://evil.example")


@pytest.mark.parametrize("end", [";", "/;"], ids=["path-kept", "path-taken-away"])
def test_under_a_path_all_of_it_is_there(proxied: Proxied, end: str) -> None:
    def change(text: str) -> str:
        before, after = text.split("location /voice/")
        return (
            before
            + "location /voice/"
            + placed(after, f":{proxied.listening.port};", f":{proxied.listening.port}{end}")
        )

    with nginx(proxied, change):
        for path in ("/", "/call", "/docs", "/page/main.js", "/v1/models", "/openapi.json"):
            assert proxied.ask("GET", f"/voice{path}").status_code == 200, path
        assert proxied.ask("POST", "/voice/v1/portrait?pixels=64", content=SOUND).status_code == 200
        assert proxied.speak("/voice/v1/live")["seconds_heard"] > 1
        bare = proxied.ask("GET", "/voice")
        assert (bare.status_code, bare.headers["location"]) == (301, "/voice/")


def test_plain_http_leads_to_https_and_a_large_body_to_the_services_own_answer(proxied: Proxied) -> None:
    with nginx(proxied):
        address = f"http://127.0.0.1:{proxied.plain}/call"
        answer = httpx.get(address, headers={"Host": NAME}, trust_env=False, timeout=180)
        assert (answer.status_code, answer.headers["location"]) == (301, f"https://{NAME}/call")
        assert proxied.ask("POST", "/v1/portrait", content=bytes(3 * 2**20)).json()["code"] == "not_media"
        kept = [path for path in proxied.folder.rglob("*") if path.is_file() and path.parent != proxied.folder]
        assert kept == [], "a recording became a file"


def test_the_page_works_under_a_path_behind_tls(proxied: Proxied, tmp_path: Path) -> None:
    sound = write_microphone_sound(tmp_path / "voice.wav", EXAMPLES / "female.mp3")
    known = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    with (
        chromium(sound, known) as browser,
        nginx(proxied),
        visit(browser, f"{proxied.address}/voice/", ignore_https_errors=True) as page,
    ):
        page.page.wait_for_selector("#service[data-state=ready]")
        page.speak(until_pictures=2)
        page.page.click("#speak")
        page.page.set_input_files("#file", EXAMPLES / "male.m4a")
        page.wait(lambda: page.text("listening") == "Read from male.m4a", "a portrait of a file")
        failed: list[str] = []
        page.page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        for path in ("call", "docs"):
            page.page.goto(f"{proxied.address}/voice/{path}")
            page.page.wait_for_load_state("networkidle")
        assert failed == []
        own = (f"{proxied.address}/voice/", f"blob:{proxied.address}/", "data:")
        assert [each for each in page.addresses if not each.startswith(own)] == []
