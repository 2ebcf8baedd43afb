from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from speech2face.data.sources.tables import read_rows, read_table, read_text
from speech2face.errors import DatasetError


def table(folder: Path, content: str | bytes) -> str:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def test_columns_are_found_by_name_whatever_their_spaces_case_and_order(tmp_path: Path) -> None:
    place = table(tmp_path, '\ufeffSpeaker , Recording\r\n Ann ,a.wav\r\n\r\n"Bob, junior",b.wav\r\n')
    rows = list(read_table(place, needed=("recording", "speaker")))
    assert [(row.line, row.get("speaker"), row.get("recording"), row.get("age")) for row in rows] == [
        (2, "Ann", "a.wav", ""),
        (4, "Bob, junior", "b.wav", ""),
    ]


def test_tabs_separate_where_the_header_has_one(tmp_path: Path) -> None:
    place = table(tmp_path, "id\tname\n1\tAnn, senior\n")
    assert [row.get("name") for row in read_table(place, needed=("id",))] == ["Ann, senior"]


def test_the_place_of_a_cell_is_counted_through_quotes_and_lines(tmp_path: Path) -> None:
    place = table(tmp_path, 'a,b,c\n"x, ""y""\nz",2,no number\n')
    (row,) = read_table(place, needed=("c",))
    assert row.get("a") == 'x, "y"\nz'
    with pytest.raises(DatasetError, match=rf"{place}:3:6: c is 'no number', no number of seconds"):
        row.seconds("c")
    with pytest.raises(DatasetError, match=rf"{place}:2:1: a is .* not one line"):
        row.printable("a")


def test_a_missing_column_of_a_short_row_is_empty(tmp_path: Path) -> None:
    (row,) = read_table(table(tmp_path, "a,b\n1\n"), needed=("a",))
    assert row.get("b") == ""
    with pytest.raises(DatasetError, match=":2:1: b is empty"):
        row.needed("b")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ":1:1: the table is empty"),
        ("\n \n", ":1:1: the table is empty"),
        ("a,b\n", ":2:1: the table has a header and no row"),
        ("b,c\n1,2\n", ":1:1: no column 'a'; the header needs a"),
        ("a,b,a\n1,2,3\n", ":1:1: there are 2 columns 'a'; keep one"),
        ("a,bad\n1,2\n", ":1:3: 'bad' is no column of such a table: it is bad"),
        ("a,b\n1,2\n1,2,3\n", ":3:5: 3 cells, the header has 2; put quotes"),
        ('a,b\n1,"2\n', ":2:1: unexpected end of data"),
        ('a,b\n1,"2"3\n', ":2:1: ',' expected after '\"'"),
        (b"a,b\n1,\xff\n", ":2:3: byte 0xff is no UTF-8; save the table as UTF-8"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_line_and_column(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    place = table(tmp_path, content)
    with pytest.raises(DatasetError) as caught:
        list(read_table(place, needed=("a",), refuse=lambda column: "it is bad" if column == "bad" else None))
    assert str(caught.value).startswith(f"{place}{said}")


@pytest.mark.parametrize("written", ["license", " Licence s", "licnece", "LICENCE_"])
def test_a_column_that_is_nearly_a_known_one_is_a_slip_of_the_pen(tmp_path: Path, written: str) -> None:
    place = table(tmp_path, f"a,{written}\n1,2\n")
    with pytest.raises(DatasetError) as caught:
        list(read_table(place, needed=("a",), known=("a", "licence")))
    name = "".join(written.split()).lower()
    assert str(caught.value).startswith(f"{place}:1:3: {name!r} is no column of such a table: did you mean licence?")


def test_a_column_beside_the_one_it_is_like_is_meant(tmp_path: Path) -> None:
    place = table(tmp_path, "speaker,speaker_id,state\nAnn,7,Ohio\n")
    (row,) = read_table(place, needed=(), known=("speaker", "start"))
    assert (row.get("speaker_id"), row.get("state")) == ("7", "Ohio")


def test_a_misspelt_column_is_told_before_the_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=":1:1: 'recordng' is no column of such a table: did you mean recording"):
        list(read_table(table(tmp_path, "recordng\na.wav\n"), needed=("recording",), known=("recording",)))


def test_empty_cells_beyond_the_header_are_no_mistake(tmp_path: Path) -> None:
    assert [row.get("b") for row in read_table(table(tmp_path, "a,b\n1,2,,\n"), needed=("a",))] == ["2"]


@pytest.mark.parametrize("cell", ["-1", "nan", "inf", "1,5", "x", "1.0001"])
def test_a_share_is_a_number_from_0_to_1(tmp_path: Path, cell: str) -> None:
    (row,) = read_rows(table(tmp_path, f'"{cell}"\n'), ("x",))
    with pytest.raises(DatasetError, match=r":1:1: x is .*, no number from 0 to 1"):
        row.share("x")


def test_a_table_behind_a_url_is_read_and_named(tmp_path: Path) -> None:
    url = f"memory://{uuid4()}/table.csv"
    with fsspec.open(url, "wb") as file:
        file.write(b"a\n1\n")
    assert read_text(url) == "a\n1\n"
    with pytest.raises(DatasetError, match=f"cannot read {url}s"):
        read_text(url + "s")
