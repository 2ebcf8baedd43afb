"""Whatever the bytes, a reader of foreign data succeeds or raises what it promises, lives, and keeps to its memory.

The fast tier reads what once did harm (`kept/`) and a few mutants, the slow tier some hundred others: always the same
ones, so that a change is judged by what it did. `SPEECH2FACE_FUZZ_FIRST` names where others begin;
`python -m tests.fuzz.run FAMILY --first N --count 1` reads one again, and hunts for hours with a larger count.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="some of the readers need the extra `train`")
pytest.importorskip("fastapi", reason="some of the readers need the extra `serve`")
pytest.importorskip("c2pa", reason="signatures need the extra `c2pa`")

from speech2face.data.manifest import Manifest
from speech2face.errors import DatasetError
from speech2face.gallery.gallery import Gallery
from tests.fuzz.families import FAMILIES, RELEASE, _data_set, _gallery
from tests.fuzz.mutation import mutated
from tests.fuzz.readers import readers

ROOT = Path(__file__).parents[2]
FEW = 25
MANY = 300
FIRST_OF_MANY = int(os.environ.get("SPEECH2FACE_FUZZ_FIRST", "1000000"))
SECONDS = 30.0
GROUPS = 4  # of families, each read by one process that forks, so that torch is not imported for every family

# Functions that decode bytes and that no family reads with, and why no family has to.
OWN_WORDS = "reads what this process wrote itself a moment before"
OWN_LINE = "reads a word of the user's own command line; whatever is no JSON or TOML is text"
NOT_FOREIGN = {
    "shielding.py:encode_waveform": "writes: what it opens is its own file",
    "video.py:opened_device": "writes: what it opens is the user's own device",
    "video.py:video_bytes": "writes: what it opens is its own file",
    "video.py:original_sound.frames": "a recording that `read_recording` has read a moment before",
    "audio/apart.py:main": "what the service wrote a moment before, in the process that it writes to",
    "training/settings.py:_toml_value": OWN_LINE,
    "app/telephone.py:MediaStreamConnection._frame": "samples: any two bytes are one; `read_event` reads all else",
    "app/studio.py:add_voice": "samples: any two bytes are one",
    "app/studio.py:sentences_of": "a file of the package",
    "data/prepare.py:_open_maker": OWN_WORDS,
    "data/sources.py:check_data_source": "a driver of the caller's own",
    "face/embedders.py:_is_json": "a driver of the caller's own",
    "training/stages.py:build_network": "settings out of a checkpoint, which `open_checkpoint` reads",
    "voice/encoder.py:read_example": "a driver of the caller's own",
    "data/session.py:_check_keys": OWN_WORDS,
    "data/session.py:check_plan": OWN_WORDS,
    "data/session.py:_counted_duplicates": OWN_WORDS,
    "drawn/contours.py:rasterise": OWN_WORDS,
    "evaluation/pictures.py:PictureSet.picture": OWN_WORDS,
    "training/augment.py:recoded": OWN_WORDS,
    "training/export.py:load_half": OWN_WORDS,
    "training/export.py:refer_to_safetensors": OWN_WORDS,
    "data/statement.py:_shown_clip": "a picture of a shard, which `decode_png` has read before",
    "evaluation/readers.py:_with_landmarks": "the shipped weights, whose SHA-256 is checked before",
    "learning/release.py:training_facts": "a label of sums, which `read_sums` has read before",
    "training/pretrained.py:published_layers": "published weights that the user names for a training of their own",
    "training/pretrained.py:shipped_layers": "the shipped weights, whose SHA-256 is checked before",
    "gallery/gallery.py:_picture": "a thumbnail of a gallery, grey where it is none",
    "client.py:Client._portrait": "the answer of the service that the user has chosen to trust with a recording",
    "errors.py:install_command": "what the installer wrote beside this package",
    "client.py:Client._read_message": "the answer of the service that the user has chosen to trust with a recording",
}


def run(module: str, *arguments: str, release: Path) -> subprocess.CompletedProcess[str]:
    """In another process, which may die without taking the tests along."""
    command = [sys.executable, "-m", module, *arguments]
    environment = os.environ | {RELEASE: str(release)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=1200)


def read_mutants(group: int, release: Path, *, first: int, count: int, seconds: float) -> None:
    """Read mutants of every family of a group; all troubles are told together."""
    families = sorted(FAMILIES)[group::GROUPS]
    bounds = ("--first", str(first), "--count", str(count), "--seconds", str(seconds))
    ran = run("tests.fuzz.run", *families, *bounds, release=release)
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"family"')]
    assert [line for line in lines if "trouble" in line] == [], ran.stderr[-3000:]
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert {line["family"] for line in lines if line["read"]} == set(families)


@pytest.mark.parametrize("group", range(GROUPS))
def test_damaged_input_is_refused_by_name(group: int, paired_folder: Path) -> None:
    read_mutants(group, paired_folder, first=0, count=FEW, seconds=120.0)


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_much_damaged_input_is_refused_by_name(group: int, paired_folder: Path) -> None:
    read_mutants(group, paired_folder, first=FIRST_OF_MANY, count=MANY, seconds=SECONDS)


def test_every_function_that_decodes_bytes_is_one_that_a_family_reads_with(paired_folder: Path) -> None:
    ran = run("tests.fuzz.readers", release=paired_folder)
    assert ran.returncode == 0, ran.stderr[-3000:]
    families = json.loads(ran.stdout.splitlines()[-1])
    assert set(families) == set(FAMILIES)
    left = readers() - {name for names in families.values() for name in names}
    assert sorted(left - set(NOT_FOREIGN)) == [], "give each a family, or a reason why it needs none"
    assert sorted(set(NOT_FOREIGN) - left) == [], "these reasons are not needed any more"


@pytest.mark.parametrize("place", ["../outside", "/etc/passwd", "a/../../outside", "http://127.0.0.1:9/x"])
def test_a_record_names_no_file_outside_its_folder(place: str, tmp_path: Path) -> None:
    """Of a data set, and of a gallery; those of releases are tested beside them."""
    for name, content in (_data_set() | _gallery()).items():
        (tmp_path / name).write_bytes(content)
    data, gallery = (json.loads((tmp_path / name).read_text()) for name in ("manifest.json", "gallery.json"))
    for key in ("file", "index"):
        changed = data | {"shards": [data["shards"][0] | {key: place}]}
        (tmp_path / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(DatasetError, match=re.escape(place)):
            Manifest.open(tmp_path)
    for kind, stated in gallery["files"].items():
        changed = gallery | {"files": gallery["files"] | {kind: stated | {"file": place}}}
        (tmp_path / "gallery.json").write_text(json.dumps(changed))
        with pytest.raises(DatasetError, match="no name of a file beside it"):
            Gallery.open(tmp_path)


def test_a_mutant_is_the_same_each_time_and_another_for_each_number() -> None:
    seeds = (bytes(range(200)), b"{}" * 40)
    assert [mutated(seeds, number) for number in range(50)] == [mutated(seeds, number) for number in range(50)]
    assert len({mutated(seeds, number) for number in range(50)}) > 40


def test_a_reader_that_breaks_its_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fuzz.run import wrong

    def broken(content: bytes) -> None:
        raise IndexError("beyond the end")

    assert "IndexError" in (wrong("arrays", broken, b"x") or "")
