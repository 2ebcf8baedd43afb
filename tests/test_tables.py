"""Tables as text, and pydantic's findings as one line."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from speech2face.errors import InvalidOption
from speech2face.outputs import decode_csv, encode_csv, markdown_table
from speech2face.validation import validated


def test_csv_comes_back_as_it_was_written() -> None:
    rows = [["key", "detail"], ["a", 'says "no", twice\nand goes on'], ["b", ""]]
    assert decode_csv(encode_csv(rows)) == rows


@pytest.mark.parametrize("content", [b'a,"b\n', b"\xff\n"])
def test_what_is_no_csv_is_one_kind_of_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"unexpected end|codec"):
        decode_csv(content)


def test_bars_and_backslashes_do_not_end_a_cell() -> None:
    assert markdown_table(("what", "n"), [("a|b", 1), ("c\\", 2)]) == (
        "| what | n |\n|---|---|\n| a\\|b | 1 |\n| c\\\\ | 2 |"
    )
    assert markdown_table(("what", "n"), [], align="lr").endswith("|:---|---:|")


class Limit(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seconds: Annotated[float, Field(ge=0)] = 1.0


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    limit: Limit = Limit()

    @field_validator("name")
    @classmethod
    def _no_dot(cls, name: str) -> str:
        if "." in name:
            raise ValueError(f"{name!r} has a dot in it; leave it out")
        return name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a", "limits": {}}, "options: there is no limits; there are name, limit"),
        ({"name": "a", "limit": {"second": 1}}, "options: there is no limit.second; there are seconds"),
        ({}, "options: name is missing"),
        ({"name": "a", "limit": {"seconds": -1}}, "options: limit.seconds is -1; it must be greater than or equal"),
        ({"name": "a.b"}, "options: name: 'a.b' has a dot in it; leave it out"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption) as raised:
        validated(Options, values, "options", InvalidOption)
    assert str(raised.value).startswith(message)
