"""What the command line prints, results on standard output and all else on standard error; shared options."""

import codecs
import functools
import gc
import inspect
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, TextIO, TypeVar

import typer

from speech2face.console import logged, note, print_above
from speech2face.errors import (
    INTERRUPTED_EXIT_CODE,
    SIGN_PACKAGES,
    USAGE_EXIT_CODE,
    CannotWrite,
    InvalidGiven,
    InvalidOption,
    MissingExtra,
    Speech2FaceError,
    install_command,
    need_extra,
)
from speech2face.limits import MAX_SPEAKERS

if TYPE_CHECKING:
    from speech2face.signing import PictureSigner

BROKEN_PIPE_EXIT_CODE = 141  # 128 + SIGPIPE, the shells' convention
NAME_COLUMNS = 15  # at least, so that the tables of all recordings line up


def check_piped(remedy: str = "pipe a recording into it") -> None:
    """Refuse to wait for somebody to type sound.

    Raises:
        InvalidOption: standard input is a terminal; it says the remedy.
    """
    if sys.stdin.isatty():
        raise InvalidOption(f"standard input is a terminal; {remedy}")


class ReaderLeft(Exception):
    """Nobody reads standard output any more. No `BrokenPipeError`: click and Rich would make 1 of its exit code."""


class _GuardedStream(io.TextIOWrapper):
    """A standard stream that says once what is wrong with it, and is quiet from then on."""

    def write(self, text: str) -> int:
        """All of it, with escapes for letters that the encoding has no place for."""
        try:
            return super().write(text)
        except OSError as error:
            self.end(error)
            return len(text)

    def flush(self) -> None:
        """Let it go."""
        try:
            super().flush()
        except OSError as error:
            self.end(error)

    def end(self, error: OSError) -> None:
        """Let go of the stream: nothing more is written to it."""
        # What is still in the buffer must not be tried again, also not while Python shuts down.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        self.failed(error)

    def failed(self, error: OSError) -> None:
        """Notes are worth less than the work: it goes on without them."""


class _GuardedResults(_GuardedStream):
    """Standard output."""

    def failed(self, error: OSError) -> None:
        """Without its results the work is in vain: it ends.

        Raises:
            ReaderLeft: the other end of the pipe is closed.
            CannotWrite: anything else, such as a full disk.
        """
        if isinstance(error, BrokenPipeError):
            raise ReaderLeft from None
        raise CannotWrite(f"standard output cannot be written: {error.strerror or error}") from None


def prepare_streams() -> None:
    """Make the process's own standard streams such that nothing about them ends in a traceback."""
    for descriptor in (0, 1, 2):  # one that is closed would be given to the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = _replaced(sys.stdout, 1, _GuardedResults)
    sys.stderr = _replaced(sys.stderr, 2, _GuardedStream)


def _replaced(stream: TextIO | None, descriptor: int, kind: type[_GuardedStream]) -> TextIO:
    """The stream, guarded; one that a program has put in its place is left as it is."""
    if stream is None:
        return kind(open(descriptor, "wb", closefd=False), "utf-8", "backslashreplace")
    if stream is not (None, sys.__stdout__, sys.__stderr__)[descriptor] or not isinstance(stream, io.TextIOWrapper):
        return stream
    return kind(stream.buffer, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering)


def print_text(text: str) -> None:
    """A result as it is, at once; above the bar where both are on a terminal."""
    if sys.stdout.isatty() and print_above(text):
        return
    sys.stdout.write(text)
    sys.stdout.flush()


def check_picture_output(*, as_json: bool) -> None:
    """Refuse what standard output has no place for beside one picture.

    Raises:
        InvalidOption: with what to do.
    """
    if as_json:
        raise InvalidOption("standard output takes the picture or --json, not both; name a file: --out FILE.png")
    if sys.stdout.isatty():
        raise InvalidOption("standard output is a terminal; redirect it, as in -o - > face.png")


