"""Libraries that would speak to somebody, or leave files in the home folder, are told not to before they are imported.

The package does so when it is imported itself, because others import ONNX Runtime behind our backs (torch's exporter
does); processes that are started from here inherit it.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# ONNX Runtime reports to its maker from 1.29 on, and reads this once, as it is imported: no uploader, no identifier, no
# database (docs/Privacy.md of its repository). Its API's switch comes too late, after the first report.
ONNXRUNTIME_SWITCH = "ORT_DISABLE_TELEMETRY"
# Ray reports on its users from 1.11 on; this one a user may turn back.
RAY_SWITCH = "RAY_USAGE_STATS_ENABLED"
XDG_CACHES = "XDG_CACHE_HOME"  # for fontconfig, which matplotlib asks for the fonts of this machine
CACHE_FOLDERS = ("MPLCONFIGDIR", XDG_CACHES, "TORCHINDUCTOR_CACHE_DIR")


def hush() -> None:
    """Switch off what libraries report, in this process and in those it starts."""
    os.environ[ONNXRUNTIME_SWITCH] = "1"
    os.environ.setdefault(RAY_SWITCH, "0")


def load_onnxruntime() -> Any:
    """ONNX Runtime, silent: the only way by which this package imports it."""
    hush()  # once more: somebody may have cleared the environment since
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # Windows' own, which knows no variable, and where others imported it before
    return onnxruntime


@contextmanager
def away_from_home() -> Iterator[None]:
    """While something is imported or run that keeps caches unasked, it keeps them in a folder that goes at the end.

    That is matplotlib and fontconfig in the home folder, and torch's compiler in the one for temporary files. A folder
    that the user has named for one of them is used as ever.
    """
    named = [name for name in CACHE_FOLDERS if name in os.environ and name != XDG_CACHES]
    before = {name: os.environ.get(name) for name in CACHE_FOLDERS if name not in named}
    with tempfile.TemporaryDirectory(prefix="speech2face-") as folder:
        os.environ.update(dict.fromkeys(before, folder))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
