"""The audit's block in a model card: put in by the audit, kept by whoever writes the rest of the card."""

from __future__ import annotations

from pathlib import Path

from speech2face.errors import CannotWrite, RecordingNotFound

START, END = "<!-- audit -->", "<!-- /audit -->"
HEADING = "## Audit by group"
MARK_LETTERS = 12
BEFORE = ("\n## Release gate\n", "\n## Limits\n")
"""Headings that the section goes before, the first there is; otherwise it ends the card."""
NOT_MEASURED = "No audit has been made of these weights: `speech2face audit --help`."


def block_in(card: str) -> str | None:
    """What stands between the markers, None where there are none.

    Raises:
        CannotWrite: one marker without the other.
    """
    if START not in card and END not in card:
        return None
    start, end = card.find(START), card.find(END)
    if start < 0 or end < start or card.count(START) != 1 or card.count(END) != 1:
        raise CannotWrite(f"the card's audit block is broken; it needs one {START} and one {END} after it")
    return card[start + len(START) : end].strip("\n")


def put_block(card: str, block: str) -> str:
    """The card with its audit block replaced, or with a section for it where it has none.

    Raises:
        CannotWrite: one marker without the other.
    """
    marked = f"{START}\n{block.strip()}\n{END}"
    if block_in(card) is not None:
        start, end = card.index(START), card.index(END) + len(END)
        return card[:start] + marked + card[end:]
    section = f"{HEADING}\n\n{marked}\n"
    for heading in BEFORE:
        if heading in card:
            return card.replace(heading, f"\n{section}{heading}", 1)
    return card.rstrip("\n") + f"\n\n{section}"


def weights_mark(sha256: str) -> str:
    """How a block names the weights it is about: by the SHA-256 of their `model.json`."""
    return f"`{sha256[:MARK_LETTERS]}`"


def kept_block(path: Path, sha256: str) -> str:
    """The block of a card that is about to be written anew, if it is about the weights of this `model.json`.

    Otherwise a word that these weights were not audited: numbers of others would be worse than none.
    """
    found = block_in(path.read_text(encoding="utf-8")) if path.is_file() else None
    return NOT_MEASURED if found is None or weights_mark(sha256) not in found else found


def section(block: str) -> str:
    """The section's text under its heading, for whoever writes a whole card."""
    return f"{START}\n{block.strip()}\n{END}"


def read_card(path: Path) -> str:
    """A card that is there.

    Raises:
        RecordingNotFound: there is none.
        CannotWrite: its audit block is broken.
    """
    if not path.is_file():
        raise RecordingNotFound(f"no such model card: {path}; --card puts the audit into one that is there")
    card = path.read_text(encoding="utf-8")
    block_in(card)
    return card
