"""Options that several commands have, each defined once, and settings made of a command's options."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer

from speech2face.console import logged
from speech2face.errors import InvalidGiven
from speech2face.limits import MAX_SPEAKERS

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
