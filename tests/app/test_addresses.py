"""Nobody can make the service send packets to others: the candidates of an offer, and where callbacks lead."""

import asyncio
import contextlib
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytest.importorskip("aiortc", reason="WebRTC needs the extra `calls`")

from aioice import stun
from aiortc import RTCSessionDescription

from speech2face.app.calls import Callback, callback_addresses, unfit_addresses
from speech2face.app.http import Access, Limits, check_stun
from speech2face.app.webrtc import MOST_CANDIDATES, MOST_SECTIONS, allowed_offer
from speech2face.errors import InvalidOption
from tests.app.listening import Listening, server
from tests.app.peers import peer, until
from tests.app.speaking import wait_until
from tests.app.telephone import receiver
from tests.app.test_leaving import logged, loud
from tests.app.test_webrtc import made_offer

OTHER = "127.0.0.2"  # another machine, as far as anybody can tell: loopback alone carries what is sent there
LIMITS = Limits(connect_seconds=1.0)
pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="loopback is one address there")


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server(LIMITS) as running:
        yield running


@contextlib.contextmanager
def sink(host: str = OTHER) -> Iterator[socket.socket]:
    """Somebody who never asked for a call."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((host, 0))
        made.setblocking(False)
        yield made


def packets(at: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while at.recv(2048):
            count += 1
    return count


def naming(sdp: str, hosts: list[tuple[str, int]]) -> str:
    """An offer whose candidates are these alone."""
    lines = [line for line in sdp.split("\r\n") if not line.startswith(("a=candidate", "a=end-of-candidates"))]
    stated = [
        f"a=candidate:{number} 1 udp 2130706431 {host} {port} typ host" for number, (host, port) in enumerate(hosts)
    ]
    sections = [number for number, line in enumerate(lines) if line.startswith("a=mid")]
    for place in reversed(sections):
        lines[place + 1 : place + 1] = stated
    return "\r\n".join(lines)


def offered(listening: Listening, sdp: str, **headers: str) -> httpx.Response:
    address = f"{listening.address}/v1/webrtc/offer"
    return httpx.post(address, json={"type": "offer", "sdp": sdp}, headers=headers, trust_env=False, timeout=180)


def over(listening: Listening) -> bool:
    return not listening.service.live


def test_an_offer_that_names_somebody_else_sends_nobody_a_packet(listening: Listening) -> None:
    sdp = asyncio.run(made_offer())
    with sink() as victim, logged() as records:
        answer = offered(listening, naming(sdp, [(OTHER, victim.getsockname()[1])]))
        wait_until(lambda: over(listening))
        assert packets(victim) == 0
    assert answer.status_code == 200, "its own checks may still come"
    assert loud(records) == []


@pytest.mark.parametrize("host", ["localhost", "2130706434", "0x7f000002", "127.2", "::ffff:127.0.0.2", "faces.local"])
def test_other_ways_to_write_an_address_lead_nowhere_and_no_name_is_looked_up(
    host: str, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("aioice.ice.get_or_create_mdns_protocol", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr("socket.gethostbyname", lambda *arguments: asked.append(arguments))
    sdp = asyncio.run(made_offer())
    with sink() as victim:
        answer = offered(listening, naming(sdp, [(host, victim.getsockname()[1])]))
        wait_until(lambda: over(listening))
        assert packets(victim) == 0
    assert (answer.status_code, asked) == (200, [])


def test_a_check_that_seems_to_come_from_somebody_else_is_not_answered(listening: Listening) -> None:
    """Who knows the answer could send checks in the name of others, and each would be answered and checked back."""

    async def attack() -> int:
        async with peer() as made:
            made.connection.addTransceiver("video", direction="recvonly")
            await made.connection.setLocalDescription(await made.connection.createOffer())
            sdp = made.connection.localDescription.sdp
            answer = (await asyncio.to_thread(offered, listening, naming(sdp, []))).json()["sdp"]
            theirs = dict(re.findall(r"a=(ice-ufrag|ice-pwd):(\S+)", answer))
            places = re.findall(r"a=candidate:\S+ 1 udp \d+ (\d+\.\S+) (\d+) typ host", answer)
            if not places:
                pytest.skip("this machine has no address beside loopback")
            host, port = places[0]
            ours = re.search(r"a=ice-ufrag:(\S+)", sdp)
            assert ours is not None
            with sink() as victim:
                check = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
                check.attributes["USERNAME"] = f"{theirs['ice-ufrag']}:{ours.group(1)}"
                check.attributes["PRIORITY"] = 1
                check.attributes["ICE-CONTROLLING"] = 1
                check.add_message_integrity(theirs["ice-pwd"].encode())
                victim.sendto(bytes(check), (host, int(port)))
                await asyncio.sleep(0.7)
                return packets(victim)

    assert asyncio.run(attack()) == 0
    wait_until(lambda: over(listening))


def test_one_offer_sends_few_packets_also_to_its_own_address(listening: Listening) -> None:
    sdp = asyncio.run(made_offer())
    with contextlib.ExitStack() as opened:
        sinks = [opened.enter_context(sink("127.0.0.1")) for _ in range(60)]
        named = [("127.0.0.1", each.getsockname()[1]) for each in sinks]
        assert offered(listening, naming(sdp, named)).status_code == 200
        wait_until(lambda: over(listening))
        reached = [count for count in map(packets, sinks) if count]
    assert 0 < len(reached) <= MOST_CANDIDATES
    answer = offered(listening, naming(sdp, [("127.0.0.1", port) for port in range(2000, 2200)]))
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_offer")
    assert "candidates" in answer.json()["detail"]


def test_sections_and_channels_that_no_call_needs_are_refused(listening: Listening) -> None:
    sdp = asyncio.run(made_offer())
    audio = sdp[sdp.index("m=audio") : sdp.index("m=video")]
    many = sdp + "".join(audio.replace("a=mid:0", f"a=mid:{number}") for number in range(10, 10 + MOST_SECTIONS))
    data = sdp + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:9\r\na=sctp-port:5000\r\n"
    for offer, said in ((many, "sections"), (data, "channels")):
        answer = offered(listening, offer)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_offer")
        assert said in answer.json()["detail"]


def test_a_video_and_a_second_voice_that_a_peer_wants_to_send_are_not_taken(listening: Listening) -> None:
    """Nobody would look at them, and decoded frames would pile up."""

    async def answered() -> str:
        async with peer() as made:
            for kind in ("audio", "audio", "video", "video"):
                made.connection.addTransceiver(kind, direction="sendrecv")
            await made.connection.setLocalDescription(await made.connection.createOffer())
            answer = await asyncio.to_thread(offered, listening, made.connection.localDescription.sdp)
            return str(answer.json()["sdp"])

    sections = asyncio.run(answered()).split("m=")[1:]
    ways = [re.findall(r"a=(sendrecv|sendonly|recvonly|inactive)", section) for section in sections]
    assert ways == [["recvonly"], ["inactive"], ["sendonly"], ["inactive"]]
    wait_until(lambda: over(listening))


def test_a_peer_whose_candidates_are_none_that_may_be_named_is_still_reached(listening: Listening) -> None:
    """A browser hides its addresses behind mDNS names: its own checks say where it is."""

    async def meet() -> None:
        async with peer() as looker:
            looker.connection.addTransceiver("video", direction="recvonly")
            await looker.connection.setLocalDescription(await looker.connection.createOffer())
            sdp = re.sub(r"(udp \d+) \S+ (\d+ typ)", r"\1 hidden.local \2", looker.connection.localDescription.sdp)
            answer = (await asyncio.to_thread(offered, listening, sdp)).json()
            await looker.connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            await until(lambda: looker.frames > 0)

    asyncio.run(meet())
    wait_until(lambda: over(listening))


@pytest.mark.parametrize(
    ("client", "networks", "host", "kept"),
    [
        ("192.0.2.7", (), "192.0.2.7", True),
        ("192.0.2.7", (), "192.0.2.8", False),
        ("::ffff:192.0.2.7", (), "192.0.2.7", True),
        ("2001:db8::7", (), "2001:DB8:0::7", True),
        ("192.0.2.7", ("10.0.0.0/8",), "10.1.2.3", True),
        ("192.0.2.7", ("10.0.0.0/8",), "11.1.2.3", False),
        (None, (), "127.0.0.1", False),
    ],
)
def test_the_peers_own_address_and_stated_networks_may_be_named(
    client: str | None, networks: tuple[str, ...], host: str, kept: bool
) -> None:
    sdp = naming(asyncio.run(made_offer()), [(host, 5000)])
    offer = allowed_offer(sdp, Access(peer_networks=networks).reachable(client))
    assert (host in offer) == kept


def test_a_forwarded_address_counts_from_a_stated_proxy_alone() -> None:
    sdp = asyncio.run(made_offer())
    for proxies, expected in (((), 0), (("127.0.0.1",), 1)):
        with server(LIMITS, access=Access(proxies=proxies)) as listening, sink() as own:
            offered(listening, naming(sdp, [(OTHER, own.getsockname()[1])]), **{"X-Forwarded-For": OTHER})
            wait_until(lambda: over(listening))
            assert min(packets(own), 1) == expected


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(InvalidOption, match="network"):
        Access(peer_networks=("faces.example.org",))


@pytest.mark.parametrize("address", ["stun.example.org:3478", "turn:stun.example.org", "stun:a b", "stun:", "stun:a:b"])
def test_what_is_no_stun_server_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(InvalidOption, match="STUN"):
        check_stun(address)
    check_stun("stun:stun.example.org:3478")


# --- Callbacks: the host was allowed by name, and whoever answers for the name decides where that leads.


@pytest.mark.parametrize(
    ("found", "unfit"),
    [
        (["203.0.114.7"], []),
        (["10.0.0.7"], []),  # a name of the owner's own network
        (["203.0.114.7", "2a00::7"], []),
        (["127.0.0.1"], ["127.0.0.1"]),
        (["::1"], ["::1"]),
        (["::ffff:127.0.0.1"], ["::ffff:127.0.0.1"]),
        (["169.254.169.254"], ["169.254.169.254"]),
        (["fe80::1%eth0"], ["fe80::1%eth0"]),
        (["0.0.0.0"], ["0.0.0.0"]),
        (["203.0.114.7", "127.0.0.1"], ["127.0.0.1"]),
        (["203.0.114.7", "10.0.0.7"], ["10.0.0.7"]),
    ],
)
def test_a_name_may_not_lead_to_this_machine_nor_to_two_networks(found: list[str], unfit: list[str]) -> None:
    assert unfit_addresses(found) == unfit


def test_a_callback_connects_to_the_address_that_was_judged_and_looks_no_name_up_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that answers with another address the second time (DNS rebinding) gets nothing by it."""
    answers = iter(["127.0.0.1", OTHER, OTHER])
    looked_up = socket.getaddrinfo

    def rebinding(host: str, *arguments: Any, **options: Any) -> Any:
        return looked_up(next(answers) if host == "hooks.test" else host, *arguments, **options)

    monkeypatch.setattr("socket.getaddrinfo", rebinding)
    monkeypatch.setattr("speech2face.app.calls.unfit_addresses", lambda addresses: [])
    with receiver() as taker:

        async def post() -> Callback:
            callback = Callback(f"http://hooks.test:{taker.port}/portraits", Limits(callback_tries=1))

            async def message() -> dict[str, Any]:
                return {"event": "portrait"}

            callback.show("a", message)
            callback.finish()
            await callback.task
            return callback

        assert asyncio.run(post()).taken == 1
    assert taker.messages == [{"event": "portrait"}]
    assert next(answers) == OTHER, "it was looked up once"


def test_a_callback_by_a_name_of_this_machine_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up = socket.getaddrinfo
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *more, **options: looked_up("127.0.0.1", *more, **options))
    with pytest.raises(InvalidOption, match="nothing is sent by name"):
        asyncio.run(callback_addresses(httpx.URL("http://hooks.test:9000/")))
    assert asyncio.run(callback_addresses(httpx.URL("http://127.0.0.1:9000/"))) == ["127.0.0.1"]
