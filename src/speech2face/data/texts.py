"""Text that a user wrote or a spreadsheet saved, tables and settings alike: one rule for what encodes it.

UTF-8 with or without a byte order mark, UTF-16 and UTF-32 with one. Anything else is named with its line, and with what
it looks like, for a wrong guess would turn a name into another one.
"""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from speech2face.errors import DatasetError, InvalidSettings, Speech2FaceError

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


def read_toml(path: Path) -> dict[str, Any]:
    """Settings in TOML.

    Raises:
        InvalidSettings: no such file, no text, or no TOML, with its line and column.
    """
    text = _read(path, InvalidSettings)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
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
