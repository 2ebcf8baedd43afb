"""The starter's speakers: labels as intervals, and speaker-disjoint splits."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speech2face.data.sources.files import with_slashes
from speech2face.data.sources.tables import read_table

VOICES = "voices.csv"
NEEDED = ("speaker", "file", "seconds", "gender", "age", "age_impression", "language", "source")

Split = Literal["train", "calibration", "validation"]
Gender = Literal["female", "male"]

SPLIT_SEED = "starter-1"
VALIDATION_SHARE = 0.20
CALIBRATION_SHARE = 0.10

# Ages in years, half open. Common Voice's bands are "under 19", "19 to 29" and then decades; whoever calls themselves a
# teenager is taken as 13 or more, and the year at 19 is let go.
DECADES = {
    "teens": (13, 20),
    "twenties": (20, 30),
    "thirties": (30, 40),
    "fourties": (40, 50),  # spelled so in Common Voice
    "fifties": (50, 60),
    "sixties": (60, 70),
    "seventies": (70, 80),
    "eighties": (80, 90),
    "nineties": (90, 100),
}
# LibriTTS-P's annotators heard, they did not ask: wide intervals, a weak label, never used in evaluation.
IMPRESSIONS = {"young": (15, 30), "adult-like": (20, 50), "middle-aged": (38, 65), "old": (55, 90)}

CHILD_BELOW = 13
ADULT_FROM = 18


@dataclass(frozen=True)
class Speaker:
    """One speaker of the starter corpus; `age` is a half-open interval in years, None where nobody said."""

    name: str
    file: Path
    seconds: float
    source: str
    language: str
    gender: Gender | None
    age: tuple[int, int] | None
    age_is_impression: bool
    split: Split

    @property
    def is_child(self) -> bool:
        """Certainly under 13."""
        return self.age is not None and not self.age_is_impression and self.age[1] <= CHILD_BELOW

    @property
    def is_adult(self) -> bool:
        """Certainly 18 or more, by the speaker's own word."""
        return self.age is not None and not self.age_is_impression and self.age[0] >= ADULT_FROM

    @property
    def age_years(self) -> float:
        """The middle of the age interval; a decade's is 25, 35 ..., an exact age's is that age and a half."""
        assert self.age is not None
        return (self.age[0] + self.age[1]) / 2


def _age_interval(row: dict[str, str]) -> tuple[tuple[int, int] | None, bool]:
    if row["age"] in DECADES:
        return DECADES[row["age"]], False
    if row["age"].isdigit():
        return (int(row["age"]), int(row["age"]) + 1), False
    return IMPRESSIONS.get(row["age_impression"]), True


def _digest(name: str) -> str:
    return hashlib.sha256(f"{SPLIT_SEED}:{name}".encode()).hexdigest()


def _splits(rows: list[dict[str, str]]) -> dict[str, Split]:
    """Order the speakers of each stratum (source, gender, age decade) by hash, and cut: all strata in all splits."""
    strata: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in rows:
        interval, _ = _age_interval(row)
        strata[row["source"], row["gender"], str(interval[0] // 10 if interval else None)].append(row["speaker"])
    split: dict[str, Split] = {}
    for names in strata.values():
        for position, name in enumerate(sorted(names, key=_digest)):
            share = (position + 0.5) / len(names)
            if share < VALIDATION_SHARE:
                split[name] = "validation"
            elif share < VALIDATION_SHARE + CALIBRATION_SHARE:
                split[name] = "calibration"
            else:
                split[name] = "train"
    return split


def read_speakers(starter: Path) -> list[Speaker]:
    """Read `voices/voices.csv` of the starter folder, in the file's order.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    return read_voices(starter / "voices")


def read_voice_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of `voices.csv`, each cell by its column's name.

    Raises:
        FileNotFoundError: the folder has no such file.
        DatasetError: it is no table with these columns.
    """
    table = folder / VOICES
    if not table.exists():
        raise FileNotFoundError(table)
    found = []
    for row in read_table(str(table), needed=NEEDED):
        seconds, file = row.seconds("seconds"), with_slashes(str(folder), row.printable("file", needed=True))
        if seconds is None:
            raise row.wrong("seconds", "seconds is empty")
        cells = {name: row.get(name) for name in row.columns}
        found.append(cells | {"speaker": row.needed("speaker"), "file": file, "seconds": f"{seconds:g}"})
    return found


def read_voices(folder: Path) -> list[Speaker]:
    """Read the `voices.csv` of a folder of recordings, in the file's order.

    Raises:
        FileNotFoundError: the folder has no such file.
        DatasetError: it is no such table, with line and column.
    """
    rows = read_voice_rows(folder)
    split = _splits(rows)
    speakers = []
    for row in rows:
        age, impression = _age_interval(row)
        gender: Gender | None = {"female": "female", "male": "male"}.get(row["gender"])  # type: ignore[assignment]
        speakers.append(
            Speaker(
                name=row["speaker"],
                file=folder / row["file"],
                seconds=float(row["seconds"]),
                source=row["source"],
                language=row["language"],
                gender=gender,
                age=age,
                age_is_impression=impression,
                split=split[row["speaker"]],
            )
        )
    return speakers
