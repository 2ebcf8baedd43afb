"""What tests of several folders share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def paired_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A paired release of tiny networks, written once; nobody changes it."""
    from tests.paired import write_tiny

    return write_tiny(tmp_path_factory.mktemp("paired") / "release").release.folder
