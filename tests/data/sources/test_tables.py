from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from speech2face.data.sources import read_rows, read_table, read_text
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


PLAIN = [("a.wav", "Ann, senior", "1.5"), ("b.wav", "Bö", "2")]


def written(separator: str, ends: str = "\n", *, header: str = "recording{0}speaker{0}start") -> str:
    rows = [[f'"{cell}"' if separator in cell or "," in cell else cell for cell in row] for row in PLAIN]
    return ends.join([header.format(separator), *(separator.join(row) for row in rows), ""])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-32"],  # as spreadsheets save "Unicode text"
)
def test_a_table_is_read_whatever_separates_ends_and_encodes_it(
    separator: str, ends: str, encoding: str, tmp_path: Path
) -> None:
    place = table(tmp_path, written(separator, ends).encode(encoding))
    rows = list(read_table(place, needed=("recording", "speaker")))
    assert [(row.get("recording"), row.get("speaker"), row.get("start")) for row in rows] == PLAIN
    assert [row.line for row in rows] == [2, 3]
    assert [row.seconds("start") for row in rows] == [1.5, 2.0]
    with pytest.raises(DatasetError, match=rf"{place}:3:"):
        raise rows[1].wrong("speaker", "made")


def test_the_separator_is_what_gives_the_names_that_are_looked_for(tmp_path: Path) -> None:
    place = table(tmp_path, 'recording;speaker,note\n"a;b.wav";Ann\n')  # no comma separates: "speaker,note" is a slip
    with pytest.raises(
        DatasetError, match=r"no column 'speaker'; the header needs recording, speaker, and has recording"
    ):
        list(read_table(place, needed=("recording", "speaker")))
    place = table(tmp_path, "id;name, first\n1;Ann\n")
    assert [row.get("id") for row in read_table(place, needed=("id",))] == ["1"]
    place = table(tmp_path, "recording speaker\na.wav Ann\n")
    with pytest.raises(DatasetError, match=r"the header needs recording, speaker, and has recordingspeaker$"):
        list(read_table(place, needed=("recording", "speaker")))


def test_a_spreadsheets_word_for_its_separator_is_followed(tmp_path: Path) -> None:
    for ends in ("\n", "\r\n", "\r"):
        rows = list(read_table(table(tmp_path, f"sep=;{ends}" + written(";", ends)), needed=("recording",)))
        assert [(row.line, row.get("speaker")) for row in rows] == [(3, "Ann, senior"), (4, "Bö")]


def test_decimal_commas_are_numbers_where_commas_separate_nothing(tmp_path: Path) -> None:
    (row,) = read_table(table(tmp_path, "a;start;x\n1;1,5;0,25\n"), needed=("a",))
    assert (row.seconds("start"), row.share("x")) == (1.5, 0.25)
    (row,) = read_table(table(tmp_path, 'a;start\n1;"1,000.5"\n'), needed=("a",))
    with pytest.raises(DatasetError, match="no number of seconds"):
        row.seconds("start")


def test_spaces_before_a_quote_are_no_part_of_the_cell(tmp_path: Path) -> None:
    (row,) = read_table(table(tmp_path, 'a, b, c\n "x, y", "z", 3\n'), needed=("a", "b", "c"))
    assert row.cells == ("x, y", "z", "3")


def test_columns_that_a_spreadsheet_left_without_name_and_cell_are_passed_over(tmp_path: Path) -> None:
    (row,) = read_table(table(tmp_path, "a,b,,\n1,2,,\n"), needed=("a",))
    assert (row.get("a"), row.get("b"), row.columns) == ("1", "2", ("a", "b"))
    with pytest.raises(DatasetError, match=":2:5: 4 cells, the header has 2"):
        list(read_table(table(tmp_path, "a,b,,\n1,2,3,\n"), needed=("a",)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,b\n1,Müller\n".encode("cp1252"), r":2:4: byte 0xfc is no UTF-8; save the table as UTF-8 \(as cp1252 the"
         r" line begins '1,Müller'"),
        ("a,b\n1,2\n".encode("utf-16-le"), r":1:2: a zero, so it is UTF-16 without a mark; save"),
        (b"a,b\n1,2\n\0\0\0\0", r":3:1: a zero, so it is cut off or binary"),
        (b"\xff\xfea\0,\0b\0\n\0\xd8\xd8", r":1:1: byte 0x.* is no UTF-16"),
        (b"a,b\n" + b"1" * 200_000 + b",2\n", r":2:1: field larger than field limit"),
    ],
)  # fmt: skip
def test_a_table_in_another_encoding_or_damaged_is_named_with_its_line(
    content: bytes, said: str, tmp_path: Path
) -> None:
    place = table(tmp_path, content)
    with pytest.raises(DatasetError, match=f"^{place}{said}"):
        list(read_table(place, needed=("a",)))


def test_a_table_without_header_may_be_separated_by_semicolons(tmp_path: Path) -> None:
    (row,) = read_rows(table(tmp_path, "x;1,5\n"), ("id", "start"))
    assert (row.get("id"), row.seconds("start")) == ("x", 1.5)


READERS = {
    "data/sources.py": "the one reader of tables",
    "inputs.py": "the one reader of settings",
}
# Tables and texts that the program itself wrote, and reads strictly.
OWN_FILES = {
    *("forget.py", "data/manifest.py", "data/session.py", "data/record.py", "gallery/entries.py", "outputs.py"),
}


def test_no_other_module_reads_tables_or_settings_that_come_from_outside() -> None:
    package = Path(__file__).parents[3] / "src" / "speech2face"
    words = ("csv.reader(", "csv.DictReader(", "tomllib.loads(path", "tomllib.load(", "utf-8-sig")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(word in path.read_text("utf-8") for word in words)
    }
    assert found <= READERS.keys() | OWN_FILES
