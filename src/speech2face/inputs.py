"""What callers and strangers hand in, brought to one type and checked before it is used, or refused by name: arguments
first, then arrays and JSON of files that anybody may have written, then text, tables and settings.

The command line and the service check theirs themselves; a library's callers pass whatever their own readers gave them,
and must not meet a TypeError from the middle of a network.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import math
import operator
import os
import re
import tokenize
import tomllib
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from speech2face.errors import (
    DatasetError,
    InvalidOption,
    InvalidSettings,
    RecordingNotFound,
    Speech2FaceError,
    UnreadableRecording,
)

# An address as it is typed, and as a path object keeps it; a letter and a colon alone are a Windows drive.
ADDRESS: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")
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


def refuse_address(text: str) -> None:
    """Refuse the address of something elsewhere where a file of this machine is wanted, unless a file has that name.

    Raises:
        RecordingNotFound: with what to do instead.
    """
    if ADDRESS.match(text) is None or os.path.lexists(text):
        return
    if text.lower().startswith("file:"):
        raise RecordingNotFound(f"{text} is an address; name the file by its path alone")
    raise RecordingNotFound(
        f"{text} is an address, and nothing is fetched here: download it first and name the file, or pipe it in with -"
    )


def require_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name under which there is nothing, before any dear work; what is there is opened later.

    Raises:
        RecordingNotFound, UnreadableRecording: no such file; a name that none can have, or a folder that is closed.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        refuse_address(str(path))
        raise RecordingNotFound(f"no such file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableRecording(f"cannot read {path}: {reason}") from None


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
        refuse_address(str(path))
        raise RecordingNotFound(f"no such file: {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableRecording(f"cannot read {path}: {reason}") from None


def file_size(path: Path) -> int | None:
    """The bytes of a file; None where there is none, and where no file can have such a name.

    For names that stand in files of strangers: `Path.is_file` raises an OSError for one that is too long.
    """
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None


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


def listed_names(what: str, names: object) -> list[str]:
    """Names from any collection of them.

    Raises:
        InvalidOption: one name alone, which would be taken for its letters, or something that is no name.
    """
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InvalidOption(f"{what} are {described(names)}; give a list of names")
    found = list(names)
    odd = next((name for name in found if not isinstance(name, str)), None)
    if odd is not None or None in found:
        raise InvalidOption(f"one of {what} is {described(odd)}; each is a name")
    return found


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


BRIEF_LETTERS = 118  # of one line at a prompt


def brief(value: object, *facts: str) -> str:
    """Return the `repr` of a result: its class and a few facts on one line, whatever a name in it holds."""
    text = f"<{type(value).__name__} {', '.join(fact for fact in facts if fact)}>"
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return text if len(text) <= BRIEF_LETTERS else f"{text[: BRIEF_LETTERS - 4]}...>"


# --- Arrays and JSON out of files that anybody may have written: sizes are checked against the bytes that are there
# before anything is allocated, nothing is ever unpickled, and whatever is wrong is one ValueError that says what.
# NumPy, zipfile and json raise some twenty kinds of errors on damaged bytes, among them MemoryError for a shape that
# was never meant and RecursionError for brackets; whoever knows the file's name turns the one kind into a typed
# error.

MAX_AXES = 8  # of an array; NumPy would take 64
# What an archive may hold unpacked: anything up to this, beyond it a multiple of its own bytes. Numbers that were
# measured hardly shrink; a bomb is a thousand times larger than its file.
FREE_BYTES = 64 * 2**20
MAX_EXPANSION = 20
_NUMPY_TROUBLE = (
    ValueError,
    TypeError,
    SyntaxError,
    tokenize.TokenError,
    EOFError,
    OverflowError,
    MemoryError,
    RecursionError,
)
_ZIP_TROUBLE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, KeyError, IndexError),
    *(UnicodeError, OverflowError, MemoryError),
)


def parse_json(content: bytes | str) -> Any:
    """A JSON value.

    Raises:
        ValueError: no JSON, not UTF-8, or nested deeper than the parser goes.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("brackets nested deeper than anything sensible") from None


