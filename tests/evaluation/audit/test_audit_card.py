"""The audit's block in a model card: put in, replaced, kept; the rest of the card untouched."""

import csv
from pathlib import Path

import pytest

from speech2face.errors import CannotWrite, RecordingNotFound
from speech2face.evaluation.audit import (
    END,
    HEADING,
    NOT_MEASURED,
    START,
    block_in,
    kept_block,
    put_block,
    read_card,
    weights_mark,
)
from speech2face.metrics.intervals import SMALLEST_SHOWN
from speech2face.models.release import MANIFEST, SHIPPED, sha256

ROOT = Path(__file__).parents[3]
SHA256 = "0123456789ab" + "0" * 52
CARD = "# Model card: made 1\n\n## Scores\n\nGood.\n\n## Release gate\n\nPassed.\n\n## Limits\n\nMany.\n"


def test_a_card_without_a_block_gets_a_section_before_the_gate() -> None:
    card = put_block(CARD, "numbers")
    assert f"Good.\n\n{HEADING}\n\n{START}\nnumbers\n{END}\n\n## Release gate\n\nPassed." in card
    assert card.replace(f"{HEADING}\n\n{START}\nnumbers\n{END}\n\n", "") == CARD


def test_a_second_audit_replaces_the_first_and_nothing_else() -> None:
    first = put_block(CARD, "old numbers\n")
    second = put_block(first, "new numbers")
    assert second == first.replace("old numbers", "new numbers")
    assert put_block(second, "new numbers") == second


def test_a_card_of_another_make_gets_the_section_at_its_end() -> None:
    assert put_block("# Card\n", "x").endswith(f"\n\n{HEADING}\n\n{START}\nx\n{END}\n")


@pytest.mark.parametrize("card", [f"{START}\nx", f"x {END}", f"{END}\n{START}", f"{START}{END}{START}{END}"])
def test_a_broken_block_is_refused(card: str, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text(card)
    with pytest.raises(CannotWrite, match="audit block"):
        read_card(tmp_path / "card.md")


def test_a_card_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecordingNotFound, match=r"card\.md"):
        read_card(tmp_path / "card.md")


def test_a_card_in_another_encoding_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_bytes("# Épreuve\n".encode("latin-1"))
    with pytest.raises(CannotWrite, match=r"card\.md: it is not in UTF-8"):
        read_card(tmp_path / "card.md")


def test_the_block_is_kept_by_whoever_writes_the_card_anew(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    assert kept_block(path, SHA256) == NOT_MEASURED
    block = f"numbers of {weights_mark(SHA256)}\n\nmore"
    path.write_text(put_block(CARD, block))
    assert kept_block(path, SHA256) == block


def test_the_audit_of_other_weights_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    path.write_text(put_block(CARD, f"numbers of {weights_mark(SHA256)}"))
    assert kept_block(path, "f" * 64) == NOT_MEASURED


def test_the_shipped_card_holds_an_audit_of_its_weights() -> None:
    block = block_in(read_card(SHIPPED / "CARD.md"))
    assert block is not None
    assert "| gender: male |" in block
    assert weights_mark(sha256(SHIPPED / MANIFEST)) in block


def test_the_committed_tables_show_no_value_of_a_few_speakers() -> None:
    tables = sorted((ROOT / "docs" / "audit").glob("groups-by-*.csv"))
    rows = [row for path in tables for row in csv.DictReader(path.open(encoding="utf-8"))]
    assert len(rows) > 300
    shown = [row for row in rows if row["value"]]
    assert len(shown) > 200
    assert min(int(row["speakers"]) for row in shown) >= SMALLEST_SHOWN
