"""The page about preparing data against the options there are."""

import csv
import re
import shlex
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from speech2face.cli.data import nested
from speech2face.data.faces import FaceLimits, PrepareOptions
from speech2face.data.record import REASONS

DOCS = Path(__file__).parents[2] / "docs"
LIMITS = "limits"
PAGE = (DOCS / "data-preparation.md").read_text(encoding="utf-8")
OPTIONS = PAGE.partition("## Options\n")[2].partition("\n## ")[0]
with (DOCS / "prepare_options.csv").open(encoding="utf-8", newline="") as file:
    TABLE = list(csv.DictReader(file))


def shown(value: Any, nothing: str) -> str:
    return nothing if value is None else str(value)


def test_the_table_of_options_lists_every_one_with_its_default() -> None:
    table = [(row["option"], row["default"]) for row in TABLE]
    own = [each for each in fields(PrepareOptions) if each.name != LIMITS]
    assert not any(each.default is MISSING for each in (*own, *fields(FaceLimits)))
    assert table == [
        *((each.name, shown(each.default, "none")) for each in own),
        *((f"{LIMITS}.{each.name}", shown(each.default, "off")) for each in fields(FaceLimits)),
    ]


def test_the_reasons_the_options_name_are_reasons() -> None:
    named = set(re.findall(r"is `([a-z_]+)`", " ".join(row["meaning"] for row in TABLE)))
    assert len(named) == 10
    assert named <= set(REASONS)


def test_the_options_of_the_page_have_the_defaults_of_the_table() -> None:
    said = re.findall(r"`([a-z_]+)` \(([^)]+)\):", OPTIONS)
    assert len(said) == 4
    assert set(said) <= {(row["option"], row["default"]) for row in TABLE}


def test_the_settings_shown_are_read() -> None:
    stated = [
        word
        for line in re.findall(r"^speech2face data prepare (.*)$|`(--set [^`A-Z]+)`", OPTIONS, re.MULTILINE)
        for before, word in zip(shlex.split("".join(line)), shlex.split("".join(line))[1:], strict=False)
        if before == "--set"
    ]
    options = PrepareOptions(**nested("set", stated))
    assert (options.seconds, options.want) == (8, "recording and embedding")
    assert (options.limits.max_turn_degrees, options.limits.min_sharpness) == (15, None)


def test_every_limit_that_can_be_switched_off_is() -> None:
    may_be_none = [each.name for each in fields(FaceLimits) if "None" in str(each.type)]
    assert len(may_be_none) == 5
    options = PrepareOptions(**nested("set", [f"{LIMITS}.{name}=null" for name in may_be_none]))
    assert all(getattr(options.limits, name) is None for name in may_be_none)
