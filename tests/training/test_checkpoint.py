"""Checkpoints: whole or not there, checked when read, and one writer a folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from speech2face.data.storage import locked
from speech2face.errors import CannotWrite, CheckpointError, RunLocked
from speech2face.training import checkpoint
from speech2face.training.checkpoint import Records, find_checkpoint, list_checkpoints, read_checkpoint
from speech2face.training.stages import load_network
from tests.training.small_training import read_numbers

TENSORS = {"network.weight": torch.arange(6.0).reshape(2, 3)}


def save(run: Path, step: int, *, keep: int = 3) -> Path:
    return checkpoint.save_checkpoint(run, TENSORS, {"step": step}, keep=keep)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    path = save(tmp_path, 7)
    found = read_checkpoint(find_checkpoint(tmp_path))
    assert found.step == 7 and found.path == path == find_checkpoint(path).path
    assert torch.equal(found.part("network.")["weight"], TENSORS["network.weight"])


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=2)
    assert [file.step for file in list_checkpoints(tmp_path)] == [3, 4]


def test_one_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged.*delete it to go on from the one before"):
        read_checkpoint(find_checkpoint(tmp_path))


def test_a_folder_without_one_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint; name the `out` folder"):
        load_network(tmp_path)


def test_another_files_safetensors_are_no_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from speech2face.models.release import sha256

    plain = tmp_path / "checkpoints" / "plain"
    plain.parent.mkdir()
    save_file(TENSORS, plain)
    plain.rename(plain.with_name(f"step-00000001-{sha256(plain)[:16]}.safetensors"))
    with pytest.raises(CheckpointError, match="is no checkpoint of this program"):
        read_checkpoint(find_checkpoint(tmp_path))


def test_too_little_space_is_noticed_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 3})())
    with pytest.raises(CannotWrite, match=r"are needed, 0 MB are free.*the one of step 1 is untouched"):
        save(tmp_path, 2)
    assert [file.step for file in list_checkpoints(tmp_path)] == [1]


LIMITED = """
import resource, signal, sys, torch
from pathlib import Path
from speech2face.errors import CannotWrite
from speech2face.training.checkpoint import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
run = Path(sys.argv[1])
save_checkpoint(run, {"network.w": torch.zeros(10)}, {"step": 1}, keep=1)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save_checkpoint(run, {"network.w": torch.zeros(100_000)}, {"step": 2}, keep=1)
except CannotWrite as error:
    print(error)
"""


def test_a_real_failure_in_the_middle_of_writing_leaves_only_the_one_before(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "cannot write a checkpoint" in ran.stdout and "step 1 is untouched" in ran.stdout, ran.stderr
    assert [path.name[:13] for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert read_checkpoint(find_checkpoint(tmp_path)).step == 1


def test_what_a_killed_process_left_is_cleared_and_never_read(tmp_path: Path) -> None:
    save(tmp_path, 1)
    half = tmp_path / "checkpoints" / "step-00000002.writing"
    half.write_bytes(b"half a checkpoint")
    assert find_checkpoint(tmp_path).step == 1
    save(tmp_path, 3)
    assert not half.exists()


HOLD = """
import sys
from pathlib import Path
from speech2face.data.storage import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_runs_on_one_folder_are_refused_and_a_dead_one_is_forgotten(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunLocked, match=rf"process {holder.pid}\) writes into"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        pass


def test_a_checkpoint_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    unreadable = tmp_path / "checkpoints" / f"step-00000001-{'0' * 16}.safetensors"
    unreadable.mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"cannot read .*step-00000001"):
        find_checkpoint(tmp_path).verify()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_numbers_that_find_no_room_are_a_typed_error(tmp_path: Path) -> None:
    records = Records(tmp_path, start_step=0)
    os.dup2(os.open("/dev/full", os.O_WRONLY), records._lines.fileno())
    with pytest.raises(CannotWrite, match=r"cannot write .*numbers.jsonl: No space left"):
        records.write(1, "training", {"loss": 1.0})
    with pytest.raises(CannotWrite):  # what is still in its buffer
        records.close()


def test_numbers_after_the_checkpoint_are_written_once(tmp_path: Path) -> None:
    records = Records(tmp_path, start_step=0)
    for step in (1, 2, 3):
        records.write(step, "training", {"loss": float(step)})
    records.close()
    with (tmp_path / "numbers.jsonl").open("a") as file:
        file.write('{"step": "x", "kind": "training"}\n{"step": 4, "kind"')  # cut by a power failure
    records = Records(tmp_path, start_step=2)
    records.write(3, "training", {"loss": 30.0})
    records.close()
    assert [(line["step"], line["loss"]) for line in read_numbers(tmp_path)] == [(1, 1.0), (2, 2.0), (3, 30.0)]
