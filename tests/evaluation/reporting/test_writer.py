import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2face.errors import OutputExists
from speech2face.evaluation.report import (
    WIDTH,
    Exclusion,
    Figure,
    ModelFacts,
    Number,
    Part,
    ReportFacts,
    Scale,
    Table,
    check_report,
    number_text,
    png_size,
    scale_of,
    templates,
    words,
    write_report,
)
from speech2face.metrics.intervals import Estimate

PNG = bytes.fromhex(  # one white pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f00010101001b b6ee56 0000000049454e44ae426082".replace(" ", "")
)
NAN = float("nan")


def strip_svg(number: Number, scale: Scale) -> str:
    """A number as a mark on a line."""
    return str(templates().get_template("pieces.html.j2").module.strip(number, scale)).strip()  # type: ignore[attr-defined]


def number(metric: str = "recall_at_10", value: float = 0.25, **changes: Any) -> Number:
    given: dict[str, Any] = {
        "metric": metric,
        "estimate": Estimate(value, value - 0.1, value + 0.1, 20),
        "clips": 60,
        "conditions": {"seconds": "6", "distance": "cosine"},
        "chance": 0.1,
    }
    return Number(**given | changes)


def retrieval(**changes: Any) -> Part:
    given: dict[str, Any] = {
        "title": "Retrieval (Table 3)",
        "numbers": (number(), number("median_rank", NAN, chance=None, higher_is_better=False)),
        "tables": (Table("by_seconds", "By seconds", ("seconds", "recall"), (("3", 0.5), ("6", None)), "A note."),),
        "figures": (Figure("ranks", "Ranks of all clips.", PNG, "A falling histogram."),),
        "notes": ("Ties count against us.",),
        "exclusions": (Exclusion("b", "no_reference"), Exclusion("c", "no_reference"), Exclusion("a", "no_face", "x")),
    }
    return Part("retrieval", **given | changes)


SKIPPED = Part("attributes", "Attributes", skipped="No reader: give --reader FILE.")


def facts(**changes: Any) -> ReportFacts:
    given: dict[str, Any] = {
        "title": "Evaluation of <tiny> & others",
        "models": (ModelFacts("tiny", "0.1", "paired", {"kind": "planted", "size": 3}, "f" * 64),),
        "data": {"name": "made", "sha256": "0" * 64, "split": "test", "clips": np.int64(60), "speakers": 20},
        "settings": {"seconds": [3, 6], "seed": 0},
        "made": {"date": "2026-01-02", "version": "9.9", "commit": "abc", "hardware": "none"},
        "exclusions": (Exclusion("z", "no_prediction", "NoSpeech"),),
    }
    return ReportFacts(**given | changes)


def test_results_hold_every_number_with_all_that_stands_beside_it(tmp_path: Path) -> None:
    write_report([retrieval(), SKIPPED], facts(), tmp_path / "report")
    stated = json.loads((tmp_path / "report" / "results.json").read_text())
    assert (stated["schema"], stated["schema_version"]) == ("speech2face-report", 1)
    assert stated["made"]["commit"] == "abc"
    assert stated["data"]["clips"] == 60
    assert stated["exclusions"] == {"no_prediction": 1}
    first, second = stated["parts"][0]["numbers"]
    assert first["conditions"] == {"seconds": "6", "distance": "cosine"}
    assert (first["value"], first["low_95"], first["high_95"], first["speakers"]) == (0.25, 0.15, 0.35, 20)
    assert (first["chance"], first["mean_face"], second["value"]) == (0.1, None, None)
    assert stated["parts"][0]["exclusions"] == {"no_reference": 2, "no_face": 1}
    assert stated["parts"][1]["skipped"] == SKIPPED.skipped


def test_numbers_tables_and_exclusions_are_csv_files_and_figures_pictures(tmp_path: Path) -> None:
    write_report([retrieval()], facts(), tmp_path)
    rows = list(csv.DictReader((tmp_path / "numbers.csv").open()))
    assert [row["metric"] for row in rows] == ["recall_at_10", "median_rank"]
    assert rows[0]["conditions"] == "seconds=6; distance=cosine"
    assert (rows[0]["value"], rows[1]["value"], rows[1]["higher_is_better"]) == ("0.25", "", "no")
    assert (tmp_path / "tables" / "retrieval-by_seconds.csv").read_text() == "seconds,recall\n3,0.5\n6,\n"
    left_out = list(csv.reader((tmp_path / "exclusions.csv").open()))
    assert left_out[1] == ["all", "z", "no_prediction", "NoSpeech"]
    assert len(left_out) == 5
    assert (tmp_path / "figures" / "retrieval-ranks.png").read_bytes() == PNG


class Outline(HTMLParser):
    """Tags that are open, headings, and everything that a page could load."""

    VOID = ("meta", "img", "br", "line", "circle", "path", "rect")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.alts: list[str | None] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)
        assert tag not in ("script", "link", "iframe", "object")
        self.loads += [given[name] or "" for name in ("src", "srcset", "poster", "data") if name in given]
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        self.alts += [given.get("alt")] if tag == "img" else []

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_sound_html_that_needs_nothing_beside_it(tmp_path: Path) -> None:
    write_report([retrieval(), SKIPPED], facts(), tmp_path)
    text = (tmp_path / "index.html").read_text()
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.loads
    assert all(source.startswith("data:image/png;base64,") for source in outline.loads)
    assert "url(" not in text
    assert "@import" not in text
    assert all(link[1:] in outline.ids for link in outline.links if link.startswith("#"))
    assert all(link.startswith("#") for link in outline.links)
    assert len(set(outline.ids)) == len(outline.ids)
    assert outline.alts == ["A falling histogram."]