def print_bytes(content: bytes) -> None:
    """A result that is no text, such as a picture, and nothing beside it."""
    sys.stdout.flush()
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        if not isinstance(sys.stdout, _GuardedStream):
            raise
        sys.stdout.end(error)


def print_line(text: str) -> None:
    """One line of a result."""
    print_text(f"{text}\n")


def print_json(value: dict[str, Any]) -> None:
    """One line of JSON; in ASCII where the encoding of standard output is not Unicode's."""
    unicode = codecs.lookup(sys.stdout.encoding or "utf-8").name.startswith("utf")
    print_line(json.dumps(value, ensure_ascii=not unicode, allow_nan=False))


def print_rows(rows: list[tuple[str, str]]) -> None:
    """A table without lines: on a terminal wrapped to its width, elsewhere one line a row."""
    if not sys.stdout.isatty():
        width = max([NAME_COLUMNS, *(len(name) + 2 for name, _ in rows)])
        for name, value in rows:
            print_line(f"{name:<{width}}{value}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _escaped(value), style="yellow" if name == "caution" else None)
    Console().print(table)


def print_error(text: object) -> None:
    """One line, whatever the text holds."""
    from speech2face.batch import printable

    note(f"speech2face: error: {printable(text)}")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Everything that can end the program early becomes one line on standard error and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except Speech2FaceError as error:
        extras = error.extras if isinstance(error, MissingExtra) else ()
        print_error(f"{error}; install it with: {install_command(extras)}" if extras else error)
        leave(error.exit_code)
    except ReaderLeft:
        leave(BROKEN_PIPE_EXIT_CODE)
    except (KeyboardInterrupt, typer.Abort):
        note("speech2face: interrupted")
        leave(INTERRUPTED_EXIT_CODE)
    except Exception as error:
        message = getattr(error, "format_message", None)  # click's usage errors, whose class typer hides
        if message is None:
            raise
        text = str(message())
        if "\n" in text:  # no command was named: this is the help, and nothing was done
            note(text)
        elif text:
            print_error(f"{text} (see speech2face --help)")
        leave(USAGE_EXIT_CODE)


def leave(code: int) -> NoReturn:
    """End the program."""
    gc.freeze()  # or Python looks once more at every object there is, for a tenth of a portrait's time
    raise SystemExit(code)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


# --- Options that several commands have, each defined once, and settings made of a command's options.

GIVEN_NAMES: Final = ("age", "gender", "group", "hair")
KEY_VARIABLE: Final = "SPEECH2FACE_SIGN_KEY"
CERTIFICATE_VARIABLE: Final = "SPEECH2FACE_SIGN_CERTIFICATE"

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
FactsAsJson = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Overwrite = Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")]
ReplaceReport = Annotated[bool, typer.Option("--force", "-f", help="Replace a report that is there.")]
Exaggerate = Annotated[float, typer.Option(help="Move the face away from the average face; 0 does not.")]
GivenText = Annotated[
    str | None, typer.Option(help="State attributes instead of hearing them: age=40,gender=female,group=...,hair=...")
]
SpeakersText = Annotated[
    str | None,
    typer.Option(
        "--speakers",
        metavar="auto|N",
        help=f"Several people speak, each with a face: how many, up to {MAX_SPEAKERS}, or auto.",
    ),
]
Data = Annotated[str, typer.Option(metavar="DATA", help="Data set, or a folder with voices.csv.")]
ReportFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")]
Split = Annotated[str | None, typer.Option(help="Default: test, or validation where there is none.")]
ChanceSeed = Annotated[int, typer.Option(min=0, help="Of what is drawn by chance.")]
SettingsFile = Annotated[Path, typer.Argument(help="Settings as TOML: a file, or a name of configs list.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Replace a setting: optimiser.learning_rate=0.0005. May be repeated.")
]
SignKey = Annotated[
    Path | None,
    typer.Option("--sign-key", envvar=KEY_VARIABLE, help="PEM file of the key to sign pictures with (extra c2pa)."),
]
SignCertificate = Annotated[
    Path | None,
    typer.Option(
        "--sign-certificate", envvar=CERTIFICATE_VARIABLE, help="PEM file of its certificate and those above it."
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done; the same as --log-level info.")]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(help="From which level on events are written on standard error. Default: warning."),
]
ServiceLogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(help="From which level on events are written on standard error. Default: info."),
]
T = TypeVar("T")


class Program(typer.Typer):
    """Commands of which each has the options of the log, --verbose and --log-level, beside its own."""

    def command(  # type: ignore[override]
        self, name: str | None = None, *, service: bool = False
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Add a command; the log of one that is a service begins at info, and is JSON where no terminal reads it."""
        register = super().command(name)

        def add(function: Callable[..., None]) -> Callable[..., None]:
            register(_with_log(function, service=service))
            return function

        return add


def _with_log(function: Callable[..., None], *, service: bool) -> Callable[..., None]:
    @functools.wraps(function)
    def command(*, verbose: bool, log_level: str | None, **options: Any) -> None:
        plain = "error" if options.get("quiet") else "info" if verbose or service else "warning"
        with logged(log_level or plain, as_json=service and not sys.stderr.isatty()):
            function(**options)

    signature = inspect.signature(function, eval_str=True)
    both = {"verbose": (Verbose, False), "log_level": (ServiceLogLevel if service else LogLevel, None)}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in both.items()
    ]
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *added])  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, **{name: kind for name, (kind, _) in both.items()}}
    return command


def settings_of(kind: type[T], options: Mapping[str, Any], **other: Any) -> T:
    """Return settings, a dataclass, whose fields are the options of the same names.

    Lists become tuples; an option that was left out, where the field is no option's, keeps the field's default. `other`
    are fields that are not what the option says.
    """
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return kind(**{name: value for name, value in (plain | other).items() if name in names})


def listed(text: str | None) -> tuple[str, ...] | None:
    """Return the names in a list with commas; None where there is none."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def open_signer(key: Path | None, certificate: Path | None, models: Sequence[Path | None]) -> "PictureSigner | None":
    """What signs the pictures of these releases; None where neither key nor certificate is named.

    Raises:
        InvalidOption: one without the other, or files that cannot sign.
        MissingExtra: the C2PA library is not installed.
    """
    if key is None and certificate is None:
        return None
    if key is None or certificate is None:
        named, wanted = ("certificate", "key") if key is None else ("key", "certificate")
        raise InvalidOption(f"--sign-{named} alone signs nothing; name --sign-{wanted} too")
    need_extra("signing", "c2pa", SIGN_PACKAGES)
    from speech2face.signing import PASSWORD_VARIABLE, PictureSigner, load_credential, release_digests

    credential = load_credential(key, certificate, password=os.environ.get(PASSWORD_VARIABLE) or None)
    return PictureSigner(credential, release_digests(models))


def parse_given(text: str | None) -> dict[str, Any]:
    """`age=40,gender=female` as keyword arguments of `Given`; which values are possible is the model's to say.

    Raises:
        InvalidGiven: an unknown name, a name stated twice, an age that is no number.
    """
    values: dict[str, Any] = {}
    for part, name, value in pairs(text):
        if not value or name not in GIVEN_NAMES:
            raise InvalidGiven(
                f'cannot read given "{part}"; write age=40,gender=female,group=NAME,hair=STYLE, or some of them'
            )
        if name in values:
            raise InvalidGiven(f"given {name} is stated twice; state it once")
        values[name] = value
    if "age" in values:
        try:
            values["age"] = float(values["age"])
        except ValueError:
            raise InvalidGiven(f'given age "{values["age"]}" is not a number of years') from None
    return values


def pairs(text: str | None) -> Iterator[tuple[str, str, str]]:
    """Each part of `name=value,name=value`, with its name and its value; "" where no value is stated."""
    for part in () if text is None else text.split(","):
        name, _, value = part.partition("=")
        yield part.strip(), name.strip(), value.strip()
