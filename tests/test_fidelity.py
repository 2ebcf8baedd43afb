"""The fidelity table names symbols of the code; each is in the file that it is said to be in."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
with (ROOT / "docs" / "fidelity.csv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file))
PLACE = re.compile(r"((?:\w[\w.]*(?:, )?)+) in ([\w./-]+\.py)")
CLAIMS = [
    (symbol, path)
    for row in ROWS
    if row["model"] == "paper"
    for symbols, path in PLACE.findall(row["where"])
    for symbol in symbols.split(", ")
]


def test_there_are_claims_to_check() -> None:
    assert len(CLAIMS) > 50


@pytest.mark.parametrize(("symbol", "path"), sorted(set(CLAIMS)))
def test_a_named_symbol_is_in_its_file(symbol: str, path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    defined = rf"\b(def|class) {symbol}\b|\b{symbol}\b *[:=]|self\.{symbol}\b"
    assert re.search(defined, text), f"{symbol} is not in {path}"


def test_every_file_that_the_table_names_is_there() -> None:
    named = {path for row in ROWS for path in re.findall(r"[\w.-]+(?:/[\w.-]+)+", row["where"])}
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_row_says_same_different_or_unknown() -> None:
    assert {row["model"] for row in ROWS} == {"paper", "starter"}
    assert len(ROWS) > 120
    assert [row for row in ROWS if not re.search(r"same|different|unknown", row["status"])] == []
