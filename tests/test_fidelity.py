"""The fidelity page names symbols of the code; each is in the file that it is said to be in."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "fidelity.md").read_text(encoding="utf-8")
PAPER_PART = PAGE.split("# The starter")[0]
PLACE = re.compile(r"((?:`[\w.]+`(?:, )?)+) in \[[\w.-]+\]\(([^)]+)\)")
CLAIMS = [
    (symbol, path) for symbols, path in PLACE.findall(PAPER_PART) for symbol in re.findall(r"`([\w.]+)`", symbols)
]


def test_there_are_claims_to_check() -> None:
    assert len(CLAIMS) > 50


@pytest.mark.parametrize(("symbol", "path"), sorted(set(CLAIMS)))
def test_a_named_symbol_is_in_its_file(symbol: str, path: str) -> None:
    text = (DOCS / path).resolve().read_text(encoding="utf-8")
    defined = rf"\b(def|class) {symbol}\b|\b{symbol}\b *[:=]|self\.{symbol}\b"
    assert re.search(defined, text), f"{symbol} is not in {path}"


def test_every_row_says_same_different_or_unknown() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| number")]
    assert len(rows) > 80
    for row in rows:
        status = row.split("|")[4]
        assert re.search(r"same|different|unknown", status), row
