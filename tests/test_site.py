"""The site of the pages is built without a warning, holds every public name, and fetches nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import speech2face

ROOT = Path(__file__).parents[1]
LOADED = re.compile(
    r"<(?:script|img|iframe|source|audio|video)\b[^>]*\bsrc=\"([^\"]+)\"|<link\b[^>]*\bhref=\"([^\"]+)\""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for name in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(name, reason="the site is built by mkdocs; install the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    around = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} == pages | {"404"}
    home = (site / "index.html").read_text(encoding="utf-8")
    navigation = home[home.index("md-nav--primary") : home.index("md-content")]
    assert {name for name in pages - {"index"} if f'href="{name}.html"' not in navigation} == set()


def test_every_public_name_is_in_the_reference_with_its_words(site: Path) -> None:
    reference = (site / "reference.html").read_text(encoding="utf-8")
    headings = set(re.findall(r'id="speech2face\.(?:errors\.)?(\w+)"', reference))
    assert set(speech2face.__all__) - headings == set()
    assert "Draw the face that a voice like the one in" in reference


def test_no_page_of_the_site_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = {
        (page.name, address)
        for page in site.glob("*.html")
        for found in LOADED.findall(page.read_text(encoding="utf-8"))
        for address in found
        if address
    }
    assert len(loaded) > 40
    assert {one for one in loaded if "//" in one[1]} == set()
    styles = "".join(path.read_text(encoding="utf-8") for path in (site / "assets" / "stylesheets").glob("*.css"))
    assert re.findall(r"url\(\s*[\"']?(?:https?:)?//|@import", styles) == []
