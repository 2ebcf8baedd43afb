"""Files that belong together appear together, or none of them does.

Every file is first written whole beside its place under a temporary name, then put in place in one step; what was put
in place before a failure is taken back. A portrait without its facts, or half a picture, is never seen. And nothing
else is left behind: libraries that would report to somebody, or keep caches in the home folder, are told not to.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speech2face.errors import CannotWrite, OutputExists

TEMPORARY_PREFIX = ".speech2face-"
FILE_MODE = 0o666  # before the umask: what open() gives, where mkstemp gives 0o600


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place in one step, and on the disk, when the block ends well.

    The block writes the temporary file; an exception removes it and leaves what was at `path` as it was. For one file
    of the program's own folders (checkpoints, shards, releases); what a user asked for goes through `write_together`.

    Raises:
        OSError: whatever the operating system objects to.
    """
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, suffix=path.suffix, dir=path.absolute().parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a temporary file of the same folder its name, in one step and down to the disk.

    Raises:
        OSError: whatever the operating system objects to.
    """
    temporary.chmod(FILE_MODE & ~_umask())
    with temporary.open("r+b") as file:  # Windows brings nothing to the disk that was opened to be read
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.absolute().parent)


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a file of the program's own folders whole or not at all, in place of what was there; text as UTF-8."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def check_outputs(paths: Iterable[Path], *, force: bool = False) -> None:
    """Refuse early, before any dear work, what could not be written later.

    Raises:
        OutputExists: a path is taken and `force` is not set.
        CannotWrite: a path is a folder, or its nearest existing folder is none or may not be written to.
    """
    for path in paths:
        try:
            _check_output(path, force=force)
        except OSError as error:  # a name too long
            raise CannotWrite(f"cannot write {path}: {error.strerror}") from error


def _check_output(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise CannotWrite(f"{path} is a folder; name a file")
    if not force and (path.exists() or path.is_symlink()):
        raise OutputExists(f"{path} exists already; choose another name or use --force")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise CannotWrite(f"cannot write {path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotWrite(f"cannot write {path}: no permission to write in {folder}")


def write_together(files: Mapping[Path, bytes], *, force: bool = False, private: Collection[Path] = ()) -> None:
    """Write all files or none; missing folders are made. Those in `private` are their owner's alone to read.

    Raises:
        OutputExists: a path is taken and `force` is not set, also when it was taken a moment ago.
        CannotWrite: whatever the operating system objects to.
    """
    check_outputs(files, force=force)
    undo = contextlib.ExitStack()  # what takes everything back, latest first
    cleanup = contextlib.ExitStack()  # what is temporary in any case
    path = Path()
    with cleanup:
        try:
            with undo:
                staged = []
                for path, content in files.items():
                    _make_folders(path.absolute().parent, undo)
                    staged.append((path, _stage(path, content, undo, cleanup)))
                    if path not in private:
                        staged[-1][1].chmod(FILE_MODE & ~_umask())
                for path, temporary in staged:
                    _put_in_place(temporary, path, force=force, undo=undo, cleanup=cleanup)
                undo.pop_all()  # everything is there: nothing is taken back
        except FileExistsError:
            raise OutputExists(f"{path} exists already; choose another name or use --force") from None
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error
    for folder in {path.absolute().parent for path in files}:
        sync_folder(folder)


def _make_folders(folder: Path, undo: contextlib.ExitStack) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        undo.callback(_quietly, parent.rmdir)


def _stage(path: Path, content: bytes, undo: contextlib.ExitStack, cleanup: contextlib.ExitStack) -> Path:
    """Write the content under a temporary name in the folder it goes to, down to the disk, for its owner alone."""
    handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.absolute().parent)
    temporary = Path(name)
    cleanup.callback(temporary.unlink, missing_ok=True)
    undo.callback(temporary.unlink, missing_ok=True)  # before the folder made for it is taken back
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _umask() -> int:
    umask = os.umask(0)  # there is no other way to read it
    os.umask(umask)
    return umask


def _put_in_place(
    temporary: Path, path: Path, *, force: bool, undo: contextlib.ExitStack, cleanup: contextlib.ExitStack
) -> None:
    """One step from temporary to final name; without `force` it fails, rather than replaces, if the name is taken."""
    if force and (path.exists() or path.is_symlink()):
        kept = temporary.with_name(temporary.name + ".old")
        os.replace(path, kept)
        cleanup.callback(kept.unlink, missing_ok=True)
        undo.callback(os.replace, kept, path)
        os.replace(temporary, path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # file systems without hard links: claim the name, then replace the empty claim
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        undo.callback(path.unlink, missing_ok=True)
        os.replace(temporary, path)
    else:
        undo.callback(path.unlink, missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the new names last through a power cut, where the system can."""

    def sync() -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    _quietly(sync)


def _quietly(action: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        action()


# --- Tables as text: CSV of this program's own files, and Markdown for its pages.


def encode_csv(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows as CSV in UTF-8, a line feed after each."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue().encode()


def decode_csv(content: bytes) -> list[list[str]]:
    """Return the rows of a CSV in UTF-8, the header first if there is one.

    Raises:
        ValueError: it is not UTF-8, or a quote is not closed; the caller names the file.
    """
    try:
        return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, align: str = "") -> str:
    """Return a Markdown table without a last line end, bars and backslashes in its cells escaped.

    `align` has a letter a column, "l" or "r"; without it nothing is said, which most renderers show to the left.
    """
    rules = {"l": ":---|", "r": "---:|"}
    lines = [_row(header), "|" + ("".join(rules[letter] for letter in align) or "---|" * len(header))]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |"


# --- What libraries would tell somebody, or leave in the home folder: they are told not to before they are imported.
# The package does so when it is imported itself, because others import ONNX Runtime behind our backs (torch's exporter
# does); processes that are started from here inherit it.

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


@contextlib.contextmanager
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
