"""Links between the pages lead somewhere, the index lists all, the shipped model's page says what its card says."""

import csv
import importlib
import re
from pathlib import Path

import pytest

from speech2face import errors
from speech2face.limits import MAX_RECORDING_SECONDS
from speech2face.models import contract
from speech2face.models.release import SHIPPED

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
KINDS = ("voice-encoder", "face-decoder", "face-embedder", "data-source", "measure", "voice-activity", "gallery-store")
CARDS = {"page": ROOT / "docs" / "model-card.md", "card": SHIPPED / "CARD.md"}


def test_pages_state_how_long_a_recording_may_be() -> None:
    assert MAX_RECORDING_SECONDS == 1800, "docs/live.md says half an hour"
    for name in ("README.md", "docs/command-line.md", "docs/exit_codes.csv"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert re.findall(r"(?:up to|over) (\d+) minutes", text) == [f"{MAX_RECORDING_SECONDS / 60:g}"], name


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith(("http", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path) -> None:
    targets = [page.parent / target.split("#")[0] for target in links(page) if not target.startswith("#")]
    assert [path for path in targets if not path.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        if anchor and (not path or path.endswith(".md")):
            assert anchor in anchors(page.parent / path if path else page), target


def test_the_index_leads_to_every_page() -> None:
    listed = {target.split("#")[0] for target in links(ROOT / "docs" / "index.md")}
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages - listed <= {f"extending-{kind}.md" for kind in KINDS}  # which extending.md leads to


def test_every_number_of_the_page_about_the_shipped_model_is_one_of_its_card() -> None:
    flat = {name: " ".join(path.read_text(encoding="utf-8").split()) for name, path in CARDS.items()}
    number = r"(\d+\.\d+)(?: years)? \[(-?\d+\.\d+), (-?\d+\.\d+)\]"
    of_page, of_card = (set(re.findall(number, flat[name].replace("-", ""))) for name in ("page", "card"))
    of_card |= {(value, high, low) for value, low, high in of_card}  # "too young by" is "older by less than none"
    assert len(of_page) > 20
    assert of_page <= of_card


def test_the_table_of_the_architecture_is_that_of_the_last_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    structure = importlib.import_module("structure")
    table = structure.before_and_now(structure.read_rows())
    assert f"\n{table}\n" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(structure.ROWS) == table.count("\n") - 1


def test_every_awkward_recording_got_what_it_should() -> None:
    with (ROOT / "docs" / "robustness.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    assert f"lists {len(rows)} kinds of input" in page and f"All {len(rows)} get" in page
    assert {row["as_wanted"] for row in rows} == {"yes"}
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert {int(row["exit_code"]) for row in rows} <= {0, *codes}


def test_every_caution_is_in_the_table_of_them() -> None:
    with (ROOT / "docs" / "cautions.csv").open(encoding="utf-8", newline="") as file:
        codes = {row["code"] for row in csv.DictReader(file)}
    assert codes == {each.code for each in vars(contract).values() if isinstance(each, contract.Caution)}


def test_every_promise_of_the_threat_model_has_its_tests() -> None:
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| (.+) \|$", page, re.MULTILINE) if not row.startswith(("promise", "---"))]
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(rows) > 8
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row))
        assert named and named <= written, named - written
