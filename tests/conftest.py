"""What tests of several folders share."""

import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def paired_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A paired release of tiny networks, written once for all processes of a run: it takes half a minute."""
    from filelock import FileLock  # torch needs it too

    from tests.paired import write_tiny

    processes = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent if processes else tmp_path_factory.mktemp("paired")
    release = folder / "paired-release"
    with FileLock(folder / "paired-release.lock"):
        if not release.exists():
            write_tiny(release)
    return release


@pytest.fixture
def quick_export(paired_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing a release of the tiny networks takes the files that are there instead of exporting for seconds."""
    from speech2face.training import export as paired_release

    def copied(out: Path, *arguments: object) -> dict[str, float]:
        for path in paired_folder.iterdir():
            shutil.copyfile(path, out / path.name)
        return {"face_embedding": 0.0, "grey_levels": 0.0}

    monkeypatch.setattr(paired_release, "write_networks", copied)
