"""A list of records becomes one shard: what is kept, what is refused and why, and always the same bytes."""

import dataclasses
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from speech2face.audio.spectrogram import SAMPLE_RATE
from speech2face.cli import app
from speech2face.data import prepare
from speech2face.data import prepare as one_clip
from speech2face.data.clips import ClipDataset
from speech2face.data.faces import FaceLimits, PrepareOptions, SeenFace
from speech2face.data.manifest import Layout, Manifest
from speech2face.data.prepare import STAGES, ShardResult, ShardTask, Stopwatch, index_labels, prepare_shard
from speech2face.data.record import Record, read_rejects
from speech2face.data.shards import ShardFile, write_manifest
from speech2face.data.storage import Storage
from speech2face.errors import CannotWrite, InvalidOption, WeightsError
from speech2face.face.detect import FaceBox, Picture, file_sha256
from speech2face.face.embed import DlibEmbedder
from speech2face.face.embedders import EmbedderRecord, describe_embedder
from speech2face.face.landmarks import HeadPose, eyes
from tests.data.made_videos import Placed, drawn_face, garble, scene, truncate, write_video, write_wav
from tests.voices import made_voice

SECONDS = 3.0
WHOLE = Layout(waveform=True, embedding=128, face=(224, 224), landmarks=68)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of drawn faces that speak, and what may be wrong with them."""
    folder = tmp_path_factory.mktemp("media")
    he, she = drawn_face(30, 1.0), drawn_face(30, 0.0)
    voice = made_voice(SECONDS)
    scenes = {
        "shifted.mp4": lambda t: scene(Placed(he, x=0.35 + 0.06 * t, y=0.5 + 0.02 * t)),
        "zoomed.webm": lambda t: scene(Placed(she, pixels=round(260 + 20 * t))),
        "rotated.mkv": lambda t: scene(Placed(he, roll_degrees=-12 + 4 * t)),
        "two.mp4": lambda t: scene(Placed(he, x=0.25), Placed(she, x=0.75)),
        "none.mp4": lambda t: scene(),
        "blurred.mp4": lambda t: scene(Placed(he, blur_pixels=6)),
        "small.mp4": lambda t: scene(Placed(he, pixels=100)),
        "cut.mp4": lambda t: scene(Placed(he, y=0.93)),
        # No key frame shows the face: it comes after the first and leaves before the second.
        "between.mp4": lambda t: scene(Placed(he)) if 0.5 < t < 1.8 else scene(),
    }
    for name, frame_at in scenes.items():
        write_video(folder / name, frame_at, seconds=SECONDS, waveform=voice, rate=10, key_every=20)
    write_video(folder / "silent.mp4", scenes["shifted.mp4"], seconds=1.0, waveform=np.zeros_like(voice))
    write_video(folder / "mute.mp4", scenes["shifted.mp4"], seconds=1.0)
    truncate(write_video(folder / "truncated.mp4", scenes["shifted.mp4"], seconds=1.0, waveform=voice), 0.5)
    garble(write_video(folder / "garbled.mkv", scenes["shifted.mp4"], seconds=1.0, waveform=voice), [(0.02, 1.0)])
    write_wav(folder / "voice.wav", voice)
    write_wav(folder / "zero.wav", voice[:0])
    Image.fromarray(she).save(folder / "she.png")
    Image.fromarray(scene(Placed(he, x=0.25), Placed(she, x=0.75))).save(folder / "both.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


@pytest.fixture(scope="module")
def dlib_record() -> EmbedderRecord:
    return describe_embedder("dlib")


def record(media: Path, name: str, key: str | None = None, **given: object) -> Record:
    values: dict[str, object] = {
        "key": key or name.replace(".", "-"),
        "media": str(media / name),
        "speaker": f"speaker of {key or name}",
        "source": "videos",
        "split": "train",
        "labels": {"language": "en", "age": ""},
        "licence": "CC0 1.0",
        "consent": "made up",
    }
    return Record(**(values | given))  # type: ignore[arg-type]


def shard(
    out: Path, *records: Record, embedder: EmbedderRecord | None, options: PrepareOptions | None = None
) -> ShardResult:
    return prepare_shard(ShardTask("train-000000", records, str(out), options or PrepareOptions(), embedder))


def opened(out: Path, result: ShardResult, embedder: EmbedderRecord | None, layout: Layout = WHOLE) -> Manifest:
    """The shard as a data set."""
    assert result.shard is not None
    options = PrepareOptions() if layout.embedding else PrepareOptions(want="recording")
    labels = index_labels(("language", "age"), options)
    write_manifest(out, layout, [result.shard], embedder=embedder, labels=labels)
    return Manifest.open(out)


def reasons(result: ShardResult) -> dict[str, str]:
    return {each.key: each.reason for each in result.rejects}


def test_moving_faces_become_whole_clips_in_the_records_order(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord
) -> None:
    names = ("zoomed.webm", "shifted.mp4", "rotated.mkv")
    result = shard(tmp_path, *(record(media, name) for name in names), embedder=dlib_record)
    assert reasons(result) == {}
    manifest = opened(tmp_path, result, dlib_record)
    assert [manifest.table.key_of(clip) for clip in range(3)] == ["zoomed-webm", "shifted-mp4", "rotated-mkv"]
    np.testing.assert_allclose(manifest.table.seconds, SECONDS, atol=0.05)
    assert manifest.column("source") == ["videos"] * 3
    assert manifest.column("language") == ["en"] * 3
    assert all(float(turn) < 10 for turn in manifest.column("turn_degrees"))
    dataset = ClipDataset(
        manifest, "train", parts=("waveform", "face_embedding", "aligned_face", "landmarks"), seconds=6.0
    )
    embeddings = []
    for number in range(3):
        clip = dataset[number]
        assert clip["waveform"].shape == (6 * SAMPLE_RATE,)  # repeated by the reader
        assert clip["aligned_face"].shape == (3, 224, 224)
        found = eyes(np.asarray(clip["landmarks"], dtype=np.float64))
        np.testing.assert_allclose(found, [[84, 95.8], [139, 95.8]], atol=1.0)
        # The picture shows the face there: an eye is darker than the cheek 30 pixels under it.
        grey = np.asarray(clip["aligned_face"], dtype=np.float64).mean(0)
        for x, y in found.round().astype(int):
            assert grey[y - 2 : y + 3, x - 4 : x + 5].mean() < grey[y + 28 : y + 33, x - 4 : x + 5].mean() - 30
        embeddings.append(np.asarray(clip["face_embedding"]))
    he, she = (DlibEmbedder().embed(drawn_face(30, masculine)) for masculine in (1.0, 0.0))
    assert he is not None
    assert she is not None
    for embedding, same, other in zip(embeddings, (she, he, he), (he, she, she), strict=True):
        assert np.linalg.norm(embedding - same) < np.linalg.norm(embedding - other)


REFUSED: Mapping[str, str] = {
    "two.mp4": "several_faces",
    "none.mp4": "no_face",
    "blurred.mp4": "blurred",
    "small.mp4": "too_small",
    "cut.mp4": "cut_off",
    "silent.mp4": "silent",
    "mute.mp4": "no_audio",
    "truncated.mp4": "unreadable",
    "garbled.mkv": "unreadable",
    "zero.wav": "no_audio",
    "gone.mp4": "no_media",
    "voice.wav": "no_video",
}


def test_what_falls_out_is_told_with_its_reason_and_the_rest_stays(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord
) -> None:
    records = [record(media, name) for name in REFUSED]
    late = record(media, "shifted.mp4", "late", start_seconds=9.0)
    short = record(media, "shifted.mp4", "short", start_seconds=2.5)
    elsewhere = record(media, "two.mp4", "elsewhere", face_x=0.5, face_y=0.1)
    hinted = record(media, "two.mp4", "hinted", face_x=0.75, face_y=0.5)
    result = shard(tmp_path, *records, late, short, elsewhere, hinted, embedder=dlib_record)
    wanted = {name.replace(".", "-"): reason for name, reason in REFUSED.items()}
    wanted |= {"late": "no_audio", "short": "too_short", "elsewhere": "wrong_face"}
    found = reasons(result)
    if found.get("garbled-mkv") in ("no_audio", "no_video", "too_short"):  # how far a decoder comes is its own affair
        wanted["garbled-mkv"] = found["garbled-mkv"]
    assert found == wanted
    assert result.kept == 1
    assert list(read_rejects(Storage(tmp_path))) == list(result.rejects)
    assert opened(tmp_path, result, dlib_record).table.key_of(0) == "hinted"


def test_a_face_that_no_key_frame_shows_is_found_between_them(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord
) -> None:
    result = shard(tmp_path, record(media, "between.mp4"), embedder=dlib_record)
    assert reasons(result) == {}
    [seconds] = opened(tmp_path, result, dlib_record).column("frame_seconds")
    assert 0.5 < float(seconds) < 1.8


def test_a_recording_and_a_photograph_make_a_clip_and_bad_photographs_do_not(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord
) -> None:
    pictures = ("she.png", "both.png", "broken.jpg", "gone.png")
    records = [
        record(media, "voice.wav", name.replace(".", "-"), photograph=str(media / name), source="pairs")
        for name in pictures
    ]
    hinted = record(media, "voice.wav", "hinted", photograph=str(media / "both.png"), face_x=0.75, face_y=0.5)
    result = shard(tmp_path, *records, hinted, embedder=dlib_record)
    assert reasons(result) == {"both-png": "several_faces", "broken-jpg": "unreadable", "gone-png": "no_photograph"}
    manifest = opened(tmp_path, result, dlib_record)
    assert manifest.column("frame_seconds") == ["", ""]
    dataset = ClipDataset(manifest, "train", parts=("face_embedding",), seconds=6.0)
    alone, found = (np.asarray(dataset[number]["face_embedding"]) for number in range(2))
    direct = DlibEmbedder().embed(drawn_face(30, 0.0))
    assert direct is not None
    assert np.linalg.norm(alone - direct) < 0.15
    assert np.linalg.norm(found - direct) < 0.35  # the same face, at half the size


def test_the_same_task_gives_the_same_bytes_wherever_it_runs(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord
) -> None:
    records = (record(media, "shifted.mp4"), record(media, "none.mp4"), record(media, "zoomed.webm"))
    first = shard(tmp_path / "first", *records, embedder=dlib_record)
    one_clip._open_maker.cache_clear()
    options = PrepareOptions(embed_at_once=1)  # not even how many faces are embedded together may matter
    task = ShardTask("train-000000", records, str(tmp_path / "second"), options, dlib_record)
    second = prepare_shard(pickle.loads(pickle.dumps(task)))
    assert first.shard == second.shard
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["train-000000.csv", "train-000000.rejects.csv", "train-000000.tar"]
    for name in names:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_shard_of_which_nothing_is_kept_leaves_only_its_rejects(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord
) -> None:
    result = shard(tmp_path, record(media, "none.mp4"), embedder=dlib_record)
    assert result.shard is None
    assert result.kept == 0
    assert [path.name for path in tmp_path.iterdir()] == ["train-000000.rejects.csv"]


def test_the_table_of_rejects_comes_last_and_nothing_half_written_stays(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CannotWrite("no room")

    monkeypatch.setattr(prepare, "write_rejects", full)
    with pytest.raises(CannotWrite):
        shard(tmp_path, record(media, "shifted.mp4"), embedder=dlib_record)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train-000000.csv", "train-000000.tar"]
    monkeypatch.setattr(ShardFile, "finish", full)
    with pytest.raises(CannotWrite):
        shard(tmp_path / "other", record(media, "shifted.mp4"), embedder=dlib_record)
    assert list((tmp_path / "other").iterdir()) == []


def test_an_error_nobody_foresaw_costs_one_record(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    proper = one_clip.ClipMaker.make

    def make(self: one_clip.ClipMaker, wanted: Record, watch: Stopwatch) -> one_clip.UnembeddedClip:
        if wanted.key == "bad":
            raise ZeroDivisionError("in some\nlibrary")
        return proper(self, wanted, watch)

    monkeypatch.setattr(one_clip.ClipMaker, "make", make)
    records = (record(media, "shifted.mp4", "bad"), record(media, "shifted.mp4", "good"))
    result = shard(tmp_path, *records, embedder=dlib_record)
    assert [(each.reason, each.detail) for each in result.rejects] == [("failed", "ZeroDivisionError: in some library")]
    assert result.kept == 1


def test_recordings_alone_need_no_embedder_and_no_picture(media: Path, tmp_path: Path) -> None:
    result = shard(tmp_path, record(media, "voice.wav"), embedder=None, options=PrepareOptions(want="recording"))
    layout = Layout(waveform=True, embedding=None, face=None, landmarks=None)
    manifest = opened(tmp_path, result, None, layout)
    assert manifest.labels == ("age", "language", "source")


def test_an_encoders_data_has_no_pictures_and_a_decoders_no_recording(
    media: Path, tmp_path: Path, dlib_record: EmbedderRecord
) -> None:
    encoder = PrepareOptions(want="recording and embedding")
    result = shard(tmp_path / "encoder", record(media, "shifted.mp4"), embedder=dlib_record, options=encoder)
    opened(tmp_path / "encoder", result, dlib_record, Layout(waveform=True, embedding=128, face=None, landmarks=None))
    decoder = PrepareOptions(want="face", face_pixels=96)
    photograph = record(media, "nobody.wav", "photo", photograph=str(media / "she.png"))
    film = record(media, "mute.mp4", "film")
    result = shard(tmp_path / "decoder", photograph, film, embedder=dlib_record, options=decoder)
    assert result.kept == 2
    layout = Layout(waveform=False, embedding=128, face=(96, 96), landmarks=68)
    dataset = ClipDataset(opened(tmp_path / "decoder", result, dlib_record, layout), "train", parts=("landmarks",))
    points = np.asarray(dataset[0]["landmarks"], dtype=np.float64)
    assert eyes(points)[1, 0] - eyes(points)[0, 0] == pytest.approx(55 / 224 * 96, abs=0.01)


def test_time_is_told_by_stage(media: Path, tmp_path: Path, dlib_record: EmbedderRecord) -> None:
    result = shard(tmp_path, record(media, "shifted.mp4"), embedder=dlib_record)
    assert tuple(result.seconds) == STAGES
    assert all(seconds > 0 for seconds in result.seconds.values())


def test_faces_without_an_embedder_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="faces need a face embedder"):
        shard(tmp_path / "out", record(tmp_path, "gone.mp4"), embedder=None)
    assert not (tmp_path / "out").exists()


def test_the_embedders_own_detector_is_shown_the_face_and_its_box_comes_back_in_place() -> None:
    class Shown:
        """A detector that says where the brightest square is in what it is shown."""

        def detect(self, picture: Picture) -> tuple[FaceBox, ...]:
            rows, columns = np.nonzero(picture[..., 0] > 128)
            return (FaceBox(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1),)

    picture = np.zeros((700, 900, 3), np.uint8)
    picture[400:460, 600:660] = 255
    face = SeenFace(picture, FaceBox(605, 395, 675, 465), np.zeros((68, 2)), HeadPose(0, 0, 0), 1, 1, 0)
    maker = one_clip.ClipMaker(PrepareOptions(want="recording"), None)
    box = maker._found_again(Shown(), face)
    np.testing.assert_allclose([box.left, box.top, box.right, box.bottom], [600, 400, 660, 460], atol=2)


def test_options_survive_json_and_name_what_is_wrong() -> None:
    options = PrepareOptions(want="face", frames=3, limits=FaceLimits(max_turn_degrees=None, min_eye_opening=0.2))
    assert PrepareOptions(**json.loads(json.dumps(options.to_dict()))) == options
    with pytest.raises(InvalidOption, match=r"there is no framse; there are want, seconds, .*frames"):
        PrepareOptions(framse=3)  # type: ignore[call-arg]
    with pytest.raises(InvalidOption, match="there is no min_pixels; there are min_face_pixels"):
        PrepareOptions(limits={"min_pixels": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"want": "everything"}, "want is 'everything'; it must be 'recording and face'"),
        ({"detector": "yolo"}, "detector is 'yolo'; it must be 'hog', 'cnn' or 'yunet'"),
        ({"detector": "yunet"}, "yunet, and no other, has a detector_file"),
        ({"detector_file": "yunet.onnx", "detector_sha256": "0" * 64}, "yunet, and no other, has a detector_file"),
        ({"seconds": float("nan")}, "seconds is nan; it must be a finite number"),
        ({"seconds": "6"}, "seconds is '6'; it must be a valid number"),
        ({"frames": 0}, "frames is 0; it must be greater than or equal to 1"),
        ({"frames": 2.5}, "frames is 2.5; it must be a valid integer"),
        ({"min_seconds": 7}, "above the 6 seconds"),
        ({"limits": {"min_sharpness": -1}}, "min_sharpness is -1; it must be greater than or equal to 0"),
        ({"limits": {"rival_share": 0}}, "rival_share is 0; it must be greater than 0"),
    ],
)
def test_impossible_options_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        dataclasses.replace(PrepareOptions(), **given)  # type: ignore[arg-type]


def test_a_users_own_detector_finds_the_face_and_only_the_file_on_record_is_opened(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the detector for this test is made with onnx; install the extra `train`")
    from tests.face.test_onnx_detector import fixed

    # In the first copy, 320 x 180, the face of the scene is 75 pixels wide around (160, 90).
    larger = float(np.log(75 / 32))
    file = fixed(tmp_path / "y.onnx", {(32, 3, 5): (1, 1, 0, 90 / 32 - 3, larger, larger)}, side=320)
    given: dict[str, Any] = {
        "want": "face",
        "detector": "yunet",
        "detector_file": str(file),
        "detector_sha256": file_sha256(file),
    }
    photograph = tmp_path / "a.png"
    Image.fromarray(scene(Placed(drawn_face(30, 1.0)))).save(photograph)
    record = Record("a", "none.wav", source="pairs", speaker="he", split="train", photograph=str(photograph))
    made = one_clip.ClipMaker(PrepareOptions(**given), None).make(record, Stopwatch())
    assert made.clip.labels["face_pixels"] == pytest.approx(150, abs=4)
    assert made.clip.aligned_face is not None
    with pytest.raises(WeightsError, match="as recorded"):
        one_clip.ClipMaker(PrepareOptions(**{**given, "detector_sha256": "0" * 64}), None)


def test_a_wrong_detector_file_is_said_before_anything_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "y.onnx").write_bytes(b"nonsense")
    out = tmp_path / "data"
    stated = ["--pairs", "none.csv", "--out", str(out), "--detector-file", str(tmp_path / "y.onnx")]
    ended = CliRunner().invoke(app, ["data", "prepare", *stated])
    assert ended.exit_code != 0
    assert "no ONNX network" in " ".join((ended.output + str(ended.exception)).split())
    assert not out.exists()
