import re
from pathlib import Path

import pytest

from speech2face.data.manifest import COLUMNS, Manifest
from speech2face.data.shards import WINDOW_SHARDS
from speech2face.training.settings import DataSettings

PAGE = Path(__file__).parents[2] / "docs" / "data-format.md"


def test_the_code_of_the_page_on_the_format_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
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
