"""Which split a speaker belongs to: the source's own, or one drawn by a stable hash of the speaker's name.

The hash does not depend on which other speakers there are, on their order, or on the machine: data prepared in parts,
or again with more speakers, keeps everyone where they were.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterable, Mapping

from speech2face.data.record import Record
from speech2face.errors import InvalidOption, SpeakerLeak

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SHARES: Mapping[str, float] = {TRAIN: 0.9, VALIDATION: 0.05, TEST: 0.05}

_NAMED = 5  # as many culprits as fit a line


def check_shares(shares: Mapping[str, float]) -> None:
    """Shares of speakers add up to one.

    Raises:
        InvalidOption: they do not, or one is negative.
    """
    total = sum(shares.values())
    if not all(share >= 0 for share in shares.values()) or not math.isclose(total, 1, abs_tol=1e-6):
        stated = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise InvalidOption(f"the shares of the splits ({stated}) add up to {total:g}; they are from 0 and make 1")


def speaker_draw(speaker: str, *, seed: int) -> float:
    """A number from 0 to below 1, always the same for a speaker and seed, and spread evenly over speakers."""
    name = unicodedata.normalize("NFC", speaker)  # the same letters, however they were typed
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48  # exact in a double, so never 1


def assign_split(speaker: str, *, seed: int, shares: Mapping[str, float] = SHARES) -> str:
    """The split of a speaker whose source names none.

    Raises:
        InvalidOption: the shares do not add up to one.
    """
    check_shares(shares)
    draw, below = speaker_draw(speaker, seed=seed), 0.0
    some = [name for name in sorted(shares) if shares[name] > 0]  # by name: a mapping's order must not matter
    for name in some:
        below += shares[name]
        if draw < below:
            return name
    return some[-1]  # rounding of the sum


def split_of(record: Record, *, seed: int, shares: Mapping[str, float] = SHARES) -> str:
    """The source's own split, or else the hash's."""
    return record.split if record.split is not None else assign_split(record.speaker, seed=seed, shares=shares)


def official_split(official: str, speaker: str, *, seed: int, validation: float) -> str:
    """A corpus's own split; of its training speakers, this share is kept for validation: most corpora name none."""
    if official != TRAIN or validation == 0:
        return official
    return assign_split(speaker, seed=seed, shares={TRAIN: 1 - validation, VALIDATION: validation})


def check_speakers(placed: Iterable[tuple[str, str]]) -> None:
    """(speaker, split) of all records, before anything dear: each speaker is in one split.

    Raises:
        SpeakerLeak: naming speakers and splits.
    """
    found: dict[str, str] = {}
    leaks: dict[str, set[str]] = {}
    for speaker, split in placed:
        if found.setdefault(speaker, split) != split:
            leaks.setdefault(speaker, {found[speaker]}).add(split)
    if leaks:
        named = "; ".join(f"{who} in {' and '.join(sorted(where))}" for who, where in list(leaks.items())[:_NAMED])
        raise SpeakerLeak(
            f"{len(leaks)} speakers are in more than one split ({named}): give each speaker one split, or none and let "
            "the hash decide"
        )
