"""The bytes of a recording for FFmpeg: what the caller's file does wrong becomes a typed error, never FFmpeg's guess.

PyAV copies what `read` gives without looking at its length, and an exception inside `seek` fails a file that would have
been read to its end without that seek. So neither the caller's `read` nor its `seek` is handed to PyAV itself.
"""

import io
import os
from typing import Any, BinaryIO

from speech2face.errors import EmptyRecording, UnreadableRecording

REFUSED_SEEK = -22  # AVERROR(EINVAL): FFmpeg goes on without what it looked for there


class ByteSource:
    """A stretch of a seekable binary file, from `start` to `stop` (its end where None), that never raises to FFmpeg.

    What went wrong while FFmpeg read is kept, and raised by `check`. `label` is for messages: PyAV would take a `name`
    for the file's, and FFmpeg let its extension weigh in on the format. `mended` are bytes to be read in place of the
    file's, by offset: sizes that were never filled in.
    """

    def __init__(self, file: BinaryIO, label: str, start: int = 0, stop: int | None = None) -> None:
        self.file, self.label, self.start = file, label, start
        self.size = (self._file_size() if stop is None else stop) - start
        self.mended: dict[int, bytes] = {}
        self._position = 0
        self._failure: BaseException | None = None

    def part(self, start: int, stop: int) -> "ByteSource":
        """A stretch of this stretch."""
        return ByteSource(self.file, self.label, self.start + start, self.start + stop)

    def read(self, count: int = -1) -> bytes:
        """For FFmpeg: the next bytes, none at the end or after a failure."""
        try:
            return b"" if self._failure is not None else self._read(count)
        except BaseException as error:  # an interrupt too: Cython's callback would swallow it
            self._failure = error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """For FFmpeg: go to a place; one before the beginning is refused without an exception."""
        target = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}.get(whence, 0)
        if target < 0:
            return REFUSED_SEEK
        self._position = target
        return target

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def check(self) -> None:
        """Raise what went wrong while FFmpeg was reading.

        Raises:
            UnreadableRecording: the operating system, or the caller's file object, failed.
        """
        if self._failure is None:
            return
        failure, self._failure = self._failure, None
        raise failure

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from a place on, fewer only at the end; FFmpeg goes on reading where it was.

        Raises:
            UnreadableRecording: the operating system, or the caller's file object, failed.
        """
        before, self._position = self._position, offset
        pieces = []
        try:
            while count > 0 and (piece := self._read(count)):
                pieces.append(piece)
                count -= len(piece)
        finally:
            self._position = before
        return b"".join(pieces)

    def _read(self, count: int) -> bytes:
        left = max(0, self.size - self._position)
        count = left if count < 0 else min(count, left)
        if count == 0:
            return b""
        try:
            self.file.seek(self.start + self._position)
        except Exception as error:
            raise unreadable(self.label, error) from error
        piece = self._mend(read_bytes(self.file, count, self.label))
        self._position += len(piece)
        return piece

    def _mend(self, piece: bytes) -> bytes:
        for offset, better in self.mended.items():
            first, last = max(offset, self._position), min(offset + len(better), self._position + len(piece))
            if first < last:
                at = first - self._position
                piece = piece[:at] + better[first - offset : last - offset] + piece[at + last - first :]
        return piece

    def _file_size(self) -> int:
        try:
            self.file.seek(0, os.SEEK_END)
            return int(self.file.tell())
        except Exception as error:
            raise unreadable(self.label, error) from error


def read_bytes(file: Any, count: int, name: str) -> bytes:
    """The next bytes of anything that says it can be read, at most `count`; none only at its end.

    Raises:
        UnreadableRecording: reading failed, or what came is not bytes.
    """
    try:
        piece = file.read(count)
    except Exception as error:
        raise unreadable(name, error) from error
    if piece is None:
        raise UnreadableRecording(f"{name} does not block and has no bytes ready; give it when it is whole")
    if isinstance(piece, str):
        raise UnreadableRecording(f"{name} is open as text; open it in binary mode ('rb')")
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise UnreadableRecording(f"reading {name} gave {type(piece).__name__}, not bytes; give a binary file")
    piece = bytes(piece)
    if len(piece) > count:
        found = f"{len(piece)} bytes where {count} were asked for"
        raise UnreadableRecording(f"reading {name} gave {found}; give the bytes themselves")
    return piece


def unreadable(name: str, error: Exception) -> UnreadableRecording:
    """What the operating system, or whoever wrote the file object, says went wrong, in one line."""
    if isinstance(error, UnreadableRecording):
        return error
    reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return UnreadableRecording(f"cannot read {name}: {' '.join(str(reason).split())}")


def is_rewindable(file: Any, name: str) -> bool:
    """Whether a file can go back and forth; what cannot, such as a pipe, is read once from where it stands.

    Raises:
        UnreadableRecording: it is closed, or is no binary file at all.
    """
    if isinstance(file, io.TextIOBase):
        raise UnreadableRecording(f"{name} is open as text; open it in binary mode ('rb')")
    if not callable(getattr(file, "read", None)):
        raise UnreadableRecording(f"a {type(file).__name__} is no recording; give a path, bytes or a binary file")
    try:
        return bool(hasattr(file, "seekable") and file.seekable())
    except Exception as error:  # a closed file's ValueError, a broken connection
        raise unreadable(name, error) from error


def not_empty(source: ByteSource) -> ByteSource:
    """The source, where there is anything in it.

    Raises:
        EmptyRecording: no bytes.
    """
    if source.size == 0:
        raise EmptyRecording(f"{source.label} is empty: 0 bytes")
    return source
