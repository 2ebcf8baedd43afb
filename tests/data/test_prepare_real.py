"""Real photographs and voices as videos: the starter's, where they lie beside the repository."""

from pathlib import Path

import numpy as np
import pytest

from speech2face.audio.recording import read_recording
from speech2face.data.clips import ClipDataset
from speech2face.data.faces import PrepareOptions
from speech2face.data.manifest import Layout, Manifest
from speech2face.data.prepare import ShardTask, index_labels, prepare_shard
from speech2face.data.record import Record
from speech2face.data.shards import write_manifest
from speech2face.face.detect import Picture, read_photograph
from speech2face.face.embed import DLIB_MATCH_DISTANCE, DlibEmbedder
from speech2face.face.embedders import describe_embedder
from tests.data.made_videos import Placed, scene, write_video

STARTER = Path(__file__).resolve().parents[3] / "shared" / "starter"
FACES = ("001.jpg", "005.jpg", "010.jpg")
SECONDS = 3.0

pytestmark = pytest.mark.skipif(
    not (STARTER / "faces").is_dir() or not (STARTER / "voices").is_dir(),
    reason="the starter's photographs and voices are not beside the repository",
)


def moving(face: Picture, how: str, t: float) -> Picture:
    """A frame at a time: the photograph is shifted, zoomed or turned."""
    if how == "shifted":
        return scene(Placed(face, x=0.35 + 0.1 * t, pixels=330))
    if how == "zoomed":
        return scene(Placed(face, pixels=round(280 + 25 * t)))
    return scene(Placed(face, roll_degrees=-9 + 6 * t, pixels=330))


def test_photographs_of_people_made_into_videos_come_back_as_their_own_faces(tmp_path: Path) -> None:
    voices = sorted((STARTER / "voices").glob("*.opus"))[: len(FACES)]
    records, photographs = [], []
    for name, voice, how, suffix in zip(
        FACES, voices, ("shifted", "zoomed", "rotated"), (".mp4", ".webm", ".mkv"), strict=True
    ):
        face = read_photograph(STARTER / "faces" / name)[::2, ::2].copy()
        photographs.append(face)
        waveform = np.resize(read_recording(voice).waveform, round(SECONDS * 16_000))
        path = write_video(
            tmp_path / f"{how}{suffix}",
            lambda t, face=face, how=how: moving(face, how, t),  # type: ignore[misc]
            seconds=SECONDS,
            waveform=waveform,
            rate=10,
            key_every=10,
        )
        records.append(Record(how, str(path), speaker=name, source="videos", split="train"))
    embedder = describe_embedder("dlib")
    result = prepare_shard(ShardTask("train-000000", tuple(records), str(tmp_path / "out"), PrepareOptions(), embedder))
    assert result.rejects == ()
    assert result.shard is not None
    layout = Layout(waveform=True, embedding=128, face=(224, 224), landmarks=68)
    write_manifest(
        tmp_path / "out", layout, [result.shard], embedder=embedder, labels=index_labels((), PrepareOptions())
    )
    dataset = ClipDataset(Manifest.open(tmp_path / "out"), "train", parts=("face_embedding",), seconds=6.0)
    found = np.stack([np.asarray(dataset[number]["face_embedding"]) for number in range(len(FACES))])
    known = np.stack([np.asarray(DlibEmbedder().embed(face)) for face in photographs])
    distances = np.linalg.norm(found[:, None] - known[None], axis=-1)
    assert (distances.diagonal() < DLIB_MATCH_DISTANCE / 1.5).all()
    assert (distances.argmin(1) == np.arange(len(FACES))).all()
