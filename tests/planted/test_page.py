"""The page's numbers and pictures say what the scores and recordings say."""

import csv
import re
from pathlib import Path

import numpy as np

from recipes.planted.sheet import spectrogram_picture
from speech2face.audio.spectrogram import SAMPLE_RATE

DOCS = Path(__file__).parents[2] / "docs"


def test_every_number_of_the_page_is_one_of_the_scores() -> None:
    with (DOCS / "planted_scores.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["low"]]
    ends = [[float(row[name]) for name in ("value", "low", "high")] for row in rows]
    measured = {tuple(f"{end:.2f}" for end in three) for three in ends}
    percent = {tuple(f"{100 * end:.0f}" for end in three) for three in ends}
    page = (DOCS / "planted.md").read_text(encoding="utf-8")
    said = re.findall(r"(-?\d\.\d+) \[(-?\d\.\d+), (-?\d\.\d+)\]", page)
    shares = re.findall(r"(\d+) % \[(\d+), (\d+)\]", page)
    assert len(said) > 12 and len(shares) > 5
    assert set(said) <= measured and set(shares) <= percent


def test_a_tone_is_a_dark_line_at_its_height() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    picture = spectrogram_picture(tone)
    assert picture.shape == (257, 98, 3)
    assert 256 - picture[:, 50, 0].argmin() == 32  # 31.25 Hz a row, from below
