from pathlib import Path

import numpy as np

from recipes.starter.speaker_sheet import (
    EACH,
    STRIP_PIXELS,
    Reading,
    caption,
    choose,
    choose_strip,
    draw_sheet,
    draw_strip,
)
from speech2face.evaluation.clips import Gender, Speaker


def reading(
    name: str,
    said_age: tuple[int, int],
    stated: float,
    *,
    gender: Gender | None = "male",
    femininity: float = 0.1,
    impression: bool = False,
    source: str = "made",
    cautions: tuple[str, ...] = (),
) -> Reading:
    speaker = Speaker(name, Path("voice.opus"), 5.0, source, "en", gender, said_age, impression, "validation")
    return Reading(speaker, stated, (stated - 10, stated + 10), femininity, cautions)


def names(readings: tuple[Reading, ...]) -> list[str]:
    return [reading.speaker.name for reading in readings]


def test_adults_are_ordered_by_error_and_shown_best_median_and_worst() -> None:
    adults = [reading(f"s{error:02d}", (30, 40), 35.0 + error) for error in (7, 3, 11, 0, 9, 1, 5, 10, 2, 8, 4, 6)]
    best, median, worst, *_ = choose(adults)
    assert names(best.readings) == ["s00", "s01", "s02", "s03"]
    assert names(median.readings) == ["s04", "s05", "s06", "s07"]
    assert names(worst.readings) == ["s08", "s09", "s10", "s11"]
    assert "12 adults" in best.title
    assert "5.5 years" in median.title  # between the errors 5 and 6


def test_the_surest_misreadings_come_first_and_unbroken_voices_are_left_out() -> None:
    people = [
        reading("unsure", (30, 40), 35, femininity=0.6),
        reading("sure", (30, 40), 35, femininity=0.95),
        reading("woman", (30, 40), 35, gender="female", femininity=0.2),
        reading("right", (30, 40), 35, femininity=0.1),
        reading("boy", (9, 10), 15, femininity=0.99),
        reading("teenager", (13, 20), 18, femininity=0.99),
        reading("other", (30, 40), 35, gender=None, femininity=0.99),
    ]
    assert names(choose(people)[3].readings) == ["sure", "woman", "unsure"]


def test_children_are_taken_evenly_by_age_and_their_cautions_counted() -> None:
    children = [reading(f"c{age}", (age, age + 1), 15.0) for age in (6, 7, 8, 9, 10, 11)]
    warned = [reading("c12", (12, 13), 15.0, cautions=("likely_child",))]
    row = choose([*children, *warned])[4]
    assert names(row.readings) == ["c6", "c8", "c10", "c12"]
    assert "1 of 7" in row.title


def test_captions_say_who_gave_the_label_and_nobodys_name() -> None:
    decade = reading("secret", (20, 30), 31.4, gender="female", femininity=0.97)
    assert caption(decade) == ("said f, 20s", "stated 31 [21-41], f 0.97")
    assert caption(reading("x", (7, 8), 12, cautions=("likely_child",)))[0] == "said m, 7"
    assert caption(reading("x", (7, 8), 12, cautions=("likely_child",)))[1] == "stated 12 [2-22], m 0.90, child?"
    assert caption(reading("x", (20, 50), 30, impression=True))[0] == "annotators: m, 20-50"
    assert caption(reading("x", (13, 20), 30, gender=None))[0] == "said gender not given, teens"


def test_the_sheet_is_drawn_with_rows_of_any_length() -> None:
    people = [reading(f"s{index}", (30, 40), 30.0 + index) for index in range(6)]
    rows = choose(people)
    face = np.full((32, 32, 3), 7, np.uint8)
    sheet = np.asarray(draw_sheet(rows, [[face] * len(row.readings) for row in rows], title="Made"))
    assert int((sheet == 7).all(2).sum()) == 3 * EACH * 200 * 200  # three rows of adults, no misreadings, no children


def test_the_strip_shows_who_is_in_the_middle_of_each_gender_and_decade_and_only_public_domain_voices() -> None:
    free = "Common Voice 6.1"
    people = [
        *(reading(f"m{error}", (20, 30), 25.0 + error, source=free) for error in (9, 1, 4, 2)),
        *(reading(f"w{error}", (60, 70), 65.0 - error, gender="female", source=free) for error in (20, 3, 8)),
        reading("older", (70, 80), 75, source=free),
        reading("bound", (40, 50), 45),
    ]
    chosen = choose_strip(people)
    assert [(who, one.speaker.name) for who, one in chosen] == [
        ("woman, 60s (3 heard)", "w8"),
        ("man, 20s (4 heard)", "m2"),
    ]
    strip = np.asarray(draw_strip(chosen, [np.full((32, 32, 3), 7, np.uint8)] * 2))
    assert int((strip == 7).all(2).sum()) == 2 * STRIP_PIXELS**2
