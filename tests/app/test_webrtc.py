"""Two WebRTC peers: one speaks, the other is shown the face that goes with such a voice; and what can go wrong."""

import asyncio
import io
from collections.abc import Iterator

import httpx
import numpy as np
import pytest

pytest.importorskip("aiortc", reason="WebRTC needs the extra `calls`")

from PIL import Image

from speech2face.app.limits import Limits
from tests.app.listening import Listening, server
from tests.app.peers import peer, until
from tests.app.speaking import label_in, wait_until

LIMITS = Limits(connect_seconds=1.0, sessions_at_once=3)
GREY_LEVELS = 6.0  # what a video encoder at this size may change on average


@pytest.fixture(scope="module")
def listening() -> Iterator[Listening]:
    with server(LIMITS) as running:
        yield running


@pytest.fixture(autouse=True)
def _nobody_left(listening: Listening) -> Iterator[None]:
    yield
    wait_until(lambda: not listening.service.live)


def get(listening: Listening, path: str) -> httpx.Response:
    return httpx.get(f"{listening.address}{path}", trust_env=False)


def distance(picture: np.ndarray, other: np.ndarray) -> float:
    """Mean difference in grey levels, without the lowest tenth, where the label is."""
    rows = len(picture) * 9 // 10
    return float(np.abs(picture[:rows].astype(int) - other[:rows].astype(int)).mean())


async def portrait_of(listening: Listening, path: str) -> tuple[bytes, np.ndarray]:
    content = (await asyncio.to_thread(get, listening, path)).content
    return content, np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_the_other_peer_sees_the_face_of_who_speaks(listening: Listening) -> None:
    async def meet() -> None:
        async with peer() as speaker, peer() as viewer:
            assert (await speaker.call(listening.address, call="meeting")).status_code == 200
            assert (await viewer.call(listening.address, speaks=False, call="meeting")).status_code == 200
            path = f"/v1/calls/meeting/{speaker.answer['peer']}.png"
            await until(lambda: listening.service.metrics.text().count("call_update_seconds_count") > 0)

            async def alike() -> bool:
                if viewer.frame is None:
                    return False
                answer = await asyncio.to_thread(get, listening, path)
                if answer.status_code != 200:
                    return False
                _, portrait = await portrait_of(listening, path)
                return distance(viewer.image(), portrait) < GREY_LEVELS

            for _ in range(200):
                if await alike():
                    break
                await asyncio.sleep(0.1)
            content, portrait = await portrait_of(listening, path)
            shown, own = viewer.image(), speaker.image()
            assert shown.shape == portrait.shape == (320, 320, 3)
            assert distance(shown, portrait) < GREY_LEVELS
            assert distance(own, portrait) > 2 * GREY_LEVELS, "nobody speaks to the speaker, so nobody is shown"
            label = shown[-40:-8, 8:200].astype(int)
            assert label.max() > 180 > 90 > label.min(), "the label is in the corner of every frame"
            provenance, facts = label_in(content)
            assert provenance.kind == "portrait"
            assert facts["gender"]["reading"] == "feminine"
        await until(lambda: not listening.service.live)
        values = (await asyncio.to_thread(get, listening, "/v1/calls/meeting")).json()
        assert (values["state"], values["reason"]) == ("ended", "peer_gone")
        assert values["tracks"]["a"]["facts"]["seconds_heard"] > 1
        assert list(values["tracks"]) == ["a"], "the viewer sent no voice"

    asyncio.run(meet())
