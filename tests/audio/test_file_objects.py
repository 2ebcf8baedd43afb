"""Whatever a caller's file does wrong while it is read is an UnreadableRecording; FFmpeg's vain seeks do no harm."""

import io
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from numpy.testing import assert_allclose

from speech2face import errors
from speech2face.audio.recording import is_recording, read_recording
from tests.audio.foreign import SECONDS, caf_by_sox, mp3, ogg, packed, wav

FAILURES = {
    "EIO": OSError(5, "Input/output error"),
    "time-out": TimeoutError("timed out"),
    "reset": ConnectionResetError(104, "Connection reset by peer"),
    "stale": OSError(116, "Stale file handle"),
    "closed": ValueError("I/O operation on closed file."),
    "own": RuntimeError("the object store\nis away"),
}


class Failing(io.BytesIO):
    """A file that fails from some byte on, or in a method."""

    def __init__(self, content: bytes, failure: Exception, *, after: int | None = None, method: str = "") -> None:
        super().__init__(content)
        self.failure, self.after, self.method = failure, after, method

    def read(self, size: int | None = -1) -> bytes:
        left = None if self.after is None else self.after - super().tell()
        if self.method == "read" or (left is not None and left <= 0):
            raise self.failure
        return super().read(size if left is None or size is None else min(size, left))

    def seek(self, offset: int, whence: int = 0) -> int:
        if self.method == "seek":
            raise self.failure
        return super().seek(offset, whence)

    def tell(self) -> int:
        if self.method == "tell":
            raise self.failure
        return super().tell()

    def seekable(self) -> bool:
        if self.method == "seekable":
            raise self.failure
        return self.method != "pipe"


def check_unreadable(file: Any, text: str | None = None) -> None:
    with pytest.raises(errors.UnreadableRecording, match=text) as caught:
        read_recording(file)
    assert "\n" not in str(caught.value)


CONTENTS: dict[str, Callable[[], bytes]] = {
    "wav": wav,
    "mp3": mp3,
    "ogg": ogg,
    "flac": lambda: packed("flac", "flac", codec_format="s16"),
    "mp4": lambda: packed("mp4", "aac"),
    "webm": lambda: packed("webm", "libopus"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("write", CONTENTS.values(), ids=CONTENTS)
def test_a_read_that_fails_anywhere_is_a_typed_error(
    write: Callable[[], bytes], share: float, failure: Exception
) -> None:
    content = write()
    check_unreadable(Failing(content, failure, after=int(len(content) * share)))


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("method", ["read", "seek", "tell", "seekable"])
def test_any_other_method_that_fails_is_a_typed_error(method: str, failure: Exception) -> None:
    check_unreadable(Failing(wav(), failure, method=method))


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_pipe_that_breaks_is_a_typed_error(failure: Exception) -> None:
    class Pipe(Failing):
        def seekable(self) -> bool:
            return False

    content = packed("wav", "pcm_s16le", 48_000, 20.0)
    assert len(content) > 2**20
    check_unreadable(Pipe(content, failure, after=2**20))


def test_the_reason_of_the_operating_system_is_said() -> None:
    check_unreadable(Failing(wav(), FAILURES["EIO"], after=1000), "cannot read recording: Input/output error")


def test_text_and_closed_files_are_named_as_such(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(wav())
    with path.open(encoding="latin-1") as text:
        check_unreadable(text, "voice.wav is open as text")
    check_unreadable(io.StringIO("RIFF"), "open as text")
    with path.open("rb") as file:
        pass
    check_unreadable(file, "closed")
    closed = io.BytesIO(wav())
    closed.close()
    check_unreadable(closed, "closed")


@pytest.mark.parametrize("piece", ["text", None, 3, [1, 2]], ids=repr)
@pytest.mark.parametrize("seekable", [True, False])
def test_a_read_that_gives_no_bytes_is_a_typed_error(piece: object, seekable: bool) -> None:
    class Odd(io.BytesIO):
        def read(self, size: int | None = -1) -> Any:
            return piece

        def seekable(self) -> bool:
            return seekable

    check_unreadable(Odd(wav()))


def test_a_read_that_gives_more_than_was_asked_for_does_not_overrun_a_buffer() -> None:
    class Generous(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(-1)

    check_unreadable(Generous(packed("wav", "pcm_s16le", 48_000)), "asked for")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_short_reads_and_other_kinds_of_bytes_give_the_whole_sound(kind: Callable[[bytes], Any]) -> None:
    class Short(io.BytesIO):
        def read(self, size: int | None = -1) -> Any:
            return kind(super().read(min(size, 777) if size is not None and size > 0 else 777))

    content = mp3()
    assert_allclose(read_recording(Short(content)).waveform, read_recording(content).waveform)


def test_an_interrupt_while_reading_is_not_swallowed() -> None:
    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 40_000:
                raise KeyboardInterrupt
            return super().read(size)

    with pytest.raises(KeyboardInterrupt):
        read_recording(Interrupted(wav()))


def test_what_cannot_be_read_in_a_folder_does_not_end_the_others(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(wav())
    real = open

    def failing(file: Any, *arguments: Any, **named: Any) -> Any:
        return Failing(wav(), FAILURES["EIO"], after=0) if file == path else real(file, *arguments, **named)

    monkeypatch.setattr("builtins.open", failing)
    assert is_recording(path)  # reading it says what is wrong
    check_unreadable(path, "voice.wav")


def test_a_seek_before_the_beginning_fails_no_file_that_can_be_read() -> None:
    content = caf_by_sox()
    expected = read_recording(content)
    assert_allclose(expected.seconds, SECONDS)

    class Strict(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            assert offset >= 0 or whence
            return super().seek(offset, whence)

    assert_allclose(read_recording(Strict(content)).waveform, expected.waveform)
