import csv
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reads the torch encoder; install the extra `train`")

from recipes.starter.batches import Packed  # noqa: E402
from recipes.starter.readings import read_packed  # noqa: E402
from recipes.starter.scores import ALL_SOURCES, Row, markdown, write_csv  # noqa: E402
from speech2face.metrics.intervals import Estimate  # noqa: E402
from speech2face.voice.compact import CompactVoiceEncoder  # noqa: E402
from speech2face.voice.segments import SEGMENT_HOPS, segment_spans  # noqa: E402
from tests.training.test_voices import SMALL  # noqa: E402

ROWS = [
    Row("age_spearman", "clean", "3", ALL_SOURCES, Estimate(0.41234, 0.3, 0.5, 200), 0.0),
    Row("age_spearman", "clean", "3", "LibriSpeech", Estimate(0.2, 0.1, 0.3, 20), 0.0),
    Row("age_spearman", "telephone", "3", ALL_SOURCES, Estimate(0.38, 0.3, 0.5, 190), 0.0),
]


def packed(folder: Path, lengths: list[int]) -> Packed:
    rng = np.random.default_rng(0)
    frames = np.concatenate([rng.standard_normal((length, 80)) for length in lengths]).astype(np.float16)
    np.save(folder / "clean.npy", frames)
    np.save(folder / "clean.offsets.npy", np.cumsum([0, *lengths]))
    return Packed(folder, "clean")


def test_packed_readings_are_those_of_the_segments_added_up(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CompactVoiceEncoder(SMALL).eval()
    features = packed(tmp_path, [950, 150])
    readings = read_packed(model, features, [0, 1])
    with torch.inference_mode():
        moments = torch.zeros(1, 3, SMALL.channels)
        for start, stop in segment_spans(950, SEGMENT_HOPS):
            mel = torch.from_numpy(features.whole(0)[start:stop].astype(np.float32).T[None])
            moments += model.frames(model.front.level_free(mel.exp()))
        expected = model.head(moments)
    np.testing.assert_allclose(readings.age_logits[0], expected[2][0].numpy(), atol=1e-5)
    np.testing.assert_allclose(readings.seconds, [9.5, 1.5])
    only = readings.where(np.array([False, True]))
    np.testing.assert_array_equal(only.embedding, readings.embedding[1:])


def test_a_duration_reads_the_beginning_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = CompactVoiceEncoder(SMALL).eval()
    features = packed(tmp_path, [950])
    short = read_packed(model, features, [0], max_seconds=2.0)
    assert short.seconds[0] == pytest.approx(1.98)
    assert not np.allclose(short.age_logits, read_packed(model, features, [0]).age_logits)


def test_the_table_has_a_line_a_condition_and_the_csv_every_row(tmp_path: Path) -> None:
    table = markdown(ROWS, ("age_spearman",)).splitlines()
    assert table[2:] == ["| clean | 3 | 0.412 [0.3, 0.5] |", "| telephone | 3 | 0.38 [0.3, 0.5] |"]
    write_csv(ROWS, tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [ALL_SOURCES, "LibriSpeech", ALL_SOURCES]
    assert rows[1]["speakers"] == "20"
