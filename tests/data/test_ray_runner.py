"""The same shards from a Ray cluster, really started on this machine: two CPUs, loopback, a small store."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from speech2face.data.clips import ClipDataset
from speech2face.data.manifest import Manifest
from speech2face.data.prepare import ShardResult, ShardTask
from speech2face.data.record import read_rejects
from speech2face.data.session import prepare_data
from speech2face.data.storage import Storage
from speech2face.data.workers import OnPoison, WorkerLimits, run_ray
from speech2face.errors import CannotWrite, InvalidOption
from tests.data import stand_in
from tests.data.made_streams import Streamed, write_streamed
from tests.data.made_videos import Placed, drawn_face, scene, write_video
from tests.data.stand_in import preparation, texts
from tests.data.test_session import contents, here
from tests.voices import made_voice

ray = pytest.importorskip("ray")

STORE_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of this process alone; its own end stops it."""
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets' paths have to be short
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # off: on the loopback interface, here too
        patched.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        try:
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                object_store_memory=STORE_BYTES,
                log_to_driver=False,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
            address = ray.get_runtime_context().gcs_address
            assert address.startswith("127.0.0.1:")
            yield address
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


def on_ray(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterable[ShardResult]:
    """A runner of the stand-in."""
    return run_ray(tasks, None, prepare=stand_in.prepare, limits=WorkerLimits(seconds=60), on_poison=on_poison)


@pytest.mark.usefixtures("cluster")
def test_a_cluster_gives_the_same_bytes_as_this_process(tmp_path: Path) -> None:
    source = texts(tmp_path / "media")
    prepare_data(tmp_path / "ray", preparation(source), on_ray)
    prepare_data(tmp_path / "here", preparation(source), here)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


@pytest.mark.usefixtures("cluster")
def test_a_clusters_dead_workers_are_replaced_and_poison_records_left_out(tmp_path: Path) -> None:
    source = texts(tmp_path / "media", 10, c001="kill once", c005="kill")
    manifest = prepare_data(tmp_path / "out", preparation(source), on_ray)
    failed = [each for each in read_rejects(Storage(tmp_path / "out")) if each.reason == "failed"]
    assert [each.key for each in failed] == ["clip-005"]
    assert "worker died" in failed[0].detail
    assert len(manifest.table) == 8


@pytest.mark.usefixtures("cluster")
def test_an_error_of_a_clusters_worker_arrives_as_it_is(tmp_path: Path) -> None:
    from dataclasses import replace

    def nowhere(tasks: Iterator[ShardTask], on_poison: OnPoison) -> Iterable[ShardResult]:
        return on_ray((replace(task, out="/proc/nowhere") for task in tasks), on_poison)

    with pytest.raises(CannotWrite, match="nowhere"):
        prepare_data(tmp_path / "out", preparation(texts(tmp_path / "media")), nowhere)


@pytest.mark.usefixtures("cluster")
def test_workers_larger_than_any_machine_are_refused_rather_than_waited_for() -> None:
    with pytest.raises(InvalidOption, match="--worker-memory"):
        list(run_ray(iter(()), None, prepare=stand_in.prepare, limits=WorkerLimits(memory_bytes=2**50)))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four videos of drawn faces that speak, in four containers, and of three that give no clip."""
    folder = tmp_path_factory.mktemp("videos")
    for number, (name, age, masculine) in enumerate(
        [("ann.mp4", 25, 0.0), ("bea.webm", 60, 0.0), ("cid.mkv", 30, 1.0)]
    ):
        face, voice = drawn_face(age, masculine), made_voice(2.0 + 0.5 * number)
        frame = scene(Placed(face, x=0.4 + 0.05 * number))
        write_video(folder / name, lambda _, frame=frame: frame, seconds=2.0, waveform=voice, rate=10, key_every=10)  # type: ignore[misc]
    still = scene(Placed(drawn_face(40, 0.0), pixels=230), size=(320, 240))
    late = Streamed(pictures=(0.0, 3.0), sound=(0.5, 3.0))
    write_streamed(folder / "eve.ts", late, made_voice(3.0), still)
    (folder / "cut.mp4").write_bytes((folder / "ann.mp4").read_bytes()[:20_000])
    write_video(folder / "mute.mp4", lambda _: still, seconds=1.0)
    write_video(folder / "nobody.webm", lambda _: scene(), seconds=1.0, waveform=made_voice(2.0))
    return folder


def prepared(videos: Path, out: Path, *where: str) -> dict[str, bytes]:
    """What the command makes of the videos, in a process of its own."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    stated = ["--videos", str(videos), "--out", str(out), "--licence", "CC0 1.0", "--consent", "made up"]
    split = ["--shares", "train=1,validation=0,test=0", "--records-per-shard", "4", "--quiet"]
    command = [sys.executable, "-m", "speech2face", "data", "prepare", *stated, *split, *where]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr
    return contents(out)


def test_real_videos_become_the_same_data_set_on_a_cluster_and_broken_ones_fall_out(
    videos: Path, tmp_path: Path, cluster: str
) -> None:
    pytest.importorskip("dlib", reason="finding faces needs the extra `faces`")
    on_cluster = prepared(videos, tmp_path / "ray", "--runner", "ray", "--address", cluster, "--worker-memory", "1.5")
    here_alone = prepared(videos, tmp_path / "here", "--workers", "1")
    assert on_cluster == here_alone
    rejected = {each.speaker: (each.reason, each.detail) for each in read_rejects(Storage(tmp_path / "ray"))}
    assert {speaker: reason for speaker, (reason, _) in rejected.items()} == {
        "cut": "unreadable",
        "mute": "no_audio",
        "nobody": "no_face",
    }
    assert "cut.mp4" in rejected["cut"][1]
    manifest = Manifest.open(tmp_path / "ray")
    assert sorted(manifest.table.speakers) == ["ann", "bea", "cid", "eve"]
    assert len(manifest.shards) > 1
    dataset = ClipDataset(manifest, "train", parts=("waveform", "face_embedding"), seconds=2.0)
    for clip in (dataset[number] for number in range(4)):
        assert np.abs(np.asarray(clip["waveform"])).max() > 0.05
        assert np.isfinite(np.asarray(clip["face_embedding"])).all()


DRIVER = """
import sys
from speech2face.data.workers import run_ray
from speech2face.data.session import prepare_data
from tests.data import stand_in
def run(tasks, on_poison):
    return run_ray(tasks, sys.argv[3], prepare=stand_in.prepare, on_poison=on_poison)
prepare_data(sys.argv[2], stand_in.preparation(stand_in.Texts(sys.argv[1], 40)), run)
"""


def test_another_driver_joins_a_running_cluster_by_its_address(tmp_path: Path, cluster: str) -> None:
    source = texts(tmp_path / "media")
    prepare_data(tmp_path / "here", preparation(source), here)
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "media"), str(tmp_path / "ray"), cluster]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


def test_no_cluster_at_an_address_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**settings: object) -> None:
        raise ConnectionError("Could not find\nany running Ray instance")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(InvalidOption, match=r"no Ray cluster at auto .Could not find any running") as raised:
        list(run_ray(iter(()), "auto", prepare=stand_in.prepare))
    assert "\n" not in str(raised.value)
