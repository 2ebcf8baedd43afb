"""Settings are read whatever editor saved them, and what is wrong with them is named."""

import json
from pathlib import Path

import pytest

from speech2face.data.corpora import Pairs
from speech2face.data.manifest import MANIFEST, Manifest
from speech2face.data.media import Rejected, open_place
from speech2face.data.record import Reject
from speech2face.data.storage import Storage
from speech2face.errors import DatasetError, InvalidSettings, WeightsError
from speech2face.evaluation.clips import _check_files
from speech2face.inputs import file_size, read_json, read_toml
from tests.data.made_clips import made_data

CASES = Path(__file__).parents[2] / ".." / "shared" / "cases"
STATED = "stage = \"decoder\"\n\n[data]\nplace = 'C:\\data\\größe'\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_settings_are_read_in_every_encoding_that_has_a_mark(encoding: str, ends: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(STATED.replace("\n", ends).encode(encoding))
    assert read_toml(path) == {"stage": "decoder", "data": {"place": "C:\\data\\größe"}}
    path.write_bytes(json.dumps({"a": "größe"}, ensure_ascii=False).encode(encoding))
    assert read_json(path, WeightsError) == {"a": "größe"}


def test_what_is_wrong_with_settings_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    for content, said in (
        ("a = 1\nb = 'größe'\n".encode("cp1252"), r":2:8: byte 0xf6 is no UTF-8; save the file as UTF-8 \(as cp1252"),
        (b'place = "C:\\data\\users"\n', "is not TOML: .*written in single quotes"),
        (b"a = 1\n\0\0\0", ":2:1: a zero"),
        (b"stage = ", "is not TOML"),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidSettings, match=said):
            read_toml(path)
    for content, said in ((b'{"a": "C:\\data"}', "a backslash is written twice"), (b"[" * 100_000, "is no JSON")):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=said):
            read_json(path, WeightsError)
    with pytest.raises(InvalidSettings, match="cannot be read: no such file"):
        read_toml(tmp_path / "nowhere.toml")
    with pytest.raises(InvalidSettings, match="cannot be read"):
        read_toml(tmp_path)


def test_the_settings_that_failed_for_their_mark_are_read() -> None:
    if not (CASES / "settings_bom.toml").is_file():
        pytest.skip("the folder of failing inputs is not here")
    from speech2face.training.settings import read_settings

    assert read_settings(CASES / "settings_bom.toml").stage == "decoder"


LONG = "a" * 300 + ".wav"


def test_a_name_that_no_file_can_have_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"abc")
    assert file_size(tmp_path / "a.wav") == 3
    assert [file_size(tmp_path / name) for name in (LONG, "a\0b", "gone", "")] == [None] * 4
    storage = Storage(tmp_path)
    assert storage.sizes(["a.wav", LONG]) == [3, None]
    assert storage.exists("a.wav") and not storage.exists(LONG)


def test_a_table_may_name_what_is_too_long_for_a_name(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(f"recording,speaker\n{LONG},Ann\n")
    (found,) = Pairs(str(tmp_path / "pairs.csv")).records()
    assert isinstance(found, Reject) and found.reason == "no_media"
    with pytest.raises(Rejected, match="unreadable"), open_place(str(tmp_path / LONG), missing="no_media"):
        pass
    with pytest.raises(DatasetError, match="lacks 1 of its recordings"):
        _check_files([tmp_path / LONG], tmp_path)


def test_a_manifest_may_name_what_is_too_long_for_a_name(tmp_path: Path) -> None:
    shard = made_data(tmp_path).shards[0].file
    (tmp_path / MANIFEST).write_text((tmp_path / MANIFEST).read_text().replace(shard, LONG))
    with pytest.raises(DatasetError, match=f"{LONG} is missing"):
        Manifest.open(tmp_path)
