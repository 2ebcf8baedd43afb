"""The data statement as it stands in the page to look at a data set."""

from pathlib import Path

from speech2face.data.manifest import Manifest
from speech2face.data.record import Reject
from speech2face.data.shards import write_shards
from speech2face.data.statement import html_page, make_statement
from tests.data.test_statement import clip


def page_of(folder: Path, language: str) -> str:
    """The page of one clip of 9 s that was prepared with the seed 7."""
    write_shards(folder / "counted", [clip(0, "Ann", "train", language=language)])
    made = make_statement(
        Manifest.open(folder / "counted"), [Reject("k", "b", "", "no_face", "")], settings={"seed": 7}
    )
    write_shards(folder / "data", [clip(0, "Ann", "train", language=language)], statement=made)
    return html_page(Manifest.open(folder / "data"), [], {})


def test_headings_tables_lists_and_paragraphs_are_html_by_hand(tmp_path: Path) -> None:
    page = page_of(tmp_path, "cy")
    assert "<p>1 clips of 1 speakers, 0.00 hours. Clips a speaker: 1 to 1, median 1.</p>\n<h4>Splits</h4>\n" in page
    assert (
        '<table><tr><th scope="col">split</th><th scope="col">clips</th><th scope="col">speakers</th>'
        '<th scope="col">hours</th></tr>\n<tr><td>train</td><td>1</td><td>1</td><td>0.00</td></tr>\n</table>\n'
    ) in page
    assert "<h4>Rejects</h4>\n<p>1 records gave no clip.</p>\n<table>" in page
    assert '<ul>\n<li style="margin-left:0.0rem">seed: <code>7</code></li>\n</ul>' in page


def test_a_label_that_holds_markup_or_a_bar_stays_text(tmp_path: Path) -> None:
    page = page_of(tmp_path, "<script>x</script> a|b")
    assert "<td>&lt;script&gt;x&lt;/script&gt; a|b</td><td>1</td>" in page
    assert "<script" not in page
