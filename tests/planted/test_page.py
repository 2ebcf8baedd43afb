"""The page's tables and pictures say what the scores and recordings say."""

import numpy as np
import pytest

from recipes.planted.page import (
    PAPER,
    SHORT,
    ablation_table,
    fill,
)
from recipes.planted.sheet import spectrogram_picture
from speech2face.audio.spectrogram import SAMPLE_RATE


def row(run: str, seconds: str, number: str, value: str) -> dict[str, str]:
    around = {"low": str(float(value) - 0.01), "high": str(float(value) + 0.01)}
    return {"run": run, "seconds": seconds, "number": number, "value": value, "best": "0.61", "chance": "0"} | around


NUMBERS = ("r2", "share_of_formula", "share_of_best", "squared_correlation", "cosine", "recall_at_1", "recall_at_10")


def test_short_runs_are_read_against_the_limits_of_their_own_gallery() -> None:
    other = [
        row("all terms, confirmation", "6", number, "0.4") | {"best": "0.21", "chance": "0.01"} for number in NUMBERS
    ]
    own = [row(SHORT, "6", number, "0.4") | {"best": "0.51", "chance": "0.03"} for number in NUMBERS]
    best, chance = ablation_table(own + other).splitlines()[-2:]
    assert "0.21" not in best and "0.51" in best and "0.03" in chance


def test_a_run_that_is_not_there_is_said_to_be_missing() -> None:
    table = ablation_table([row(SHORT, "6", number, "0.4") for number in NUMBERS])
    assert f"| {SHORT} | 0.40 [0.39, 0.41]" in table
    assert "| cosine alone | not measured" in table


def test_what_is_possible_stands_for_the_gallery_of_the_runs_beside_it() -> None:
    rows = [row(SHORT, "6", number, "0.4") for number in NUMBERS]
    larger = [row("all terms, confirmation", "6", number, "0.4") | {"best": "0.21"} for number in NUMBERS]
    assert "| best possible | 0.61 | 0.61 | 0.61 |" in ablation_table(rows + larger)


def test_the_papers_own_settings_stand_beside_the_others() -> None:
    table = ablation_table([row(PAPER, "6", number, "0.3") for number in NUMBERS])
    assert f"| {PAPER} | 0.30 [0.29, 0.31]" in table


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = "before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n"
    assert fill(page, {"a": "new"}) == "before\n<!-- a -->\nnew\n<!-- end of a -->\nafter\n"
    with pytest.raises(AssertionError, match="no place for the table b"):
        fill(page, {"b": "new"})


def test_a_tone_is_a_dark_line_at_its_height() -> None:
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    picture = spectrogram_picture(tone)
    assert picture.shape == (257, 98, 3)
    assert 256 - picture[:, 50, 0].argmin() == 32  # 31.25 Hz a row, from below
