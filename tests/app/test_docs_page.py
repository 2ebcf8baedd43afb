"""The API page in a browser: every route of the description, and requests that can be sent from it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.app.page_browser import EXAMPLES, Visit, findings, served, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

TOKEN = "a-token-of-this-test-alone"


@pytest.fixture(scope="module")
def address(browser: "Browser") -> Iterator[str]:
    with served(token=TOKEN) as found:
        yield found


def route(page: Visit, method: str, path: str) -> "Locator":
    """The part of the page about one route, opened."""
    found = page.page.locator(f"details[data-route='{method} {path}']")
    found.locator("summary").click()
    return found


def test_it_lists_every_route_with_its_parameters_and_asks_for_the_token(browser: "Browser", address: str) -> None:
    right = {"Authorization": f"Bearer {TOKEN}"}
    described = httpx.get(f"{address}/openapi.json", headers=right, trust_env=False, timeout=180).json()["paths"]
    wanted = {
        (method.upper(), path): {each["name"] for each in operation.get("parameters", ())}
        for path, methods in described.items()
        for method, operation in methods.items()
    }
    with visit(browser, f"{address}/docs") as page:
        page.page.fill("#token", TOKEN)
        page.page.click("#token-form button")
        page.page.wait_for_selector("#service[data-state=ready]")
        assert not page.page.is_visible("#token-form")
        found = page.page.eval_on_selector_all(
            "details.route",
            """routes => routes.map((each) => [
              each.querySelector(".method").textContent,
              each.querySelector(".path").textContent,
              [...each.querySelectorAll("input:not([type=file]), select:not([name=accept])")].map(({ name }) => name),
            ])""",
        )
    assert {(method, path): set(names) for method, path, names in found} == wanted
    assert len(wanted) >= 9


def test_its_requests_are_answered_in_words_and_pictures(browser: "Browser", address: str) -> None:
    with visit(browser, f"{address}/docs#token={TOKEN}") as page:
        page.page.wait_for_selector("#service[data-state=ready]")
        assert TOKEN not in page.page.url
        health = route(page, "GET", "/health")
        health.get_by_text("Send").click()
        page.wait(lambda: '"status": "ready"' in health.locator(".outcome").inner_text(), "the service's health")

        portrait = route(page, "POST", "/v1/portrait")
        portrait.locator("[name=file]").set_input_files(EXAMPLES / "female.mp3")
        portrait.locator("[name=pixels]").fill("128")
        portrait.locator("[name=accept]").select_option("image/png")
        curl = portrait.locator("pre").first.inner_text()
        assert f"{address}/v1/portrait?pixels=128" in curl
        assert "-F 'file=@female.mp3'" in curl and TOKEN not in curl
        portrait.get_by_text("Send").click()
        page.wait(lambda: portrait.locator(".outcome img").count() == 1, "a portrait")
        size = portrait.locator(".outcome img").evaluate("image => image.decode().then(() => image.naturalWidth)")
        assert size == 128

        portrait.locator("[name=accept]").select_option("application/json")
        portrait.get_by_text("Send").click()
        page.wait(lambda: "letters)" in portrait.locator(".outcome").inner_text(), "JSON, its pictures shortened")
        gone = route(page, "GET", "/v1/calls/{call}")
        gone.locator("[name=call]").fill("nobody/here")
        gone.get_by_text("Send").click()
        page.wait(lambda: "404" in gone.locator(".outcome").inner_text(), "a refusal")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_it_and_nothing_is_too_wide(browser: "Browser", address: str, scheme: str) -> None:
    pytest.importorskip("axe_playwright_python")
    with visit(browser, f"{address}/docs#token={TOKEN}", color_scheme=scheme) as page:
        page.page.wait_for_selector("#service[data-state=ready]")
        page.page.eval_on_selector_all("details", "all => all.forEach((each) => { each.open = true; })")
        assert findings(page) == []
        for width in (390, 1280):
            page.page.set_viewport_size({"width": width, "height": 800})
            assert page.page.evaluate("document.documentElement.scrollWidth") <= width
