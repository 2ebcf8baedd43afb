"""The page to look at a data set, the sources of a plan, and the commands over all of it."""

import json
import re
import wave
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from speech2face.cli import app
from speech2face.cli.data import nested, stated_sources
from speech2face.data.corpora import Pairs, VoxCeleb2
from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.record import Record, decode_rejects, encode_rejects
from speech2face.data.session import Grouping, prepare_data
from speech2face.data.sources import Basis, SourceInUse, open_source
from speech2face.data.statement import (
    find_records,
    frame_of,
    html_page,
    read_clips,
    sample_clips,
    sample_rejects,
    spectrogram_picture,
    statement_of,
)
from speech2face.errors import DatasetError, InvalidOption
from tests.data.made_clips import made_data
from tests.data.stand_in import preparation, texts
from tests.data.test_session import here


class Parts(HTMLParser):
    """Tags and links of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_a_page_shows_clips_and_rejects_and_loads_nothing(tmp_path: Path) -> None:
    manifest = made_data(tmp_path / "<data>")
    clips = list(read_clips(manifest, sample_clips(manifest, 5)))
    hostile = "<script>alert(1)</script>"
    table = encode_rejects([])[:-1] + f"\nkey,who,{hostile},no_face,{hostile}\n".encode()
    (tmp_path / "<data>" / "x.rejects.csv").write_bytes(table)
    page = html_page(manifest, clips, sample_rejects(iter(decode_rejects(table, "x"))))
    found = Parts(page)
    assert found.tags.count("article") == 5 and found.tags.count("audio") == 5
    assert found.tags.count("circle") == 5 * 4
    assert "script" not in found.tags and "&lt;script&gt;" in page and "&lt;data&gt;" in page
    assert all(link.startswith("data:") for link in found.links) and found.links
    assert manifest.sha256 in page


def test_clips_on_the_page_are_a_fixed_draw(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)
    assert sample_clips(manifest, 7) == sample_clips(manifest, 7) != sample_clips(manifest, 7, seed=1)
    assert len(set(sample_clips(manifest, 7))) == 7
    assert sorted(sample_clips(manifest, 99)) == list(range(40))


def test_a_spectrogram_is_dark_where_a_tone_is() -> None:
    tone = (9000 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)).astype(np.int16)
    picture = spectrogram_picture(tone)
    assert picture.shape == (257, 98)
    row = 256 - 1000 * 512 // 16_000  # low frequencies at the bottom
    assert picture[row].max() == 0 and picture[: row - 20].min() > 200
    assert spectrogram_picture(np.zeros(10, np.int16)).shape == (257, 1)


def test_a_plans_sources_lead_back_to_the_records_of_clips(tmp_path: Path) -> None:
    recording, picture = tmp_path / "voice.wav", tmp_path / "face.png"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    Image.new("RGB", (400, 200), (255, 0, 0)).save(picture)
    table = tmp_path / "pairs.csv"
    table.write_text(f"recording,photograph,speaker,licence,consent\n{recording.name},{picture.name},ann,CC0,yes\n")
    source = SourceInUse(Pairs(str(table)), Basis(licence="x"))
    assert open_source(source.settings()) == source
    [record] = source.records()
    assert isinstance(record, Record)
    manifest = made_data(tmp_path / "data", 3)
    plan = {"sources": [source.settings()]}
    (tmp_path / "data" / "plan.json").write_text(json.dumps(plan))
    assert find_records(manifest, {record.key}) == {record.key: record}
    frame = frame_of(record, {})
    assert frame is not None and frame.size == (320, 160) and frame.getpixel((9, 9)) == (255, 0, 0)
    table.unlink()
    assert find_records(manifest, {"anything"}) == {}


def test_every_source_comes_back_from_its_settings() -> None:
    tree = SourceInUse(VoxCeleb2(tree="/vox2", metadata="/meta.csv", seed=3), Basis())
    assert open_source(tree.settings()) == tree
    with pytest.raises(InvalidOption, match="data sources: no 'tv' here; known are avspeech"):
        open_source({"name": "tv"})
    with pytest.raises(
        InvalidOption, match="the source pairs: settings of a source: there is no colour; there are table"
    ):
        open_source({"name": "pairs", "colour": "red"})


def test_the_command_line_names_sources_by_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stated = stated_sources(
        {
            "avspeech": ["train.csv"],
            "avspeech_videos": "videos",
            "voxceleb1": "vox",
            "pairs": ["s3://bucket/pairs.csv"],
            "videos": ["own"],
        }
    )
    used = [open_source(each | {"basis": {"allow": ["consent"]}}, {"seed": 5, "validation": 0.1}) for each in stated]
    sources: list[Any] = [each.source for each in used]
    assert [source.name for source in sources] == ["avspeech", "voxceleb1", "pairs", "videos"]
    assert sources[0].table == str(tmp_path / "train.csv")
    assert sources[0].seed == 5 and sources[1].validation == 0.1
    assert sources[2].table == "s3://bucket/pairs.csv"
    assert all(source.basis.allow == ("consent",) for source in used)
    with pytest.raises(InvalidOption, match="name a source"):
        stated_sources({})
    with pytest.raises(InvalidOption, match="--avspeech-videos"):
        stated_sources({"avspeech": ["train.csv"]})
    with pytest.raises(InvalidOption, match="--voxceleb2"):
        stated_sources({"voxceleb2_metadata": "meta.csv"})
    with pytest.raises(InvalidOption, match="--videos"):
        stated_sources({"pairs": ["pairs.csv"], "speakers": "speakers.csv"})


def test_options_are_read_from_names_and_values() -> None:
    assert nested("set", ["seconds=3", "limits.turn=10", "want=face"]) == {
        "seconds": 3, "limits": {"turn": 10}, "want": "face",
    }  # fmt: skip
    assert nested("shares", ["train=0.5", " test = 0.5"]) == {"train": 0.5, "test": 0.5}
    with pytest.raises(InvalidOption, match="NAME=VALUE"):
        nested("set", ["seconds"])
    with pytest.raises(InvalidOption, match="--shares"):
        nested("shares", ["train"])
    with pytest.raises(InvalidOption, match="goes into limits, which another --set makes a value"):
        nested("set", ["limits=3", "limits.turn=10"])
    assert nested("set", ["want=" + "[" * 100_000])["want"].startswith("[[")  # text: nothing that JSON reads


@pytest.mark.parametrize("option", ["--worker-memory", "--shard-hours"])
@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_limits_of_workers_are_numbers_above_nothing(tmp_path: Path, option: str, value: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("recording,speaker\na.wav,Ann\n")
    done = CliRunner().invoke(
        app,
        [
            "data",
            "prepare",
            "--pairs",
            str(table),
            "--out",
            str(tmp_path / "out"),
            "--set",
            "want=recording",
            option,
            value,
        ],
    )
    assert isinstance(done.exception, InvalidOption)
    assert str(done.exception).startswith(f"{option} {value} is none")
    with pytest.raises(InvalidOption, match=r"splits and shards: shares\.train is 'most'; it must be a valid number"):
        Grouping(shares={"train": "most"})  # type: ignore[dict-item]


def test_tables_of_rejects_are_read_back_or_refused_by_line() -> None:
    with pytest.raises(DatasetError, match="x:1"):
        decode_rejects(b"a,b\n", "x")
    with pytest.raises(DatasetError, match="x:2"):
        decode_rejects(encode_rejects([]) + b"k,s,m,no_such_reason,d\n", "x")


def test_the_commands_show_forget_and_verify(tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepared = preparation(texts(tmp_path / "media"))
    prepare_data(data, replace(prepared, duplicates=0), here)
    runner = CliRunner()
    shown = runner.invoke(app, ["data", "show", str(data), "--html", str(tmp_path / "page.html")])
    assert shown.exit_code == 0, shown.output
    assert "36 clips of 7 speakers" in shown.output
    assert "data:image/png" in (tmp_path / "page.html").read_text()
    assert runner.invoke(app, ["data", "show", str(data), "--html", str(tmp_path / "page.html")]).exit_code != 0
    forgotten = runner.invoke(app, ["data", "forget", "speaker 3", "--data", str(data), "--json"])
    assert json.loads(forgotten.output)["clips"] == 5, forgotten.output
    verified = runner.invoke(app, ["data", "verify", str(data), "--json", "-q"])
    assert json.loads(verified.output)["forgotten"] == 1
    statement = json.loads(runner.invoke(app, ["data", "show", str(data), "--json"]).output)
    assert statement["clips"] == 31 and statement["forgotten_speakers"] == 1
    assert statement["duplicates"] == {
        "recording": 0,
        "photograph": "not compared (no aligned faces)",
        "face_embedding": "not compared (under 200 clips)",
    }
    assert re.search(r"1 speakers? asked to be forgotten", (data / "statement.md").read_text())


def test_data_of_another_writer_get_a_statement_when_they_are_shown(tmp_path: Path) -> None:
    manifest = made_data(tmp_path)
    assert statement_of(manifest)["clips"] == 40
    assert json.loads((tmp_path / MANIFEST).read_text())["statement"] == {"made": "up"}
    assert Manifest.open(tmp_path).statement == {"made": "up"}
