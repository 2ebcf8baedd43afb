import runpy
from pathlib import Path

import pytest

from speech2face.data.manifest import COLUMNS, Manifest
from speech2face.data.shards import WINDOW_SHARDS
from speech2face.training.settings import DataSettings

ROOT = Path(__file__).parents[2]
PAGE, EXAMPLE = ROOT / "docs" / "data-format.md", ROOT / "examples" / "data_set.py"


def test_the_example_of_the_format_writes_and_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "torch.Size([8, 96000]) torch.Size([8, 128])" in capsys.readouterr().out
    assert len(Manifest.open(tmp_path / "data").clips("train")) == 80


def test_the_page_names_every_column_of_an_index() -> None:
    table = PAGE.read_text().partition("## Its index")[2].partition("## The manifest")[0]
    assert [column for column in COLUMNS if f"`{column}`" not in table] == []


def test_the_page_and_training_have_the_windows_of_the_order() -> None:
    assert DataSettings(manifest="data").window_shards == WINDOW_SHARDS
    page = PAGE.read_text()
    assert f"windows of {WINDOW_SHARDS}\n" in page
    assert f"room for two windows: {2 * WINDOW_SHARDS} shards" in page
