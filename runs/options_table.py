"""Write docs/options.csv: every command, argument and option with its line of help, from the program's own help.

python runs/options_table.py
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from speech2face import cli
from speech2face.outputs import encode_csv, write_together

TABLE = Path(__file__).parents[1] / "docs" / "options.csv"
HEAD = ("command", "option", "meaning")


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Commands that do something, by all their words: `data prepare`."""
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from leaves(below, (*words, name))
    else:
        yield " ".join(words), command


def rows() -> list[tuple[str, str, str]]:
    """Rows of the table; a command's own line has no option."""
    found = []
    for name, command in leaves(typer.main.get_command(cli.app)):
        context = command.make_context(name, [], resilient_parsing=True)
        found.append((name, "", " ".join((command.help or "").split())))
        for parameter in command.params:
            said = parameter.get_help_record(context)
            spelling, meaning = said or (parameter.human_readable_name, getattr(parameter, "help", "") or "")
            found.append((name, spelling, " ".join(meaning.split())))
    return found


def main() -> None:
    """Write the table."""
    write_together({TABLE: encode_csv([HEAD, *rows()])}, force=True)


if __name__ == "__main__":
    main()
