"""Commands of drivers, which other packages add: `drivers list` and `drivers check`."""

from typing import Annotated

import typer

from speech2face.cli.options import AsJson, Program
from speech2face.cli.terminal import print_error, print_json, print_line, print_rows
from speech2face.console import Bar
from speech2face.drivers import KINDS, DriverKind
from speech2face.errors import InvalidOption, MissingExtra

drivers = Program(no_args_is_help=True, help="Parts that other packages add: list and check them.")
KindName = Annotated[str, typer.Argument(metavar="KIND", help="Kind of driver; drivers list names them.")]


@drivers.command("list")
def list_drivers(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Only of this kind.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Name the drivers of each kind, with the package that brings those that were added."""
    found = {each.name: _origins(each) for each in (KINDS.values() if kind is None else [_kind(kind)])}
    if as_json:
        print_json(found)
        return
    rows = [(name, f"{driver} ({origin})") for name, origins in found.items() for driver, origin in origins.items()]
    print_rows(rows + [(name, "none") for name, origins in found.items() if not origins])


@drivers.command("check")
def check_driver(kind: KindName, name: Annotated[str, typer.Argument(help="Name of the driver.")]) -> None:
    """Run the conformance check of its kind on one driver: print ok, or what is wrong."""
    chosen = _kind(kind)
    try:
        with Bar("checking"):
            chosen.check(name)
    except InvalidOption:
        raise
    except ImportError as error:
        raise MissingExtra(f"checking {kind} needs a package that is not installed: {error}") from None
    except Exception as error:  # another package's code: whatever it raises says what is wrong
        text = str(error) if isinstance(error, AssertionError) and str(error) else f"{type(error).__name__}: {error}"
        print_error(f"{kind} {name}: {text}")
        raise typer.Exit(1) from None
    print_line("ok")


def _kind(name: str) -> DriverKind:
    if name not in KINDS:
        raise InvalidOption(f'no kind of driver is named "{name}"; there are {", ".join(KINDS)}')
    return KINDS[name]


def _origins(kind: DriverKind) -> dict[str, str]:
    """Where each driver comes from, by its name; nothing of them is imported."""
    added = kind.added()
    packages = {name: point.dist.name if point.dist is not None else point.value for name, point in added.items()}
    return {name: packages.get(name, "built in") for name in kind.names()}


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    app.add_typer(drivers, name="drivers")