def test_the_page_says_what_was_measured_what_was_not_and_what_was_left_out(tmp_path: Path) -> None:
    write_report([retrieval(), SKIPPED], facts(), tmp_path)
    text = re.sub(r"<style>.*?</style>", "", (tmp_path / "index.html").read_text(), flags=re.DOTALL)
    for said in (
        "Evaluation of &lt;tiny&gt; &amp; others",
        "<strong>0.250</strong>",
        "[0.150, 0.350]",
        "Ties count against us.",
        "No reader: give --reader FILE.",
        "<strong>2</strong> <code>no_reference</code>",
        "Ranks of all clips.",
        "A note.",
        "higher is better",
        "<strong>–</strong>",  # a number that could not be had
    ):
        assert said in text, said


def test_text_from_outside_is_never_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    part = retrieval(
        title=evil,
        notes=(evil,),
        numbers=(number(conditions={"model": evil}, published=evil),),
        tables=(Table("t", evil, (evil,), ((evil,),), evil),),
        figures=(Figure("f", evil, PNG, evil),),
        exclusions=(Exclusion(evil, evil, evil),),
    )
    write_report(
        [part, Part("other", evil, skipped=evil)], facts(title=evil, says=(evil,), data={evil: evil}), tmp_path
    )
    outline = Outline()
    outline.feed((tmp_path / "index.html").read_text())
    assert outline.alts == [evil]
    assert "<img src=x" not in (tmp_path / "index.html").read_text()


def test_an_older_report_is_kept_without_force_and_replaced_whole_with_it(tmp_path: Path) -> None:
    write_report([retrieval()], facts(), tmp_path)
    (tmp_path / "predictions.npz").write_bytes(b"kept")
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(OutputExists):
        check_report(tmp_path)
    with pytest.raises(OutputExists):
        write_report([SKIPPED], facts(), tmp_path)
    assert (tmp_path / "results.json").read_bytes() == before
    write_report([retrieval(tables=(), figures=())], facts(), tmp_path, force=True)
    assert [path.name for folder in ("tables", "figures") for path in (tmp_path / folder).iterdir()] == []
    assert (tmp_path / "predictions.npz").read_bytes() == b"kept"


def test_a_forged_older_report_has_nothing_else_removed(tmp_path: Path) -> None:
    report = tmp_path / "report"
    write_report([retrieval()], facts(), report)
    (tmp_path / "mine.csv").write_text("mine")
    stated = json.loads((report / "results.json").read_text())
    stated["parts"][0]["tables"][0]["file"] = "../mine.csv"
    (report / "results.json").write_text(json.dumps(stated))
    write_report([SKIPPED], facts(), report, force=True)
    assert (tmp_path / "mine.csv").exists()


def test_the_same_report_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_report([retrieval(), SKIPPED], facts(), tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_long_tables_are_folded_and_a_metrics_rows_stand_together(tmp_path: Path) -> None:
    numbers = tuple(number(metric, 0.2, conditions={"k": str(k)}) for k in range(20) for metric in ("a", "b"))
    many = Table("many", "Many", ("metric", "clip"), tuple(("l1_unit", f"cv_{row}") for row in range(50)))
    write_report([retrieval(numbers=numbers, tables=(many,))], facts(), tmp_path)
    text = (tmp_path / "index.html").read_text()
    assert "<summary>All 40 numbers with their intervals</summary>" in text
    assert "<summary>All 50 rows</summary>" in text
    assert '<th scope="row">L1 unit</th><td>cv_49</td>' in text  # names of numbers become words, others stay
    metrics = re.findall(r'<th scope="row" class="metric[^>]*>(.)', text)
    assert metrics == ["A"] * 20 + ["B"] * 20


def test_a_table_without_rows_says_none_and_a_clip_left_out_twice_is_one(tmp_path: Path) -> None:
    twice = tuple(Exclusion("clip-1", "no_speech", f"{seconds} s: silence") for seconds in (3, 6))
    bare = retrieval(tables=(Table("worse", "Told worse", ("group", "value"), ()),), exclusions=twice)
    write_report([bare], facts(), tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert '<td colspan="2">None.</td>' in page
    assert "<strong>1</strong> <code>no_speech</code>" in page


def test_numbers_are_read_with_as_many_digits_as_they_deserve() -> None:
    shown = {
        0.12345: "0.123",
        2.345: "2.35",
        45.75: "45.8",
        550.4: "550",
        12345.6: "12,346",
        0.00001: "1.0e-05",
        0.0: "0.000",
    }
    assert {value: number_text(value) for value in shown} == shown
    assert (number_text(None), number_text(NAN), number_text(float("inf"))) == ("–", "–", "–")


def test_names_become_words() -> None:
    assert words("recall_at_10") == "Recall at 10"
    assert words("roc_auc") == "Roc AUC"
    assert words("l2") == "L2"
    assert words("map") == "mAP"


def test_marks_lie_where_their_values_are() -> None:
    scale = scale_of([number(value=0.5, chance=0.0, best=1.0)])
    assert scale == Scale(0.0, 1.0)
    assert 0 < scale.place(0.0) < scale.place(0.25) < scale.place(1.0) == scale.place(7.0) < WIDTH
    assert scale.place(0.5) == pytest.approx((scale.place(0.0) + scale.place(1.0)) / 2)
    drawn = strip_svg(number(value=0.5, chance=0.0, best=1.0), scale)
    assert f'class="value" cx="{scale.place(0.5):.1f}"' in drawn
    assert f'class="chance" x1="{scale.place(0.0):.1f}"' in drawn
    assert strip_svg(number(value=NAN), scale) == ""


def test_a_pictures_size_is_read_from_its_head() -> None:
    assert png_size(PNG) == (1, 1)
    assert png_size(b"no picture") == (0, 0)
