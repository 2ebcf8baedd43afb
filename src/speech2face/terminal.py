"""What the command line prints: results on standard output, everything else on standard error."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from speech2face.errors import INTERRUPTED_EXIT_CODE, USAGE_EXIT_CODE, MissingExtra, Speech2FaceError

if TYPE_CHECKING:
    from rich.progress import Progress

    from speech2face.batch import Job

BROKEN_PIPE_EXIT_CODE = 141  # 128 + SIGPIPE, the shells' convention
NAME_COLUMNS = 15  # at least, so that the tables of all recordings line up
TRAINING_PACKAGES = ("torch", "safetensors", "pydantic", "fsspec")  # the first of the extra 'train' to be missed


def need_extra(purpose: str, extra: str, packages: Sequence[str]) -> None:
    """Refuse early where an extra is not installed; nothing is imported.

    Raises:
        MissingExtra: naming what is missing and how to install it.
    """
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            f"{purpose} needs the extra '{extra}' ({missing[0]} is missing): pip install 'speech2face[{extra}]'"
        )


def print_json(value: dict[str, Any]) -> None:
    """One line of JSON."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_rows(rows: list[tuple[str, str]]) -> None:
    """A table without lines: on a terminal wrapped to its width, elsewhere one line a row."""
    if not sys.stdout.isatty():
        width = max([NAME_COLUMNS, *(len(name) + 2 for name, _ in rows)])
        for name, value in rows:
            typer.echo(f"{name:<{width}}{value}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, _escaped(value), style="yellow" if name == "caution" else None)
    Console().print(table)


def note(text: str) -> None:
    """A line beside the result, on standard error."""
    typer.echo(text, err=True)


def print_error(text: object) -> None:
    """One line, whatever the text holds."""
    from speech2face.batch import printable

    typer.echo(f"speech2face: error: {printable(text)}", err=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Everything that can end the program early becomes one line on standard error and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except Speech2FaceError as error:
        print_error(error)
        leave(error.exit_code)
    except BrokenPipeError:
        # What is still in the buffer must not be tried again while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        leave(BROKEN_PIPE_EXIT_CODE)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("speech2face: interrupted", err=True)
        leave(INTERRUPTED_EXIT_CODE)
    except Exception as error:
        message = getattr(error, "format_message", None)  # click's usage errors, whose class typer hides
        if message is None:
            raise
        if message():  # empty where no command was named and the help was shown
            print_error(f"{message()} (see speech2face --help)")
        leave(USAGE_EXIT_CODE)


def leave(code: int) -> NoReturn:
    """End the program."""
    raise SystemExit(code)


def with_progress(jobs: "Sequence[Job]", *, quiet: bool) -> "Iterator[Job]":
    """The jobs, with a bar on a terminal and a line each elsewhere, both on standard error."""
    if quiet or not sys.stderr.isatty():
        for number, job in enumerate(jobs, start=1):
            if not quiet:
                note(f"[{number}/{len(jobs)}] {job.name}")
            yield job
        return
    with _progress_bar() as progress:
        task = progress.add_task("", total=len(jobs))
        for job in jobs:
            progress.update(task, description=_escaped(job.name))
            yield job
            progress.advance(task)


def _progress_bar() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # elsewhere lines for a file or a pipe would end up on the terminal
    )


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
