"""What a caller passes in Python is brought to one type here, or refused by name: content, paths and numbers.

The command line and the service check theirs themselves; a library's callers pass whatever their own readers gave them,
and must not meet a TypeError from the middle of a network.
"""

import math
import operator
import os
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard, cast

from speech2face.errors import InvalidOption, RecordingNotFound, Speech2FaceError, UnreadableRecording

BytesLike = bytes | bytearray | memoryview
PathLike = str | os.PathLike[str] | os.PathLike[bytes]
MAX_SEED = 2**63 - 1  # what other programs read as a whole number


def is_bytes(value: object) -> TypeGuard[BytesLike]:
    """Whether a value is bytes in one of Python's own forms."""
    return isinstance(value, bytes | bytearray | memoryview)


def plain_bytes(value: object, what: str) -> bytes:
    """The bytes of a bytes-like value.

    Raises:
        InvalidOption: it is none.
    """
    if not is_bytes(value):
        raise InvalidOption(f"{what} is {described(value)}; give bytes, a bytearray or a memoryview")
    try:
        return value if isinstance(value, bytes) else bytes(value)
    except ValueError as error:  # a memoryview that was released
        raise InvalidOption(f"{what} cannot be read: {error}") from None


def plain_path(value: object, what: str, error: type[Speech2FaceError] = InvalidOption) -> Path:
    """The path in a string or a path object.

    Raises:
        InvalidOption: or `error`, where it is neither.
    """
    if not isinstance(value, str | os.PathLike):
        raise error(f"{what} is {described(value)}; give a path")
    return Path(os.fsdecode(value))


def plain_source(value: object, what: str, *, others: str = "") -> Path | bytes | BinaryIO:
    """A path, the bytes themselves, or a binary file, of whatever form it came in; `others` are allowed elsewhere.

    Raises:
        UnreadableRecording: it is none of them.
    """
    if is_bytes(value):
        return plain_bytes(value, what)
    if isinstance(value, str | os.PathLike):
        return plain_path(value, what)
    if callable(getattr(value, "read", None)):
        return cast(BinaryIO, value)
    raise UnreadableRecording(f"{what} is {described(value)}; give a path, the bytes of a file, a binary file{others}")


def read_content(value: object, what: str) -> Path | bytes:
    """The same where a file object is read at once, from its beginning if it has one.

    Raises:
        UnreadableRecording: neither a path, bytes nor a binary file, or one that cannot be read.
    """
    source = plain_source(value, what)
    if isinstance(source, Path | bytes):
        return source
    try:
        if callable(getattr(source, "seekable", None)) and source.seekable():
            source.seek(0)
        content: object = source.read()
    except (OSError, ValueError) as error:  # ValueError: a closed file
        raise UnreadableRecording(f"{what} cannot be read: {error}") from None
    if not is_bytes(content):
        raise UnreadableRecording(f"{what} is a file opened as text; open it in binary mode")
    return bytes(content)


def content_of(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a folder, or no permission.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise RecordingNotFound(f"no such file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableRecording(f"cannot read {path}: {reason}") from None


def whole_number(name: str, value: object, least: int, most: int) -> int:
    """A whole number of any integer type, numpy's included.

    Raises:
        InvalidOption: another type, or out of range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(cast(Any, value))
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        raise InvalidOption(f"{name} is {described(value)}; it must be a whole number from {least} to {most}")
    return number


def seed_number(value: object) -> int | None:
    """A seed, or None.

    Raises:
        InvalidOption: neither.
    """
    return None if value is None else whole_number("seed", value, 0, MAX_SEED)


def real_number(name: str, value: object, error: type[Speech2FaceError] = InvalidOption) -> float:
    """A finite number of any real type, numpy's included; whole ones stay whole.

    Raises:
        InvalidOption: or `error`, for anything else.
    """
    plain = value.item() if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0 else value  # type: ignore[attr-defined]
    if isinstance(plain, bool) or not isinstance(plain, int | float) or not math.isfinite(plain):
        raise error(f"{name} is {described(value)}; it must be a number")
    return plain


def described(value: object) -> str:
    """A value as a message names it: itself where it is short and simple, else its type."""
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:36]}..."
    name = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return f"of type {name}"