def parse_json_object(content: bytes | str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: as `parse_json`, or another kind of value.
    """
    value = parse_json(content)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is needed, this is a {type(value).__name__}")
    return value


def read_npy(file: BinaryIO, size: int) -> NDArray[Any]:
    """The array of an .npy of `size` bytes that starts where the file stands.

    Raises:
        ValueError: no array of plain numbers or text, or one that does not fill just these bytes.
        OSError: the file cannot be read.
    """
    start = file.tell()
    shape, fortran, dtype = npy_header(file)
    count = math.prod(shape)  # Python's numbers do not overflow
    if count * dtype.itemsize != size - (file.tell() - start):
        raise ValueError(
            f"an array {shape} of {dtype} has {count * dtype.itemsize} bytes, {size - (file.tell() - start)} are there"
        )
    content = file.read(count * dtype.itemsize)
    if len(content) != count * dtype.itemsize:
        raise ValueError("an array that is cut short")
    flat = np.frombuffer(content, dtype=dtype) if content else np.zeros(0, dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of an .npy; the file then stands before the numbers.

    Raises:
        ValueError: no header of NumPy's format, or one of an array that this program never takes.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except KeyError:
        raise ValueError("a version of NumPy's format that is not read here") from None
    except _NUMPY_TROUBLE as error:
        raise ValueError(f"no header of a NumPy array ({_short(error)})") from None
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"an array of {str(dtype)[:80]}, where plain numbers are needed")
    if len(shape) > MAX_AXES or any(length < 0 for length in shape):
        raise ValueError(f"an array of shape {str(shape)[:80]}")
    return shape, fortran, dtype


def array_of(content: bytes | memoryview) -> NDArray[Any]:
    """The array of the bytes of an .npy.

    Raises:
        ValueError: as `read_npy`.
    """
    return read_npy(io.BytesIO(content), len(content))


def map_npy(path: Path) -> NDArray[Any]:
    """The array of an .npy file as a read-only map of it, so that only what is looked at is read; (0, ...) where it is
    empty, which cannot be mapped.

    Raises:
        ValueError: as `read_npy`.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        shape, fortran, dtype = npy_header(file)
        place = file.tell()
    if math.prod(shape) * dtype.itemsize != size - place:
        raise ValueError(f"an array {shape} of {dtype} does not fill its {size} bytes")
    if 0 in shape:
        return np.zeros(shape, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=place, shape=shape, order="F" if fortran else "C")


def load_npz(source: Path | BinaryIO) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz by name.

    Raises:
        ValueError: no zip archive of arrays, one that unpacks to far more than it is, or a damaged one.
        OSError: the file cannot be opened.
    """
    with open(source, "rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                unpacked = sum(entry.file_size for entry in entries)
                if unpacked > max(FREE_BYTES, MAX_EXPANSION * size):
                    raise ValueError(f"an archive of {size} bytes that says it unpacks to {unpacked}")
                return {entry.filename.removesuffix(".npy"): _entry(archive, entry) for entry in entries}
        except _ZIP_TROUBLE as error:
            raise ValueError(f"no archive of arrays that can be read ({_short(error)})") from None


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(entry) as member:
        content = member.read(entry.file_size + 1)  # what lies beyond what it states is damage, not read
    if len(content) != entry.file_size:
        raise ValueError(f"{entry.filename!r} does not have the bytes that it states")
    return array_of(content)


def _short(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:120]


# --- Text that a user wrote or a spreadsheet saved, tables and settings alike: one rule for what encodes it.
# UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one. Anything else is named with its line, and with
# what it looks like, for a wrong guess would turn a name into another one.

# The longer mark first: that of UTF-32, little end first, begins as that of UTF-16.
MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OLDER: Final = ("cp1252", "mac-roman")  # what spreadsheets wrote before, and some still do
SHOWN: Final = 40  # characters of a line
_WINDOWS_PATH: Final = re.compile(r'"[^"\n]*\\')


def decode_text(
    content: bytes, place: str, *, error: type[Speech2FaceError] = DatasetError, what: str = "table"
) -> str:
    """A whole file of text without its mark; `place` and `what` are how messages call it.

    Raises:
        Speech2FaceError: of the class `error`, with line and column: it is no Unicode, or holds a zero.
    """
    mark, encoding = next(((mark, name) for mark, name in MARKS if content.startswith(mark)), (b"", "utf-8"))
    body = content[len(mark) :] if encoding == "utf-8" else content
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as wrong:
        where = _place(body, wrong.start) if encoding == "utf-8" else "1:1"
        found = f"byte {body[wrong.start]:#04x} is no {encoding.upper()}"
        raise error(f"{place}:{where}: {found}; save the {what} as UTF-8{_looks_like(body, wrong.start)}") from wrong
    if "\0" in text:
        at = text.index("\0")
        two_bytes = text[: 2 * SHOWN].count("\0") > len(text[: 2 * SHOWN]) // 3
        hint = "it is UTF-16 without a mark" if two_bytes else "it is cut off or binary"
        raise error(f"{place}:{_place(text.encode(), at)}: a zero, so {hint}; save the {what} as UTF-8")
    return text


def _place(content: bytes, at: int) -> str:
    before = content[:at]
    start = max(before.rfind(b"\n"), before.rfind(b"\r")) + 1
    lines = len(re.findall(rb"\r\n|\r|\n", before))
    return f"{lines + 1}:{at - start + 1}"


def _looks_like(content: bytes, at: int) -> str:
    """What the line says in the encodings of older spreadsheets, for whoever knows what it should say."""
    start = max(content.rfind(b"\n", 0, at), content.rfind(b"\r", 0, at)) + 1
    line = re.split(rb"[\r\n]", content[start : start + SHOWN], maxsplit=1)[0]
    found = []
    for name in OLDER:
        try:
            read = line.decode(name)
        except UnicodeDecodeError:
            continue
        if read.isprintable() or read.replace("\t", "").isprintable():
            found.append(f"as {name} the line begins {read!r}")
    return f" ({'; '.join(found)})" if found else ""


SHIPPED_SETTINGS: Final = Path(__file__).parent / "configs"


def shipped_settings() -> dict[str, Path]:
    """The settings that come with the package, by name: those of trainings and of a studio."""
    return {path.stem: path for path in sorted(SHIPPED_SETTINGS.glob("*.toml"))}


def read_toml(path: Path) -> dict[str, Any]:
    """Settings in TOML: a file, or where there is none, those of that name that come with the package.

    Raises:
        InvalidSettings: no such file, no text, or no TOML, with its line and column.
    """
    shipped = shipped_settings()
    if not os.path.isfile(path) and str(path) in shipped:
        path = shipped[str(path)]
    elif not os.path.lexists(path):
        raise InvalidSettings(f"{path} cannot be read: no such file, and none of {', '.join(shipped)}")
    text = _read(path, InvalidSettings)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # no TOMLDecodeError: a number of thousands of digits, brackets
        hint = ""
        if _WINDOWS_PATH.search(text) and ("\\" in str(error) or "hex value" in str(error)):
            hint = "; a path with backslashes is written in single quotes: 'C:\\data'"
        raise InvalidSettings(f"{path} is not TOML: {error}{hint}") from error


def read_json(path: Path, error: type[Speech2FaceError]) -> Any:
    """Settings in JSON.

    Raises:
        Speech2FaceError: of the class `error`: no such file, no text, or no JSON, with its line and column.
    """
    text = _read(path, error)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as wrong:
        hint = "; in JSON a backslash is written twice" if "escape" in str(wrong) else ""
        raise error(f"{path} is no JSON: {wrong}{hint}") from wrong


def _read(path: Path, error: type[Speech2FaceError]) -> str:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as wrong:
        raise error(f"{path} cannot be read: {getattr(wrong, 'strerror', None) or wrong}") from wrong
    return decode_text(content, str(path), error=error, what="file")
