"""Everything a user can get wrong, one class and one stable exit code each.

Messages are one line: what was found, what is allowed, what to do. Codes are never reused for another meaning.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

USAGE_EXIT_CODE = 2  # typer's own: an unknown option, a missing argument
INTERRUPTED_EXIT_CODE = 130  # 128 + SIGINT, the shells' convention


class Speech2FaceError(Exception):
    """Root of all errors meant for a user's eyes; its text is one line and complete without a traceback."""

    exit_code: ClassVar[int] = 1
    code: str = "speech2_face_error"
    """Stable code of its kind: `no_speech` of a `NoSpeech`."""

    def __init_subclass__(cls) -> None:
        cls.code = code_named(cls.__name__)


def code_named(name: str) -> str:
    """Return the code of an error from the name of its class."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class RecordingNotFound(Speech2FaceError):
    """There is no such file, or a folder holds no recording."""

    exit_code = 10


class NotMedia(Speech2FaceError):
    """The content is no sound or video format that can be decoded."""

    exit_code = 11


class NoAudioStream(Speech2FaceError):
    """The file has no sound: it is a silent video or a picture."""

    exit_code = 12


class CorruptRecording(Speech2FaceError):
    """The content is damaged, cut off, or holds samples that are not numbers."""

    exit_code = 13


class RecordingTooLong(Speech2FaceError):
    """The recording is longer, or larger, than the limit."""

    exit_code = 14


class SilentRecording(Speech2FaceError):
    """The recording is silent: nothing in it is louder than the noise of a muted input."""

    exit_code = 15


class NoSpeech(Speech2FaceError):
    """The recording has sound but no voice: it is noise, tones or music."""

    exit_code = 16


class TooLittleSpeech(Speech2FaceError):
    """Somebody speaks, but for less than the least time that is needed."""

    exit_code = 17


class UnreadableRecording(Speech2FaceError):
    """The file is there but cannot be read: a folder where a file is wanted, no permission."""

    exit_code = 18


class EmptyRecording(Speech2FaceError):
    """The file is empty, or its audio stream has not a single sample."""

    exit_code = 19


class OutputExists(Speech2FaceError):
    """An output is already there and may not be overwritten."""

    exit_code = 20


class CannotWrite(Speech2FaceError):
    """The output cannot be written: no such folder, no permission, no space."""

    exit_code = 21


class InvalidGiven(Speech2FaceError):
    """A given attribute or a group of the population is unknown, or its value is."""

    exit_code = 22


class InvalidOption(Speech2FaceError):
    """An option's value is out of range, or options do not go together."""

    exit_code = 23


class NotAPortrait(Speech2FaceError):
    """The picture was not made by this program, or its provenance was stripped."""

    exit_code = 24


class WeightsError(Speech2FaceError):
    """The weights are missing, damaged, or of another version."""

    exit_code = 25


class MissingExtra(Speech2FaceError):
    """A feature needs an optional part that is not installed; `extras` are those of this package that bring it."""

    exit_code = 26

    def __init__(self, message: str, *extras: str) -> None:
        """Keep the names of the extras beside the text; how to install them depends on how the package came."""
        super().__init__(message)
        self.extras = extras

    def __reduce__(self) -> tuple[type["MissingExtra"], tuple[str, ...]]:
        """All arguments, so that a worker process can hand it back."""
        return type(self), (str(self), *self.extras)


class SpeechTooShort(Speech2FaceError):
    """The recording has fewer frames than the voice encoder sees at once."""

    exit_code = 27


class FaceNotFound(Speech2FaceError):
    """No face was found in the photograph, or the file is no photograph."""

    exit_code = 28


class TamperedPicture(Speech2FaceError):
    """A signed picture is not as it was signed; the text says what was changed."""

    exit_code = 29


class SeveralFaces(FaceNotFound):
    """More than one person of the photograph could be meant; the text says how many faces were found."""

    exit_code = 31


class FaceNotFitted(FaceNotFound):
    """A photograph whose face the face model cannot be fitted to; `reason` is the code under which it is counted."""

    exit_code = 33

    def __init__(self, message: str, reason: str) -> None:
        """`reason` is one of `face.fit.REASONS`."""
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type["FaceNotFitted"], tuple[str, str]]:
        """Both arguments, so that a worker process can hand it back."""
        return type(self), (str(self), self.reason)


class SomeRecordingsFailed(Speech2FaceError):
    """A batch went through, but at least one recording gave no portrait."""

    exit_code = 30


class GoalsNotReached(Speech2FaceError):
    """A shielded voice still gives something away, or is hardly understood; the nearest that was found is written."""

    exit_code = 34


class InvalidSettings(Speech2FaceError):
    """A training's settings are wrong: an unknown key, a value out of range, settings that do not go together."""

    exit_code = 40


class DatasetError(Speech2FaceError):
    """A manifest or a shard is missing, damaged or contradicts itself; names the file."""

    exit_code = 41


class SpeakerLeak(DatasetError):
    """A speaker is in more than one split."""

    exit_code = 42


class CheckpointError(Speech2FaceError):
    """A checkpoint is damaged, or belongs to another model or training."""

    exit_code = 43


class RunLocked(Speech2FaceError):
    """Another training writes into the same folder."""

    exit_code = 44


class LossNotFinite(Speech2FaceError):
    """A term of the loss became infinite or no number; shows all terms."""

    exit_code = 45


class TrainingStopped(Speech2FaceError):
    """A signal ended the training before its last step; its checkpoint is written."""

    exit_code = 46


class PreparationFailed(Speech2FaceError):
    """A shard ends its process every time, or most of its records do; names the shard."""

    exit_code = 47


class SpeakerNotForgotten(DatasetError):
    """A forgotten speaker is still in the data, or forgetting was interrupted; names the file."""

    exit_code = 48


TRAINING_PACKAGES = ("torch", "safetensors", "pydantic", "fsspec")  # the first of the extra 'train' to be missed
EVALUATION_PACKAGES = (*TRAINING_PACKAGES, "matplotlib", "sklearn", "scipy", "jinja2")  # of the extra 'eval'
SIGN_PACKAGES = ("c2pa", "cryptography")


def need_extra(purpose: str, extra: str, packages: Sequence[str]) -> None:
    """Refuse early where an extra is not installed; nothing is imported.

    Raises:
        MissingExtra: naming what is missing, and the extra that brings it.
    """
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtra(f"{purpose} needs the extra '{extra}' ({missing[0]} is missing)", extra)


def install_command(extras: Sequence[str]) -> str:
    """Return the command line that adds extras to this package as it was installed: from a folder, a file, by its name.

    The name alone is given only where the package came by its name: elsewhere it may be nobody's, or a stranger's.
    """
    import json
    import os
    import shlex
    import subprocess
    import sys
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    wanted = f"[{','.join(extras)}]"
    try:
        origin = json.loads(distribution("speech2face").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:  # run from its sources
        origin = {"url": Path(__file__).parents[2].as_uri(), "dir_info": {"editable": True}}
    url = str(origin.get("url", ""))
    editable = ["-e"] if origin.get("dir_info", {}).get("editable") else []
    if url.startswith("file:"):
        target = url2pathname(urlparse(url).path) + wanted
    elif url:
        kind = origin.get("vcs_info", {}).get("vcs")
        target = f"speech2face{wanted} @ {kind + '+' if kind else ''}{url}"
    else:
        target = f"speech2face{wanted}"
    words = [sys.executable, "-m", "pip", "install", *editable, target]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
