"""Options that several commands have, each defined once, and settings made of a command's options."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

KEY_VARIABLE: Final = "SPEECH2FACE_SIGN_KEY"
CERTIFICATE_VARIABLE: Final = "SPEECH2FACE_SIGN_CERTIFICATE"

AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
FactsAsJson = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Overwrite = Annotated[bool, typer.Option("--force", "-f", help="Overwrite files that exist.")]
ReplaceReport = Annotated[bool, typer.Option("--force", "-f", help="Replace a report that is there.")]
Exaggerate = Annotated[float, typer.Option(help="Move the face away from the average face; 0 does not.")]
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
T = TypeVar("T")


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
