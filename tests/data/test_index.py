import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speech2face.data.manifest import COLUMNS, IndexRow, decode_index, encode_index, read_columns
from speech2face.errors import DatasetError

texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters=',"'), max_size=5)
rows = st.builds(
    IndexRow,
    *(texts, texts, texts, st.just(6.0), texts, texts),
    *(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    labels=st.tuples(texts),
)


@settings(max_examples=200)
@given(st.lists(rows, max_size=4))
def test_an_index_comes_back_with_and_without_quoted_cells(written: list[IndexRow]) -> None:
    names = [*COLUMNS, "language"]
    columns = read_columns(encode_index(written, ["language"]), names, ["language"], "x.csv")
    assert list(zip(*columns, strict=True)) == [row.cells() for row in written]


def test_a_clip_whose_key_is_not_ascii_is_refused() -> None:
    row = IndexRow("é", "Ann", "train", 1.0, "", "", 0, 512, 512, ())
    with pytest.raises(DatasetError, match=r"x.csv names a clip with letters that are not ASCII"):
        decode_index(encode_index([row], []), [], "x.csv", 512 + 1024)


@pytest.mark.parametrize("quoted", ["CC0", '"CC0, 1.0"'])
def test_rows_that_make_up_for_one_another_are_refused(quoted: str) -> None:
    plain = f"a,b,train,6.000,{quoted},,0,512,512"
    rows = [",".join(COLUMNS), plain, plain.removesuffix(",512"), f"{plain},512"]
    with pytest.raises(DatasetError, match=r"x\.csv, line 3, has 8 cells; its header has 9"):
        read_columns("".join(f"{row}\n" for row in rows).encode(), ["clip"], [], "x.csv")
